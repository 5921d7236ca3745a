"""Blocks of pages. Each shows text as text, never as HTML, keeps its place while it is updated, and sends the
browser only changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nicegui import ui
from nicegui.element import Element
from nicegui.elements import echart
from nicegui.elements.mixins.text_element import TextElement

Tone = Literal["", "good", "warn", "bad", "info"]
Kind = Literal["text", "number", "link", "badge", "ago", "bar", "code", "action"]
CHART_COLOURS = ("#0f766e", "#b45309", "#4f46e5", "#be123c", "#0369a1", "#4d7c0f", "#7e22ce")


class Text(TextElement):
    """Text in an HTML element of this tag."""

    def __init__(self, tag: str, text: str) -> None:
        super().__init__(tag=tag, text=text)


def card(title: str, hint: str = "", *, wide: bool = False) -> Element:
    """A section with a heading, used as a context. ``wide`` spans the whole width of the page's grid."""
    section = ui.element("section").classes("card" + (" wide" if wide else ""))
    with section, ui.element("header").classes("card-head"):
        Text("h2", title)
        if hint:
            Text("p", hint).classes("hint")
    return section


def empty(text: str, hint: str, icon: str = "inbox") -> Element:
    """The placeholder of an empty page, with advice."""
    with ui.element("div").classes("empty") as box:
        ui.icon(icon).props("aria-hidden=true")
        Text("p", text).classes("empty-text")
        Text("p", hint).classes("hint")
    return box


def action(
    text: str,
    do: Callable[[], Awaitable[Any]],
    *,
    icon: str = "",
    tone: Literal["main", "plain", "bad"] = "plain",
) -> ui.button:
    """A button; it is disabled while its action runs."""

    async def run() -> None:
        button.disable()
        try:
            await do()
        finally:
            button.enable()

    button = ui.button(text, on_click=run, icon=icon or None, color=None)
    button.props("no-caps unelevated").classes(f"action {tone}")
    return button


class Details:
    """A description list whose values can change."""

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self._values: dict[str, Text] = {}
        self._list = ui.element("dl").classes("details")
        self.show(pairs)

    def show(self, pairs: Mapping[str, str]) -> None:
        """Show these pairs; names that were there before keep their place."""
        for name, value in pairs.items():
            if name in self._values:
                self._values[name].text = value
                continue
            with self._list, ui.element("div"):
                Text("dt", name)
                self._values[name] = Text("dd", value)


class Badge:
    """A word with a tone; the tone alone never carries the information."""

    def __init__(self, text: str = "", tone: Tone = "") -> None:
        self._element = Text("span", text).classes("badge")
        self._tone = ""
        self.show(text, tone)

    def show(self, text: str, tone: Tone = "") -> None:
        """Show ``text`` in ``tone``."""
        self._element.text = text
        if tone != self._tone:
            self._element.classes(add=tone, remove=self._tone or None)
            self._tone = tone


class Tile:
    """A key figure with its name and a note."""

    def __init__(self, name: str, value: str = "–", note: str = "", *, link: str = "") -> None:
        self._box = ui.element("a" if link else "div").classes("tile")
        if link:
            self._box.props["href"] = link
        with self._box:
            Text("span", name).classes("tile-name")
            self._value = Text("span", value).classes("tile-value")
            self._note = Text("span", note).classes("tile-note")
        self._tone = ""

    def show(self, value: str, note: str = "", tone: Tone = "") -> None:
        """Show a value."""
        self._value.text = value
        self._note.text = note
        if tone != self._tone:
            self._box.classes(add=tone, remove=self._tone or None)
            self._tone = tone


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a `Table`: rows hold its value under ``name``.

    ``link``: the value is shown as a link to the row's ``<name>_href``. ``badge``: its tone is the row's
    ``<name>_tone``. ``ago``: a time in UTC nanoseconds, shown as its age, with the
    row's ``<name>_note`` beside it. ``bar``: a share in
    [0, 1] (or None), with the row's ``<name>_text`` beside it. ``action``: a button with the value as text,
    for `Table.on_action`; no button where it is empty. ``number`` is aligned right; give it formatted or not.
    """

    name: str
    label: str
    kind: Kind = "text"
    hint: str = ""


class Table(Element, component="table.js"):
    """A table that stacks on narrow screens. Rows are mappings with a unique ``id``; values are text.

    Without rows it shows ``empty_text`` and ``empty_hint``; before the first `show`, that it is loading.
    """

    def __init__(
        self,
        caption: str,
        columns: Sequence[Column],
        *,
        empty_text: str = "Nothing yet.",
        empty_hint: str = "",
    ) -> None:
        super().__init__()
        self.props["caption"] = caption
        self.props["columns"] = [asdict(column) for column in columns]
        self.props["rows"] = None
        self.props["empty_text"] = empty_text
        self.props["empty_hint"] = empty_hint
        self._times = [column.name for column in columns if column.kind == "ago"]

    def show(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show these rows; unchanged rows are not sent."""
        prepared = [self._prepared(row) for row in rows]
        if prepared != self.props["rows"]:
            self.props["rows"] = prepared
            self.update()

    def on_action(self, do: Callable[[str, str], Awaitable[Any]]) -> None:
        """Call ``do(row id, column name)`` when a button of the table is pressed."""

        async def run(event: Any) -> None:
            await do(str(event.args["id"]), str(event.args["name"]))

        self.on("pressed", run)

    def _prepared(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its times in milliseconds: nanoseconds exceed a browser's numbers."""
        changed = {name: row[name] / 1e6 for name in self._times if row.get(name)}
        return {**row, **changed}


class Drawing(
    Element, component="chart.js", esm={"nicegui-echart": str(Path(echart.__file__).with_name("dist"))}
):
    """The element of a chart. Unlike `ui.echart`, it does not delay the page until ECharts is loaded."""


class Chart:
    """An ECharts chart. ``name`` describes it to screen readers.

    One without data has the class ``unfilled`` until the first `show`.
    """

    def __init__(self, name: str, options: Mapping[str, Any], *, height_px: int = 260) -> None:
        self._name = name
        self.element = Drawing().classes("chart").style(f"height: {height_px}px")
        self.element.props["options"] = self._complete(options)
        self._unfilled = not any(each.get("data") for each in options.get("series", ()))
        if self._unfilled:
            self.element.classes("unfilled")
        self.element.props["role"] = "img"
        self.element.props["aria-label"] = name

    def show(self, options: Mapping[str, Any]) -> None:
        """Show these options; unchanged options are not sent."""
        if self._unfilled:
            self._unfilled = False
            self.element.classes(remove="unfilled")
        new = self._complete(options)
        if new != self.element.props["options"]:
            self.element.props["options"] = new
            self.element.update()

    def _complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        grey = "#7b8794"
        axis = {
            "axisLabel": {"color": grey, "hideOverlap": True},
            "nameTextStyle": {"color": grey},
            "axisLine": {"lineStyle": {"color": grey}},
            "splitLine": {"lineStyle": {"color": grey, "opacity": 0.2}},
        }
        complete: dict[str, Any] = {
            "animation": False,
            "backgroundColor": "transparent",
            "color": list(CHART_COLOURS),
            "textStyle": {"fontFamily": "inherit"},
            "grid": {"left": 8, "right": 16, "top": 36, "bottom": 8, "containLabel": True},
            "tooltip": {"trigger": "axis", "confine": True},
            **options,
        }
        legend = {"top": 0, "left": 0, "textStyle": {"color": grey}, "icon": "roundRect"}
        complete["legend"] = {**legend, **options.get("legend", {})}
        for name in ("xAxis", "yAxis"):
            if isinstance(complete.get(name), dict):
                complete[name] = {**axis, **complete[name]}
            elif name in complete:
                complete[name] = [{**axis, **each} for each in complete[name]]
        return complete
