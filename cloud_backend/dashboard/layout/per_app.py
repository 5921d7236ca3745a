"""Pages with one section per app, and the button that extends a list."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from nicegui import ui

from common.pages import ApiError, View, action, empty
from common.pages.site import REFRESH_S, Refresh

SHOWN = 15
LIMIT = 500


class AppSection(Protocol):
    """The section of one app."""

    async def refresh(self) -> None:
        """Bring it up to date."""
        ...


async def show_per_app(
    view: View, make: Callable[[View, str, str], AppSection], every_s: float = REFRESH_S
) -> None:
    """Build a section for each app with ``make(view, name, title)``, and keep all of them up to date."""
    status = await view.api.get("/v1/status")
    if not status["apps"]:
        empty("No app is installed.", "Install an app's package beside edgeloop and restart the cloud.")
        return
    sections = [make(view, name, app["title"]) for name, app in status["apps"].items()]

    async def refresh() -> None:
        await asyncio.gather(*(section.refresh() for section in sections))

    await view.live(refresh, every_s)


class MoreButton:
    """The button below a list that triples its length; ``shown`` is the length to request."""

    def __init__(self, refresh: Refresh) -> None:
        self.shown = SHOWN
        self._refresh = refresh
        with ui.element("div").classes("row-of"):
            self._button = action("Older", self._show_more)
        self._button.set_visibility(False)

    def show(self, page: Mapping[str, Any]) -> None:
        """Show the button if ``page``, an answer of the API, has a next page."""
        self._button.set_visibility(page["next"] is not None and self.shown < LIMIT)

    async def _show_more(self) -> None:
        self.shown = min(LIMIT, self.shown * 3)
        with contextlib.suppress(ApiError):  # the banner shows it at the next refresh
            await self._refresh()
