"""The editor of a camera's lines and zones: drawn on a still, or on a plain plan of the picture's size.

What is saved is a change of the node's settings (``PUT /v1/nodes/NODE/settings``), sent sealed to the node;
the page shows the node's answer, what of the layout cannot be used, and each crossing as it is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from nicegui import ui
from nicegui.events import MouseEventArguments, ValueChangeEventArguments

from apps.retail.pages.camera_picture import (
    NEWEST,
    NO_STILL,
    Camera,
    describe,
    load_camera,
    newest_event,
    node_path,
)
from apps.retail.pages.drawing import LayoutDrawing, Tool
from apps.retail.pages.layout_svg import svg_of
from apps.retail.pages.live_counts import LiveCounts
from apps.retail.pages.part_form import PartForm
from common.pages import ApiError, Badge, Column, Table, Text, View, action, card, empty

TOOLS: Mapping[Tool, str] = {"select": "Select and move", "line": "Draw a line", "zone": "Draw a zone"}
TONES: Mapping[str, Literal["good", "info", "bad"]] = {
    "applied": "good",
    "sent": "info",
    "waiting": "info",
    "refused": "bad",
}
ON_A_PLAN = "Lines and zones are drawn on a plan of the picture's size."
LIVE_HINT = "The effect, live: crossings come with the node's next commit, within 15 s by its default."
PART_COLUMNS = (
    Column("mark", "Mark", kind="code"),
    Column("name", "Name"),
    Column("kind", "Kind"),
    Column("into", "In", kind="number", hint="Since this page was opened, under the present layout"),
    Column("out", "Out", kind="number"),
    Column("people", "People", kind="number", hint="At most, in the newest minute"),
)


async def show_editor(view: View, node: str, camera: str) -> None:
    """Build the page."""
    try:
        found = await load_camera(view, node, camera)
    except ApiError as error:
        empty(str(error), "The page Stores lists the cameras that have reported.")
        return
    view.name(f"Lines and zones of {camera}")
    editor = Editor(view, node, camera, found)
    editor.build()
    await view.live(editor.refresh)


class Editor:
    """One visit of the page."""

    def __init__(self, view: View, node: str, camera: str, found: Camera) -> None:
        self._view = view
        self._node, self._path = node, node_path(node)
        self._camera = camera
        self._found = found
        self._version = found.version
        self._drawing = LayoutDrawing(found.layout, found.size_px)
        self._counts = LiveCounts(camera)

    def build(self) -> None:
        """Add the page's blocks."""
        with ui.element("div").classes("row-of").props("role=status"):
            self._badge, self._answer = Badge(), Text("span", "")
        with card("Picture", self._hint(), wide=True):
            with ui.element("div").classes("row-of"):
                tools = ui.toggle(dict(TOOLS), value="select", on_change=self._use).props("no-caps")
                self._tools = tools
                action("Close the zone", self._close, icon="check")
            self._picture = ui.interactive_image(
                self._found.source, on_mouse=self._mouse, events=["mousedown", "mouseup"], cross=True
            ).classes("w-full")
            describe(self._picture, "Picture with lines and zones")
            self._problems = Text("p", "").classes("hint")
        with card("Selected", "In is the way that the arrow points.", wide=True):
            self._form = PartForm(self._drawing, self._draw)
        with card("Lines and zones", LIVE_HINT, wide=True):
            self._table = Table("Lines and zones", PART_COLUMNS, empty_text="Nothing is drawn yet.")
        with ui.element("div").classes("row-of"):
            action("Save and send to the node", self._save, tone="main", icon="send")
        self._draw()

    def _hint(self) -> str:
        still = self._found.still
        return (
            f"{NO_STILL} {ON_A_PLAN}"
            if still is None
            else "A still of this camera; heads were blurred on the node."
        )

    @property
    def _scale(self) -> float:
        """Pixels of the shown picture by pixel of the layout."""
        return self._found.scale(self._drawing.size_px)

    # ------------------------------------------------------------------------------------------ drawing

    def _use(self, event: ValueChangeEventArguments[Tool]) -> None:
        self._drawing.use(event.value)
        self._draw()

    async def _close(self) -> None:
        self._drawing.close_zone()
        self._draw()

    def _mouse(self, event: MouseEventArguments) -> None:
        x, y = event.image_x / self._scale, event.image_y / self._scale
        if event.type == "mousedown":
            self._drawing.press(x, y)
        else:
            self._drawing.release(x, y)
        self._draw()

    def _draw(self, flashing: frozenset[str] = frozenset()) -> None:
        """Show the drawing as it is."""
        drawing = self._drawing
        self._picture.set_content(svg_of(drawing, self._scale, flashing))
        self._problems.text = "; ".join(drawing.problems())
        if self._tools.value != drawing.tool:
            self._tools.value = drawing.tool
        self._form.show()
        rows = [
            {
                "mark": f"L{number + 1}",
                "name": line["name"],
                "kind": "entrance" if line["entrance"] else "line",
                "into": str(self._counts.crossed[line["name"], "in"]),
                "out": str(self._counts.crossed[line["name"], "out"]),
                "people": "",
            }
            for number, line in enumerate(drawing.lines)
        ]
        rows += [
            {
                "mark": f"Z{number + 1}",
                "name": zone["name"],
                "kind": "staff" if zone["staff"] else "queue" if zone["queue_s"] else "zone",
                "into": "",
                "out": "",
                "people": str(self._counts.people.get(zone["name"], "")),
            }
            for number, zone in enumerate(drawing.zones)
        ]
        self._table.show([{"id": row["mark"], **row} for row in rows])

    async def _save(self) -> None:
        version = str(self._version + 1)
        try:
            layout = self._drawing.layout(version)
        except msgspec.ValidationError as error:
            ui.notify(f"Not saved: {error}", type="negative")
            return
        cameras = {**self._found.settings.get("cameras", {}), self._camera: msgspec.to_builtins(layout)}
        body = {"settings": {**self._found.settings, "cameras": cameras}, "base": self._version}
        if await self._view.act(self._view.api.put(f"{self._path}/settings", body), "Sent to the node."):
            self._counts = LiveCounts(self._camera)
            self._found = await load_camera(self._view, self._node, self._camera)
            self._version = self._found.version
            self._picture.set_source(self._found.source)

    # --------------------------------------------------------------------------------------------- live

    async def refresh(self) -> None:
        """Show the node's answer and what was counted since."""
        api = self._view.api
        change = await api.get(f"{self._path}/settings")
        begun = await newest_event(self._view, self._node, "retail.camera_begun", self._camera)
        crossed = await api.get(f"{self._path}/events", type="retail.crossed", order="newest", limit=NEWEST)
        minutes = await api.get(f"{self._path}/events", type="retail.zone_minute", order="newest", limit=20)
        outcome = change["outcome"] or "not changed from here"
        text = f"version {change['version']} by {change['actor']}" if change["version"] else ""
        self._badge.show(outcome, TONES.get(outcome, ""))
        unusable = "; ".join(begun["data"].get("problems", [])) if begun else ""
        self._answer.text = ": ".join(filter(None, (text, change["detail"], unusable)))
        self._draw(self._counts.take(crossed["items"], minutes["items"]))
