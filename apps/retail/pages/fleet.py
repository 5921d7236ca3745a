"""Pages across stores: cameras with their health, queues of a store, and reports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.retail.pages import trend_charts
from apps.retail.pages.day_picker import day_picker
from apps.retail.pages.live import live_href, state_of
from common.pages import ApiError, Chart, Column, Pager, Table, Text, Tile, View, card, empty
from common.time_notes import time_note

API = "/v1/apps/retail"
PAGE_CAMERAS = 50
REFRESH_S = 5.0
CAMERA_COLUMNS = (
    Column("store", "Store", kind="link"),
    Column("camera", "Camera", kind="link", hint="Its live counts"),
    Column("troubles", "Health", kind="badge"),
    Column("since", "Since", kind="ago"),
    Column("node", "Node", kind="link"),
    Column("last", "Last event", kind="ago"),
)
REPORT_COLUMNS = (
    Column("name", "Report"),
    Column("every", "Sent"),
    Column("to", "Recipients", kind="number"),
    Column("days", "Last days"),
    Column("state", "Delivery", kind="badge"),
    Column("reason", "Reason"),
    Column("at", "When", kind="ago"),
)


async def show_cameras(view: View) -> None:
    """Build the page of all cameras."""
    with ui.element("div").classes("tiles"):
        total, troubled, silent = Tile("Cameras"), Tile("In trouble"), Tile("Silent")
    with card("Cameras", "Those in trouble first; their counts are incomplete until it ends.", wide=True):
        table = Table("Cameras of all stores", CAMERA_COLUMNS, empty_text="No camera has reported yet.")
        pager = Pager(lambda: refresh())

    async def refresh() -> None:
        page = await view.api.get(f"{API}/cameras", limit=PAGE_CAMERAS, cursor=pager.cursor or 0)
        pager.show({**page, "next": None if page["next"] is None else str(page["next"])})
        total.show(f"{page['total']:,}")
        troubled.show(str(page["troubled"]), "by their nodes", "warn" if page["troubled"] else "")
        silent.show(str(page["silent"]), "no event for 3 minutes", "warn" if page["silent"] else "")
        table.show([camera_row(each) for each in page["items"]])

    await view.live(refresh, REFRESH_S)


def camera_row(camera: Mapping[str, Any]) -> dict[str, Any]:
    """A camera as a row of the table."""
    state, tone = state_of(camera)
    return {
        "id": f"{camera['site']}/{camera['camera']}",
        "store": camera["title"],
        "store_href": f"/ui/apps/retail/stores/{quote(camera['site'], safe='')}",
        "camera": camera["camera"],
        "camera_href": live_href(camera["site"], camera["camera"]),
        "troubles": state,
        "troubles_tone": tone,
        "since": camera["health_ns"] or None,
        "node": camera["node"],
        "node_href": f"/ui/nodes/{quote(camera['node'], safe='')}",
        "last": camera["last_ns"],
        "last_note": time_note(camera["time_quality"]),
    }


async def show_queues(view: View, site: str, day: str) -> None:
    """Build the page of a store's queues; ``day`` is empty for the present one."""
    path = f"{API}/stores/{quote(site, safe='')}/queues"
    parameters = {"day": day} if day else {}
    try:
        first = await view.api.get(path, **parameters)
    except ApiError as error:
        empty(str(error), "Stores that have reported are listed on the page Stores.")
        return
    view.name(f"Queues of {first['title']}")
    day_picker(view, f"/ui/apps/retail/queues/{quote(site, safe='')}", first["day"])
    if not first["zones"]:
        empty("No zone was observed on this day.", "Zones are drawn on the page of a camera's layout.")
        return
    queues: dict[tuple[str, str], tuple[ui.element, Chart, Text]] = {}
    for zone in first["zones"]:
        with card(name_of(zone), "By quarter of an hour, local time.", wide=True) as block:
            chart = Chart(f"Queue in {zone['zone']} of {zone['camera']}", {"series": []})
            queues[zone["camera"], zone["zone"]] = block, chart, Text("p", "").classes("hint")
    without = Text("p", "").classes("hint")

    async def refresh() -> None:
        answer = await view.api.get(path, **parameters)
        for zone in answer["zones"]:
            if (zone["camera"], zone["zone"]) in queues:
                block, chart, text = queues[zone["camera"], zone["zone"]]
                block.set_visibility(has_queue(zone))
                chart.show(trend_charts.queues(zone["quarters"]))
                text.text = queue_text(zone)
        names = ", ".join(name_of(zone) for zone in answer["zones"] if not has_queue(zone))
        without.text = f"No queue on this day in {names}." if names else ""

    await view.live(refresh, REFRESH_S)


def name_of(zone: Mapping[str, Any]) -> str:
    """A zone with its camera."""
    return f"{zone['camera']}: {zone['zone']}"


def has_queue(zone: Mapping[str, Any]) -> bool:
    """Whether anybody queued in a zone on its day."""
    return any(each["max_queue"] for each in zone["quarters"])


def queue_text(zone: Mapping[str, Any]) -> str:
    """The greatest values of a zone's day."""
    longest = max((each["max_queue"] for each in zone["quarters"]), default=0)
    wait_s = max((each["longest_wait_s"] for each in zone["quarters"]), default=0.0)
    return f"Longest queue {longest} people, longest wait {wait_s:.0f} s."


async def show_reports(view: View) -> None:
    """Build the page of reports."""
    with card("Scheduled reports", "Settings apps.retail.reports of the cloud.", wide=True):
        table = Table(
            "Scheduled reports",
            REPORT_COLUMNS,
            empty_text="No report is scheduled.",
            empty_hint='[apps.retail.reports.daily] to = ["you@example.com"]',
        )

    with card("Files", "All stores by local day, the last 30 days.", wide=True):
        last = datetime.now(UTC).date() - timedelta(days=1)
        query = f"first={last - timedelta(days=29)}&last={last}"
        with ui.element("div").classes("row-of"):
            for name in ("csv", "parquet"):
                Text("a", f"visitors.{name}").props["href"] = f"{API}/report.{name}?{query}"

    async def refresh() -> None:
        answer = await view.api.get(f"{API}/reports")
        table.show([report_row(each) for each in answer["items"]])

    await view.live(refresh, REFRESH_S)


def report_row(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as a row of the table."""
    state = "not yet due" if report["sent"] is None else "delivered" if report["sent"] else "failed"
    first, last = report["first_day"], report["last_day"]
    days = first if first == last else f"{first} to {last}"
    return {
        "id": report["name"],
        "name": report["name"],
        "every": f"every {report['every']} at {report['at']}",
        "to": str(report["recipients"]),
        "days": days,
        "state": state if state != "failed" else f"attempt {report['attempts']} failed",
        "state_tone": {"delivered": "good", "failed": "bad"}.get(state, ""),
        "reason": report["reason"],
        "at": report["time_ns"] or None,
    }
