"""The page *Alerts*: alarms and warnings with their acknowledgements."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.layout.frame import Frame
from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.dialogs import ask_reason
from cloud_backend.dashboard.parts.node_rows import node_page
from common.pages import ApiError, Badge, Column, Table, View, action, card
from common.time_notes import time_note

PAGE_ALERTS = 20
SHOWN_LIMIT = 1000
STATES = {"open": "Open", "acknowledged": "Acknowledged", "": "All"}
PRIORITIES = {"alarm": "Alarms", "event": "Warnings"}
"""Alarms of the apps; warnings of the platform: drift, and models that a node refused or reverted."""
COLUMNS = (
    Column("at", "When", kind="ago"),
    Column("type", "Type", kind="badge"),
    Column("node", "Node", kind="link"),
    Column("subject", "About", kind="link"),
    Column("summary", "Summary"),
    Column("seen", "Acknowledged by"),
    Column("acknowledge", "Action", kind="action"),
)


def add_pages(site: Frame) -> None:
    """Add the page."""

    @site.page("alerts", "Alerts")
    async def show(view: View, state: str = "open") -> None:
        with view.head:
            alarms, drifting = Badge(), Badge()
        with ui.element("div").classes("row-of"):
            choice = ui.select(STATES, label="Show", value=state if state in STATES else "open")
            choice.props("outlined dense")
        lists: list[AlertList] = []
        hints = {
            "alarm": "Events of an app that require action.",
            "event": "Drift of the readings, and models that a node refused or reverted.",
        }
        for priority, title in PRIORITIES.items():
            with card(title, hints[priority], wide=True):
                lists.append(AlertList(view, priority, choice, site.subject_path))

        async def refresh() -> None:
            fleet, *_ = await asyncio.gather(
                view.api.get("/v1/fleet"), *(alerts.refresh() for alerts in lists)
            )
            waiting = fleet["open_alarms"]
            alarms.show(formatting.plural(waiting, "open alarm"), "bad" if waiting else "good")
            drifts = formatting.plural(fleet["drifting"], "drifting node")
            drifting.show(drifts, "warn" if fleet["drifting"] else "")

        async def chosen() -> None:
            for alerts in lists:
                alerts.reset()
            with contextlib.suppress(ApiError):  # the banner shows it at the next refresh
                await refresh()

        choice.on_value_change(chosen)
        await view.live(refresh)


@dataclass(slots=True)
class _Shown:
    """The alerts of a list: the newest page, and the older ones that were loaded."""

    newest: list[Mapping[str, Any]] = field(default_factory=list)
    older: list[Mapping[str, Any]] = field(default_factory=list)
    cursor: str | None = None


class AlertList:
    """Alerts of one priority, newest first, with a button to acknowledge each."""

    def __init__(
        self, view: View, priority: str, choice: ui.select, path_of: Callable[[str, str], str]
    ) -> None:
        self._view = view
        self._path_of = path_of
        self._priority = priority
        self._choice = choice
        self._shown = _Shown()
        self._table = Table(
            PRIORITIES[priority],
            COLUMNS,
            empty_text="No alerts.",
            empty_hint="New alerts appear within a second.",
        )
        self._table.on_action(self._acknowledge)
        with ui.element("div").classes("row-of"):
            self._more = action("Older", self._show_older)
            self._all = action("Acknowledge all of these", self._acknowledge_shown)
        self._all.set_visibility(False)
        self._more.set_visibility(False)

    def reset(self) -> None:
        """Clear the list, after another filter was chosen."""
        self._shown = _Shown()

    async def refresh(self) -> None:
        """Update the newest page."""
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
        with contextlib.suppress(ApiError):
            page = await self._page(shown.cursor)
            shown.older += page["items"]
            shown.cursor = page["next"]
            self._show()

    async def _page(self, cursor: str | None) -> Any:
        return await self._view.api.get(
            "/v1/alerts",
            limit=PAGE_ALERTS,
            priority=self._priority,
            state=self._choice.value or None,
            cursor=cursor,
        )

    def _alerts(self) -> list[Mapping[str, Any]]:
        """All loaded alerts, each once: pages overlap as new alerts arrive."""
        found = {formatting.identity(alert): alert for alert in [*self._shown.newest, *self._shown.older]}
        return list(found.values())

    def _show(self) -> None:
        rows = [alert_row(each, self._path_of(each["type"], each["subject"])) for each in self._alerts()]
        self._table.show(rows)
        self._all.set_visibility(sum(bool(row["acknowledge"]) for row in rows) > 1)
        self._more.set_visibility(self._shown.cursor is not None and len(rows) < SHOWN_LIMIT)

    async def _acknowledge(self, alert: str, _column: str) -> None:
        await self._acknowledge_all([alert], "Acknowledge this alert")

    async def _acknowledge_shown(self) -> None:
        waiting = [formatting.identity(each) for each in self._alerts() if not each["acknowledged"]]
        if waiting:
            await self._acknowledge_all(waiting, f"Acknowledge {formatting.plural(len(waiting), 'alert')}")

    async def _acknowledge_all(self, alerts: Sequence[str], title: str) -> None:
        async def send(note: str) -> bool:
            return await self._view.act(self._send(alerts, note), "Acknowledged.")

        text = f"Recorded with the name {self._view.person} and the time."
        if await ask_reason(title, text, "Acknowledge", send, label="Note (what you do about it)"):
            self.reset()
            with contextlib.suppress(ApiError):  # the banner shows it at the next refresh
                await self.refresh()

    async def _send(self, alerts: Sequence[str], note: str) -> None:
        for alert in alerts:
            node, epoch, seq = (quote(part, safe="") for part in alert.split("/"))
            await self._view.api.post(f"/v1/alerts/{node}/{epoch}/{seq}/acknowledge", {"note": note})


def alert_row(alert: Mapping[str, Any], subject_page: str = "") -> dict[str, Any]:
    """A row of the list, from ``GET /v1/alerts``; ``subject_page`` is the page of its subject, or empty."""
    seen = alert["acknowledged"]
    return {
        "id": formatting.identity(alert),
        "about": f"{alert['type']} of {alert['node']}",
        "at": alert["time_ns"],
        "at_note": time_note(alert["time_quality"]),
        "type": alert["type"],
        "node": alert["node"],
        "node_href": node_page(alert["node"]),
        "subject": alert["subject"],
        "subject_href": subject_page,
        "summary": formatting.summary(alert["type"], alert["data"]),
        "seen": seen_by(seen) if seen else "nobody yet",
        "acknowledge": "" if seen else "Acknowledge",
    }


def seen_by(seen: Mapping[str, Any]) -> str:
    """Person, time (UTC) and note of an acknowledgement."""
    text = f"{seen['by']}, {formatting.date_and_time(seen['at_ns'])}"
    return f"{text}: {seen['note']}" if seen["note"] else text
