"""Scene: floor plan, furniture, lamps, camera, lines and zones, and the ways that people take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.traffic import Lane

Point = tuple[float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A counting line; ``in`` is a crossing to the right of the way from start to end, as in
    `common.vision.lines`."""

    name: str
    start_m: Point
    end_m: Point


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon on the floor."""

    name: str
    polygon_m: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A textured parallelogram that stands still: a floor, a wall, a face of furniture."""

    corner_m: tuple[float, float, float]
    across_m: tuple[float, float, float]
    up_m: tuple[float, float, float]
    texture: str
    colour: Colour = (200, 200, 200)
    glow: float = 0.0
    """Share of the light that is its own (lamps, windows by day)."""
    hides: bool = True
    """Whether it can be in front of people; a floor cannot."""


@dataclass(frozen=True, slots=True)
class Box:
    """Furniture on a rectangle of the floor, with a texture for its sides and one for its top."""

    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]
    texture: str
    colour: Colour = (200, 200, 200)
    top: str = "plain"
    top_colour: Colour | None = None
    solid: bool = True
    """Whether people walk around it."""

    def panels(self) -> list[Panel]:
        """The four sides and the top."""
        (x0, y0, z0), (x1, y1, z1) = self.low_m, self.high_m
        w, d, h = x1 - x0, y1 - y0, z1 - z0
        sides = [
            Panel((x0, y0, z0), (w, 0, 0), (0, 0, h), self.texture, self.colour),
            Panel((x1, y0, z0), (0, d, 0), (0, 0, h), self.texture, self.colour),
            Panel((x1, y1, z0), (-w, 0, 0), (0, 0, h), self.texture, self.colour),
            Panel((x0, y1, z0), (0, -d, 0), (0, 0, h), self.texture, self.colour),
        ]
        return [*sides, Panel((x0, y0, z1), (w, 0, 0), (0, d, 0), self.top, self.top_colour or self.colour)]

    def walls(self) -> list[tuple[Point, Point]]:
        """Its sides on the floor."""
        (x0, y0, _), (x1, y1, _) = self.low_m, self.high_m
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        return list(zip(corners, corners[1:] + corners[:1], strict=True))


@dataclass(frozen=True, slots=True)
class Stop:
    """One target of a person's way: reached within ``radius_m``, then a pause looking to ``facing_rad``."""

    at_m: Point
    radius_m: float = 0.6
    wait_s: float = 0.0
    facing_rad: float | None = None
    queue: str = ""
    """Name of the queue in which the person waits here: the stop is the place of service."""
    signal: bool = False
    """Whether the person waits here until people may walk (`traffic.may_walk`)."""


@dataclass(frozen=True, slots=True)
class Trip:
    """The whole way of one party through the scene."""

    start_m: Point
    stops: tuple[Stop, ...]
    size: int = 1
    trolley: bool = False
    staff: bool = False


@dataclass(frozen=True, slots=True)
class Queue:
    """Places of a queue from the first (service) to the last."""

    name: str
    places_m: tuple[Point, ...]
    facing_rad: float


@dataclass(frozen=True, slots=True)
class Lamp:
    """A light above the floor."""

    at_m: tuple[float, float, float]
    strength: float = 1.0
    colour: Colour = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Flow:
    """Parties that arrive as a Poisson process, each with a trip drawn from its generator."""

    rate_per_min: float
    trip: Callable[[np.random.Generator], Trip]


@dataclass(frozen=True)
class Scene:
    """A place under one camera."""

    name: str
    camera: PinholeCamera
    panels: tuple[Panel, ...]
    boxes: tuple[Box, ...]
    walls: tuple[tuple[Point, Point], ...]
    lamps: tuple[Lamp, ...]
    lines: tuple[Line, ...]
    zones: tuple[Zone, ...]
    flows: tuple[Flow, ...]
    queues: tuple[Queue, ...] = ()
    lanes: tuple[Lane, ...] = ()
    daylight: float = 0.3
    """Share of the light by day that comes from outside."""
    outdoors: bool = False
    reference_points_m: tuple[Point, Point, Point, Point] = field(default=((-1, 0), (1, 0), (1, 2), (-1, 2)))
    """Four points of the floor that are in the picture, for a homography by hand."""

    def obstacles(self) -> np.ndarray:
        """All segments that nobody passes, ``(n, 2, 2)`` in m."""
        segments = list(self.walls)
        for box in self.boxes:
            if box.solid:
                segments += box.walls()
        return np.array(segments, float).reshape(-1, 2, 2)
