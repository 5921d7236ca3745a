"""The concourse of a mall: many people cross in all directions and meet; columns stand in their way.

The hall is 21 m wide and 22 m deep, with doors to shops at its sides and its end; the camera hangs high. The
line ``middle`` crosses the hall at y = 9, ``in`` is along y.
"""

from __future__ import annotations

import numpy as np

from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.scene import Box, Flow, Lamp, Line, Panel, Scene, Stop, Trip, Zone

_GATES = (
    (-11.4, 4.5),
    (11.4, 4.5),
    (-11.4, 13.0),
    (11.4, 13.0),
    (-4.0, 23.0),
    (4.0, 23.0),
    (-1.5, -2.5),
    (2.5, -2.5),
)
_SHOP = (70, 74, 78)


def _gate(rng: np.random.Generator, number: int) -> tuple[float, float]:
    x, y = _GATES[number]
    return (x + float(rng.uniform(-0.6, 0.6)), y + float(rng.uniform(-0.6, 0.6)))


def _within(gate: tuple[float, float]) -> Stop:
    """The place in the hall before a gate, so that doors are passed straight."""
    return Stop((float(np.clip(gate[0], -9.2, 9.2)), float(np.clip(gate[1], -0.5, 20.8))), 0.9)


def _cross(rng: np.random.Generator) -> Trip:
    first, last = rng.choice(len(_GATES), 2, replace=False)
    start, end = _gate(rng, int(first)), _gate(rng, int(last))
    stops: list[Stop] = [_within(start)]
    if rng.random() < 0.2:
        at = (float(rng.uniform(-2.5, 2.5)), float(rng.uniform(6.0, 12.0)))
        stops.append(Stop(at, 0.6, float(rng.uniform(5, 20)), float(rng.uniform(-3, 3))))
    elif (start[1] - 9) * (end[1] - 9) < 0:
        stops.append(Stop((float(rng.uniform(-3.6, 3.6)), 9.0), 1.0))
    size = int(rng.choice([1, 2, 3, 4], p=[0.55, 0.3, 0.1, 0.05]))
    return Trip(start, (*stops, _within(end), Stop(end, 1.0)), size)


def scene() -> Scene:
    """The concourse."""
    planter = {"texture": "plain", "colour": (150, 160, 168), "top": "leaves", "top_colour": (50, 115, 70)}
    return Scene(
        name="crowd",
        camera=PinholeCamera((0.0, -1.0, 4.8), 0.0, 24.0, 68.0),
        panels=(
            Panel((-14, -4, 0), (28, 0, 0), (0, 26, 0), "tiles", (198, 206, 214), hides=False),
            Panel((-14, 22, 0), (28, 0, 0), (0, 0, 8), "facade", (200, 200, 200)),
            Panel((-10.5, -4, 0), (0, 26, 0), (0, 0, 8), "facade", (200, 200, 200)),
            Panel((10.5, -4, 0), (0, 26, 0), (0, 0, 8), "facade", (200, 200, 200)),
            *(Panel((x, 11.3, 0), (0, 3.4, 0), (0, 0, 2.6), "plain", _SHOP) for x in (-10.48, 10.48)),
            *(Panel((x, 21.98, 0), (3.4, 0, 0), (0, 0, 2.6), "plain", _SHOP) for x in (-5.7, 2.3)),
            Panel((-3, 3, 0.002), (6, 0, 0), (0, 12, 0), "pavement", (160, 176, 196), hides=False),
        ),
        boxes=(
            Box((-5.6, 8.4, 0), (-4.4, 9.6, 0.7), **planter),
            Box((4.4, 8.4, 0), (5.6, 9.6, 0.7), **planter),
            Box((-5.25, 8.75, 0.7), (-4.75, 9.25, 6.0), "plaster", (220, 224, 228)),
            Box((4.75, 8.75, 0.7), (5.25, 9.25, 6.0), "plaster", (220, 224, 228)),
            Box((-7.6, 6.2, 0), (-6.0, 6.7, 0.45), "wood", (90, 130, 170), "wood", (100, 140, 180)),
            Box((6.0, 11.3, 0), (7.6, 11.8, 0.45), "wood", (90, 130, 170), "wood", (100, 140, 180)),
        ),
        walls=(
            *(
                ((x, low), (x, high))
                for x in (-10.4, 10.4)
                for low, high in ((-4.0, 2.8), (6.2, 11.3), (14.7, 22.0))
            ),
            *(((low, 22.0), (high, 22.0)) for low, high in ((-10.4, -5.7), (-2.3, 2.3), (5.7, 10.4))),
        ),
        lamps=tuple(Lamp((x, y, 6.5), 2.2) for x in (-5.0, 0.0, 5.0) for y in (3.0, 9.0, 15.0)),
        lines=(Line("middle", (4.4, 9.0), (-4.4, 9.0)),),
        zones=(Zone("centre", ((-3.0, 6.0), (3.0, 6.0), (3.0, 12.0), (-3.0, 12.0))),),
        flows=(Flow(55.0, _cross),),
        daylight=0.55,
        reference_points_m=((-3.0, 3.0), (3.0, 3.0), (3.0, 15.0), (-3.0, 15.0)),
    )
