"""The page *Models*: the versions of every app, newest first, with state, figures and origin."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from cloud_backend.dashboard.layout.per_app import MoreButton, show_per_app
from cloud_backend.dashboard.pages import model
from cloud_backend.dashboard.pages.model import STATE_TONES, approve
from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.comparison import Gauge, figure, gauge_of
from cloud_backend.dashboard.parts.dialogs import DEPLOYABLE_STATES, start_rollout
from cloud_backend.dashboard.parts.lineage import job_path, version_path
from cloud_backend.dashboard.parts.manifest import origin
from common.pages import Badge, Column, Site, Table, Text, View, card

JUDGED_JOBS = 20
SLOWER_S = 3.0
COLUMNS = (
    Column("version", "Version", kind="link"),
    Column("state", "State", kind="badge"),
    Column(
        "figure",
        "Gate's figure",
        kind="number",
        hint="As measured when the version was made",
    ),
    Column("slices", "Slices", hint="Number of slices, and the range of the gate's figure over them"),
    Column("parent", "Parent", kind="link"),
    Column("origin", "Origin", kind="link"),
    Column("approved", "Approved by"),
    Column("at", "Created", kind="ago"),
    Column("next", "", kind="action"),
)


def add_pages(site: Site) -> None:
    """Add the page, and the page of one version."""
    model.add_pages(site)

    @site.page("models", "Models")
    async def show(view: View) -> None:
        await show_per_app(view, AppModels, SLOWER_S)


class AppModels:
    """The versions of one app."""

    def __init__(self, view: View, app: str, title: str) -> None:
        self._view = view
        self._app = app
        self._place = f"/v1/apps/{quote(app, safe='')}"
        self._states: dict[str, str] = {}
        with card(title, wide=True):
            with ui.element("div").classes("row-of"):
                self._badge = Badge("production", "good")
                self._text = Text("span", "")
            self._table = Table(
                f"Versions of {title}",
                COLUMNS,
                empty_text="No models yet.",
                empty_hint=f"Train one on the page Learning, or add one: edgeloop model add {app} FOLDER",
            )
            self._table.on_action(self._act)
            self._older = MoreButton(self.refresh)

    async def refresh(self) -> None:
        """Update the list."""
        page, jobs = await asyncio.gather(
            self._view.api.get(f"{self._place}/models", limit=self._older.shown),
            self._view.api.get(f"{self._place}/jobs", limit=JUDGED_JOBS),
        )
        gauge = gauge_of(jobs["items"])
        models: Sequence[Mapping[str, Any]] = page["items"]
        self._states = {each["version"]: each["state"] for each in models}
        self._table.show([model_row(each, gauge) for each in models])
        self._older.show(page)
        production = production_sentence(models, gauge)
        self._text.text = production
        self._badge.show("production" if production else "", "good")

    async def _act(self, version: str, _column: str) -> None:
        if self._states.get(version) in DEPLOYABLE_STATES:
            await start_rollout(self._view, self._app, version)
        else:
            await approve(self._view, self._app, version)
            await self.refresh()


def production_sentence(models: Sequence[Mapping[str, Any]], gauge: Gauge) -> str:
    """The production version and its figure of the gate; empty if it is not among ``models``."""
    for each in models:
        if each["state"] == "production":
            value = each["figures"].get(gauge.figure)
            known = f", {gauge.figure} {figure(value)} when it was made" if value is not None else ""
            return f"{each['version']}{known}"
    return ""


def model_row(each: Mapping[str, Any], gauge: Gauge) -> dict[str, Any]:
    """A row of the list, from ``GET /v1/apps/{app}/models``."""
    app, state = each["app"], each["state"]
    job = each["job"]
    starter = not each["created_ns"]
    can = "Roll out" if state in DEPLOYABLE_STATES and not starter else ""
    return {
        "id": each["version"],
        "version": each["version"],
        "version_href": version_path(app, each["version"]),
        "state": state,
        "state_tone": STATE_TONES.get(state, ""),
        "figure": main_figure(each, gauge),
        "slices": slices_range(each["slices"]),
        "parent": each["parent"] or formatting.NONE,
        "parent_href": version_path(app, each["parent"]) if each["parent"] else "",
        "origin": origin(each),
        "origin_href": job_path(app, job) if job else "",
        "approved": each["approved_by"] or formatting.NONE,
        "at": each["created_ns"],
        "next": can or ("Approve" if state in ("candidate", "refused") else ""),
    }


def main_figure(each: Mapping[str, Any], gauge: Gauge) -> str:
    """The gate's figure of a version; without a gate's report, its first figure with its name."""
    figures = each["figures"]
    if gauge.figure in figures:
        return figure(figures[gauge.figure])
    name = next(iter(figures), "")
    return f"{name} {figure(figures[name])}" if name and not gauge.figure else formatting.NONE


def slices_range(slices: Mapping[str, Any]) -> str:
    """``3, from 6.422 to 8.134``."""
    numbers = [value for name in slices if (value := formatting.number(slices, name)) is not None]
    if not numbers:
        return formatting.NONE
    if len(numbers) == 1:
        return f"1, {figure(numbers[0])}"
    return f"{len(numbers)}, from {figure(min(numbers))} to {figure(max(numbers))}"
