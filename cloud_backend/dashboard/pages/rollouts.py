"""The page *Rollouts*: what is on its way to the nodes, and what went before; and the page of one rollout."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui
from nicegui.element import Element

from cloud_backend.dashboard.layout.per_app import MoreButton, show_per_app
from cloud_backend.dashboard.pages.model import crumbs
from cloud_backend.dashboard.parts import formatting
from cloud_backend.dashboard.parts.dialogs import ask_rollout
from cloud_backend.dashboard.parts.lineage import version_path
from cloud_backend.dashboard.parts.waves import Changes, Waves, history_row, rollout_api, rollout_path, shares
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
    Column("began", "Begun", kind="ago"),
    Column("took", "Took", kind="number"),
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
        place = rollout_api(app, id)
        try:
            row = await view.api.get(place)
        except ApiError as error:
            if error.status not in (404, 422):
                raise
            empty(f"{app} has no rollout {id}.", "The page Rollouts lists them.", "search_off")
            return
        await _show_rollout(view, place, row)


class AppRollouts:
    """One app: the rollout that is on its way, and the history."""

    def __init__(self, view: View, app: str, title: str) -> None:
        self._view = view
        self._place = f"/v1/apps/{quote(app, safe='')}/rollouts"
        self._active = ""
        with card(title, wide=True):
            with ui.element("div").classes("row-of"):
                self._start = action(
                    "Start a rollout", lambda: ask_rollout(view, app), icon="rocket_launch", tone="main"
                )
                self._changes = Changes(view)
                self._link = Text("a", "")
            self._box: Element = ui.element("div").classes("stack")
            self._waves: Waves | None = None
            Text("h3", "History")
            self._table = Table(
                f"Rollouts of {title}",
                HISTORY_COLUMNS,
                nothing="Nothing was rolled out yet: every node runs the model that it came with.",
                what_to_do="Train a candidate on the page Learning; once approved, it starts here.",
            )
            self._older = MoreButton(self.refresh)

    async def refresh(self) -> None:
        """Bring the running rollout and the history up to date."""
        page = await self._view.api.get(self._place, limit=self._older.shown)
        rows = page["items"]
        self._table.show([history_row(row) for row in rows])
        self._older.show(page)
        active = next((row for row in rows if row["state"] in ACTIVE), None)
        self._start.set_visibility(active is None)
        await self._show_active(active or (rows[0] if rows else None))

    async def _show_active(self, row: Mapping[str, Any] | None) -> None:
        """Show this rollout's waves: the one on its way, or how the last one ended."""
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
        self._changes.show(row, newest=True)
        self._waves.show(row, progress, time.time_ns())


async def _show_rollout(view: View, place: str, row: Mapping[str, Any]) -> None:
    app = row["app"]
    crumbs(("Rollouts", "/ui/rollouts"), (app, "/ui/rollouts"))
    with view.head, ui.element("div").classes("row-of"):
        changes = Changes(view)
    with card("Waves", wide=True):
        waves = Waves(nodes=True)
        cut = Text("p", "").classes("hint")
    with card("What it is", wide=True):
        with ui.element("div").classes("row-of"):
            Text("a", f"Model {row['version']}").props["href"] = version_path(app, row["version"])
        details = Details({})
    with card("What nodes reported", f"The newest {STEPS} steps of adoption.", wide=True):
        steps = Table("Steps", STEP_COLUMNS, nothing="No node has reported yet.")

    async def refresh() -> None:
        now, progress, newest = await asyncio.gather(
            view.api.get(place),
            view.api.get(f"{place}/progress"),
            view.api.get(f"/v1/apps/{quote(app, safe='')}/rollouts", limit=1),
        )
        changes.show(now, newest=newest["items"][0]["id"] == now["id"])
        waves.show(now, progress, time.time_ns())
        details.show(details_of(now))
        listed, total = len(progress["nodes"]), progress["nodes_total"]
        cut.text = f"{listed} of {total} nodes are listed, trouble first; all are counted."
        cut.set_visibility(listed < total)

    async def refresh_steps() -> None:
        found = (await view.api.get(f"{place}/adoptions", limit=STEPS))["items"]
        steps.show([step_row(step, n) for n, step in enumerate(sorted(found, key=lambda s: -s["time_ns"]))])

    await view.live(refresh)
    await view.live(refresh_steps, 2.0)


def details_of(row: Mapping[str, Any]) -> dict[str, str]:
    """What a rollout is, as names and values."""
    bound = {name: values for name, values in row["constraint"].items() if values}
    only = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in bound.items())
    return {
        "Version": row["version"],
        "Before": row["previous_version"] or "the model that each node came with",
        "Waves": shares(row["waves"]),
        "Soak": f"{row['soak_s']:g} s of good health before a node counts",
        "Only": only or "all nodes of the app",
        "Deployment": f"serial {row['serial']}",
    }


def step_row(step: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A row of the log of adoption."""
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
