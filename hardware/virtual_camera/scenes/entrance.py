"""A store entrance from inside: people enter, leave, pass by outside, look at a table, meet.

The front is at y = 0 with a door of 2.2 m; y < 0 is the pavement. The camera hangs from the ceiling and looks
at the door. The line ``door`` lies 0.9 m inside of it, the zone ``promotion`` around the table.
"""

from __future__ import annotations

from math import pi

import numpy as np

from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.scene import Box, Flow, Lamp, Line, Panel, Scene, Stop, Trip, Zone

_INSIDE = ((-3.9, 4.6), (3.9, 4.6), (-1.4, 8.2), (1.3, 8.2), (0.0, 8.2))


def _pavement(rng: np.random.Generator) -> tuple[float, float]:
    return (float(rng.choice([-8.0, 8.0])), float(rng.uniform(-3.0, -1.5)))


def _inside(rng: np.random.Generator) -> tuple[tuple[float, float], list[Stop]]:
    """A place out of the picture, and the way to it from the door."""
    place = _INSIDE[rng.choice(len(_INSIDE), p=[0.2, 0.2, 0.2, 0.2, 0.2])]
    via = (float(np.sign(place[0]) * rng.uniform(0.3, 0.9)), float(rng.uniform(2.6, 3.4)))
    return place, [Stop(via, 0.9)]


def _size(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 2, 3], p=[0.72, 0.23, 0.05]))


def _enter(rng: np.random.Generator) -> Trip:
    start, lane = _pavement(rng), float(rng.uniform(0.1, 0.7))
    place, way = _inside(rng)
    pause: list[Stop] = []
    if rng.random() < 0.22:
        pause = [Stop((float(rng.uniform(-2.3, -1.5)), 3.7), 0.5, float(rng.uniform(4, 15)), -pi / 2)]
    elif rng.random() < 0.12:
        pause = [
            Stop(
                (float(rng.uniform(-0.5, 1.5)), 2.2), 0.6, float(rng.uniform(2, 9)), float(rng.uniform(-3, 3))
            )
        ]
    stops = [Stop((lane, -0.8), 0.5), Stop((lane, 0.5), 0.5), *pause, *way, Stop(place, 0.8)]
    return Trip(start, tuple(stops), _size(rng))


def _leave(rng: np.random.Generator) -> Trip:
    place, way = _inside(rng)
    lane = -float(rng.uniform(0.1, 0.7))
    out = _pavement(rng)
    stops = [*way, Stop((lane, 0.7), 0.5), Stop((lane, -0.7), 0.5), Stop(out, 0.8)]
    return Trip(place, tuple(stops), _size(rng))


def _pass(rng: np.random.Generator) -> Trip:
    start = _pavement(rng)
    return Trip(start, (Stop((-start[0], float(rng.uniform(-3.0, -1.5))), 0.8),), _size(rng))


def scene() -> Scene:
    """The entrance."""
    steel, wood = (120, 118, 116), (96, 130, 168)
    posts = tuple(
        Box((x - 0.05, -0.05, 0), (x + 0.05, 0.05, 2.6), "plain", steel)
        for x in (-4.2, -2.65, -1.1, 1.1, 2.65, 4.2)
    )
    return Scene(
        name="entrance",
        camera=PinholeCamera((0.0, 6.6, 2.95), 180.0, 21.0, 74.0),
        panels=(
            Panel((-5, 0, 0), (10, 0, 0), (0, 10, 0), "tiles", (196, 204, 210), hides=False),
            Panel((-14, -7, 0), (28, 0, 0), (0, 7, 0), "pavement", (150, 156, 160), hides=False),
            Panel((-14, -7, -0.05), (28, 0, 0), (0, 0, 9), "street", (190, 190, 190), glow=0.5),
            Panel((-5, 0, 2.6), (10, 0, 0), (0, 0, 0.9), "fascia", (222, 226, 228)),
            Panel((-5, 0, 0), (0, 10, 0), (0, 0, 3.5), "plaster", (214, 222, 226)),
            Panel((5, 0, 0), (0, 10, 0), (0, 0, 3.5), "plaster", (214, 222, 226)),
            Panel((-1.1, 0.35, 0.002), (2.2, 0, 0), (0, 1.3, 0), "mat", (64, 62, 60), hides=False),
        ),
        boxes=(
            *posts,
            Box((-2.6, 2.4, 0), (-1.4, 3.1, 0.85), "wood", wood, "goods", (180, 190, 200)),
            Box((2.9, 1.2, 0), (4.4, 1.8, 1.6), "shelf", (150, 160, 170)),
            Box((-4.9, 0.6, 0), (-3.9, 2.8, 1.9), "shelf", (150, 160, 170)),
            Box((1.5, 0.35, 0), (1.9, 0.75, 0.9), "plain", (70, 96, 60), "leaves", (50, 110, 60)),
        ),
        walls=(
            ((-8, 0), (-1.1, 0)),
            ((1.1, 0), (8, 0)),
            ((-5, 0), (-5, 4)),
            ((5, 0), (5, 4)),
        ),
        lamps=(Lamp((-2, 2, 3.4)), Lamp((2, 2, 3.4)), Lamp((-2, 5, 3.4)), Lamp((2, 5, 3.4))),
        lines=(Line("door", (1.5, 0.9), (-1.5, 0.9)),),
        zones=(
            Zone("promotion", ((-3.0, 2.0), (-1.0, 2.0), (-1.0, 4.1), (-3.0, 4.1))),
            Zone("pavement", ((-6.0, -3.4), (6.0, -3.4), (6.0, -0.2), (-6.0, -0.2))),
        ),
        flows=(Flow(6.0, _enter), Flow(6.0, _leave), Flow(4.0, _pass)),
        daylight=0.5,
        reference_points_m=((-1.1, 0.0), (1.1, 0.0), (1.5, 3.0), (-1.5, 3.0)),
    )
