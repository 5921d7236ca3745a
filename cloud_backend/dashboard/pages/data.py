"""The page *Data*: received events by day, transferred data by node, quarantined messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from cloud_backend.dashboard.pages.fleet import source_of
from cloud_backend.dashboard.parts import charts, formatting
from cloud_backend.dashboard.parts.paged_table import PagedTable
from common.pages import ApiError, Chart, Column, Site, Table, Tile, View, card

DAYS = {7: "7 days", 14: "14 days", 30: "30 days", 90: "90 days"}
EVERY_S = 3.0
ACCOUNT_COLUMNS = (
    Column("node", "Node", kind="link"),
    Column("site", "Site"),
    Column("app", "App"),
    Column("events", "Events", kind="number"),
    Column("event_bytes", "Size of events", kind="number", hint="Stored size of the events' data"),
    Column("samples", "Samples", kind="number", hint="Since the node was enrolled"),
    Column("sample_bytes", "Size of samples", kind="number"),
    Column("refused", "Refused", kind="number", hint="Refused samples"),
    Column("sent", "Sent of all readings", kind="bar", hint="Bytes since the node's last start"),
    Column("source", "Source", kind="badge", hint="Whether the node's readings are simulated"),
)
QUARANTINE_COLUMNS = (
    Column("at", "Arrived", kind="ago"),
    Column("node", "Node", kind="link"),
    Column("reason", "Reason"),
    Column("size", "Size", kind="number"),
    Column("count", "Times", kind="number"),
    Column("head", "Beginning", kind="code"),
)


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("data", "Data")
    async def show(view: View) -> None:
        with ui.element("div").classes("tiles"):
            events, event_bytes = Tile("Events"), Tile("Size of events")
            samples, kept = Tile("Samples"), Tile("Kept on the nodes")
        with ui.element("div").classes("row-of"):
            days = ui.select(DAYS, label="Days (UTC)", value=14).props("outlined dense")
        with ui.element("div").classes("grid"):
            with card("Events by day", "Events received on each UTC day, by type."):
                by_count = Chart("Events by day and type", charts.volume_by_day([], "events"))
            with card("Bytes by day", "Stored size of the events' data."):
                by_size = Chart("Bytes by day and type", charts.volume_by_day([], "bytes"))
        hint = "Events and samples received by the cloud, compared with all readings of the node."
        with card("Transferred data by node", hint, wide=True):
            accounts = PagedTable(
                view.api,
                "/v1/audit",
                Table(
                    "Transferred data by node",
                    ACCOUNT_COLUMNS,
                    empty_text="No node is enrolled.",
                    empty_hint="Enrol one on the page Settings.",
                ),
                account_row,
            )
        with card(
            "Quarantine", "Messages that could not be processed. They never stop a node's stream.", wide=True
        ):
            quarantine = PagedTable(
                view.api,
                "/v1/quarantine",
                Table("Quarantine", QUARANTINE_COLUMNS, empty_text="No quarantined messages."),
                quarantine_row,
            )

        async def refresh() -> None:
            chosen = int(days.value or 14)
            answer, fleet = await asyncio.gather(
                view.api.get("/v1/volumes", days=chosen), view.api.get("/v1/fleet")
            )
            volumes = answer["items"]
            by_count.show(charts.volume_by_day(volumes, "events"))
            by_size.show(charts.volume_by_day(volumes, "bytes"))
            events.show(formatting.count(sum(each["events"] for each in volumes)), f"in {DAYS[chosen]}")
            event_bytes.show(formatting.size(sum(each["bytes"] for each in volumes)), f"in {DAYS[chosen]}")
            samples.show(formatting.count(fleet["samples"]), formatting.size(fleet["sample_bytes"]))
            stayed = fleet["bytes_raw"] - fleet["bytes_sent"]
            kept.show(
                formatting.percent(max(0, stayed), fleet["bytes_raw"]),
                f"{formatting.size(max(0, stayed))} of {formatting.size(fleet['bytes_raw'])}",
            )
            await asyncio.gather(accounts.refresh(days=chosen), quarantine.refresh())

        async def chosen() -> None:
            with contextlib.suppress(ApiError):  # the banner shows it at the next refresh
                await refresh()

        days.on_value_change(chosen)
        await view.live(refresh, EVERY_S)


def account_row(account: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the transferred data, from ``GET /v1/audit``."""
    sent, raw = account["bytes_sent"], account["bytes_raw"]
    return {
        "id": account["node"],
        "node": account["node"],
        "node_href": f"/ui/nodes/{account['node']}",
        "site": account["site"],
        "app": account["app"] or formatting.NONE,
        "events": formatting.count(account["events"]),
        "event_bytes": formatting.size(account["event_bytes"]),
        "samples": formatting.count(account["samples"]),
        "sample_bytes": formatting.size(account["sample_bytes"]),
        "refused": formatting.count(account["samples_refused"]),
        "sent": sent / raw if raw else None,
        "sent_text": f"{formatting.percent(sent, raw)} of {formatting.size(raw)}",
        "source": source_of(account),
        "source_tone": "info" if account["virtual"] else "",
    }


def quarantine_row(item: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the quarantine, from ``GET /v1/quarantine``."""
    return {
        "id": item["id"],
        "at": item["received_ns"],
        "node": item["node"],
        "node_href": f"/ui/nodes/{item['node']}",
        "reason": item["reason"],
        "size": formatting.size(item["size_bytes"]),
        "count": formatting.count(item["count"]),
        "head": shortened(item["head"]),
    }


def shortened(head: str, characters: int = 80) -> str:
    """The beginning of a text on one line, with a dot for each unprintable character."""
    line = "".join(each if each.isprintable() else "·" for each in head[: characters + 1])
    return line if len(line) <= characters else line[:characters] + "…"
