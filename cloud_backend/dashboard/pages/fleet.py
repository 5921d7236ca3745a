"""The page *Fleet*: key figures, newest events, and the list of nodes with filters.

Every second it reads the totals, the newest events and the first page of nodes. With n pages of nodes shown,
the list is read every n seconds, so that a long list costs no more than a short one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui

from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.node_rows import node_page
from common.pages import ApiClient, ApiError, Column, Site, Table, Tile, View, action, card

PAGE_NODES = 100
FEED_EVENTS = 6
ACCOUNTS_EVERY_S = 5.0
STATES = {"": "Any state", "online": "online", "offline": "offline", "unknown": "unknown"}
SERVICE = {"": "In service", "retired": "Retired"}
NODE_COLUMNS = (
    Column("node", "Node", kind="link"),
    Column("state", "State", kind="badge"),
    Column("place", "App, site"),
    Column("version", "Model", kind="link"),
    Column("step", "Slot, step", kind="badge", hint="Live slot, and the adoption step of its model"),
    Column("backlog", "Backlog", kind="number", hint="Events waiting in the node's outbox"),
    Column("latency", "p50 / p99", kind="number", hint="Time from a reading to its decision, on the node"),
    Column("network", "Network", kind="number", hint="Bytes sent, compared with sending all readings"),
    Column("left", "Samples", kind="number", hint="Uploaded samples; all other readings stayed on the node"),
    Column("seen", "Seen", kind="ago", hint="When the node last reported"),
    Column("source", "Source", kind="badge", hint="Whether the node's readings are simulated"),
)
FEED_COLUMNS = (
    Column("at", "Arrived", kind="ago"),
    Column("node", "Node", kind="link"),
    Column("priority", "Priority", kind="badge"),
    Column("type", "Type", kind="badge"),
    Column("summary", "Summary"),
)


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("fleet", "Fleet")
    async def show(
        view: View, state: str = "", app: str = "", at_site: str = "", name: str = "", service: str = ""
    ) -> None:
        tiles = Tiles()
        with card("Newest events", "Events above telemetry, in order of arrival.", wide=True):
            feed = Table(
                "Newest events of the fleet",
                FEED_COLUMNS,
                empty_text="No events yet.",
                empty_hint="Events appear here within a second of their arrival.",
            )
        with card("Nodes", wide=True):
            nodes = Nodes(
                view.api,
                {
                    "service": service if service in SERVICE else "",
                    "state": state if state in STATES else "",
                    "app": app,
                    "at_site": at_site,
                    "name": name,
                },
            )

        async def refresh() -> None:
            fleet, events, _ = await asyncio.gather(
                view.api.get("/v1/fleet"),
                view.api.get("/v1/events/newest", limit=FEED_EVENTS, min_priority="event"),
                nodes.refresh(),
            )
            tiles.show(fleet)
            nodes.offer(fleet)
            feed.show([event_row(event) for event in events["items"]])

        await view.live(refresh)


class Tiles:
    """Key figures of the fleet."""

    def __init__(self) -> None:
        with ui.element("div").classes("tiles"):
            self._online = Tile("Online")
            self._backlog = Tile("Backlog")
            self._alarms = Tile("Open alarms", link="/ui/alerts")
            self._drifting = Tile("Drifting")
            self._sent = Tile("Sent of all readings", link="/ui/data")
            self._samples = Tile("Samples uploaded", link="/ui/data")

    def show(self, fleet: Mapping[str, Any]) -> None:
        """Show the totals of ``GET /v1/fleet``."""
        states, all_nodes = fleet["states"], fleet["nodes"]
        online = states.get("online", 0)
        notes = [
            f"{formatting.count(states[name])} {name}" for name in ("offline", "unknown") if states.get(name)
        ]
        if fleet["without_updates"]:
            notes.append(f"{formatting.count(fleet['without_updates'])} without updates")
        if fleet["retired"]:
            notes.append(f"{formatting.count(fleet['retired'])} retired")
        if fleet["virtual"]:
            notes.append(f"{formatting.count(fleet['virtual'])} virtual")
        self._online.show(
            f"{formatting.count(online)} of {formatting.count(all_nodes)}",
            ", ".join(notes) or ("all online" if all_nodes else "no nodes yet"),
            "warn" if online < all_nodes else "good" if all_nodes else "",
        )
        backlog = fleet["outbox_events"]
        self._backlog.show(
            formatting.count(backlog), "events in outboxes" if backlog != 1 else "event in outboxes"
        )
        alarms = fleet["open_alarms"]
        self._alarms.show(
            formatting.count(alarms),
            "not acknowledged" if alarms else "all acknowledged",
            "bad" if alarms else "good",
        )
        drifting = fleet["drifting"]
        self._drifting.show(
            formatting.count(drifting),
            "readings unlike training" if drifting else "readings like training",
            "warn" if drifting else "",
        )
        self._sent.show(
            formatting.percent(fleet["bytes_sent"], fleet["bytes_raw"]),
            f"{formatting.size(fleet['bytes_sent'])} of {formatting.size(fleet['bytes_raw'])}",
        )
        self._samples.show(formatting.count(fleet["samples"]), formatting.size(fleet["sample_bytes"]))


class Nodes:
    """The list of nodes with its filter, which is part of the page's address."""

    def __init__(self, api: ApiClient, chosen: Mapping[str, str]) -> None:
        self._api = api
        self._pages = 1
        self._ticks = 0
        self._accounts: dict[str, Mapping[str, Any]] = {}
        self._accounts_due_s = 0.0
        with ui.element("div").classes("row-of"):
            self._service = ui.select(SERVICE, label="Service", value=chosen["service"])
            self._state = ui.select(STATES, label="State", value=chosen["state"])
            self._app = ui.select(_choices("app", {chosen["app"]: 1}), label="App", value=chosen["app"])
            self._site = ui.select(
                _choices("site", {chosen["at_site"]: 1}), label="Site", value=chosen["at_site"]
            )
            self._name = ui.input("Name begins with", value=chosen["name"]).props("debounce=300 clearable")
        for field in (self._service, self._state, self._app, self._site, self._name):
            field.props("outlined dense")
            field.on_value_change(self._changed)
        self._table = Table(
            "Nodes",
            NODE_COLUMNS,
            empty_text="No node matches.",
            empty_hint="Enrol one on the page Settings, or by: edgeloop fleet enrol NAME --site SITE",
        )
        with ui.element("div").classes("row-of"):
            self._more = action("More nodes", self._show_more)
        self._more.set_visibility(False)

    @property
    def filter(self) -> dict[str, str | None]:
        """The filter as query parameters of the API."""
        return {
            "state": self._state.value or None,
            "app": self._app.value or None,
            "site": self._site.value or None,
            "name": (self._name.value or "").strip()[:63] or None,
            "retired": "true" if self._service.value else None,
        }

    @property
    def address(self) -> str:
        """The page's address with the filter in it."""
        chosen = {
            "service": self._service.value,
            "state": self._state.value,
            "app": self._app.value,
            "at_site": self._site.value,
            "name": (self._name.value or "").strip()[:63],
        }
        query = urlencode({name: value for name, value in chosen.items() if value})
        return f"/ui/fleet?{query}" if query else "/ui/fleet"

    def offer(self, fleet: Mapping[str, Any]) -> None:
        """Offer the apps and sites that there are."""
        for field, word, found in ((self._app, "app", fleet["apps"]), (self._site, "site", fleet["sites"])):
            choices = _choices(word, {**found, field.value or "": 1})
            if choices != field.options:
                field.set_options(choices)

    async def refresh(self) -> None:
        """Update the list: n pages every n seconds."""
        self._ticks += 1
        if self._ticks % self._pages:
            return
        query, pages = self.filter, self._pages
        nodes: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(pages):
            answer = await self._api.get("/v1/nodes", limit=PAGE_NODES, cursor=cursor, **query)
            await self._refresh_accounts(cursor, query)
            nodes += answer["items"]
            cursor = answer["next"]
            if cursor is None:
                break
        if query != self.filter:
            return
        self._table.show([node_row(node, self._accounts.get(node["node"])) for node in nodes])
        self._more.set_visibility(cursor is not None)

    async def _refresh_accounts(self, cursor: str | None, query: Mapping[str, str | None]) -> None:
        if cursor is None:
            if time.monotonic() < self._accounts_due_s:
                return
            self._accounts_due_s = time.monotonic() + ACCOUNTS_EVERY_S
        answer = await self._api.get("/v1/audit", limit=PAGE_NODES, cursor=cursor, days=1, **query)
        self._accounts |= {each["node"]: each for each in answer["items"]}

    async def _changed(self) -> None:
        self._pages, self._accounts_due_s = 1, 0.0
        self._accounts.clear()
        ui.run_javascript(f"history.replaceState(history.state, '', {json.dumps(self.address)})")
        await self._refresh_now()

    async def _show_more(self) -> None:
        self._pages += 1
        await self._refresh_now()

    async def _refresh_now(self) -> None:
        self._ticks = -1
        with contextlib.suppress(ApiError):  # the banner shows it at the next refresh
            await self.refresh()


def node_row(node: Mapping[str, Any], account: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A row of the list of nodes, from ``GET /v1/nodes`` and ``GET /v1/audit``."""
    health = node["health"]
    sent, raw = formatting.number(health, "bytes_sent"), formatting.number(health, "bytes_raw")
    step = " ".join(filter(None, (node["slot"], node["step"])))
    p50, p99 = (formatting.number(health, f"latency_{name}_ms") for name in ("p50", "p99"))
    source_state, source_tone = formatting.stopped_source(health)
    state, tone = node["state"], formatting.STATE_TONES.get(node["state"], "")
    if node["retired_ns"]:
        state, tone = "retired", ""
    elif formatting.unhealthy(health):
        state, tone = f"{state}, not ok", "bad"
    return {
        "id": node["node"],
        "node": node["node"],
        "node_href": f"/ui/nodes/{node['node']}",
        "state": state,
        "state_tone": tone,
        "place": f"{node['app'] or formatting.NONE}, {node['site']}",
        "version": node["version"] or formatting.NONE,
        "version_href": model_page(node["app"], node["version"]),
        "step": step,
        "step_tone": formatting.STEP_TONES.get(node["step"], ""),
        "backlog": formatting.count(formatting.number(health, "outbox_events")),
        "latency": formatting.NONE
        if p50 is None
        else f"{formatting.figure(p50)} / {formatting.milliseconds(p99)}",
        "network": f"{formatting.percent(sent, raw)} of {formatting.size(raw)}" if raw else formatting.NONE,
        "left": f"{formatting.count(account['samples'])} · {formatting.size(account['sample_bytes'])}"
        if account
        else "",
        "seen": node["last_seen_ns"],
        "source": ", ".join(filter(None, (source_of(node), source_state))),
        "source_tone": source_tone or ("info" if node["virtual"] else ""),
    }


def event_row(event: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the newest events, from ``GET /v1/events/newest``."""
    return {
        "id": formatting.identity(event),
        "at": event["received_ns"],
        "node": event["node"],
        "node_href": node_page(event["node"]),
        "priority": event["priority"],
        "priority_tone": formatting.PRIORITY_TONES.get(event["priority"], ""),
        "type": event["type"],
        "summary": formatting.event_summary(event),
    }


def source_of(node: Mapping[str, Any]) -> str:
    """``virtual`` or ``real``; empty for a node that has not reported yet."""
    return "virtual" if node["virtual"] else "real" if node["app"] else ""


def model_page(app: str, version: str) -> str:
    """The page of a version; empty without one."""
    return f"/ui/models/{quote(app, safe='')}/{quote(version, safe='')}" if app and version else ""


def _choices(word: str, found: Mapping[str, int]) -> dict[str, str]:
    names: Sequence[str] = sorted(name for name in found if name)
    return {"": f"Any {word}", **{name: name for name in names}}
