"""The page *Alerts*: what a person should look at, by priority; who has seen it, and when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard import words
from common.pages import Ask, AskError, Column, Site, Table, Text, Tile, View, action, card
from common.pages.blocks import Tone

PAGE_ALERTS = 50
SHOWN_LIMIT = 1000
NOTE_CHARACTERS = 500
STATES = {"open": "Open", "acknowledged": "Acknowledged", "": "All"}
PRIORITIES = {"alarm": "Alarms", "event": "Warnings"}
"""Alarms of the apps; and what the platform warns of: drift, and models that were given up."""
COLUMNS = (
    Column("at", "When", kind="ago"),
    Column("type", "Type", kind="code"),
    Column("node", "Node", kind="link"),
    Column("subject", "About"),
    Column("says", "Says"),
    Column("state", "State", kind="badge"),
    Column("seen", "Seen by"),
    Column("acknowledge", "Do", kind="action"),
)


def add_pages(site: Site) -> None:
    """Add the page."""

    @site.page("alerts", "Alerts")
    async def show(view: View, state: str = "open") -> None:
        with ui.element("div").classes("tiles"):
            alarms = Tile("Open alarms")
            drifting = Tile("Drifting nodes", link="/ui/fleet")
        with ui.element("div").classes("row-of"):
            choice = ui.select(STATES, label="Show", value=state if state in STATES else "open")
            choice.props("outlined dense")
        lists: list[AlertList] = []
        hints = {
            "alarm": "What an app says that somebody must act on.",
            "event": "Readings that training has not seen, and models that a node refused or took back.",
        }
        for priority, title in PRIORITIES.items():
            with card(title, hints[priority], wide=True):
                lists.append(AlertList(view, priority, choice))

        async def refresh() -> None:
            fleet, *_ = await asyncio.gather(
                view.ask.get("/v1/fleet"), *(alerts.refresh() for alerts in lists)
            )
            waiting = fleet["open_alarms"]
            more = "+" if fleet["open_alarms_more"] else ""
            tone: Tone = "bad" if waiting else "good"
            alarms.show(words.count(waiting) + more, "nobody has acknowledged them" if waiting else "", tone)
            drifting.show(words.count(fleet["drifting"]), "", "warn" if fleet["drifting"] else "")

        async def chosen() -> None:
            for alerts in lists:
                alerts.start_again()
            with contextlib.suppress(AskError):  # the next tick meets it as well, and the banner tells
                await refresh()

        choice.on_value_change(chosen)
        await view.live(refresh)


@dataclass(slots=True)
class _Shown:
    """What a list shows: the newest page, and the older ones that were asked for."""

    newest: list[Mapping[str, Any]] = field(default_factory=list)
    older: list[Mapping[str, Any]] = field(default_factory=list)
    cursor: str | None = None


class AlertList:
    """Alerts of one priority, newest first, with a button to acknowledge each."""

    def __init__(self, view: View, priority: str, choice: ui.select) -> None:
        self._view = view
        self._ask: Ask = view.ask
        self._priority = priority
        self._choice = choice
        self._shown = _Shown()
        self._table = Table(
            PRIORITIES[priority],
            COLUMNS,
            nothing="Nothing here.",
            what_to_do="What comes up appears within a second.",
        )
        self._table.on_action(self._acknowledge)
        with ui.element("div").classes("row-of"):
            self._more = action("Older", self._show_older)
        self._more.set_visibility(False)

    def start_again(self) -> None:
        """Forget what was shown: another choice was made."""
        self._shown = _Shown()

    async def refresh(self) -> None:
        """Bring the newest page up to date."""
        shown = self._shown
        page = await self._page(None)
        if shown is not self._shown:
            return
        shown.newest = page["items"]
        if not shown.older:
            shown.cursor = page["next"]
        self._show()

    async def _show_older(self) -> None:
        shown = self._shown
        with contextlib.suppress(AskError):
            page = await self._page(shown.cursor)
            shown.older += page["items"]
            shown.cursor = page["next"]
            self._show()

    async def _page(self, cursor: str | None) -> Any:
        return await self._ask.get(
            "/v1/alerts",
            limit=PAGE_ALERTS,
            priority=self._priority,
            state=self._choice.value or None,
            cursor=cursor,
        )

    def _show(self) -> None:
        rows = {row["id"]: row for row in map(alert_row, [*self._shown.newest, *self._shown.older])}
        self._table.show(list(rows.values()))
        self._more.set_visibility(self._shown.cursor is not None and len(rows) < SHOWN_LIMIT)

    async def _acknowledge(self, alert: str, _column: str) -> None:
        with ui.dialog() as dialog, ui.element("div").classes("card"):
            Text("h2", "Acknowledge this alert")
            Text("p", f"It is noted that {self._view.person} has seen it, and when.").classes("hint")
            note = ui.input("Note (what you do about it)").props(
                f"outlined dense autofocus maxlength={NOTE_CHARACTERS}"
            )

            async def yes() -> None:
                dialog.submit(True)

            async def no() -> None:
                dialog.submit(False)

            note.on("keydown.enter", yes)
            with ui.element("div").classes("row-of"):
                action("Acknowledge", yes, tone="main")
                action("Cancel", no)
        confirmed = await dialog
        body = {"note": (note.value or "").strip()[:NOTE_CHARACTERS]}
        dialog.delete()
        if not confirmed:
            return
        node, epoch, seq = (quote(part, safe="") for part in alert.split("/"))
        doing = self._ask.post(f"/v1/alerts/{node}/{epoch}/{seq}/acknowledge", body)
        if await self._view.act(doing, "Acknowledged."):
            self._shown.older = [each for each in self._shown.older if alert_row(each)["id"] != alert]
            with contextlib.suppress(AskError):
                await self.refresh()


def alert_row(alert: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the list, from what ``GET /v1/alerts`` gives."""
    seen = alert["acknowledged"]
    return {
        "id": f"{alert['node']}/{alert['epoch']}/{alert['seq']}",
        "about": f"{alert['type']} of {alert['node']}",
        "at": alert["time_ns"],
        "type": alert["type"],
        "node": alert["node"],
        "node_href": f"/ui/nodes/{alert['node']}",
        "subject": alert["subject"],
        "says": words.gist(alert["type"], alert["data"]),
        "state": "acknowledged" if seen else "open",
        "state_tone": "" if seen else words.PRIORITY_TONES.get(alert["priority"], "warn"),
        "seen": seen_by(seen) if seen else "",
        "acknowledge": "" if seen else "Acknowledge",
    }


def seen_by(seen: Mapping[str, Any]) -> str:
    """Who acknowledged, when (UTC), and the note."""
    said = f"{seen['by']}, {words.date_and_time(seen['at_ns'])}"
    return f"{said}: {seen['note']}" if seen["note"] else said
