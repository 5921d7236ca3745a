"""A machine's page: its remaining life over a run, its alarm with the reason, its sensors and work orders."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.industrial.pages import charts
from apps.industrial.pages.closed_work_orders import REFRESH_S as CLOSED_REFRESH_S
from apps.industrial.pages.closed_work_orders import WORK_ORDERS, ClosedWorkOrders, error_text
from apps.industrial.pages.machine_text import (
    WITHHELD,
    doubts_of,
    horizon_of,
    last_cycle_of,
    sensor_rows,
    span_of,
    why,
)
from apps.industrial.pages.sensor_charts import RunSensors
from apps.industrial.pages.work_order_form import WorkOrderForm
from common.pages import ApiError, Badge, Chart, Column, Table, Text, Tile, View, action, card, empty

POINTS_LIMIT = 500
RUNS = 20
REFRESH_S = 2.0
CURRENT = -1
"""The choice that follows the machine from run to run."""
SENSOR_COLUMNS = (
    Column("sensor", "Sensor"),
    Column("share", "Cycles that it takes off", kind="bar"),
)


class MachinePage:
    """One visit of a machine's page; ``run`` is the one to show, its current one where it is None."""

    def __init__(self, view: View, machine: str, run: int | None = None) -> None:
        self._view = view
        self._machine = machine
        self._path = f"/v1/apps/industrial/machines/{quote(machine, safe='')}"
        self._runs: dict[int, dict[str, Any]] = {}
        self._older_runs: int | None = None
        self._chosen = CURRENT if run is None else run
        self._drawn_run: int | None = None
        self._points: list[dict[str, Any]] = []

    async def build(self) -> None:
        """Build the page, and keep it up to date."""
        self._view.name(self._machine)
        try:
            state, _ = await asyncio.gather(self._view.api.get(self._path), self._read_runs(None))
            if self._chosen not in (CURRENT, *self._runs):
                await self._read_run(self._chosen)
            if self._chosen not in self._runs:
                self._chosen = CURRENT
            node = await self._node(state["node"])
        except ApiError as error:
            known = "Machines that have reported are listed on the page Machines."
            empty(str(error), known if error.status == 404 else "Open the page again in a moment.")
            return
        self._draw_head(state, node)
        with ui.element("div").classes("tiles"):
            self._tiles = {
                name: Tile(name) for name in ("Remaining life", "Maintenance", "Novelty", "Run", "Model")
            }
        self._doubts = Notes()
        self._draw_curve()
        with ui.element("div").classes("grid"):
            with card("Why the alarm was raised"):
                self._why = Text("p", "").classes("hint")
                self._sensors = Table("Sensors behind the alarm", SENSOR_COLUMNS, empty_text="No alarm.")
            with card("Close a work order", "What turned out to be true is what models learn from."):
                self._form = WorkOrderForm(self._view, self._refresh_all)
        with card("Sensors of this run", wide=True):
            self._values = RunSensors(self._view, self._machine)
        self._closed_orders = ClosedWorkOrders(self._view, self._machine)
        await self._view.live(self._refresh, REFRESH_S)
        await self._view.live(self._closed_orders.refresh, CLOSED_REFRESH_S)

    # ------------------------------------------------------------------------------------- drawing

    def _draw_head(self, state: Mapping[str, Any], node: Mapping[str, Any]) -> None:
        with self._view.head:
            if node.get("virtual"):
                Badge("virtual", "info")
            with ui.element("nav").classes("crumbs").props('aria-label="Where this is"'):
                Text("a", "All machines").props("href=/ui/apps/industrial")
                Text("span", " · node ")
                Text("a", state["node"]).props["href"] = f"/ui/nodes/{quote(state['node'], safe='')}"
                Text("span", f" · site {state['site']}")

    def _draw_curve(self) -> None:
        with card("Remaining life over the run", "With its 90 % interval, capped at 125 cycles.", wide=True):
            with ui.element("div").classes("row-of"):
                self._choice = ui.select(
                    self._run_names(), value=self._chosen, label="Run", on_change=self._choose
                ).props("outlined dense")
                self._more_runs = action("Earlier runs", self._read_more_runs)
                self._more_runs.set_visibility(self._older_runs is not None)
                self._span = Text("p", "").classes("hint")
            self._chart = Chart(f"Remaining life of {self._machine}", {"series": []}, height_px=340)

    # ------------------------------------------------------------------------------------- reading

    async def _node(self, name: str) -> dict[str, Any]:
        try:
            return await self._view.api.get(f"/v1/nodes/{quote(name, safe='')}")
        except ApiError as error:
            if error.status != 404:
                raise
            return {}

    async def _read_runs(self, before: int | None) -> None:
        page = await self._view.api.get(f"{self._path}/runs", limit=RUNS, cursor=before)
        self._runs |= {run["run"]: run for run in page["items"]}
        self._older_runs = page["next"]

    async def _read_run(self, run: int | None) -> None:
        """Read about one run only, the newest where it is None."""
        before = None if run is None else run + 1
        page = await self._view.api.get(f"{self._path}/runs", limit=1, cursor=before)
        self._runs |= {run["run"]: run for run in page["items"]}

    async def _read_more_runs(self) -> None:
        with suppress(ApiError):  # the banner shows it at the next refresh
            await self._read_runs(self._older_runs)
            self._show_choice()

    async def _read_points(self, run: int) -> None:
        if run != self._drawn_run:
            self._drawn_run, self._points = run, []
        query = {"after_cycle": self._points[-1]["cycle"]} if self._points else {"newest": True}
        found = await self._view.api.get(f"{self._path}/runs/{run}", limit=POINTS_LIMIT, **query)
        if run != self._drawn_run:
            return  # another run was chosen meanwhile
        known = self._points[-1]["cycle"] if self._points else 0
        new = [point for point in found if point["cycle"] > known]
        self._points = [*self._points, *new][-POINTS_LIMIT:]

    async def _closed(self, run: int) -> dict[str, Any] | None:
        page = await self._view.api.get(WORK_ORDERS, machine=self._machine, run=run, limit=1)
        return next(iter(page["items"]), None)

    # ---------------------------------------------------------------------------------- bringing up

    async def _choose(self, event: Any) -> None:
        self._chosen = event.value
        with suppress(ApiError):
            await self._refresh()

    async def _refresh_all(self) -> None:
        with suppress(ApiError):
            await self._refresh()
            await self._closed_orders.refresh()

    async def _refresh(self) -> None:
        known = max(self._runs, default=CURRENT)
        state, _ = await asyncio.gather(self._view.api.get(self._path), self._read_run(None))
        if max(self._runs, default=CURRENT) != known:
            self._show_choice()
        run = state["run"] if self._chosen == CURRENT else self._chosen
        _, closed = await asyncio.gather(self._read_points(run), self._closed(run))
        if run != self._drawn_run:
            return  # another run was chosen meanwhile
        about = self._runs.get(run)
        alarms = about["alarms"] if about else []
        self._show_tiles(state)
        self._span.text = " ".join(
            filter(None, (span_of(about, self._points), error_text(closed) if closed is not None else ""))
        )
        self._chart.show(charts.curve(self._points, state["horizon_cycles"], alarms, closed))
        self._why.text = why(alarms)
        self._sensors.set_visibility(bool(alarms))
        self._sensors.show(sensor_rows(alarms[0]["sensors"]) if alarms else [])
        if self._points:
            self._form.show(self._machine, run, self._points[-1]["cycle"], closed)
        await self._values.show(run, run == state["run"])

    def _run_names(self) -> dict[int, str]:
        newest = max(self._runs, default=None)
        names = {CURRENT: "Current run" if newest is None else f"Current run ({newest})"}
        for run in sorted(self._runs, reverse=True):
            names[run] = f"Run {run}, {self._runs[run]['points']} cycles"
        return names

    def _show_choice(self) -> None:
        self._choice.set_options(self._run_names())
        self._more_runs.set_visibility(self._older_runs is not None)

    def _show_tiles(self, state: Mapping[str, Any]) -> None:
        lower, upper = state["lower_cycles"], state["upper_cycles"]
        tone = "bad" if state["due"] else ""
        if lower is None:
            self._tiles["Remaining life"].show(
                "not known", WITHHELD.get(state["withheld"], ""), tone or "warn"
            )
        else:
            self._tiles["Remaining life"].show(
                f"{state['rul_cycles']:.0f} cycles", f"{lower:.0f} to {upper:.0f} (90 %)", tone
            )
        self._doubts.show(doubts_of(state))
        self._tiles["Maintenance"].show("due" if state["due"] else "not due", horizon_of(state), tone)
        novel = state["novelty"] > 1
        self._tiles["Novelty"].show(
            f"{state['novelty']:.2f}",
            "unlike what the model knows" if novel else "like what the model knows",
            "warn" if novel else "",
        )
        self._tiles["Run"].show(str(state["run"]), last_cycle_of(state))
        self._tiles["Model"].show(state["version"])


class Notes:
    """Sentences below the tiles; nothing is seen where there is none."""

    def __init__(self) -> None:
        self._box = ui.element("div").classes("stack")
        self._shown: list[str] = []

    def show(self, texts: list[str]) -> None:
        """Show these sentences instead of those before."""
        if texts != self._shown:
            self._shown = texts
            self._box.clear()
            with self._box:
                for text in texts:
                    Text("p", text).classes("hint").props('role="status"')
