"""A layout as it can be used on a camera's frames: the good parts of it, and why others cannot."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from apps.retail.domain import CameraLayout, CountingLine, FloorPlan, Uniform, colour_of
from common.vision.appearance import MIN_SATURATION, saturation
from common.vision.dwell_map import DwellMap
from common.vision.geometry import GroundPlane, segments_cross
from common.vision.lines import LineCounter
from common.vision.zones import ZoneMonitor

PLAN_CELLS_LIMIT = 10_000
TEXT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class UsableLayout:
    """``layout`` without the parts that cannot be used, for pictures of ``size_px``; ``problems`` in text."""

    layout: CameraLayout
    size_px: tuple[int, int]
    ground: GroundPlane | None
    problems: list[str]

    def new_heat(self) -> DwellMap | None:
        """An empty heat map; None without a plan that fits."""
        plan = self.layout.plan
        return None if plan is None else DwellMap(plan.width_m, plan.height_m, plan.cell_m)


def find_layout(
    cameras: Mapping[str, CameraLayout], camera: str, attributes: Mapping[str, Any]
) -> tuple[CameraLayout, list[str]]:
    """The layout in the settings, else the one that the source brings, else an empty one; and problems."""
    if camera in cameras:
        return cameras[camera], []
    if "layout" not in attributes:
        return CameraLayout(), []
    try:
        return msgspec.convert(attributes["layout"], CameraLayout), []
    except msgspec.ValidationError as error:
        return CameraLayout(), [f"the layout that the source brings is unusable: {error}"[:TEXT_LIMIT]]


def check_layout(layout: CameraLayout, frame_px: tuple[int, int], problems: list[str]) -> UsableLayout:
    """The usable parts of ``layout`` for frames of width and height ``frame_px``."""
    size_px = layout.size_px or frame_px
    found, names, lines, zones = list(problems), set[str](), list[CountingLine](), []
    for part in (*layout.lines, *layout.zones):
        if part.name in names:
            found.append(f"more than one line or zone has the name {part.name!r}; the first one counts")
            continue
        names.add(part.name)
        try:
            if isinstance(part, CountingLine):
                _require_in_picture(part, size_px)
                LineCounter(part)
                lines.append(part)
            else:
                ZoneMonitor(part, *size_px)
                zones.append(part)
        except ValueError as error:
            found.append(f"{error}"[:TEXT_LIMIT])
    found += _crossing_entrances(lines)
    ground, plan = None, layout.plan
    if plan is not None:
        try:
            ground = _ground(plan)
        except ValueError as error:
            found.append(f"the floor plan does not fit, there is no heat map: {error}"[:TEXT_LIMIT])
            plan = None
    uniforms: list[Uniform] = []
    for each in layout.uniforms:
        if saturation(colour_of(each.colour)) >= MIN_SATURATION:
            uniforms.append(each)
        else:
            found.append(
                f"the uniform {each.colour} is near grey, which cannot be told from ordinary clothes"
            )
    usable = msgspec.structs.replace(
        layout, lines=lines, zones=zones, plan=plan, uniforms=uniforms, size_px=size_px
    )
    return UsableLayout(usable, size_px, ground, found)


def _crossing_entrances(lines: Sequence[CountingLine]) -> list[str]:
    """Entrances that cross each other: both count, so somebody who passes both is two visits."""
    pairs = itertools.combinations([line for line in lines if line.entrance], 2)
    return [
        f"the entrances {one.name!r} and {other.name!r} cross: who passes both is counted on both"[
            :TEXT_LIMIT
        ]
        for one, other in pairs
        if not {one.start, one.end} & {other.start, other.end}
        and segments_cross(one.start, one.end, other.start, other.end)
    ]


def _require_in_picture(line: CountingLine, size_px: tuple[int, int]) -> None:
    if not all(map(math.isfinite, (*line.start, *line.end))):
        raise ValueError(f"the line {line.name!r} has a point that is not finite")
    for axis, length in enumerate(size_px):
        ends = line.start[axis], line.end[axis]
        if max(ends) < 0 or min(ends) > length:
            raise ValueError(
                f"the line {line.name!r} lies outside of the picture of {size_px[0]} by {size_px[1]} pixels"
            )


def _ground(plan: FloorPlan) -> GroundPlane:
    cells = (plan.width_m / plan.cell_m + 1) * (plan.height_m / plan.cell_m + 1)
    if cells > PLAN_CELLS_LIMIT:
        raise ValueError(f"{cells:.0f} cells are more than {PLAN_CELLS_LIMIT}: make cell_m larger")
    outside = [
        point
        for point in plan.plan_points_m
        if not (0 <= point[0] <= plan.width_m and 0 <= point[1] <= plan.height_m)
    ]
    if outside:
        raise ValueError(
            f"the point {outside[0]} is not on the plan of {plan.width_m:g} by {plan.height_m:g} m"
        )
    return GroundPlane.from_points(plan.image_points_px, plan.plan_points_m)
