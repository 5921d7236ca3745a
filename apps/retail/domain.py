"""Terms of counting: the layout of a camera's picture, time buckets, and classes of dwell times."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated

import msgspec

from common.vision.lines import Line, Point
from common.vision.zones import Zone

MINUTE_NS = 60 * 10**9
DWELL_EDGES_S = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Edges between the classes of dwell times: under the first, between two, from the last on."""
PARTS_LIMIT = 64
"""Maximum number of lines, and of zones, of a camera."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class CountingLine(Line, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A counting line of a camera."""

    entrance: bool = True
    """Whether those who come in are visits of the store; False for a line inside of it."""
    area: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Area behind the line, shared by all entrances of this name on the node; empty: the camera's own."""
    group_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    """Time within which people who enter close together are one group; 0: groups are not counted."""
    reentry_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    """Time within which somebody who went out and comes back, by the colours of the clothes, is counted as
    returned; 0: nobody is. The colours are kept in memory for that time."""


class CountingZone(Zone, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A zone of a camera."""

    staff: bool = False
    """Whether a person who was in it is staff, and counted on no line from then on."""
    staff_after_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    """Time in a staff zone after which a person is staff."""
    max_people: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Most people before an alarm is raised; 0 for no limit."""
    max_queue: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Longest queue before an alarm is raised; 0 for no limit."""


class Uniform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A uniform of the staff, by its colour on the upper body."""

    colour: Annotated[str, msgspec.Meta(pattern="^#[0-9a-fA-F]{6}$")]
    """As ``#rrggbb``; not black, white or grey."""
    min_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Share of the upper body that has the colour."""


class FloorPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ground of a camera's picture: four or more points known in the picture and on the plan."""

    width_m: Annotated[float, msgspec.Meta(gt=0, le=1000)]
    height_m: Annotated[float, msgspec.Meta(gt=0, le=1000)]
    image_points_px: list[Point]
    plan_points_m: list[Point]
    cell_m: Annotated[float, msgspec.Meta(ge=0.1, le=100)] = 0.5
    """Side of a cell of the heat map."""


class CameraLayout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines, zones and floor plan of one camera, in the pixels of its picture."""

    size_px: tuple[int, int] | None = None
    """Width and height of the picture that the coordinates belong to; absent: those of the first frame."""
    lines: Annotated[list[CountingLine], msgspec.Meta(max_length=PARTS_LIMIT)] = []
    zones: Annotated[list[CountingZone], msgspec.Meta(max_length=PARTS_LIMIT)] = []
    plan: FloorPlan | None = None
    uniforms: Annotated[list[Uniform], msgspec.Meta(max_length=4)] = []
    """Uniforms of the staff, who are counted on no line."""
    version: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Name of this state of the layout; it goes with every count."""


def colour_of(text: str) -> tuple[int, int, int]:
    """Blue, green and red of ``#rrggbb``."""
    red, green, blue = bytes.fromhex(text[1:])
    return blue, green, red


def dwell_class(dwell_s: float) -> int:
    """Class of a dwell time in `DWELL_EDGES_S`, from 0 on."""
    return bisect_right(DWELL_EDGES_S, dwell_s)
