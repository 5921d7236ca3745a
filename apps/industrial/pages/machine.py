"""A machine's page: its remaining life over a run, why its alarm stands, its sensors and its work orders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from nicegui import ui

from apps.industrial.domain import UNITS
from apps.industrial.pages import charts
from apps.industrial.pages.sensor_charts import RunSensors
from apps.industrial.pages.work_order_form import ORDERS, OrderForm, told_end, verdict
from common.pages import ApiError, Badge, Chart, Column, Table, Text, Tile, View, action, card, empty
from common.time_notes import time_note

POINTS_LIMIT = 500
RUNS = 20
ORDERS_SHOWN = 10
REFRESH_S = 2.0
ORDERS_REFRESH_S = 10.0
CURRENT = -1
"""The choice of a run that goes on with the machine."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
ORDER_COLUMNS = (
    Column("run", "Run", kind="link"),
    Column("end", "What was found"),
    Column("fault", "Note"),
    Column("error", "Edge off by", kind="number", hint="RMSE of the predictions over the run, in cycles"),
    Column("bias", "On average", kind="number", hint="Above 0: the edge was too hopeful"),
    Column("versions", "Models", kind="code"),
    Column("created", "Closed", kind="ago"),
)
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
        self._order_pages: list[int | None] = [None]
        self._older_orders: int | None = None

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
                self._sensors = Table("Sensors behind the alarm", SENSOR_COLUMNS, nothing="No alarm.")
            with card("Close a work order", "What turned out to be true is what models learn from."):
                self._form = OrderForm(self._view, self._refresh_all)
        with card("Sensors of this run", wide=True):
            self._values = RunSensors(self._view, self._machine)
        self._draw_orders()
        await self._view.live(self._refresh, REFRESH_S)
        await self._view.live(self._refresh_orders, ORDERS_REFRESH_S)

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

    def _draw_orders(self) -> None:
        with card("Work orders", "Closed runs beside what the edge had said while they lasted.", wide=True):
            self._orders = Table(
                "Work orders",
                ORDER_COLUMNS,
                nothing="No work order of this machine is closed.",
                what_to_do="Close one above, or send it: POST /v1/apps/industrial/work-orders.",
            )
            with ui.element("div").classes("row-of"):
                self._newer = action("Newer", self._newer_orders)
                self._older = action("Older", self._more_orders)

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
        page = await self._view.api.get(ORDERS, machine=self._machine, run=run, limit=1)
        return next(iter(page["items"]), None)

    # ---------------------------------------------------------------------------------- bringing up

    async def _choose(self, event: Any) -> None:
        self._chosen = event.value
        with suppress(ApiError):
            await self._refresh()

    async def _refresh_all(self) -> None:
        with suppress(ApiError):
            await self._refresh()
            await self._refresh_orders()

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
            filter(None, (span_of(about, self._points), verdict(closed) if closed is not None else ""))
        )
        self._chart.show(charts.curve(self._points, state["horizon_cycles"], alarms, closed))
        self._why.text = why(alarms)
        self._sensors.set_visibility(bool(alarms))
        self._sensors.show(sensor_rows(alarms[0]["sensors"]) if alarms else [])
        if self._points:
            self._form.show(self._machine, run, self._points[-1]["cycle"], closed)
        await self._values.show(run, run == state["run"])

    async def _refresh_orders(self) -> None:
        page = await self._view.api.get(
            ORDERS, machine=self._machine, limit=ORDERS_SHOWN, cursor=self._order_pages[-1]
        )
        self._older_orders = page["next"]
        self._orders.show([order_row(order) for order in page["items"]])
        self._newer.set_visibility(len(self._order_pages) > 1)
        self._older.set_visibility(self._older_orders is not None)

    async def _more_orders(self) -> None:
        if self._older_orders is not None:
            self._order_pages.append(self._older_orders)
        with suppress(ApiError):
            await self._refresh_orders()

    async def _newer_orders(self) -> None:
        if len(self._order_pages) > 1:
            self._order_pages.pop()
        with suppress(ApiError):
            await self._refresh_orders()

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


WITHHELD = {
    "regime": "another operating regime",
    "novel": "unlike what the model knows",
    "history": "too little history",
    "sensors": "sensors without usable values",
}
"""Why a remaining life is not known, by the word in the data."""


def life_of(machine: Mapping[str, Any]) -> str:
    """The remaining life of a machine with its interval, or why it is not known."""
    if machine["rul_cycles"] is None:
        why = WITHHELD.get(machine["withheld"], "")
        return f"not known: {why}" if why else "not known"
    return f"{machine['rul_cycles']:.0f} ({machine['lower_cycles']:.0f}–{machine['upper_cycles']:.0f})"


def doubts_of(state: Mapping[str, Any]) -> list[str]:
    """Why no remaining life is given, and what is wrong with sensors, in sentences."""
    texts = [f"No remaining life is given: {state['reason']}."] if state["rul_cycles"] is None else []
    if texts and state["due"]:
        texts.append("The maintenance alarm stands: what is not known does not clear it.")
    texts += [f"Sensor fault: {text}. Its values are not used." for text in state["sensor_faults"].values()]
    return texts


def horizon_of(state: Mapping[str, Any]) -> str:
    """The horizon of a machine, and whether its node has told it."""
    said = f"horizon {state['horizon_cycles']:g} cycles"
    return f"{said}, the default until its first alarm" if state["horizon_is_default"] else said


def machine_href(machine: str) -> str:
    """Where a machine's page is."""
    return f"/ui/apps/industrial/machines/{quote(machine, safe='')}"


def why(alarms: Sequence[Mapping[str, Any]]) -> str:
    """What a run's newest alarm says, in words."""
    if not alarms:
        return "In this run no maintenance alarm was raised."
    alarm = alarms[0]
    text = (
        f"Raised at cycle {alarm['cycle']} by model {alarm['version']}: the lower bound stayed under the "
        f"horizon of {alarm['horizon_cycles']:g} cycles."
    )
    if alarm["cleared_cycle"] is None:
        text += " It stands."
    else:
        text += f" It ended at cycle {alarm['cleared_cycle']} ({alarm['reason'] or 'cleared'})."
    if len(alarms) > 1:
        text += f" It is the newest of {len(alarms)} in this run."
    return text


def sensor_rows(sensors: Mapping[str, float]) -> list[dict[str, Any]]:
    """The sensors behind an alarm, each against the strongest."""
    most = max((abs(cycles) for cycles in sensors.values()), default=0.0) or 1.0
    return [
        {
            "id": name,
            "sensor": charts.titled(name) if name in UNITS else name,
            "share": abs(cycles) / most,
            "share_text": f"{cycles:.1f}",
        }
        for name, cycles in sensors.items()
    ]


def order_row(order: Mapping[str, Any]) -> dict[str, Any]:
    """A closed work order as a row of the table."""
    watched = order["points"] > 0
    return {
        "id": f"{order['run']}/{order['created_ns']}",
        "run": f"Run {order['run']}",
        "run_href": f"{machine_href(order['machine'])}?run={order['run']}",
        "end": told_end(order).capitalize(),
        "fault": order["note"].strip().partition("\n")[0],
        "error": f"{order['rmse_cycles']:.1f} cycles"
        if watched
        else "not known"
        if order["withheld"]
        else "not watched",
        "bias": f"{order['bias_cycles']:+.1f}" if watched else "",
        "versions": ", ".join(order["versions"]),
        "created": order["created_ns"],
    }


def span_of(run: Mapping[str, Any] | None, points: Sequence[Mapping[str, Any]]) -> str:
    """Which cycles of a run are seen and shown."""
    if run is None or not points:
        return ""
    text = f"Cycles {run['first_cycle']} to {run['last_cycle']}"
    if points[0]["cycle"] > run["first_cycle"]:
        text += f", of which the last {len(points)} are shown"
    return text + "."


def last_cycle_of(state: Mapping[str, Any]) -> str:
    """The last cycle, how long ago it was, and what speaks against that time."""
    note = time_note(state["time_quality"])
    return f"cycle {state['cycle']}, {ago(state['time_ns'])}" + (f" ({note})" if note else "")


def ago(time_ns: int) -> str:
    """Time that has passed, as the tables show it."""
    seconds = max(0, round((time.time_ns() - time_ns) / 1e9))
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "now"
