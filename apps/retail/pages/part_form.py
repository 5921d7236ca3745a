"""The form of the selected line or zone in the editor: its name, its options, its points as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from apps.retail.pages.drawing import LayoutDrawing, read_points, write_points
from common.pages import Text, action

LINE_SWITCHES: Mapping[str, str] = {"entrance": "Entrance: who comes in is a visit"}
LINE_NUMBERS: Mapping[str, str] = {
    "group_s": "One group within, s (0: off)",
    "reentry_s": "Returned within, s (0: off)",
}
ZONE_SWITCHES: Mapping[str, str] = {"staff": "Staff: who was here is no visitor"}
ZONE_NUMBERS: Mapping[str, str] = {
    "queue_s": "Queue from, s (0: no queue)",
    "max_people": "Alarm above, people (0: none)",
    "max_queue": "Alarm above, queue (0: none)",
}


class PartForm:
    """Edits the selected part of ``drawing``; ``changed`` is called after each edit."""

    def __init__(self, drawing: LayoutDrawing, changed: Callable[[], None]) -> None:
        self._drawing = drawing
        self._changed = changed
        self._shown: tuple[Any, ...] = ("nothing yet",)
        self._box = ui.element("div").classes("row-of")

    def show(self) -> None:
        """Show the selected part, unless it is shown already."""
        part = self._drawing.part
        wanted = (self._drawing.selected, None if part is None else _points_of(part))
        if wanted == self._shown:
            return
        self._shown = wanted
        self._box.clear()
        with self._box:
            if part is None:
                Text("p", "Select a corner of a line or a zone in the picture.").classes("hint")
            else:
                self._build(part)

    def _build(self, part: dict[str, Any]) -> None:
        is_line = "start" in part
        self._input("Name", part["name"], lambda text: part.__setitem__("name", text[:64]))
        if is_line:
            self._input("Area behind it", part["area"], lambda text: part.__setitem__("area", text[:64]))
        for key, label in (LINE_SWITCHES if is_line else ZONE_SWITCHES).items():
            ui.switch(
                label, value=part[key], on_change=lambda event, key=key: self._set(part, key, event.value)
            )
        for key, label in (LINE_NUMBERS if is_line else ZONE_NUMBERS).items():
            field = ui.number(label, value=part[key], min=0).props("outlined dense").classes("w-64")
            field.on_value_change(lambda event, key=key: self._set_number(part, key, event))
        self._input("Points in pixels", write_points(_points_of(part)), lambda text: _set_points(part, text))
        if is_line:
            action("Exchange in and out", self._turn, icon="swap_horiz")
        action("Remove", self._remove, icon="delete", tone="bad")

    def _input(self, label: str, value: str, store: Callable[[str], None]) -> None:
        def commit() -> None:
            try:
                store(field.value or "")
            except ValueError as error:
                ui.notify(str(error), type="negative")
            self._changed()

        field = ui.input(label, value=value).props("outlined dense").classes("w-64")
        field.on("blur", commit).on("keydown.enter", commit)

    def _set(self, part: dict[str, Any], key: str, value: Any) -> None:
        part[key] = value
        self._changed()

    def _set_number(self, part: dict[str, Any], key: str, event: Any) -> None:
        number = event.value or 0
        self._set(part, key, float(number) if key.endswith("_s") else int(number))

    async def _turn(self) -> None:
        self._drawing.turn()
        self._changed()

    async def _remove(self) -> None:
        self._drawing.delete()
        self._changed()


def _points_of(part: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [part["start"], part["end"]] if "start" in part else list(part["polygon"])


def _set_points(part: dict[str, Any], text: str) -> None:
    points = read_points(text)
    if "start" not in part:
        part["polygon"] = points
    elif len(points) == 2:
        part["start"], part["end"] = points
    else:
        raise ValueError("a line has two points")
