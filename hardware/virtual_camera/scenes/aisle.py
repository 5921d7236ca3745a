"""An aisle between shelves: people walk through, browse, push trolleys; staff in uniform pass.

The aisle runs along y from 1.5 to 9 m; the camera hangs before it and looks along it. People come from
beyond the shelves' ends. The lines ``front`` and ``back`` close the aisle, ``in`` is along y.
"""

from __future__ import annotations

from math import pi

import numpy as np

from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.scene import Box, Flow, Lamp, Line, Panel, Scene, Stop, Trip, Zone


def _corner(rng: np.random.Generator, front: bool) -> tuple[float, float]:
    side = float(rng.choice([-1.0, 1.0]))
    return (
        (4.4 * side, float(rng.uniform(-0.3, 0.6))) if front else (3.4 * side, float(rng.uniform(9.9, 11.0)))
    )


def _walk(rng: np.random.Generator) -> Trip:
    front = bool(rng.random() < 0.5)
    way = 1.0 if front else -1.0
    lane = 0.42 * way
    browsing: list[Stop] = []
    for y in np.sort(rng.uniform(2.2, 8.4, int(rng.choice([0, 1, 2, 3], p=[0.35, 0.3, 0.2, 0.15])))):
        side = float(rng.choice([-1.0, 1.0]))
        browsing.append(
            Stop((0.68 * side, float(y)), 0.5, float(rng.uniform(3, 14)), 0.0 if side > 0 else pi)
        )
    start, end = _corner(rng, front), _corner(rng, not front if rng.random() < 0.8 else front)
    near, far = (1.0, 9.5) if front else (9.5, 1.0)
    if (end[1] > 5) != front:  # turns around
        far = near
    stops = [
        Stop((lane, near), 0.5),
        *browsing[:: int(way)],
        Stop((lane if far != near else -lane, far), 0.6),
    ]
    return Trip(
        start,
        (*stops, Stop(end, 0.8)),
        size=int(rng.choice([1, 2], p=[0.82, 0.18])),
        trolley=bool(rng.random() < 0.35),
    )


def _staff(rng: np.random.Generator) -> Trip:
    trip = _walk(rng)
    return Trip(trip.start_m, trip.stops, staff=True)


def scene() -> Scene:
    """The aisle."""
    frame = (150, 158, 165)
    return Scene(
        name="aisle",
        camera=PinholeCamera((0.0, -1.4, 2.8), 0.0, 17.0, 72.0),
        panels=(
            Panel((-7, -3, 0), (14, 0, 0), (0, 16, 0), "tiles", (200, 206, 210), hides=False),
            Panel((-7, 13, 0), (14, 0, 0), (0, 0, 3.6), "plaster", (206, 216, 222)),
            Panel((-6.5, -3, 0), (0, 16, 0), (0, 0, 3.6), "plaster", (206, 216, 222)),
            Panel((6.5, -3, 0), (0, 16, 0), (0, 0, 3.6), "plaster", (206, 216, 222)),
            Panel((-7, -3, 3.6), (14, 0, 0), (0, 16, 0), "tiles", (225, 228, 230), hides=False),
            *(
                Panel((x, y, 3.58), (1.2, 0, 0), (0, 0.5, 0), "plain", (250, 252, 252), glow=1.0, hides=False)
                for x in (-3.6, -0.6, 2.4)
                for y in (2, 5, 8, 11)
            ),
            Panel((-0.7, 11.99, 2.4), (1.4, 0, 0), (0, 0, 0.5), "fascia", (90, 150, 60)),
        ),
        boxes=(
            Box((-2.0, 1.5, 0), (-1.15, 9.0, 1.95), "shelf", frame),
            Box((1.15, 1.5, 0), (2.0, 9.0, 1.95), "shelf", frame),
            Box((-5.2, 1.5, 0), (-4.3, 9.0, 1.95), "shelf", frame),
            Box((4.3, 1.5, 0), (5.2, 9.0, 1.95), "shelf", frame),
            Box((-6.0, 12.0, 0), (6.0, 12.8, 2.1), "shelf", frame),
        ),
        walls=(((-6.5, -3), (-6.5, 13)), ((6.5, -3), (6.5, 13)), ((-6.5, 12), (6.5, 12))),
        lamps=tuple(Lamp((x, y, 3.5), 1.15) for x in (-3.0, 0.0, 3.0) for y in (1.0, 4.0, 7.0, 10.5)),
        lines=(Line("front", (1.15, 1.9), (-1.15, 1.9)), Line("back", (1.15, 8.6), (-1.15, 8.6))),
        zones=(
            Zone("left_shelf", ((-1.15, 3.0), (-0.3, 3.0), (-0.3, 7.0), (-1.15, 7.0))),
            Zone("aisle", ((-1.15, 1.5), (1.15, 1.5), (1.15, 9.0), (-1.15, 9.0))),
        ),
        flows=(Flow(5.5, _walk), Flow(0.6, _staff)),
        daylight=0.1,
        reference_points_m=((-1.1, 1.6), (1.1, 1.6), (1.1, 8.0), (-1.1, 8.0)),
    )
