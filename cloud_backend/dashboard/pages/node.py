"""The page of one node: what it runs and says, how it does, what left it, and what it can be told to do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.parts import charts, formatting
from cloud_backend.dashboard.parts.dialogs import confirm
from cloud_backend.dashboard.parts.enrolment_form import show_enrolment
from cloud_backend.dashboard.parts.node_commands import Commands
from common.pages import (
    ApiClient,
    ApiError,
    Badge,
    Chart,
    Column,
    Details,
    Site,
    Table,
    Text,
    Tile,
    View,
    action,
    card,
    empty,
)
from common.time_notes import time_note

LIVE_EVENTS = 30
TIMELINE_EVENTS = 30
TIMELINE_LIMIT = 1000
ADOPTIONS = 30
HISTORY_POINTS = 300
DAYS = 14
SLOWER_S = 4.0
SCROLLED = "max-height: 460px; overflow-y: auto"
"""Lists that go on and on keep to a window of their own."""
EVENT_COLUMNS = (
    Column("at", "When", kind="ago"),
    Column("priority", "Priority", kind="badge"),
    Column("says", "What"),
)
ADOPTION_COLUMNS = (
    Column("at", "When", kind="ago"),
    Column("step", "Step", kind="badge"),
    Column("version", "Version"),
    Column("before", "From"),
    Column("rollout", "Rollout", kind="link"),
    Column("reason", "Reason"),
)
PROBLEM_COLUMNS = (
    Column("at", "Last", kind="ago"),
    Column("kind", "What", kind="badge"),
    Column("count", "Times"),
    Column("detail", "Detail"),
)


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("nodes/{node}", "Node")
    async def show(view: View, node: str) -> None:
        view.name(node)
        place = f"/v1/nodes/{quote(node, safe='')}"
        try:
            await view.api.get(place)
        except ApiError as error:
            if error.status in (404, 422):
                advice = "The page Fleet lists the nodes; Settings enrols one."
                empty(f"There is no node {node}.", advice, "search_off")
                return
        await _show_node(view, node, place)


async def _show_node(view: View, node: str, place: str) -> None:
    badges = Badges(view)
    commands = Commands(view, node)
    tiles = Tiles()
    with ui.element("div").classes("grid"):
        with card("Latency", "From a reading to its decision, on the node, as it reported."):
            latency = Chart("Latency over time in milliseconds", charts.latency_over_time([]), height_px=200)
        with card("Backlog", "Events that waited in the outbox for the cloud."):
            backlog = Chart("Events in the outbox over time", charts.backlog_over_time([]), height_px=200)
        with card("Timeline", "Events, alarms, drift, adoptions and problems."):
            timeline = Timeline(view.api, place)
        with card("Live", f"The newest {LIVE_EVENTS} events of any kind."):
            live = Table("Newest events", EVENT_COLUMNS, nothing="The node has sent nothing yet.")
            live.style(SCROLLED)
        with card("Adoption log", "How models came to run here.", wide=True):
            adoptions = Table(
                "Steps of adoption",
                ADOPTION_COLUMNS,
                nothing="It runs the model that it came with.",
                what_to_do="Roll a model out on the page Rollouts.",
            )
            adoptions.style(SCROLLED)
        with card(
            "What left this node", f"As the cloud counted it in {DAYS} days. All else stayed on the node."
        ):
            left = Details({})
            volumes = Chart("Events by day and type", charts.volume_by_day([], "bytes"), height_px=200)
        with card("Problems", "What the cloud saw go wrong with this node's messages."):
            problems = Table("Problems", PROBLEM_COLUMNS, nothing="None so far.")
        with card("About"):
            about = Details({})
        with card("This device", "What to do when it is replaced, or gone for good.", wide=True):
            service = Service(view, node)

    async def refresh() -> None:
        state, newest, _ = await asyncio.gather(
            view.api.get(place),
            view.api.get(f"{place}/events", limit=LIVE_EVENTS, order="newest"),
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
            view.api.get(f"{place}/health-history", limit=HISTORY_POINTS),
            view.api.get(f"{place}/adoptions", limit=ADOPTIONS),
            view.api.get("/v1/volumes", days=DAYS, node=node),
            view.api.get("/v1/audit", days=DAYS, name=node, limit=1),
        )
        latency.show(charts.latency_over_time(history["items"]))
        backlog.show(charts.backlog_over_time(history["items"]))
        adoptions.show([adoption_row(step, number) for number, step in enumerate(steps["items"])])
        volumes.show(charts.volume_by_day(days["items"], "bytes"))
        for account in accounts["items"]:
            if account["node"] == node:
                left.show(account_details(account))
                tiles.show_account(account)

    await view.live(refresh)
    await view.live(refresh_slowly, SLOWER_S)


class Badges:
    """State, and what else must be said of a node, beside its name."""

    def __init__(self, view: View) -> None:
        with view.head:
            self._state, self._virtual, self._source = (Badge() for _ in range(3))
            self._drift, self._soak, self._refused, self._alarms = (Badge() for _ in range(4))
            self._updates, self._retired, self._health = (Badge() for _ in range(3))
            self._seen = Text("span", "").classes("hint")

    def show(self, node: Mapping[str, Any], now_ns: int) -> None:
        """Show what holds for ``node``; a badge without a word is not seen."""
        health = node["health"]
        self._state.show(node["state"], formatting.STATE_TONES.get(node["state"], ""))
        self._virtual.show("virtual" if node["virtual"] else "", "info")
        self._source.show(*formatting.source_badge(health))
        self._drift.show("drifting" if health.get("drift") is True else "", "warn")
        self._soak.show("fails in its soak" if health.get("soak_ok") is False else "", "bad")
        problem = node["update_problem"]
        self._updates.show(f"no updates: {problem}" if problem else "", "bad")
        self._retired.show("retired" if node["retired_ns"] else "", "warn")
        refused = formatting.number(health, "refused_subjects")
        self._refused.show(f"refuses {formatting.count(refused)} subjects" if refused else "", "bad")
        self._alarms.show(
            "alarms not sent at the machine" if health.get("local_alarms_problem") else "", "bad"
        )
        self._health.show("not ok" if formatting.unhealthy(health) else "", "bad")
        seen = node["last_seen_ns"]
        self._seen.text = f"seen {formatting.since(seen, now_ns)}" if seen else "never seen yet"


class Service:
    """The buttons that give a node's place to a new device, or retire it."""

    def __init__(self, view: View, node: str) -> None:
        self._view = view
        self._node = node
        self._place = f"/v1/nodes/{quote(node, safe='')}"
        self._text = Text("p", "").classes("hint")
        with ui.element("div").classes("row-of"):
            action("Replace", self._replace, icon="swap_horiz")
            self._retire = action("Retire", self._ask_retire, icon="power_off", tone="bad")
        self._file = ui.element("div").classes("stack")

    def show(self, node: Mapping[str, Any]) -> None:
        """Bring the line and the buttons up to date."""
        self._text.text = service_text(node)
        self._retire.set_visibility(not node["retired_ns"])

    async def _replace(self) -> None:
        await confirm(
            f"Give the name {self._node} to a new device?",
            "The credentials of the present device end at once. What it sent stays.",
            "Replace",
            self._send_replace,
        )

    async def _send_replace(self) -> bool:
        made: list[Mapping[str, Any]] = []

        async def send() -> None:
            made.append(await self._view.api.post(f"{self._place}/replace", {}))

        self._file.clear()
        done = await self._view.act(send(), f"{self._node} has a new enrolment.")
        if done:
            show_enrolment(self._file, made[0])
        return done

    async def _ask_retire(self) -> None:
        await confirm(
            f"Retire {self._node}?",
            "Its credentials are revoked for good. Its history stays; counts and rollouts go on without it.",
            "Retire",
            lambda: self._view.act(self._view.api.post(f"{self._place}/retire"), f"{self._node} is retired."),
        )


def service_text(node: Mapping[str, Any]) -> str:
    """Whether a node is in service, and what took its place."""
    if not node["retired_ns"]:
        return "In service."
    then = f"; {node['replaced_by']} has its place" if node["replaced_by"] else ""
    since = formatting.since(node["retired_ns"], time.time_ns())
    return f"Retired {since}{then}. Nothing is taken from it any more."


class Tiles:
    """A node in one line."""

    def __init__(self) -> None:
        with ui.element("div").classes("tiles"):
            self._model = Tile("Model")
            self._backlog = Tile("Backlog")
            self._latency = Tile("Latency p50")
            self._sent = Tile("Sent, of everything")
            self._samples = Tile("Samples that left")

    def show(self, node: Mapping[str, Any]) -> None:
        """Show what the node reported last."""
        health = node["health"]
        slot = f"slot {node['slot']}, {node['step']}" if node["slot"] else "it has not reported yet"
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
        """Show how many samples left the node."""
        self._samples.show(formatting.count(account["samples"]), formatting.size(account["sample_bytes"]))


class Timeline:
    """The node's events above telemetry, newest first; older ones come on request."""

    def __init__(self, api: ApiClient, place: str) -> None:
        self._api = api
        self._place = f"{place}/events"
        self._events: list[Mapping[str, Any]] = []
        self._cursor: str | None = None
        self._table = Table("Timeline", EVENT_COLUMNS, nothing="Nothing but telemetry so far.")
        self._table.style(SCROLLED)
        with ui.element("div").classes("row-of"):
            self._more = action("Older", self._show_older)
        self._more.set_visibility(False)

    @property
    def newest(self) -> Sequence[Mapping[str, Any]]:
        """The events of the timeline, newest first."""
        return self._events

    async def refresh(self) -> None:
        """Put what is new on top."""
        page = await self._page(None)
        if not self._events:
            self._cursor = page["next"]
        self._events = joined(page["items"], self._events)
        self._show()

    async def _show_older(self) -> None:
        with contextlib.suppress(ApiError):  # the banner shows it at the next refresh
            page = await self._page(self._cursor)
            self._cursor = page["next"]
            self._events += page["items"]
            self._show()

    async def _page(self, cursor: str | None) -> Any:
        return await self._api.get(
            self._place, limit=TIMELINE_EVENTS, order="newest", min_priority="event", cursor=cursor
        )

    def _show(self) -> None:
        self._table.show([event_row(event) for event in self._events])
        self._more.set_visibility(self._cursor is not None and len(self._events) < TIMELINE_LIMIT)


def joined(
    newest: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """``newest`` before what was ``known``, each event once, at most `TIMELINE_LIMIT`."""
    there = {formatting.identity(event) for event in newest}
    return [*newest, *(event for event in known if formatting.identity(event) not in there)][:TIMELINE_LIMIT]


def event_row(event: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the timeline or of the live events, from what ``GET /v1/nodes/{node}/events`` gives."""
    return {
        "id": formatting.identity(event),
        "at": event["time_ns"],
        "at_note": time_note(event["time_quality"]),
        "priority": event["priority"],
        "priority_tone": formatting.PRIORITY_TONES.get(event["priority"], ""),
        "says": f"{event['type']} · {formatting.about(event)}",
    }


def adoption_row(step: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A row of the adoption log, from what ``GET /v1/nodes/{node}/adoptions`` gives."""
    tone = formatting.STEP_TONES.get(step["step"], "") if step["ok"] else "bad"
    return {
        "id": f"{step['time_ns']}/{step['step']}/{number}",
        "at": step["time_ns"],
        "step": step["step"],
        "step_tone": tone,
        "version": step["version"],
        "before": step["from_version"],
        "rollout": step["rollout"],
        "rollout_href": f"/ui/rollouts/{quote(step['app'], safe='')}/{quote(step['rollout'], safe='')}",
        "reason": step["reason"],
    }


def problem_row(problem: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the problems, from what ``GET /v1/nodes/{node}`` gives."""
    return {
        "id": problem["kind"],
        "at": problem["last_ns"],
        "kind": formatting.PROBLEMS.get(problem["kind"], problem["kind"]),
        "kind_tone": "bad" if problem["kind"] in ("identity_shared", "forked", "rejected") else "warn",
        "count": formatting.count(problem["count"]),
        "detail": problem["detail"],
    }


def account_details(account: Mapping[str, Any]) -> dict[str, str]:
    """What left a node, in words, from what ``GET /v1/audit`` gives."""
    return {
        "Events": f"{formatting.count(account['events'])}, {formatting.size(account['event_bytes'])}",
        "Samples": f"{formatting.count(account['samples'])}, {formatting.size(account['sample_bytes'])}",
        "Samples refused": formatting.count(account["samples_refused"]),
        "Sent since its start": formatting.size(account["bytes_sent"]),
        "Everything it sensed": formatting.size(account["bytes_raw"]),
    }


def updates_text(node: Mapping[str, Any]) -> str:
    """Whether a node can check for updates, and why not."""
    updates = node["health"].get("updates")
    if not isinstance(updates, Mapping):
        return formatting.NONE
    if problem := node["update_problem"]:
        return f"cannot be checked for ({problem}): {updates.get('detail') or 'no detail'}"
    return f"deployment {updates.get('serial', 0)}, metadata {updates.get('metadata', 0)}"


def disk_use(health: Mapping[str, Any]) -> str:
    """What a node writes, as a rate; flash memory wears by it."""
    per_day = formatting.number(health, "bytes_written_per_day")
    written = formatting.number(health, "bytes_written")
    if per_day is None:
        return formatting.NONE if written is None else f"{formatting.size(written)} since its start"
    return f"{formatting.size(per_day)} a day"


def details_of(node: Mapping[str, Any]) -> dict[str, str]:
    """What else there is to know about a node, from what ``GET /v1/nodes/{node}`` gives."""
    health = node["health"]
    counts = {
        "Readings": "readings",
        "Failed inferences": "inference_failures",
        "Unusable readings": "unusable",
        "Refused subjects": "refused_subjects",
        "Refused readings": "refused_readings",
        "Dropped readings": "dropped",
        "Samples waiting": "samples_waiting",
    }
    cpu_s = formatting.number(health, "cpu_s")
    offset_ms = node["clock_offset_ms"]
    return {
        "App": node["app"] or formatting.NONE,
        "Site": node["site"],
        "Profile": node["profile"] or formatting.NONE,
        "Tags": ", ".join(node["tags"]) or formatting.NONE,
        "Problems on the node": formatting.own_problems(health),
        "Source": formatting.source(health),
        "Alarms at the machine": formatting.local_alarms(health),
        **{name: formatting.count(formatting.number(health, key)) for name, key in counts.items()},
        "Memory": formatting.size(formatting.number(health, "rss_bytes")),
        "Written to its disk": disk_use(health),
        "CPU time": formatting.NONE if cpu_s is None else f"{formatting.figure(cpu_s)} s",
        "Clock": "right" if not offset_ms else f"wrong by {offset_ms:,} ms, corrected on arrival",
        "Updates": updates_text(node),
        "Enrolled": formatting.since(node["enrolled_ns"], time.time_ns()),
    }
