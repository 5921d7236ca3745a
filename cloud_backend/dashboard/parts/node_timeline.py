"""Timeline of a node: its events above telemetry, newest first."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.node_rows import EVENT_COLUMNS, SCROLLED, event_row
from common.pages import ApiClient, ApiError, Table, action

PAGE_EVENTS = 30
LIMIT = 1000
"""Maximum number of events in the table."""


class Timeline:
    """The table of a node's events above telemetry, with a button for older ones."""

    def __init__(self, api: ApiClient, path: str) -> None:
        self._api = api
        self._path = f"{path}/events"
        self._events: list[Mapping[str, Any]] = []
        self._cursor: str | None = None
        self._table = Table("Timeline", EVENT_COLUMNS, empty_text="No events above telemetry yet.")
        self._table.style(SCROLLED)
        with ui.element("div").classes("row-of"):
            self._more = action("Older", self._show_older)
        self._more.set_visibility(False)

    @property
    def newest(self) -> Sequence[Mapping[str, Any]]:
        """The events of the timeline, newest first."""
        return self._events

    async def refresh(self) -> None:
        """Add new events at the top."""
        page = await self._page(None)
        if not self._events:
            self._cursor = page["next"]
        self._events = merge_events(page["items"], self._events)
        self._show()

    async def _show_older(self) -> None:
        with contextlib.suppress(ApiError):  # the banner shows it at the next refresh
            page = await self._page(self._cursor)
            self._cursor = page["next"]
            self._events += page["items"]
            self._show()

    async def _page(self, cursor: str | None) -> Any:
        return await self._api.get(
            self._path, limit=PAGE_EVENTS, order="newest", min_priority="event", cursor=cursor
        )

    def _show(self) -> None:
        self._table.show([event_row(event) for event in self._events])
        self._more.set_visibility(self._cursor is not None and len(self._events) < LIMIT)


def merge_events(
    newest: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """``newest`` before ``known``, each event once, at most `LIMIT` of them."""
    present = {formatting.identity(event) for event in newest}
    return [*newest, *(event for event in known if formatting.identity(event) not in present)][:LIMIT]
