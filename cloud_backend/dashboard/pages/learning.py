"""The page *Learning*: what the nodes found worth learning from, labels for it, and training from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.pages import jobs
from cloud_backend.dashboard.parts.sample_queue import Queue
from cloud_backend.dashboard.parts.training_panel import Training
from common.pages import LabelForm, Site, Text, Tile, View, card, empty

SLOWER_S = 3.0


class FormSite(Site, Protocol):
    """The frame: a `Site` that knows every app's label form."""

    @property
    def forms(self) -> Mapping[str, LabelForm]: ...


def add_pages(site: FormSite) -> None:
    """Add the page, the same for one app, and the page of a training job."""
    jobs.add_pages(site)

    @site.page("learning", "Learning")
    async def show(view: View) -> None:
        await _show(view, site.forms, "")

    @site.page("learning/{app}", "Learning")
    async def show_app(view: View, app: str) -> None:
        await _show(view, site.forms, app)


async def _show(view: View, forms: Mapping[str, LabelForm], app: str) -> None:
    status = await view.api.get("/v1/status")
    apps: Mapping[str, Mapping[str, Any]] = status["apps"]
    chosen = app or first_app(apps)
    if chosen not in apps:
        problem = f"No app is called {app}." if app else "No app is installed."
        empty(problem, "Install an app's package beside edgeloop and start the cloud again.", "search_off")
        return
    if len(apps) > 1:
        with ui.element("nav").classes("row-of").props('aria-label="Apps"'):
            for name, each in apps.items():
                link = Text("a", each["title"]).classes("badge" + (" info" if name == chosen else ""))
                link.props["href"] = f"/ui/learning/{quote(name, safe='')}"
                if name == chosen:
                    link.props["aria-current"] = "page"
    with ui.element("div").classes("tiles"):
        waiting, running, newest = Tile("Waiting for a label"), Tile("Training"), Tile("Newest job")
        production = Tile("In production")
    with card(
        "Worth learning from", "What nodes chose to send, newest first; all else stayed there.", wide=True
    ):
        queue = Queue(view, chosen, forms.get(chosen))
    with card(
        "Train a candidate", "From production, the samples and their labels; the gate judges.", wide=True
    ):
        training = Training(view, chosen)

    async def refresh_queue() -> None:
        now, _ = await asyncio.gather(view.api.get("/v1/status"), queue.refresh())
        waiting.show(*queue.waiting_tile())
        production.show(now["apps"][chosen]["production"] or "none", apps[chosen]["title"])

    async def refresh_training() -> None:
        await training.refresh()
        running.show(*training.running_tile())
        newest.show(*training.newest_tile())

    await view.live(refresh_training)
    await view.live(refresh_queue, SLOWER_S)


def first_app(apps: Mapping[str, Mapping[str, Any]]) -> str:
    """The app to show where none was asked for: the one with the most nodes."""
    return max(sorted(apps), key=lambda name: apps[name]["nodes"], default="")
