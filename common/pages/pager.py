"""Turning through a list that the API gives page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from nicegui import ui

from common.pages.api_client import AskError
from common.pages.blocks import action


class Turning:
    """The buttons below a list that is shown by pages; ``cursor`` is the page to ask for (None: the first).

    ``refresh`` shows the page at ``cursor``, and hands the API's answer to `show`.
    """

    def __init__(self, refresh: Callable[[], Awaitable[None]]) -> None:
        self._refresh = refresh
        self._cursors: list[str | None] = [None]
        """Those of the pages up to the one that is shown."""
        self._following: str | None = None
        with ui.element("div").classes("row-of") as self._buttons:
            self._previous = action("Previous", self._back)
            self._more = action("More", self._onward)

    @property
    def cursor(self) -> str | None:
        return self._cursors[-1]

    @property
    def whole(self) -> bool:
        """Whether what is shown is the whole list."""
        return self._following is None and len(self._cursors) == 1

    def show(self, page: Mapping[str, Any]) -> None:
        """Offer what there is before and after the API's answer ``page``."""
        self._following = page["next"]
        self._buttons.set_visibility(not self.whole)
        self._previous.set_visibility(len(self._cursors) > 1)
        self._more.set_visibility(self._following is not None)

    async def _onward(self) -> None:
        if self._following is not None:
            self._cursors.append(self._following)
        await self._turned()

    async def _back(self) -> None:
        if len(self._cursors) > 1:
            self._cursors.pop()
        await self._turned()

    async def _turned(self) -> None:
        with suppress(AskError):  # the next refresh says so on the banner
            await self._refresh()
