"""Drawing of lines and zones on a camera's picture, as the editor's page does it. No page, no I/O.

Points are pixels of the layout. A press and a release at one place is a click:

- with the tool *line*, the first click is the start, the second the end;
- with *zone*, each click is a corner, a click on the first one closes the zone;
- with *select*, a click on a corner selects it and its part, the next click elsewhere moves it there;
  dragging moves it too. A click on nothing, with no corner selected, selects nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from apps.retail.domain import CameraLayout, CountingLine, CountingZone
from common.vision.geometry import polygon_problem
from common.vision.lines import Point
from common.vision.zones import CORNERS_LIMIT

Tool = Literal["select", "line", "zone"]
Kind = Literal["lines", "zones"]
REACH_SHARE = 0.02
"""Distance at which a click is on a corner, as a share of the picture's longer side."""


class LayoutDrawing:
    """A layout while it is edited."""

    def __init__(self, layout: CameraLayout, size_px: tuple[int, int]) -> None:
        self.size_px = layout.size_px or size_px
        plain: dict[str, Any] = msgspec.to_builtins(layout)
        self._rest = {key: value for key, value in plain.items() if key not in ("lines", "zones", "size_px")}
        self.lines: list[dict[str, Any]] = [dict(each) for each in plain["lines"]]
        self.zones: list[dict[str, Any]] = [dict(each) for each in plain["zones"]]
        for zone in self.zones:
            zone["polygon"] = list(zone["polygon"])
        self.tool: Tool = "select"
        self.selected: tuple[Kind, int] | None = None
        self._corner: int | None = None
        self._begun: list[Point] = []
        self._pressed: Point | None = None
        self._just_selected = False

    @property
    def part(self) -> dict[str, Any] | None:
        """The selected line or zone, whose values may be changed in place."""
        return None if self.selected is None else self._parts(self.selected[0])[self.selected[1]]

    def layout(self, version: str) -> CameraLayout:
        """The drawn layout. Raises ``msgspec.ValidationError`` for values that no layout has."""
        plain = {**self._rest, "lines": self.lines, "zones": self.zones, "size_px": self.size_px}
        return msgspec.convert(plain | {"version": version}, CameraLayout)

    # -------------------------------------------------------------------------------------------- mouse

    def use(self, tool: Tool) -> None:
        """Take another tool; what was begun is dropped."""
        self.tool, self._begun, self._corner = tool, [], None

    def press(self, x: float, y: float) -> None:
        """The mouse button goes down, or a finger."""
        self._pressed = (x, y)
        if self.tool == "select" and self._corner is None:
            self._select(x, y)

    def release(self, x: float, y: float) -> None:
        """It goes up."""
        pressed, self._pressed = self._pressed, None
        if pressed is None:
            return
        x, y = min(max(x, 0.0), float(self.size_px[0])), min(max(y, 0.0), float(self.size_px[1]))
        if self.tool == "select":
            self._move(pressed, x, y)
        elif self.tool == "line":
            self._draw_line(x, y)
        else:
            self._draw_zone(x, y)

    def close_zone(self) -> None:
        """End the zone that was begun, if it has three corners."""
        if len(self._begun) >= 3:
            zone = CountingZone(name=self._free_name("zone"), polygon=self._begun)
            self._add("zones", msgspec.to_builtins(zone))

    def _select(self, x: float, y: float) -> None:
        kinds: tuple[Kind, ...] = ("lines", "zones")
        found: list[tuple[float, Kind, int, int]] = [
            (math.dist((x, y), point), kind, number, corner)
            for kind in kinds
            for number, part in enumerate(self._parts(kind))
            for corner, point in enumerate(corners_of(kind, part))
        ]
        nearest = min(found, default=None)
        if nearest is None or nearest[0] > self._reach:
            self.selected = self._corner = None
            return
        self.selected, self._corner = (nearest[1], nearest[2]), nearest[3]
        self._just_selected = True

    def _move(self, pressed: Point, x: float, y: float) -> None:
        dragged = math.dist(pressed, (x, y)) > self._reach / 2
        just, self._just_selected = self._just_selected, False
        if self._corner is None or self.selected is None or (just and not dragged):
            return
        kind, part, place = self.selected[0], self.part, (round(x, 1), round(y, 1))
        assert part is not None
        if kind == "lines":
            part["start" if self._corner == 0 else "end"] = place
        else:
            part["polygon"][self._corner] = place
        self._corner = None

    def _draw_line(self, x: float, y: float) -> None:
        self._begun.append((round(x, 1), round(y, 1)))
        if len(self._begun) == 2:
            start, end = self._begun
            if math.dist(start, end) <= self._reach:
                self._begun.pop()
                return
            line = CountingLine(name=self._free_name("line"), start=start, end=end)
            self._add("lines", msgspec.to_builtins(line))

    def _draw_zone(self, x: float, y: float) -> None:
        if len(self._begun) >= 3 and math.dist(self._begun[0], (x, y)) <= self._reach:
            self.close_zone()
        elif len(self._begun) < CORNERS_LIMIT:
            self._begun.append((round(x, 1), round(y, 1)))

    # -------------------------------------------------------------------------------------------- parts

    def delete(self) -> None:
        """Remove the selected part."""
        if self.selected is not None:
            del self._parts(self.selected[0])[self.selected[1]]
        self.selected = self._corner = None

    def turn(self) -> None:
        """Exchange in and out of the selected line."""
        part = self.part
        if part is not None and "start" in part:
            part["start"], part["end"] = part["end"], part["start"]

    def problems(self) -> list[str]:
        """Parts of the drawing that cannot be used, and why."""
        found: list[str] = []
        names = [part["name"] for part in (*self.lines, *self.zones)]
        found += [f"the name {name!r} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
        for zone in self.zones:
            if problem := polygon_problem(zone["polygon"]):
                found.append(f"the zone {zone['name']!r}: {problem}")
        return found

    @property
    def begun(self) -> list[Point]:
        """Points of the line or zone that is being drawn."""
        return list(self._begun)

    @property
    def _reach(self) -> float:
        return REACH_SHARE * max(self.size_px)

    def _parts(self, kind: Kind) -> list[dict[str, Any]]:
        return self.lines if kind == "lines" else self.zones

    def _add(self, kind: Kind, part: dict[str, Any]) -> None:
        self._parts(kind).append(part)
        self.use("select")
        self.selected = kind, len(self._parts(kind)) - 1

    def _free_name(self, word: str) -> str:
        names = {part["name"] for part in (*self.lines, *self.zones)}
        return next(name for number in range(1, 10_000) if (name := f"{word} {number}") not in names)


def corners_of(kind: Kind, part: Mapping[str, Any]) -> list[Point]:
    """Corners of a zone, or both ends of a line."""
    return list(part["polygon"]) if kind == "zones" else [part["start"], part["end"]]


def read_points(text: str) -> list[Point]:
    """Points of a text such as ``10,20 300,40``. Raises ``ValueError``."""
    pairs = [each.split(",") for each in text.split()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("points are pairs such as 10,20 with spaces between")
    return [(float(x), float(y)) for x, y in pairs]


def write_points(points: list[Point]) -> str:
    """Inverse of `read_points`."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)
