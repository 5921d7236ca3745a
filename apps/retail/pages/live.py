"""A camera's counts as they come: the still (or a plain drawing) with lines, zones and their numbers.

Crossings of the day are those of the minutes and, after these, single crossings. The people of a zone are
those of its last minute. A camera without a recent count says so, and its numbers are shown as past ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.retail.domain import CameraLayout
from apps.retail.pages.camera_picture import (
    NEWEST,
    NO_STILL,
    SIZE_PX,
    Camera,
    describe,
    load_camera,
    node_path,
    plain_drawing,
)
from apps.retail.pages.layout_svg import overlay_of
from apps.retail.pages.live_counts import LiveCounts, day_counts
from common.pages import ApiError, Badge, Column, Table, Text, Tile, View, card, empty
from common.pages.blocks import Tone
from common.time_notes import time_note
from common.vision.lines import Line
from common.vision.zones import Zone

API = "/v1/apps/retail"
REFRESH_S = 2.0
PICTURE_S = 60.0
NS = 10**9
LINE_COLUMNS = (
    Column("mark", "Mark", kind="code"),
    Column("name", "Line"),
    Column("into", "In today", kind="number"),
    Column("out", "Out today", kind="number"),
)
ZONE_COLUMNS = (
    Column("mark", "Mark", kind="code"),
    Column("name", "Zone"),
    Column("people", "People, mean", kind="number"),
    Column("most", "most", kind="number"),
    Column("queue", "Queue, mean", kind="number"),
    Column("wait", "Longest wait", kind="number"),
    Column("minute", "Minute", kind="ago"),
)
Json = Mapping[str, Any]


async def show_live(view: View, site: str, camera: str) -> None:
    """Build the page of one camera; the first one of the store where none is named."""
    try:
        cameras = (await view.api.get(f"{API}/stores/{quote(site, safe='')}/day"))["cameras"]
        chosen = camera or cameras[0]["camera"]
        first = await view.api.get(f"{API}/stores/{quote(site, safe='')}/live", camera=chosen)
    except ApiError as error:
        empty(str(error), "Cameras that have reported are listed on the page Cameras.")
        return
    view.name(f"{first['title']}: {chosen}")
    with view.head:
        for text, href in links(site, first["camera"], [each["camera"] for each in cameras]):
            Text("a", text).props["href"] = href
    page = LivePage(view, site, first)
    page.build()
    await view.live(page.show_picture, PICTURE_S)
    await view.live(page.refresh, REFRESH_S)


def links(site: str, camera: Json, cameras: list[str]) -> list[tuple[str, str]]:
    """Texts and addresses of the store, the editor, and the other cameras of the store."""
    store = quote(site, safe="")
    others = [(name, live_href(site, name)) for name in cameras if name != camera["camera"]]
    node, name = quote(camera["node"], safe=""), quote(camera["camera"], safe="")
    return [
        ("Store", f"/ui/apps/retail/stores/{store}"),
        ("Lines and zones", f"/ui/apps/retail/layouts/{node}/{name}"),
        *others,
    ]


def live_href(site: str, camera: str) -> str:
    """Address of a camera's page."""
    return f"/ui/apps/retail/live/{quote(site, safe='')}?camera={quote(camera, safe='')}"


class LivePage:
    """One visit of the page."""

    def __init__(self, view: View, site: str, first: Json) -> None:
        self._view = view
        self._path = f"{API}/stores/{quote(site, safe='')}/live"
        self._camera = first["camera"]["camera"]
        self._node = first["camera"]["node"]
        self._counts = LiveCounts(self._camera)
        self._found: Camera | None = None

    def build(self) -> None:
        """Add the page's blocks."""
        with ui.element("div").classes("row-of").props("role=status"):
            self._state, self._why = Badge(), Text("span", "")
        with ui.element("div").classes("tiles"):
            self._into, self._out, self._people, self._age = (
                Tile(name) for name in ("In today", "Out today", "In the zones", "Newest event")
            )
        with ui.element("div").classes("grid picture"):
            with card("Picture"):
                self._picture = ui.interactive_image(plain_drawing(SIZE_PX)).style("width: 100%")
                describe(self._picture, "Picture of the camera with lines, zones and their counts")
                self._note = Text("p", "").classes("hint")
            with card("Lines", "In is the way that the arrow points."):
                self._lines = Table("Lines", LINE_COLUMNS, empty_text="This camera has no line.")
        with card("Zones", "In the last minute of each.", wide=True):
            self._zones = Table("Zones", ZONE_COLUMNS, empty_text="This camera has no zone.")

    async def show_picture(self) -> None:
        """Show the newest still."""
        try:
            self._found = await load_camera(self._view, self._node, self._camera)
        except ApiError as error:
            if error.status != 404:
                raise
            self._note.text = f"No picture: {error}."
            return
        self._picture.set_source(self._found.source)
        still = self._found.still
        self._note.text = NO_STILL if still is None else still_text(still, time.time_ns())

    async def refresh(self) -> None:
        """Show the newest counts."""
        api, events = self._view.api, f"{node_path(self._node)}/events"
        now = await api.get(self._path, camera=self._camera)
        crossed = await api.get(events, type="retail.crossed", order="newest", limit=NEWEST)
        flashing = self._counts.take(crossed["items"], ())
        counts = day_counts(self._camera, now["lines"], crossed["items"], now["day_begin_ns"])
        zones = {each["zone"]: each for each in now["zones"]}
        camera, age_s = now["camera"], (now["now_ns"] - now["camera"]["last_ns"]) / NS
        stale = camera["silent"] or camera["forgotten"]
        self._state.show(*state_of(camera))
        self._why.text = explanation(camera, age_s)
        entered, left = (sum(each[at] for each in counts.values()) for at in (0, 1))
        tone = "warn" if stale else ""
        self._into.show(f"{entered:,}", f"{now['day']} ({now['time_zone']})", tone)
        self._out.show(f"{left:,}", "all lines of this camera", tone)
        people = sum(round(each["people"] or 0) for each in zones.values())
        self._people.show(str(people), "in the last minute of each", tone)
        self._age.show(age_text(age_s), time_note(camera["time_quality"]), tone)
        self._show_tables(counts, zones)
        self._draw(counts, zones, flashing, stale=stale)

    def _show_tables(self, counts: Mapping[str, tuple[int, int]], zones: Mapping[str, Json]) -> None:
        layout = CameraLayout() if self._found is None else self._found.used
        lines, places = marked("L", layout.lines, counts), marked("Z", layout.zones, zones)
        self._lines.show([line_row(mark, name, counts.get(name, (0, 0))) for name, mark in lines.items()])
        self._zones.show([zone_row(mark, name, zones.get(name)) for name, mark in places.items()])

    def _draw(
        self,
        counts: Mapping[str, tuple[int, int]],
        zones: Mapping[str, Json],
        flashing: frozenset[str],
        *,
        stale: bool,
    ) -> None:
        found = self._found
        if found is None:
            return
        size_px = found.used.size_px or found.size_px
        people = [zones.get(zone.name) for zone in found.used.zones]
        drawn = overlay_of(
            found.used,
            size_px,
            found.scale(size_px),
            [counts.get(line.name, (0, 0)) for line in found.used.lines],
            [None if each is None or each["people"] is None else round(each["people"]) for each in people],
            flashing,
        )
        self._picture.set_content(f'<g opacity="{0.5 if stale else 1}">{drawn}</g>')


def marked(letter: str, parts: Iterable[Line | Zone], counted: Iterable[str]) -> dict[str, str]:
    """Marks of the parts of a layout in the picture, by name; empty for others that were counted."""
    marks = {part.name: f"{letter}{number}" for number, part in enumerate(parts, 1)}
    return marks | {name: "" for name in sorted(counted) if name not in marks}


def state_of(camera: Json) -> tuple[str, Tone]:
    """The state of a camera in words, and its tone."""
    if camera["forgotten"]:
        return "forgotten", "warn"
    troubles = ", ".join(each.replace("_", " ") for each in camera["troubles"])
    if camera["silent"]:
        return f"silent, {troubles}" if troubles else "silent", "bad"
    return (troubles, "warn") if troubles else ("live", "good")


def explanation(camera: Json, age_s: float) -> str:
    """What the state means for the counts."""
    parts = ["Its counts are incomplete."] if camera["troubles"] else []
    if camera["forgotten"]:
        parts.append("It gave no frames for days and is followed no more.")
    elif camera["silent"]:
        parts.append(f"Nothing has come from it for {age_text(age_s)}: these are its last numbers.")
    parts += [f"Layout: {each}." for each in camera["problems"]]
    return " ".join(parts)


def still_text(still: Json, now_ns: int) -> str:
    """Age of a still."""
    age = age_text((now_ns - still["captured_ns"]) / NS)
    return (
        f"The last still, {age} old. Heads were blurred on the node; lines and counts are the present ones."
    )


def age_text(age_s: float) -> str:
    """``12 s``, ``7 min``, ``3 h``, ``2 days``."""
    age_s = max(0.0, age_s)
    for unit, length_s in (("days", 86_400 * 2), ("h", 3600 * 2), ("min", 120)):
        if age_s >= length_s:
            return f"{int(age_s / (length_s / 2))} {unit}"
    return f"{int(age_s)} s"


def line_row(mark: str, name: str, count: tuple[int, int]) -> dict[str, Any]:
    """A line as a row of the table."""
    return {"id": name, "mark": mark, "name": name, "into": f"{count[0]:,}", "out": f"{count[1]:,}"}


def zone_row(mark: str, name: str, zone: Json | None) -> dict[str, Any]:
    """A zone as a row of the table; None for one without a minute."""
    row: dict[str, Any] = {"id": name, "mark": mark, "name": name}
    if zone is None:
        return row | {"people": "–", "most": "–", "queue": "–", "wait": "–", "minute": None}
    return row | {
        "people": _mean(zone["people"]),
        "most": str(zone["max_people"]),
        "queue": _mean(zone["queue"]) if zone["max_queue"] or zone["queue"] else "–",
        "wait": f"{zone['longest_wait_s']:.0f} s" if zone["longest_wait_s"] else "–",
        "minute": zone["minute_ns"],
    }


def _mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
