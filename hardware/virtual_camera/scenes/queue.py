"""Checkouts: people with trolleys queue at three tills, are served, and leave towards the camera.

The tills stand at y from 2.8 to 5; people queue from y = 5.3 on. The line ``exit`` is before the tills,
``out`` is towards the camera; each queue has a zone of its name.
"""

from __future__ import annotations

from math import pi

import numpy as np

from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.scene import Box, Flow, Lamp, Line, Panel, Queue, Scene, Stop, Trip, Zone

_LANES = (-2.5, 0.0, 2.5)


def _shop(lane: int, rng: np.random.Generator) -> Trip:
    x = _LANES[lane]
    start = (float(rng.choice([-6.5, 6.5])), float(rng.uniform(12.8, 13.4)))
    stops = (
        Stop((x + float(rng.uniform(-0.3, 0.3)), 11.6), 0.9),
        Stop((x, 4.0), 0.35, float(rng.uniform(10, 28)), queue=f"till_{lane + 1}"),
        Stop((x, 2.2), 0.5),
        Stop((x * 0.5, -0.9), 0.8),
    )
    trolley = bool(rng.random() < 0.45)
    return Trip(start, stops, 1, trolley=trolley)


def _till(lane: int) -> Flow:
    def trip(rng: np.random.Generator) -> Trip:
        return _shop(lane, rng)

    return Flow(1.7, trip)


def scene() -> Scene:
    """The checkouts."""
    desk = (170, 176, 182)
    tills = tuple(
        Box((x + 0.55, 2.8, 0), (x + 1.25, 5.0, 0.92), "plain", desk, "plain", (60, 60, 62)) for x in _LANES
    )
    signs = tuple(
        Panel((x + 0.6, 4.9, 3.3), (0.6, 0, 0), (0, 0, 0.4), "fascia", (90, 150, 60)) for x in _LANES
    )
    return Scene(
        name="queue",
        camera=PinholeCamera((-0.6, -1.8, 3.3), 0.0, 20.0, 74.0),
        panels=(
            Panel((-8, -3, 0), (16, 0, 0), (0, 18, 0), "tiles", (198, 204, 208), hides=False),
            Panel((-8, 15, 0), (16, 0, 0), (0, 0, 4.2), "plaster", (206, 216, 222)),
            Panel((-7.5, -3, 0), (0, 18, 0), (0, 0, 4.2), "plaster", (206, 216, 222)),
            Panel((7.5, -3, 0), (0, 18, 0), (0, 0, 4.2), "plaster", (206, 216, 222)),
            *signs,
            Panel((-8, -3, 4.2), (16, 0, 0), (0, 18, 0), "tiles", (225, 228, 230), hides=False),
            *(
                Panel((x, y, 4.18), (1.2, 0, 0), (0, 0.5, 0), "plain", (250, 252, 252), glow=1.0, hides=False)
                for x in (-4.1, -0.6, 2.9)
                for y in (3, 7, 11)
            ),
        ),
        boxes=(
            *tills,
            Box((-5.6, 5.6, 0), (-4.6, 10.6, 1.5), "shelf", desk),
            Box((4.9, 5.6, 0), (5.9, 10.6, 1.5), "shelf", desk),
            Box((-6.5, 14.0, 0), (6.5, 14.8, 2.2), "shelf", desk),
        ),
        walls=(((-7.5, -3), (-7.5, 15)), ((7.5, -3), (7.5, 15)), ((-7.5, 14), (7.5, 14))),
        lamps=tuple(Lamp((x, y, 4.0), 1.1) for x in (-3.5, 0.0, 3.5) for y in (1.0, 5.0, 9.0, 13.0)),
        lines=(Line("exit", (4.0, 2.4), (-4.0, 2.4)),),
        zones=tuple(
            Zone(f"till_{number + 1}", ((x - 0.6, 3.4), (x + 0.5, 3.4), (x + 0.6, 11.2), (x - 0.7, 11.2)))
            for number, x in enumerate(_LANES)
        ),
        flows=tuple(_till(lane) for lane in range(3)),
        queues=tuple(
            Queue(f"till_{number + 1}", tuple((x, 4.0 + 1.15 * place) for place in range(7)), -pi / 2)
            for number, x in enumerate(_LANES)
        ),
        daylight=0.15,
        reference_points_m=((-3.0, 2.0), (3.0, 2.0), (3.0, 10.0), (-3.0, 10.0)),
    )
