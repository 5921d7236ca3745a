"""The page *Learning*: samples selected by nodes, their labels, and training jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.pages import jobs
from cloud_backend.dashboard.parts.sample_queue import SampleQueue
from cloud_backend.dashboard.parts.training_panel import Training
from common.pages import LabelForm, Site, Text, Tile, View, card, empty

SLOWER_S = 3.0


class FormSite(Site, Protocol):
    """A `Site` with the label forms of all apps."""

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
        problem = f"Unknown app {app}." if app else "No app is installed."
        empty(problem, "Install an app's package beside edgeloop and restart the cloud.", "search_off")
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
    with card("Samples", "Selected by the nodes, newest first; all other readings stayed there.", wide=True):
        queue = SampleQueue(view, chosen, forms.get(chosen))
    with card(
        "Train a candidate",
        "From the production model, samples and labels; the gate decides.",
        wide=True,
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
    """The default app: the one with the most nodes."""
    return max(sorted(apps), key=lambda name: apps[name]["nodes"], default="")
