"""The page of one node: state, charts, events, adoptions, transferred data, commands and service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.parts import charts, formatting
from cloud_backend.dashboard.parts.node_commands import NodeCommands
from cloud_backend.dashboard.parts.node_rows import (
    ADOPTION_COLUMNS,
    EVENT_COLUMNS,
    PROBLEM_COLUMNS,
    SCROLLED,
    account_details,
    adoption_row,
    details_of,
    event_row,
    problem_row,
)
from cloud_backend.dashboard.parts.node_service import NodeService
from cloud_backend.dashboard.parts.node_timeline import Timeline
from common.pages import (
    ApiError,
    Badge,
    Chart,
    Details,
    Site,
    Table,
    Text,
    Tile,
    View,
    card,
    empty,
)

LIVE_EVENTS = 30
ADOPTIONS = 30
HISTORY_POINTS = 300
DAYS = 14
SLOWER_S = 4.0


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("nodes/{node}", "Node")
    async def show(view: View, node: str) -> None:
        view.name(node)
        path = f"/v1/nodes/{quote(node, safe='')}"
        try:
            await view.api.get(path)
        except ApiError as error:
            if error.status in (404, 422):
                advice = "The page Fleet lists the nodes; Settings enrols one."
                empty(f"There is no node {node}.", advice, "search_off")
                return
        await _show_node(view, node, path)


async def _show_node(view: View, node: str, path: str) -> None:
    badges = Badges(view)
    commands = NodeCommands(view, node)
    tiles = Tiles()
    with ui.element("div").classes("grid"):
        with card("Latency", "Time from a reading to its decision, as reported by the node."):
            latency = Chart("Latency over time in milliseconds", charts.latency_over_time([]), height_px=200)
        with card("Backlog", "Events waiting in the node's outbox."):
            backlog = Chart("Events in the outbox over time", charts.backlog_over_time([]), height_px=200)
        with card("Timeline", "Alarms, drift, adoptions, problems and other events."):
            timeline = Timeline(view.api, path)
        with card("Live", f"The newest {LIVE_EVENTS} events of any type."):
            live = Table("Newest events", EVENT_COLUMNS, empty_text="No events yet.")
            live.style(SCROLLED)
        with card("Adoption log", "Adoption steps of models on this node.", wide=True):
            adoptions = Table(
                "Steps of adoption",
                ADOPTION_COLUMNS,
                empty_text="The node runs its bundled model.",
                empty_hint="Roll a model out on the page Rollouts.",
            )
            adoptions.style(SCROLLED)
        with card(
            "Data that left this node",
            f"Received by the cloud in {DAYS} days. All other data stayed on the node.",
        ):
            transferred = Details({})
            volumes = Chart("Events by day and type", charts.volume_by_day([], "bytes"), height_px=200)
        with card("Problems", "Problems with this node's messages, as seen by the cloud."):
            problems = Table("Problems", PROBLEM_COLUMNS, empty_text="No problems.")
        with card("About"):
            about = Details({})
        with card("This device", "Replace the device, or retire the node.", wide=True):
            service = NodeService(view, node)

    async def refresh() -> None:
        state, newest, _ = await asyncio.gather(
            view.api.get(path),
            view.api.get(f"{path}/events", limit=LIVE_EVENTS, order="newest"),
            timeline.refresh(),
        )
        badges.show(state, time.time_ns())
        tiles.show(state)
        commands.show(state, timeline.newest)
        service.show(state)
        live.show([event_row(event) for event in newest["items"]])
        about.show(details_of(state))
        problems.show([problem_row(problem) for problem in state["problems"]])

    async def refresh_slowly() -> None:
        history, steps, days, accounts = await asyncio.gather(
            view.api.get(f"{path}/health-history", limit=HISTORY_POINTS),
            view.api.get(f"{path}/adoptions", limit=ADOPTIONS),
            view.api.get("/v1/volumes", days=DAYS, node=node),
            view.api.get("/v1/audit", days=DAYS, name=node, limit=1),
        )
        latency.show(charts.latency_over_time(history["items"]))
        backlog.show(charts.backlog_over_time(history["items"]))
        adoptions.show([adoption_row(step, number) for number, step in enumerate(steps["items"])])
        volumes.show(charts.volume_by_day(days["items"], "bytes"))
        for account in accounts["items"]:
            if account["node"] == node:
                transferred.show(account_details(account))
                tiles.show_account(account)

    await view.live(refresh)
    await view.live(refresh_slowly, SLOWER_S)


class Badges:
    """State and warnings of a node, beside its name."""

    def __init__(self, view: View) -> None:
        with view.head:
            self._state, self._virtual, self._source = (Badge() for _ in range(3))
            self._drift, self._soak, self._refused, self._alarms = (Badge() for _ in range(4))
            self._updates, self._retired, self._health = (Badge() for _ in range(3))
            self._seen = Text("span", "").classes("hint")

    def show(self, node: Mapping[str, Any], now_ns: int) -> None:
        """Show the badges that apply to ``node``; an empty badge is hidden."""
        health = node["health"]
        self._state.show(node["state"], formatting.STATE_TONES.get(node["state"], ""))
        self._virtual.show("virtual" if node["virtual"] else "", "info")
        stopped, tone = formatting.stopped_source(health)
        self._source.show(stopped and f"source {stopped}", tone)
        self._drift.show("drifting" if health.get("drift") is True else "", "warn")
        self._soak.show("soak fails" if health.get("soak_ok") is False else "", "bad")
        problem = node["update_problem"]
        self._updates.show(f"no updates: {problem}" if problem else "", "bad")
        self._retired.show("retired" if node["retired_ns"] else "", "warn")
        refused = formatting.number(health, "refused_subjects")
        self._refused.show(f"refuses {formatting.count(refused)} subjects" if refused else "", "bad")
        self._alarms.show("local alarms not sent" if health.get("local_alarms_problem") else "", "bad")
        self._health.show("not ok" if formatting.unhealthy(health) else "", "bad")
        seen = node["last_seen_ns"]
        self._seen.text = f"seen {formatting.since(seen, now_ns)}" if seen else "never seen"


class Tiles:
    """Key figures of a node."""

    def __init__(self) -> None:
        with ui.element("div").classes("tiles"):
            self._model = Tile("Model")
            self._backlog = Tile("Backlog")
            self._latency = Tile("Latency p50")
            self._sent = Tile("Sent of all readings")
            self._samples = Tile("Samples uploaded")

    def show(self, node: Mapping[str, Any]) -> None:
        """Show the node's last report."""
        health = node["health"]
        slot = f"slot {node['slot']}, {node['step']}" if node["slot"] else "no report yet"
        self._model.show(node["version"] or formatting.NONE, slot)
        waiting = formatting.number(health, "outbox_events")
        self._backlog.show(
            formatting.count(waiting), formatting.size(formatting.number(health, "outbox_bytes"))
        )
        self._latency.show(
            formatting.milliseconds(formatting.number(health, "latency_p50_ms")),
            f"p99 {formatting.milliseconds(formatting.number(health, 'latency_p99_ms'))}",
        )
        sent, raw = formatting.number(health, "bytes_sent"), formatting.number(health, "bytes_raw")
        self._sent.show(formatting.percent(sent, raw), f"{formatting.size(sent)} of {formatting.size(raw)}")

    def show_account(self, account: Mapping[str, Any]) -> None:
        """Show how many samples the node uploaded."""
        self._samples.show(formatting.count(account["samples"]), formatting.size(account["sample_bytes"]))
