"""The form that closes a work order, on a machine's page and on the page *Learning*."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from apps.industrial.pages import charts
from apps.industrial.pages.closed_work_orders import WORK_ORDERS, error_text, finding_text
from common.pages import ApiError, Chart, Text, View, action
from common.pages.site import Refresh

_KINDS = {"failure": "Failure: it failed at this cycle", "inspection": "Inspection: it has cycles left"}


class WorkOrderForm:
    """Records the outcome of one run and shows the error of the predictions."""

    def __init__(self, view: View, stored: Refresh) -> None:
        self._view = view
        self._stored = stored
        self._run: tuple[str, int] | None = None
        self._suggested: int | None = None
        with ui.element("div").classes("stack"):
            self._about = Text("p", "").classes("hint")
            self._kind = ui.select(_KINDS, value="failure", label="What was found").props("outlined dense")
            self._cycle = ui.number("Cycle", min=1, precision=0).props("outlined dense")
            self._left = ui.number("Cycles left", min=0, precision=0).props("outlined dense")
            self._left.bind_visibility_from(self._kind, "value", lambda kind: kind == "inspection")
            self._note = ui.textarea("Note; its first line names the fault").props("outlined dense autogrow")
            with ui.element("div").classes("row-of"):
                action("Close work order", self._send, tone="main")
            self._error = Text("p", "").props("role=status")

    def show(self, machine: str, run: int, cycle: int, closed: Mapping[str, Any] | None) -> None:
        """Ask about this run, whose last cycle is ``cycle``; ``closed`` is its newest work order."""
        if self._run != (machine, run):
            self._run = (machine, run)
            self._error.text = ""
            self._note.value = ""
            self._left.value = None
            self._cycle.value = cycle
        elif self._cycle.value in (None, self._suggested):
            self._cycle.value = cycle
        self._suggested = cycle
        about = f"Run {run} of {machine}, seen up to cycle {cycle}."
        if closed is not None:
            about += f" Closed already: {finding_text(closed)}. A further order replaces it for learning."
        self._about.text = about

    async def _send(self) -> None:
        if self._run is None:
            return
        kind, cycle = self._kind.value, self._cycle.value
        left = self._left.value if kind == "inspection" else 0
        if cycle is None or left is None:
            self._error.text = f"Enter the {'cycle' if cycle is None else 'remaining cycles'}."
            return
        order = {
            "machine": self._run[0],
            "run": self._run[1],
            "kind": kind,
            "cycle": int(cycle),
            "remaining_cycles": int(left),
            "note": self._note.value or "",
        }
        outcomes: list[dict[str, Any]] = []

        async def post() -> None:
            outcomes.append(await self._view.api.post(WORK_ORDERS, order))

        if await self._view.act(post(), "Work order closed."):
            self._error.text = error_text(outcomes[0])
            await self._stored()


async def label_form(view: View, sample: dict[str, Any], stored: Refresh) -> None:
    """Label one sample, which is a run of a machine: its sensors, and its outcome."""
    machine, _, number = sample["group"].rpartition("/run-")
    if machine != sample["subject"] or not number.isdecimal():
        Text("p", f"{sample['group']} names no run of a machine, so no work order can be closed on it.")
        return
    Text("h3", f"{machine}, run {number}")
    last = 1
    try:
        content = await view.api.get(f"/v1/samples/{sample['id']}/content")
        closed = await view.api.get(WORK_ORDERS, machine=machine, run=number, limit=1)
    except ApiError as error:
        Text("p", f"This run cannot be shown: {error}").classes("hint")
        return
    run = charts.SensorRun.of(sample, content)
    if run is None:
        Text("p", "Its values are not those of a turbofan's sensors, so they are not drawn.").classes("hint")
    else:
        last = run.cycles[-1]
        moved = ", ".join(f"{name} {noise:+.0f}" for name, noise in run.largest_moves())
        about = f"Cycles {run.first_cycle} to {last}. Moved most, in units of their noise: {moved}."
        Text("p", about).classes("hint")
        Chart(
            f"Sensors with the largest moves of {machine}, run {number}",
            charts.largest_moves(run),
            height_px=200,
        )
    form = WorkOrderForm(view, stored)
    form.show(machine, int(number), last, next(iter(closed["items"]), None))
