"""A street with a crossing: cars, buses and trucks stop at the signal, people cross and walk along.

Two lanes run along y; the camera hangs on a mast at the kerb and looks along the street. The crossing lies at
y from 12 to 15; the line ``crossing`` is the middle of the street there, ``in`` is to the left.
"""

from __future__ import annotations

import numpy as np

from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.scene import Box, Flow, Lamp, Line, Panel, Scene, Stop, Trip, Zone
from hardware.virtual_camera.traffic import Lane


def _side(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _cross(rng: np.random.Generator) -> Trip:
    side = _side(rng)
    y = float(rng.uniform(12.5, 14.5))
    start = (side * float(rng.uniform(4.6, 6.3)), float(rng.choice([-3.0, 44.0])))
    end = (-side * float(rng.uniform(4.6, 6.3)), float(rng.choice([-3.0, 44.0])))
    stops = (
        Stop((side * 4.6, y), 0.5, 0.3, float(np.pi) if side > 0 else 0.0, signal=True),
        Stop((-side * 4.4, y), 0.6),
        Stop(end, 1.0),
    )
    return Trip(start, stops, int(rng.choice([1, 2], p=[0.75, 0.25])))


def _along(rng: np.random.Generator) -> Trip:
    x = _side(rng) * float(rng.uniform(4.8, 6.3))
    start, end = ((x, -3.0), (x, 44.0)) if rng.random() < 0.5 else ((x, 44.0), (x, -3.0))
    return Trip(start, (Stop(end, 1.0),), int(rng.choice([1, 2], p=[0.75, 0.25])))


def scene() -> Scene:
    """The street."""
    white = (226, 228, 228)
    dashes = tuple(
        Panel((-0.07, y, 0.004), (0.14, 0, 0), (0, 3, 0), "plain", white, hides=False)
        for y in (*range(-4, 7, 6), *range(18, 110, 6))
    )
    stripes = tuple(
        Panel((x, 12.0, 0.004), (0.5, 0, 0), (0, 3.0, 0), "plain", white, hides=False)
        for x in np.arange(-3.25, 3.2, 1.0).tolist()
    )
    edges = tuple(
        Panel((x - 0.06, -6, 0.004), (0.12, 0, 0), (0, 116, 0), "plain", white, hides=False)
        for x in (-3.3, 3.3)
    )
    stops = (
        Panel((0.1, 10.6, 0.004), (3.1, 0, 0), (0, 0.4, 0), "plain", white, hides=False),
        Panel((-3.2, 16.0, 0.004), (3.1, 0, 0), (0, 0.4, 0), "plain", white, hides=False),
    )
    trees = tuple(
        box
        for x, y in ((-6.7, 9.0), (-6.7, 21.0), (-6.7, 33.0), (6.7, 19.0), (6.7, 31.0))
        for box in (
            Box((x - 0.12, y - 0.12, 0), (x + 0.12, y + 0.12, 2.6), "plain", (50, 66, 84)),
            Box(
                (x - 1.1, y - 1.1, 2.6),
                (x + 1.1, y + 1.1, 4.6),
                "leaves",
                (44, 98, 62),
                "leaves",
                (60, 125, 80),
                solid=False,
            ),
        )
    )
    return Scene(
        name="road",
        camera=PinholeCamera((4.3, -2.5, 4.2), -10.0, 11.0, 62.0),
        panels=(
            Panel((-3.5, -6, 0), (7, 0, 0), (0, 116, 0), "asphalt", (112, 110, 108), hides=False),
            Panel((-7.5, -6, 0.001), (4, 0, 0), (0, 116, 0), "pavement", (164, 170, 174), hides=False),
            Panel((3.5, -6, 0.001), (4, 0, 0), (0, 116, 0), "pavement", (164, 170, 174), hides=False),
            Panel((-3.6, -6, 0.003), (0.16, 0, 0), (0, 116, 0), "plain", (190, 194, 196), hides=False),
            Panel((3.44, -6, 0.003), (0.16, 0, 0), (0, 116, 0), "plain", (190, 194, 196), hides=False),
            Panel((-7.5, -6, 0), (0, 60, 0), (0, 0, 11), "facade", (200, 200, 200)),
            Panel((-7.5, 54, 0), (0, 56, 0), (0, 0, 9), "facade", (190, 195, 200)),
            Panel((7.5, -6, 0), (0, 70, 0), (0, 0, 12), "facade", (190, 200, 200)),
            Panel((7.5, 64, 0), (0, 46, 0), (0, 0, 8), "facade", (200, 195, 190)),
            Panel((-30, 110, 0), (60, 0, 0), (0, 0, 7), "leaves", (90, 120, 96)),
            *dashes,
            *stripes,
            *edges,
            *stops,
        ),
        boxes=trees,
        walls=(((-7.4, -8), (-7.4, 60)), ((7.4, -8), (7.4, 60))),
        lamps=tuple(
            Lamp((x, y, 6.0), 3.5, (0.75, 0.92, 1.0)) for x in (-4.0, 4.0) for y in (4.0, 16.0, 28.0, 40.0)
        ),
        lines=(Line("crossing", (0.0, 15.5), (0.0, 11.5)),),
        zones=(Zone("crossing", ((-3.5, 12.0), (3.5, 12.0), (3.5, 15.0), (-3.5, 15.0))),),
        flows=(Flow(6.0, _cross), Flow(5.0, _along)),
        lanes=(
            Lane((1.75, -14.0), (1.75, 104.0), 24.4, 9.0, 9.0),
            Lane((-1.75, 104.0), (-1.75, -14.0), 87.6, 9.0, 9.0),
        ),
        daylight=1.0,
        outdoors=True,
        reference_points_m=((-3.3, 12.0), (3.3, 12.0), (3.3, 30.0), (-3.3, 30.0)),
    )
