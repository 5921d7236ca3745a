"""Bodies of vehicles: paint, glass, lamps, wheels and plate as polygons in painter's order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera.traffic import KINDS

Floats = NDArray[np.float32]
_CORNERS = 10
_PAINTS = np.array(
    [(40, 38, 36), (225, 226, 228), (150, 148, 146), (90, 88, 86), (38, 34, 150), (130, 70, 30),
     (170, 172, 176), (60, 80, 60), (70, 120, 160), (200, 202, 206)], float,
)  # fmt: skip
_GLASS, _DARK, _TYRE, _RIM = (72, 62, 54), (30, 30, 32), (26, 26, 28), (150, 150, 152)
_LAMP, _TAIL, _TAIL_ON, _PLATE = (250, 250, 245), (40, 30, 150), (60, 50, 255), (225, 230, 232)


@dataclass(frozen=True)
class VehicleBody:
    """Polygons ``(faces, corners, 3)`` in m, x to the right, y ahead; normals and colours of each."""

    points_m: Floats
    normals: Floats
    colours: Floats
    glowing: NDArray[np.bool_]
    """Lamps: not darkened by night."""


class _Builder:
    def __init__(self) -> None:
        self.points: list[list[tuple[float, float, float]]] = []
        self.colours: list[tuple[float, ...]] = []
        self.outward: list[tuple[float, float, float]] = []
        self.glowing: list[bool] = []

    def add(
        self,
        corners: list[tuple[float, float, float]],
        colour: tuple[float, ...],
        outward: tuple[float, float, float],
        *,
        glowing: bool = False,
    ) -> None:
        self.points.append(corners + [corners[-1]] * (_CORNERS - len(corners)))
        self.colours.append(colour)
        self.outward.append(outward)
        self.glowing.append(glowing)

    def sides(self, corners: list[tuple[float, float, float]], colour: tuple[float, ...]) -> None:
        """A polygon of the right side, and its mirror image."""
        self.add(corners, colour, (1, 0, 0))
        self.add([(-x, y, z) for x, y, z in corners], colour, (-1, 0, 0))

    def across(
        self,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        colour: tuple[float, ...],
        outward: tuple[float, float, float],
        *,
        glowing: bool = False,
    ) -> None:
        """A strip from one side to the other between two edges (half width, y, z)."""
        self.add([(-low[0], *low[1:]), low, high, (-high[0], *high[1:])], colour, outward, glowing=glowing)

    def body(self) -> VehicleBody:
        points = np.array(self.points, np.float32)
        normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
        normals *= np.sign((normals * np.array(self.outward)).sum(-1, keepdims=True))
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
        return VehicleBody(
            points, normals.astype(np.float32), np.array(self.colours, np.float32), np.array(self.glowing)
        )


def _ring(x: float, y: float, z: float, radius: float) -> list[tuple[float, float, float]]:
    angle = np.arange(_CORNERS) * 2 * np.pi / _CORNERS
    return [(x, y + radius * float(np.cos(a)), z + radius * float(np.sin(a))) for a in angle]


def _wheels(build: _Builder, half: float, places: tuple[float, ...], radius: float) -> None:
    for y in places:
        for scale, colour in ((1.18, _DARK), (1.0, _TYRE), (0.62, _RIM), (0.2, _DARK)):
            build.sides(_ring(half + 0.004, y, radius, radius * scale), colour)


def _car(build: _Builder, paint: tuple[float, ...], rng: np.random.Generator, braking: bool) -> None:
    estate = rng.random() < 0.5
    roof = float(rng.uniform(1.42, 1.72))
    half, belt, floor = 0.9, 0.62 * roof, 0.22
    front, rear = 2.2, -2.2
    hood, boot = 1.05, (-1.95 if estate else -1.45)
    top_front, top_rear = 0.25, (-1.65 if estate else -0.95)
    hood_z = belt - 0.06
    dark = tuple(value * 0.55 for value in paint)
    # The lower body: sides, front, rear, hood, boot.
    build.sides(
        [(half, rear, floor), (half, front, floor), (half, front, 0.5), (half, front - 0.12, hood_z - 0.14),
         (half, hood, belt), (half, boot, belt), (half, rear + 0.05, belt - 0.04), (half, rear, 0.5)], paint,
    )  # fmt: skip
    build.across((half, front, floor), (half, front, 0.5), paint, (0, 1, 0))
    build.across((half, front, 0.5), (half, front - 0.12, hood_z - 0.14), paint, (0, 1, 0.2))
    build.across((half, front - 0.12, hood_z - 0.14), (half, hood, belt), paint, (0, 0.2, 1))
    build.across((half, rear, floor), (half, rear, 0.5), paint, (0, -1, 0))
    build.across((half, rear, 0.5), (half, rear + 0.05, belt - 0.04), paint, (0, -1, 0.1))
    build.across((half, rear + 0.05, belt - 0.04), (half, boot, belt), paint, (0, -0.2, 1))
    build.sides(
        [
            (half + 0.002, rear, floor),
            (half + 0.002, front, floor),
            (half + 0.002, front, 0.3),
            (half + 0.002, rear, 0.3),
        ],
        dark,
    )
    for seam in (0.62, -0.42, -1.3):
        build.sides(
            [
                (half + 0.003, seam, 0.3),
                (half + 0.003, seam + 0.02, 0.3),
                (half + 0.003, seam + 0.02, belt),
                (half + 0.003, seam, belt),
            ],
            dark,
        )
    # Face and back.
    y = front + 0.005
    build.across((0.62, y, 0.26), (0.62, y, 0.44), _DARK, (0, 1, 0))
    build.across((0.45, y - 0.02, 0.52), (0.42, y - 0.07, 0.66), _DARK, (0, 1, 0.2))
    build.across((0.26, y + 0.01, 0.34), (0.26, y + 0.01, 0.45), _PLATE, (0, 1, 0))
    y = rear - 0.005
    build.across((0.7, y, 0.25), (0.7, y, 0.38), _DARK, (0, -1, 0))
    build.across((0.26, y, 0.52), (0.26, y, 0.63), _PLATE, (0, -1, 0))
    for side in (-1, 1):
        a, b = 0.52 * side, 0.87 * side
        build.add(
            [(a, front - 0.02, 0.55), (b, front - 0.02, 0.55), (b, front - 0.1, 0.72), (a, front - 0.1, 0.7)],
            _LAMP,
            (0, 1, 0.2),
            glowing=True,
        )
        a = 0.58 * side
        tail = _TAIL_ON if braking else _TAIL
        build.add(
            [(a, rear - 0.01, 0.62), (b, rear - 0.01, 0.62), (b, rear + 0.03, 0.82), (a, rear + 0.03, 0.8)],
            tail,
            (0, -1, 0.1),
            glowing=braking,
        )
    _wheels(build, half, (1.38, -1.32), 0.32)
    # The cabin: roof, windows within pillars.
    up = 0.64
    build.sides([(half, hood, belt), (half, boot, belt), (up, top_rear, roof), (up, top_front, roof)], paint)
    build.across((half - 0.03, hood, belt), (up, top_front, roof), paint, (0, 1, 0.8))
    build.across((half - 0.03, boot, belt), (up, top_rear, roof), paint, (0, -1, 0.5))
    build.across((up, top_front, roof), (up, top_rear, roof), paint, (0, 0, 1))

    def pane(y_low: float, y_high: float, low: float, high: float) -> tuple[float, float, float]:
        share = (high - belt) / (roof - belt)
        return (
            (half + share * (up - half) + 0.004, y_low + share * (y_high - y_low), high)
            if low
            else (0.0, 0.0, 0.0)
        )

    z0, z1 = belt + 0.04, roof - 0.06
    for fore, aft in ((hood - 0.22, -0.33), (-0.42, boot + 0.25)):
        fore_top, aft_top = min(fore, top_front - 0.06), max(aft, top_rear + 0.08)
        build.sides(
            [
                pane(fore, fore_top, 1, z0),
                pane(aft, aft, 1, z0),
                pane(aft, aft_top, 1, z1),
                pane(fore, fore_top, 1, z1),
            ],
            _GLASS,
        )
    build.across(
        (half - 0.14, hood + 0.005 - 0.06, z0), (up - 0.05, top_front + 0.05, z1), _GLASS, (0, 1, 0.8)
    )
    build.across(
        (half - 0.16, boot - 0.005 + 0.03, z0 + 0.03), (up - 0.07, top_rear - 0.04, z1), _GLASS, (0, -1, 0.5)
    )
    build.across(
        (half - 0.3, hood - 0.12, z0 + 0.1),
        (up - 0.25, top_front + 0.12, z1 - 0.05),
        tuple(v * 1.5 for v in _GLASS),
        (0, 1, 0.8),
    )
    for side in (-1, 1):
        x = side * (half + 0.1)
        build.add(
            [
                (x - 0.1, 0.72, belt),
                (x + 0.1, 0.72, belt),
                (x + 0.1, 0.72, belt + 0.14),
                (x - 0.1, 0.72, belt + 0.14),
            ],
            dark,
            (0, -1, 0),
        )
        build.add(
            [
                (x - 0.1, 0.8, belt),
                (x + 0.1, 0.8, belt),
                (x + 0.1, 0.8, belt + 0.14),
                (x - 0.1, 0.8, belt + 0.14),
            ],
            paint,
            (0, 1, 0),
        )


def _large(
    build: _Builder, paint: tuple[float, ...], length: float, roof: float, braking: bool, bus: bool
) -> None:
    half, floor, front, rear = 1.22, 0.35, length / 2, -length / 2
    build.sides([(half, rear, floor), (half, front, floor), (half, front, roof), (half, rear, roof)], paint)
    build.across((half, front, floor), (half, front, roof), paint, (0, 1, 0))
    build.across((half, rear, floor), (half, rear, roof), paint, (0, -1, 0))
    build.across((half, front, roof), (half, rear, roof), paint, (0, 0, 1))
    _wheels(build, half, (front - 1.6, rear + 2.0), 0.48)
    x, y = half + 0.005, front + 0.006
    build.across((half - 0.12, y, 1.25), (half - 0.15, y, roof - 0.45), _GLASS, (0, 1, 0))
    build.across((half - 0.3, y, 0.5), (half - 0.3, y, 0.9), _DARK, (0, 1, 0))
    build.across((0.3, y + 0.01, 0.5), (0.3, y + 0.01, 0.62), _PLATE, (0, 1, 0))
    if bus:
        build.across((half - 0.3, y, roof - 0.38), (half - 0.3, y, roof - 0.1), (30, 120, 210), (0, 1, 0))
        build.across((half - 0.2, -y, 1.5), (half - 0.2, -y, roof - 0.4), _GLASS, (0, -1, 0))
        for start in np.arange(rear + 0.3, front - 1.2, 1.35):
            build.sides(
                [
                    (x, start, 1.3),
                    (x, start + 1.25, 1.3),
                    (x, start + 1.25, roof - 0.45),
                    (x, start, roof - 0.45),
                ],
                _GLASS,
            )
    else:
        cab = front - 1.9
        build.sides(
            [
                (x, cab + 0.2, 1.35),
                (x, front - 0.2, 1.35),
                (x, front - 0.35, roof - 0.6),
                (x, cab + 0.2, roof - 0.6),
            ],
            _GLASS,
        )
        build.sides(
            [(x, cab - 0.05, floor), (x, cab + 0.05, floor), (x, cab + 0.05, roof), (x, cab - 0.05, roof)],
            _DARK,
        )
        build.across((0.02, -y, 0.6), (0.02, -y, roof - 0.1), _DARK, (0, -1, 0))
    for side in (-1, 1):
        a, b = 0.75 * side, 1.12 * side
        build.add([(a, y, 0.7), (b, y, 0.7), (b, y, 0.92), (a, y, 0.92)], _LAMP, (0, 1, 0), glowing=True)
        tail = _TAIL_ON if braking else _TAIL
        build.add([(a, -y, 0.7), (b, -y, 0.7), (b, -y, 1.0), (a, -y, 1.0)], tail, (0, -1, 0), glowing=braking)


@lru_cache(maxsize=256)
def vehicle_body(number: int, kind: int, braking: bool) -> VehicleBody:
    """The body of vehicle ``number``, of a kind of `traffic.KINDS`."""
    rng = np.random.default_rng([number, kind])
    paint = tuple(float(value) for value in _PAINTS[rng.integers(len(_PAINTS))] * rng.uniform(0.9, 1.08))
    build = _Builder()
    if KINDS[kind] == "car":
        _car(build, paint, rng, braking)
    elif KINDS[kind] == "bus":
        _large(
            build,
            [(40, 40, 190.0), (60, 170, 220.0), (200, 190, 180.0)][rng.integers(3)],
            11.0,
            3.0,
            braking,
            True,
        )
    else:
        _large(build, (214, 216, 218.0) if rng.random() < 0.6 else paint, 6.8, 2.9, braking, False)
    return build.body()


def turn_to(heading_rad: float) -> Floats:
    """The matrix whose rows take (right, ahead, up) to the world."""
    sine, cosine = np.sin(heading_rad), np.cos(heading_rad)
    return np.array([[sine, -cosine, 0], [cosine, sine, 0], [0, 0, 1]], np.float32)
