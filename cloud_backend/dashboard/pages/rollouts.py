"""The page *Rollouts*: the active rollout and the history of each app; and the page of one rollout."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui
from nicegui.element import Element

from cloud_backend.dashboard.layout.per_app import MoreButton, show_per_app
from cloud_backend.dashboard.pages.model import breadcrumbs
from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.dialogs import start_rollout
from cloud_backend.dashboard.parts.lineage import version_path
from cloud_backend.dashboard.parts.waves import (
    RolloutActions,
    Waves,
    history_row,
    rollout_api,
    rollout_path,
    shares,
)
from common.pages import ApiError, Column, Details, Site, Table, Text, View, action, card, empty

STEPS = 100
ACTIVE = ("running", "halted")
HISTORY_COLUMNS = (
    Column("rollout", "Rollout", kind="link"),
    Column("version", "Version", kind="link"),
    Column("state", "State", kind="badge"),
    Column("waves", "Wave"),
    Column("shares", "Shares", hint="Share of the nodes that each wave reaches"),
    Column("reason", "Reason"),
    Column("began", "Started", kind="ago"),
    Column("took", "Duration", kind="number"),
)
STEP_COLUMNS = (
    Column("at", "When", kind="ago"),
    Column("node", "Node", kind="link"),
    Column("step", "Step", kind="badge"),
    Column("version", "Version"),
    Column("before", "From"),
    Column("reason", "Reason"),
)


def add_pages(site: Site) -> None:
    """Add the page, and the page of one rollout."""

    @site.page("rollouts", "Rollouts")
    async def show(view: View) -> None:
        await show_per_app(view, AppRollouts)

    @site.page("rollouts/{app}/{id}", "Rollout")
    async def show_one(view: View, app: str, id: str) -> None:
        view.name(id)
        path = rollout_api(app, id)
        try:
            row = await view.api.get(path)
        except ApiError as error:
            if error.status not in (404, 422):
                raise
            empty(f"{app} has no rollout {id}.", "The page Rollouts lists them.", "search_off")
            return
        await _show_rollout(view, path, row)


class AppRollouts:
    """One app: its active rollout, and the history."""

    def __init__(self, view: View, app: str, title: str) -> None:
        self._view = view
        self._place = f"/v1/apps/{quote(app, safe='')}/rollouts"
        self._active = ""
        with card(title, wide=True):
            with ui.element("div").classes("row-of"):
                self._start = action(
                    "Start a rollout", lambda: start_rollout(view, app), icon="rocket_launch", tone="main"
                )
                self._actions = RolloutActions(view)
                self._link = Text("a", "")
            self._box: Element = ui.element("div").classes("stack")
            self._waves: Waves | None = None
            Text("h3", "History")
            self._table = Table(
                f"Rollouts of {title}",
                HISTORY_COLUMNS,
                empty_text="No rollouts yet: every node runs its bundled model.",
                empty_hint="Train a candidate on the page Learning; once approved, roll it out here.",
            )
            self._older = MoreButton(self.refresh)

    async def refresh(self) -> None:
        """Update the active rollout and the history."""
        page = await self._view.api.get(self._place, limit=self._older.shown)
        rows = page["items"]
        self._table.show([history_row(row) for row in rows])
        self._older.show(page)
        active = next((row for row in rows if row["state"] in ACTIVE), None)
        self._start.set_visibility(active is None)
        await self._show_active(active or (rows[0] if rows else None))

    async def _show_active(self, row: Mapping[str, Any] | None) -> None:
        """Show the waves of the active rollout, or of the last one."""
        if row is None:
            return
        progress = await self._view.api.get(f"{rollout_api(row['app'], row['id'])}/progress")
        if row["id"] != self._active or self._waves is None:
            self._active = row["id"]
            self._box.clear()
            with self._box:
                self._waves = Waves(nodes=False)
        self._link.text = f"{row['version']}: nodes and steps"
        self._link.props["href"] = rollout_path(row["app"], row["id"])
        self._actions.show(row, newest=True)
        self._waves.show(row, progress, time.time_ns())


async def _show_rollout(view: View, path: str, row: Mapping[str, Any]) -> None:
    app = row["app"]
    breadcrumbs(("Rollouts", "/ui/rollouts"), (app, "/ui/rollouts"))
    with view.head, ui.element("div").classes("row-of"):
        actions = RolloutActions(view)
    with card("Waves", wide=True):
        waves = Waves(nodes=True)
        truncation = Text("p", "").classes("hint")
    with card("Details", wide=True):
        with ui.element("div").classes("row-of"):
            Text("a", f"Model {row['version']}").props["href"] = version_path(app, row["version"])
        details = Details({})
    with card("Reports of nodes", f"The newest {STEPS} adoption steps.", wide=True):
        steps = Table("Steps", STEP_COLUMNS, empty_text="No reports yet.")

    async def refresh() -> None:
        now, progress, newest = await asyncio.gather(
            view.api.get(path),
            view.api.get(f"{path}/progress"),
            view.api.get(f"/v1/apps/{quote(app, safe='')}/rollouts", limit=1),
        )
        actions.show(now, newest=newest["items"][0]["id"] == now["id"])
        waves.show(now, progress, time.time_ns())
        details.show(details_of(now))
        listed, total = len(progress["nodes"]), progress["nodes_total"]
        truncation.text = f"{listed} of {total} nodes are listed, failures first; all are counted."
        truncation.set_visibility(listed < total)

    async def refresh_steps() -> None:
        found = (await view.api.get(f"{path}/adoptions", limit=STEPS))["items"]
        steps.show([step_row(step, n) for n, step in enumerate(sorted(found, key=lambda s: -s["time_ns"]))])

    await view.live(refresh)
    await view.live(refresh_steps, 2.0)


def details_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Details of a rollout."""
    bound = {name: values for name, values in row["constraint"].items() if values}
    only = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in bound.items())
    return {
        "Version": row["version"],
        "Previous version": row["previous_version"] or "the bundled model of each node",
        "Waves": shares(row["waves"]),
        "Soak": f"{row['soak_s']:g} s of good health before a node counts as confirmed",
        "Nodes": only or "all nodes of the app",
        "Deployment": f"serial {row['serial']}",
    }


def step_row(step: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A row of the adoption log."""
    bad = step["step"] in ("refused", "reverted") or not step["ok"]
    return {
        "id": f"{step['node']} {step['time_ns']} {step['step']} {number}",
        "at": step["time_ns"],
        "node": step["node"],
        "node_href": f"/ui/nodes/{quote(step['node'], safe='')}",
        "step": step["step"],
        "step_tone": "bad" if bad else formatting.STEP_TONES.get(step["step"], ""),
        "version": step["version"],
        "before": step["from_version"] or formatting.NONE,
        "reason": step["reason"],
    }
