"""A store's page: its day by hour, lines, zones and queues, floor heat map, cameras."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.retail.pages import charts
from apps.retail.pages.day_picker import day_picker
from apps.retail.pages.live import live_href, state_of
from apps.retail.pages.trends import Trends
from common.pages import ApiError, Chart, Column, Table, Text, Tile, View, card, empty
from common.pages.blocks import Tone
from common.time_notes import time_note

API = "/v1/apps/retail"
REFRESH_S = 5.0
HEAT_PX = 400
NO_HEAT = "No heat map of this camera on this day: it needs a floor plan in the layout, and somebody on it."
LINE_COLUMNS = (
    Column("camera", "Camera"),
    Column("line", "Line"),
    Column("visits", "Counts as visits", kind="badge"),
    Column("entered", "In", kind="number"),
    Column("left", "Out", kind="number"),
    Column("returned", "Came back", kind="number", hint="Of those who came in: no new visits"),
    Column("groups", "Groups", kind="number", hint="Of those who came in, where they are counted"),
    Column("complete", "Complete minutes", kind="bar"),
)
ZONE_COLUMNS = (
    Column("camera", "Camera"),
    Column("zone", "Zone"),
    Column("people", "People, mean", kind="number"),
    Column("most", "most", kind="number"),
    Column("visits", "Visits", kind="number"),
    Column("dwell", "Dwell, mean", kind="number"),
    Column("queue", "Queue, mean", kind="number"),
    Column("longest", "longest", kind="number"),
    Column("wait", "Wait, mean", kind="number"),
    Column("longest_wait", "longest wait", kind="number"),
)
CAMERA_COLUMNS = (
    Column("camera", "Camera", kind="link", hint="Its live counts"),
    Column("troubles", "Health", kind="badge"),
    Column("problems", "Layout", kind="badge", hint="Lines, zones or plan that cannot be used"),
    Column("layout", "Lines and zones", kind="link", hint="Version of the layout; opens the editor"),
    Column("node", "Node", kind="link"),
    Column("version", "Model", kind="code"),
    Column("last", "Last event", kind="ago"),
)


async def show_store(view: View, site: str, day: str) -> None:
    """Build the page of one store; ``day`` is empty for the present one."""
    path = f"{API}/stores/{quote(site, safe='')}"
    parameters = {"day": day} if day else {}
    try:
        first = await view.api.get(f"{path}/day", **parameters)
    except ApiError as error:
        empty(str(error), "Stores that have reported are listed on the page Stores.")
        return
    view.name(first["store"]["title"])
    day_picker(view, f"/ui/apps/retail/stores/{quote(site, safe='')}", first["store"]["day"])
    with view.head:
        query = f"?day={day}" if day else ""
        Text("a", "Queues").props["href"] = f"/ui/apps/retail/queues/{quote(site, safe='')}{query}"
    with ui.element("div").classes("tiles"):
        visits, inside, longest, health = (
            Tile(name) for name in ("Visits", "Inside now", "Longest queue", "Cameras in trouble")
        )
    with card("By hour", "In the store's time; pale: some minutes are missing or incomplete.", wide=True):
        by_hour = Chart("People in and out by hour", {"series": []})
    with card("Lines", wide=True):
        lines = Table("Lines", LINE_COLUMNS, empty_text="No line has counted on this day.")
    with card("Zones and queues", wide=True):
        zones = Table("Zones", ZONE_COLUMNS, empty_text="No zone was observed on this day.")
        dwell = Chart("Visits by dwell time", {"series": []})
    cameras_with_map = [camera["camera"] for camera in first["cameras"]]
    with card("Where people were", "Seconds by cell of the floor plan.", wide=True):
        chosen = ui.select(cameras_with_map, value=next(iter(cameras_with_map), None), label="Camera")
        chosen.props("outlined dense")
        heat = Chart("Heat map of the floor", {"series": []}, height_px=HEAT_PX)
        no_heat = Text("p", NO_HEAT).classes("hint")
    with card("Cameras", wide=True):
        cameras = Table("Cameras", CAMERA_COLUMNS)

    async def refresh() -> None:
        answer, warm = await asyncio.gather(
            view.api.get(f"{path}/day", **parameters),
            view.api.get(f"{path}/heat", camera=chosen.value or "", **parameters),
        )
        store = answer["store"]
        visits.show(f"{store['visits']:,}", visits_note(store), "warn" if charts.is_incomplete(store) else "")
        limit = store["max_people"]
        contradictions = sum(area["contradictions"] for area in answer["areas"])
        inside.show(
            f"{store['people']} of {limit}" if limit else str(store["people"]),
            f"{contradictions} contradictions since counting began" if contradictions else "by the crossings",
            "bad" if limit and store["people"] > limit else "",
        )
        queue = max((zone["max_queue"] for zone in answer["zones"]), default=0)
        longest.show(str(queue), "people on this day")
        health.show(*camera_tile(store))
        by_hour.show(charts.hours(answer["hours"]))
        lines.show([line_row(line) for line in answer["lines"]])
        zones.show([zone_row(zone) for zone in answer["zones"]])
        dwell.show(charts.dwell(answer["zones"], answer["dwell_edges_s"]))
        heat.show(charts.heat(warm))
        heat.element.set_visibility(warm is not None)
        no_heat.set_visibility(warm is None)
        if warm is not None:
            heat.element.style(f"max-width: {charts.heat_width_px(warm, HEAT_PX):.0f}px")
        cameras.show([camera_row(site, camera) for camera in answer["cameras"]])

    chosen.on_value_change(refresh)
    await view.live(refresh, REFRESH_S)
    await Trends(view, path, parameters).build()


def camera_tile(store: Mapping[str, Any]) -> tuple[str, str, Tone]:
    """Number of cameras in trouble, and of silent ones."""
    silent = f", {store['silent']} silent" if store["silent"] else ""
    tone: Tone = "warn" if store["troubled"] or silent else ""
    return str(store["troubled"]), f"of {store['cameras']}{silent}", tone


def visits_note(store: Mapping[str, Any]) -> str:
    """Day, completeness, groups, and people who came back, of a store's visits."""
    share, groups = store["complete_share"], store["groups"]
    parts = [store["day"], "no count" if share is None else f"{share:.0%} of the minutes complete"]
    if groups is not None:
        parts.append(f"{groups:,} groups")
    if store["returned"]:
        parts.append(f"{store['returned']:,} more came back")
    return ", ".join(parts)


def line_row(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line as a row of the table."""
    return {
        "id": f"{line['camera']}/{line['line']}",
        "camera": line["camera"],
        "line": line["line"],
        "visits": "visits" if line["entrance"] else "",
        "visits_tone": "info",
        "entered": f"{line['entered']:,}",
        "left": f"{line['left']:,}",
        "returned": f"{line['returned']:,}",
        "groups": "–" if line["groups"] is None else f"{line['groups']:,}",
        "complete": line["complete"] / line["minutes"] if line["minutes"] else None,
        "complete_text": f"{line['complete']} of {line['minutes']}",
    }


def zone_row(zone: Mapping[str, Any]) -> dict[str, Any]:
    """A zone as a row of the table."""
    return {
        "id": f"{zone['camera']}/{zone['zone']}",
        "camera": zone["camera"],
        "zone": zone["zone"],
        "people": _number(zone["mean_people"], ".1f"),
        "most": str(zone["max_people"]),
        "visits": f"{zone['visits']:,}",
        "dwell": _number(zone["mean_dwell_s"], ".0f", " s"),
        "queue": _number(zone["mean_queue"], ".1f"),
        "longest": str(zone["max_queue"]),
        "wait": _number(zone["mean_wait_s"], ".0f", " s"),
        "longest_wait": f"{zone['longest_wait_s']:.0f} s",
    }


def camera_row(site: str, camera: Mapping[str, Any]) -> dict[str, Any]:
    """A camera as a row of the table."""
    state, tone = state_of(camera)
    return {
        "id": camera["camera"],
        "camera": camera["camera"],
        "camera_href": live_href(site, camera["camera"]),
        "troubles": state,
        "troubles_tone": tone,
        "problems": "; ".join(camera["problems"]),
        "problems_tone": "warn",
        "layout": camera["layout"] or "edit",
        "layout_href": f"/ui/apps/retail/layouts/{quote(camera['node'], safe='')}/"
        f"{quote(camera['camera'], safe='')}",
        "node": camera["node"],
        "node_href": f"/ui/nodes/{quote(camera['node'], safe='')}",
        "version": camera["version"],
        "last": camera["last_ns"],
        "last_note": time_note(camera["time_quality"]),
    }


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"
