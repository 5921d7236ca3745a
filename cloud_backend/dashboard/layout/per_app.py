"""Pages that show the same of each app, one app below the other, and lists that grow when asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from nicegui import ui

from common.pages import AskError, View, action, empty
from common.pages.site import REFRESH_S, Refresh

SHOWN = 15
LIMIT = 500


class Lane(Protocol):
    """What a page shows of one app."""

    async def refresh(self) -> None:
        """Bring it up to date."""
        ...


async def show_lanes(view: View, make: Callable[[View, str, str], Lane], every_s: float = REFRESH_S) -> None:
    """Build a lane for each app with ``make(view, name, title)``, and keep all of them up to date."""
    status = await view.ask.get("/v1/status")
    if not status["apps"]:
        empty("No app is installed.", "Install an app's package beside edgeloop and start the cloud again.")
        return
    lanes = [make(view, name, facts["title"]) for name, facts in status["apps"].items()]

    async def refresh() -> None:
        await asyncio.gather(*(lane.refresh() for lane in lanes))

    await view.live(refresh, every_s)


class Older:
    """The button below a list that shows three times as much; ``shown`` is how much to ask for."""

    def __init__(self, refresh: Refresh) -> None:
        self.shown = SHOWN
        self._refresh = refresh
        with ui.element("div").classes("row-of"):
            self._button = action("Older", self._show_more)
        self._button.set_visibility(False)

    def show(self, page: Mapping[str, Any]) -> None:
        """Offer more where the API's answer ``page`` says that there is."""
        self._button.set_visibility(page["next"] is not None and self.shown < LIMIT)

    async def _show_more(self) -> None:
        self.shown = min(LIMIT, self.shown * 3)
        with contextlib.suppress(AskError):  # the next tick meets it as well, and the banner tells
            await self._refresh()
