"""A drawing of lines and zones as SVG: numbers only, so that no name from anybody becomes markup."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.retail.domain import CameraLayout
from apps.retail.pages.drawing import Kind, LayoutDrawing, corners_of
from common.vision.geometry import polygon_problem
from common.vision.lines import Point

LINE_COLOUR, ZONE_COLOUR, FLASH_COLOUR, BAD_COLOUR = "#b45309", "#0f766e", "#be123c", "#6b7280"


def svg_of(drawing: LayoutDrawing, scale: float, flashing: Collection[str] = ()) -> str:
    """The drawing over a picture of ``scale`` times its size.

    ``flashing`` are names of lines that somebody has just crossed.
    """
    pen = _Pen(drawing.size_px, drawing.selected)
    parts = [pen.zone(number, zone) for number, zone in enumerate(drawing.zones)]
    parts += [pen.line(number, line, line["name"] in flashing) for number, line in enumerate(drawing.lines)]
    begun = drawing.begun
    parts += [f'<circle cx="{x}" cy="{y}" r="{5 * pen.unit:.1f}" fill="{FLASH_COLOUR}"/>' for x, y in begun]
    if len(begun) > 1:
        parts.append(f'<polyline points="{_points(begun)}" fill="none" stroke="{FLASH_COLOUR}"/>')
    return f'<g transform="scale({scale:.5f})">{"".join(parts)}</g>'


def overlay_of(
    layout: CameraLayout,
    size_px: tuple[int, int],
    scale: float,
    crossed: Sequence[tuple[int, int]],
    people: Sequence[int | None],
    flashing: Collection[str] = (),
) -> str:
    """The parts of a layout with counts: in and out of each line, people of each zone (None: unknown)."""
    pen = _Pen(size_px, None)
    parts = [
        pen.zone(number, {"polygon": zone.polygon}, "" if count is None else f": {count}")
        for number, (zone, count) in enumerate(zip(layout.zones, people, strict=True))
    ]
    parts += [
        pen.line(
            number,
            {"start": line.start, "end": line.end},
            line.name in flashing,
            f": {into} in, {out} out",
        )
        for number, (line, (into, out)) in enumerate(zip(layout.lines, crossed, strict=True))
    ]
    return f'<g transform="scale({scale:.5f})">{"".join(parts)}</g>'


@dataclass(frozen=True, slots=True)
class _Pen:
    """Draws parts of a picture of ``size_px``; ``selected`` is the part with open corners."""

    size_px: tuple[int, int]
    selected: tuple[Kind, int] | None

    @property
    def unit(self) -> float:
        """Width of a thin line."""
        return max(self.size_px) / 640

    def line(self, number: int, line: Mapping[str, Any], flashes: bool, note: str = "") -> str:
        (x1, y1), (x2, y2) = line["start"], line["end"]
        length = math.hypot(x2 - x1, y2 - y1) or 1.0
        middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
        along_x, along_y = (x2 - x1) / length, (y2 - y1) / length
        side, ahead = 7 * self.unit, 26 * self.unit
        arrow = [
            (middle_x - along_x * side, middle_y - along_y * side),
            (middle_x + along_x * side, middle_y + along_y * side),
            (middle_x - along_y * ahead, middle_y + along_x * ahead),
        ]
        colour, width = (FLASH_COLOUR, 6.0) if flashes else (LINE_COLOUR, 3.0)
        return (
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" '
            f'stroke-width="{width * self.unit:.1f}"/><polygon points="{_points(arrow)}" fill="{colour}"/>'
            f"{self._corners('lines', number, line, colour, note)}"
        )

    def zone(self, number: int, zone: Mapping[str, Any], note: str = "") -> str:
        colour = BAD_COLOUR if polygon_problem(zone["polygon"]) else ZONE_COLOUR
        return (
            f'<polygon points="{_points(zone["polygon"])}" fill="{colour}" fill-opacity="0.2" '
            f'stroke="{colour}" stroke-width="{2 * self.unit:.1f}"/>'
            f"{self._corners('zones', number, zone, colour, note)}"
        )

    def _corners(self, kind: Kind, number: int, part: Mapping[str, Any], colour: str, note: str) -> str:
        chosen = self.selected == (kind, number)
        corners, radius = corners_of(kind, part), (6 if chosen else 4) * self.unit
        fill = "#ffffff" if chosen else colour
        circles = [
            f'<circle cx="{x}" cy="{y}" r="{radius:.1f}" fill="{fill}" stroke="{colour}" '
            f'stroke-width="{2 * self.unit:.1f}"/>'
            for x, y in corners
        ]
        mark = f"{'L' if kind == 'lines' else 'Z'}{number + 1}{note}"
        return "".join(circles) + self._text(corners[0] if corners else (0.0, 0.0), mark, colour)

    def _text(self, at: Point, text: str, colour: str) -> str:
        """A text beside a point, within the picture."""
        (x, y), (width, height) = at, self.size_px
        x = min(max(x, 0.0), float(width))
        leftwards = x > width / 2
        x += -8 * self.unit if leftwards else 8 * self.unit
        y = min(max(y - 8 * self.unit, 15 * self.unit), height - 4 * self.unit)
        return (
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{"end" if leftwards else "start"}" '
            f'font-size="{15 * self.unit:.1f}" font-weight="700" fill="{colour}" stroke="#ffffff" '
            f'stroke-width="{3 * self.unit:.1f}" paint-order="stroke">{text}</text>'
        )


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
