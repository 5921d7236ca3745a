"""People as lofted parts: outfits, the walking cycle, and the faces of a posed body.

A body is a list of parts. A part is a bone between two joints with elliptic rings along it; neighbouring
rings make quadrangles. Joints follow from the phase of the walking cycle, with segment lengths by Drillis
and Contini (1966, shares of the stature) and joint angles close to Winter (*The Biomechanics and Motor
Control of Human Gait*, 1991). All people of a frame are posed in one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LARGE = ("torso", "head", "hair", "skirt", "pack")
SKIRT = LARGE.index("skirt")
SMALL = (
    "thigh_l", "thigh_r", "shin_l", "shin_r", "foot_l", "foot_r",
    "arm_l", "arm_r", "forearm_l", "forearm_r", "hand_l", "hand_r", "neck", "bag",
)  # fmt: skip
LARGE_RINGS, LARGE_SIDES = 7, 12
SMALL_RINGS, SMALL_SIDES = 3, 8

_LARGE_ALONG = np.tile(np.linspace(0, 1, LARGE_RINGS, dtype=np.float32), (len(LARGE), 1))
_SMALL_ALONG = np.tile(np.array([0, 0.5, 1], np.float32), (len(SMALL), 1))
_SMALL_ALONG[2:4, 0] = -0.08  # the shins begin above the knees, the forearms above the elbows
_SMALL_ALONG[8:10, 0] = -0.1
_SMALL_ALONG[6:8, 1] = 0.2  # round shoulders

SKIN = np.array(
    [
        (196, 214, 240),
        (168, 190, 228),
        (140, 168, 214),
        (104, 136, 188),
        (72, 100, 152),
        (48, 66, 104),
        (36, 48, 78),
    ]
)
HAIR = np.array([(24, 26, 30), (30, 40, 58), (44, 66, 100), (92, 140, 180), (150, 152, 156), (34, 48, 110)])
CLOTH = np.array(
    [
        (40, 36, 34), (70, 62, 58), (110, 104, 100), (188, 186, 182), (232, 232, 230), (120, 70, 38),
        (150, 96, 52),
        (52, 40, 140), (48, 60, 190), (70, 110, 60), (60, 140, 120), (70, 160, 210), (110, 140, 170),
        (130, 80, 130), (170, 150, 90), (60, 80, 110),
    ]
)  # fmt: skip
LEGWEAR = np.array(
    [(44, 38, 36), (96, 66, 44), (120, 88, 62), (70, 66, 64), (100, 120, 140), (36, 34, 40), (140, 136, 130)]
)


@dataclass(frozen=True)
class Look:
    """Appearance of one person: ring radii (shares of the stature) and colours (BGR) of all parts."""

    height_m: float
    large_radii: Floats  # (large parts, rings, 2): lateral, frontal
    small_radii: Floats
    colours: Floats  # (faces, 3)
    carries_bag: bool


@dataclass(frozen=True)
class Pose:
    """Positions and postures of ``n`` people, as arrays."""

    positions_m: NDArray[np.float64]  # (n, 2) on the floor
    headings_rad: NDArray[np.float64]  # (n,) direction of the body's front: 0 is +x, pi/2 is +y
    phases_rad: NDArray[np.float64]  # (n,) of the walking cycle; a full turn is two steps
    speeds_mps: NDArray[np.float64]  # (n,)
    pushing: NDArray[np.bool_]  # (n,) both hands on a trolley


def _profile(*rings: tuple[float, float]) -> list[tuple[float, float]]:
    return list(rings)


def draw_look(rng: np.random.Generator, *, staff: bool = False) -> Look:
    """A person with an outfit, from the generator alone."""
    woman, child = rng.random() < 0.5, not staff and rng.random() < 0.07
    height = float(np.clip(rng.normal(1.65 if woman else 1.78, 0.07), 1.48, 1.98))
    height = float(rng.uniform(1.05, 1.4)) if child else height
    girth = float(np.clip(rng.lognormal(0.0, 0.13), 0.82, 1.4))
    skin = SKIN[rng.integers(len(SKIN))] * rng.uniform(0.95, 1.03)
    hair = HAIR[rng.choice(len(HAIR), p=[0.32, 0.26, 0.18, 0.1, 0.1, 0.04])]
    top = np.array([90, 60, 170.0]) if staff else CLOTH[rng.integers(len(CLOTH))] * rng.uniform(0.85, 1.1)
    inner = CLOTH[rng.integers(len(CLOTH))] * 1.0
    legs = LEGWEAR[rng.integers(len(LEGWEAR))] * rng.uniform(0.85, 1.1)
    shoes = np.array([(30, 30, 32), (40, 52, 80), (210, 210, 212), (60, 60, 66)])[rng.integers(4)]
    bottom = rng.choice(["trousers", "shorts", "skirt"], p=[0.72, 0.13, 0.15] if woman else [0.85, 0.15, 0.0])
    coat = not staff and rng.random() < 0.22
    long_sleeves = coat or rng.random() < 0.6
    jacket = not coat and long_sleeves and rng.random() < 0.45
    chest, waist, hip = (0.108, 0.088, 0.108) if woman else (0.122, 0.103, 0.102)

    large_radii = np.zeros((len(LARGE), LARGE_RINGS, 2))
    thick = girth + (0.08 if jacket or coat else 0.0)
    large_radii[0] = np.array(
        [
            (hip * 0.55, 0.05),
            (hip, 0.078),
            (waist + 0.006, 0.07),
            (waist, 0.066),
            (chest, 0.076),
            (chest * 1.04, 0.066),
            (0.045, 0.04),
        ]
    ) * [thick, 0.55 * thick + 0.45 * thick**2]
    large_radii[1] = [
        (0.018, 0.026),
        (0.036, 0.046),
        (0.045, 0.055),
        (0.049, 0.06),
        (0.048, 0.06),
        (0.037, 0.047),
        (0.004, 0.006),
    ]
    long_hair = rng.random() < (0.6 if woman else 0.05)
    bald = not woman and rng.random() < 0.12
    hat = rng.random() < 0.1
    if long_hair:
        large_radii[2] = [
            (0.046, 0.022),
            (0.053, 0.03),
            (0.054, 0.034),
            (0.054, 0.036),
            (0.052, 0.036),
            (0.046, 0.032),
            (0.004, 0.004),
        ]
    elif hat:
        large_radii[2] = [
            (0.056, 0.075),
            (0.055, 0.07),
            (0.053, 0.064),
            (0.052, 0.062),
            (0.05, 0.06),
            (0.042, 0.05),
            (0.004, 0.004),
        ]
    if coat or bottom == "skirt":
        flare = rng.uniform(1.05, 1.45) if bottom == "skirt" else 1.05
        spread = np.linspace(flare, 1.0, LARGE_RINGS - 1)
        large_radii[3, :-1] = np.stack([hip * thick * spread * 1.04, 0.082 * thick * spread], axis=1)
        large_radii[3, -1] = large_radii[3, -2] * 0.8
    pack = not staff and rng.random() < 0.2
    if pack:
        large_radii[4] = np.array(
            [
                (0.06, 0.03),
                (0.085, 0.05),
                (0.088, 0.055),
                (0.088, 0.055),
                (0.085, 0.05),
                (0.075, 0.042),
                (0.005, 0.005),
            ]
        )

    small_radii = np.zeros((len(SMALL), SMALL_RINGS, 2))
    loose = 1.12 if bottom == "trousers" else 1.0
    for side in (0, 1):
        small_radii[0 + side] = np.array([(0.055, 0.06), (0.047, 0.052), (0.036, 0.04)]) * girth * loose
        small_radii[2 + side] = (
            np.array([(0.035, 0.04), (0.034, 0.039), (0.024, 0.028)]) * (0.5 + 0.5 * girth) * loose
        )
        small_radii[4 + side] = [(0.022, 0.024), (0.027, 0.02), (0.02, 0.01)]
        sleeve = 1.15 if long_sleeves else 1.0
        small_radii[6 + side] = (
            np.array([(0.021, 0.024), (0.032, 0.035), (0.026, 0.027)]) * (0.4 + 0.6 * girth) * sleeve
        )
        small_radii[8 + side] = (
            np.array([(0.025, 0.026), (0.023, 0.024), (0.017, 0.018)]) * (0.5 + 0.5 * girth) * sleeve
        )
        small_radii[10 + side] = [(0.014, 0.018), (0.016, 0.024), (0.008, 0.012)]
    small_radii[12] = [(0.034, 0.036), (0.031, 0.033), (0.03, 0.032)]
    bag = rng.random() < 0.3 and not child
    if bag:
        small_radii[13] = np.array([(0.018, 0.075), (0.045, 0.09), (0.048, 0.085)])[::-1] * rng.uniform(
            0.8, 1.3
        )

    large = np.zeros((len(LARGE), LARGE_RINGS - 1, LARGE_SIDES, 3))
    small = np.zeros((len(SMALL), SMALL_RINGS - 1, SMALL_SIDES, 3))
    large[0] = top
    if jacket or coat:  # open at the front: the sides around the front show what is below
        large[0, 2:, 2:4] = inner
    elif rng.random() < 0.25:
        large[0, 1::2] = inner  # stripes
    large[0, -1] = top * 0.92
    large[0, 0] = legs if not coat else top
    large[1] = skin
    for ring in range(LARGE_RINGS - 1):
        if not bald:
            back = range(5, 13) if ring >= 3 else range(6, 12) if ring >= 2 else range(0)
            large[1, ring, [side % LARGE_SIDES for side in back]] = hair
    if not bald:
        large[1, -2:, :] = hair
    large[1, 3, [1, 4]] = large[1, 3, [1, 4]] * 0.72  # shade of the eye sockets
    large[1, 1, 2:4] = skin * [0.82, 0.8, 0.92]  # mouth
    large[2] = hair if long_hair else CLOTH[rng.integers(len(CLOTH))]
    large[3] = top if coat else legs
    large[4] = CLOTH[rng.integers(len(CLOTH))] * 0.9
    small[0:2] = skin if bottom == "skirt" else legs
    small[2:4] = legs if bottom == "trousers" else skin
    small[4:6] = shoes
    small[6:8] = top
    small[8:10] = top if long_sleeves else skin
    if not long_sleeves:
        small[6:8, 1] = skin * 0.5 + top * 0.5
    small[10:12] = skin
    small[12] = skin * 0.9
    small[13] = CLOTH[rng.integers(len(CLOTH))] if rng.random() < 0.6 else (150, 175, 200)
    colours = np.clip(np.concatenate([large.reshape(-1, 3), small.reshape(-1, 3)]), 8, 250)
    single = np.float32
    return Look(
        height, large_radii.astype(single), small_radii.astype(single), colours.astype(single), bool(bag)
    )


def _bump(phase: NDArray[Any], centre: float, width: float) -> NDArray[Any]:
    return np.exp((np.cos(phase - centre) - 1) / width**2)


def _joints(pose: Pose, carries_bag: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Bones as (start, end) in the body's axes, shares of the stature: two arrays ``(n, parts, 3)``."""
    n = len(pose.phases_rad)
    swing = np.clip(pose.speeds_mps / 1.25, 0.0, 1.15)
    start = np.zeros((n, len(LARGE) + len(SMALL), 3), np.float32)
    end = np.zeros_like(start)
    first = len(LARGE)
    lowest = np.full(n, np.inf)
    for side, sign, shift in ((0, -1.0, 0.0), (1, 1.0, np.pi)):
        phase = pose.phases_rad + shift
        hip = swing * (0.11 + 0.38 * np.cos(phase))
        knee = 0.06 + swing * (0.28 * _bump(phase, 0.85, 0.55) + 1.0 * _bump(phase, 4.55, 0.62))
        ankle = 0.06 + swing * (0.1 * np.cos(phase) - 0.5 * _bump(phase, 3.7, 0.5))
        joint = np.stack([np.full(n, sign * 0.055), np.zeros(n), np.full(n, 0.53)], axis=1)
        below = joint + 0.245 * np.stack([np.zeros(n), np.sin(hip), -np.cos(hip)], axis=1)
        shank = hip - knee
        foot = below + 0.246 * np.stack([np.zeros(n), np.sin(shank), -np.cos(shank)], axis=1)
        toes = shank + ankle
        ahead = np.stack([np.full(n, sign * 0.018), np.cos(toes), np.sin(toes)], axis=1)
        heel = foot - 0.035 * ahead - [0, 0, 0.018]
        toe = foot + 0.115 * ahead - [0, 0, 0.024]
        for part, (a, b) in zip((0, 2, 4), ((joint, below), (below, foot), (heel, toe)), strict=True):
            start[:, first + part + side], end[:, first + part + side] = a, b
        lowest = np.minimum(lowest, np.minimum(heel[:, 2], toe[:, 2]) - 0.016)

        swinging = np.where(carries_bag & (side == 1), 0.3, 1.0) * swing
        shoulder = np.where(pose.pushing, 0.75, -0.36 * swinging * np.cos(phase) + 0.03)
        elbow = np.where(pose.pushing, 0.75, 0.16 + 0.3 * swinging * (1 - np.cos(phase)) / 2)
        out = np.where(pose.pushing, 0.02, 0.1)
        joint = np.stack([np.full(n, sign * 0.116), np.zeros(n), np.full(n, 0.81)], axis=1)
        upper = np.stack([sign * np.sin(out), np.sin(shoulder), -np.cos(shoulder)], axis=1)
        below = joint + 0.18 * upper
        bent = shoulder + elbow
        lower = np.stack([np.full(n, -sign * 0.02), np.sin(bent), -np.cos(bent)], axis=1)
        wrist = below + 0.145 * lower
        for part, (a, b) in zip(
            (6, 8, 10), ((joint, below), (below, wrist), (wrist, wrist + 0.065 * lower)), strict=True
        ):
            start[:, first + part + side], end[:, first + part + side] = a, b
    hand = end[:, first + 11]
    start[:, first + 13], end[:, first + 13] = hand - [0, 0, 0.02], hand - [0, 0, 0.17]
    start[:, first + 12], end[:, first + 12] = (0, 0, 0.82), (0, 0.008, 0.875)
    start[:, 0], end[:, 0] = (0, 0, 0.46), (0, 0, 0.85)
    start[:, 1], end[:, 1] = (0, 0.012, 0.868), (0, 0.004, 1.0)
    start[:, 2], end[:, 2] = (0, -0.038, 0.8), (0, -0.03, 0.99)
    start[:, 3], end[:, 3] = (0, 0, 0.31), (0, 0, 0.56)
    start[:, 4], end[:, 4] = (0, -0.1, 0.6), (0, -0.09, 0.83)
    lean = 0.035 * swing
    for ends in (start, end):
        ends[:, :, 1] += lean[:, None] * np.maximum(ends[:, :, 2] - 0.5, 0)
        ends[:, :, 2] -= lowest[:, None]
    return start, end


def _loft(start: Floats, end: Floats, along: Floats, radii: Floats, sides: int) -> tuple[Floats, Floats]:
    """Ring points ``(n, parts, rings, sides, 3)``, from the right over the front; sense ``(n, parts)``.

    ``along`` ``(parts, rings)`` is the place of each ring on its bone, 0 at the start. The sense is the sign
    that turns the cross product of a quadrangle's diagonals outward.
    """
    bone = end - start
    direction = bone / np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
    right = np.array([1.0, 0.0, 0.0], np.float32) - direction * direction[..., :1]
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    front = np.cross(direction, right)
    sense = np.where(front[..., 1] + 0.5 * front[..., 2] < 0, -1.0, 1.0).astype(np.float32)
    front *= sense[..., None]
    angle = np.arange(sides, dtype=np.float32) * np.float32(2 * np.pi / sides)
    axis = start[:, :, None, :] + along[:, :, None] * bone[:, :, None, :]
    points = (
        axis[..., None, :] + (radii[..., 0, None] * np.cos(angle))[..., None] * right[:, :, None, None, :]
    )
    points += (radii[..., 1, None] * np.sin(angle))[..., None] * front[:, :, None, None, :]
    return points, sense


def _faces(parts: int, rings: int, sides: int, first: int) -> NDArray[np.int64]:
    """Indices of the four corners of each quadrangle, ``(faces, 4)``, of points counted from ``first``."""
    index = first + np.arange(parts * rings * sides).reshape(parts, rings, sides)
    after = np.roll(index, -1, axis=2)
    return np.stack([index[:, :-1], after[:, :-1], after[:, 1:], index[:, 1:]], axis=-1).reshape(-1, 4)


_LARGE_POINTS = len(LARGE) * LARGE_RINGS * LARGE_SIDES
FACES = np.concatenate(
    [
        _faces(len(LARGE), LARGE_RINGS, LARGE_SIDES, 0),
        _faces(len(SMALL), SMALL_RINGS, SMALL_SIDES, _LARGE_POINTS),
    ]
)
PARTS = np.repeat(
    np.arange(len(LARGE) + len(SMALL)),
    [(LARGE_RINGS - 1) * LARGE_SIDES] * len(LARGE) + [(SMALL_RINGS - 1) * SMALL_SIDES] * len(SMALL),
)
"""The part of each face. A part is convex, so parts need an order, the faces within a part none."""


def _coarse(parts: int, rings: int, sides: int, first: int, first_face: int, step: int) -> tuple[Any, Any]:
    """Every second side and every ``step``-th ring: a fine face for each coarse one, and its corners."""
    index = first + np.arange(parts * rings * sides).reshape(parts, rings, sides)[:, ::step, ::2]
    after = np.roll(index, -1, axis=2)
    face = first_face + np.arange(parts * (rings - 1) * sides).reshape(parts, rings - 1, sides)
    corners = np.stack([index[:, :-1], after[:, :-1], after[:, 1:], index[:, 1:]], axis=-1)
    return face[:, ::step, ::2].ravel(), corners.reshape(-1, 4)


_LARGE_COARSE = _coarse(len(LARGE), LARGE_RINGS, LARGE_SIDES, 0, 0, 2)
_SMALL_COARSE = _coarse(
    len(SMALL), SMALL_RINGS, SMALL_SIDES, _LARGE_POINTS, len(LARGE) * (LARGE_RINGS - 1) * LARGE_SIDES, 2
)
COARSE = np.concatenate([_LARGE_COARSE[0], _SMALL_COARSE[0]])
"""Faces whose normals and colours stand for a quarter as many or fewer, for people who are small."""
COARSE_CORNERS = np.concatenate([_LARGE_COARSE[1], _SMALL_COARSE[1]])


@dataclass(frozen=True)
class Bodies:
    """Posed people in the world; `FACES` and `PARTS` are the same for all."""

    points_m: Floats  # (n, points, 3)
    centres_m: Floats  # (n, parts, 3)
    normals: Floats  # (n, faces, 3), outward, unit length; zero for parts that a person lacks
    colours: Floats  # (n, faces, 3) BGR, unlit


def pose_bodies(looks: list[Look], pose: Pose) -> Bodies:
    """The faces of ``n`` people in the world. The floor point of each is ``pose.positions_m``."""
    start, end = _joints(pose, np.array([look.carries_bag for look in looks], bool))
    count, people = len(LARGE), len(looks)
    large, large_sense = _loft(
        start[:, :count],
        end[:, :count],
        _LARGE_ALONG,
        np.stack([look.large_radii for look in looks]),
        LARGE_SIDES,
    )
    small, small_sense = _loft(
        start[:, count:],
        end[:, count:],
        _SMALL_ALONG,
        np.stack([look.small_radii for look in looks]),
        SMALL_SIDES,
    )
    points = np.concatenate([large.reshape(people, -1, 3), small.reshape(people, -1, 3)], axis=1)
    cosine, sine = np.cos(pose.headings_rad - np.pi / 2), np.sin(pose.headings_rad - np.pi / 2)
    zero, one = np.zeros_like(cosine), np.ones_like(cosine)
    turn = np.stack([cosine, sine, zero, -sine, cosine, zero, zero, zero, one], axis=1).reshape(-1, 3, 3)
    turn = (turn * np.array([look.height_m for look in looks])[:, None, None]).astype(np.float32)
    floor = np.column_stack([pose.positions_m, zero]).astype(np.float32)[:, None, :]
    points = points @ turn + floor
    centres = ((start + end) / 2) @ turn + floor

    first, second = (
        points[:, FACES[:, 2]] - points[:, FACES[:, 0]],
        points[:, FACES[:, 3]] - points[:, FACES[:, 1]],
    )
    normals = np.cross(first, second)
    size = np.linalg.norm(normals, axis=-1, keepdims=True)
    sense = np.concatenate([large_sense, small_sense], axis=1)[:, PARTS, None]
    normals *= np.where(size > 1e-7, sense / np.maximum(size, 1e-9), 0)
    colours = np.stack([look.colours for look in looks])
    return Bodies(points, centres.astype(np.float32), normals.astype(np.float32), colours)
