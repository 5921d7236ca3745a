"""Pager: previous and next page of a paginated list of the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from nicegui import ui

from common.pages.api_client import ApiError
from common.pages.blocks import action


class Pager:
    """The buttons below a paginated list; ``cursor`` is that of the current page (None: the first).

    ``refresh`` shows the page at ``cursor`` and passes the API's answer to `show`.
    """

    def __init__(self, refresh: Callable[[], Awaitable[None]]) -> None:
        self._refresh = refresh
        self._cursors: list[str | None] = [None]
        """Cursors of the pages up to the current one."""
        self._next_cursor: str | None = None
        with ui.element("div").classes("row-of") as self._buttons:
            self._previous = action("Previous", self._go_to_previous)
            self._next = action("More", self._go_to_next)

    @property
    def cursor(self) -> str | None:
        return self._cursors[-1]

    @property
    def whole(self) -> bool:
        """Whether the current page is the whole list."""
        return self._next_cursor is None and len(self._cursors) == 1

    def show(self, page: Mapping[str, Any]) -> None:
        """Show the buttons that apply to ``page``, an answer of the API."""
        self._next_cursor = page["next"]
        self._buttons.set_visibility(not self.whole)
        self._previous.set_visibility(len(self._cursors) > 1)
        self._next.set_visibility(self._next_cursor is not None)

    async def _go_to_next(self) -> None:
        if self._next_cursor is not None:
            self._cursors.append(self._next_cursor)
        await self._refresh_page()

    async def _go_to_previous(self) -> None:
        if len(self._cursors) > 1:
            self._cursors.pop()
        await self._refresh_page()

    async def _refresh_page(self) -> None:
        with suppress(ApiError):  # the banner shows it at the next refresh
            await self._refresh()
