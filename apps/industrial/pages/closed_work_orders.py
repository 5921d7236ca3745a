"""Closed work orders of a machine, each beside what the edge predicted, and their text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.industrial.pages.machine_text import machine_href
from common.pages import Column, Pager, Table, View, card

WORK_ORDERS = "/v1/apps/industrial/work-orders"
ORDERS_SHOWN = 10
REFRESH_S = 10.0
COLUMNS = (
    Column("run", "Run", kind="link"),
    Column("end", "What was found"),
    Column("fault", "Note"),
    Column("error", "Edge off by", kind="number", hint="RMSE of the predictions over the run, in cycles"),
    Column("bias", "On average", kind="number", hint="Above 0: the edge was too hopeful"),
    Column("versions", "Models", kind="code"),
    Column("created", "Closed", kind="ago"),
)


class ClosedWorkOrders:
    """The card with the closed work orders of ``machine``, newest first."""

    def __init__(self, view: View, machine: str) -> None:
        self._view = view
        self._machine = machine
        with card("Work orders", "Closed runs beside what the edge predicted during them.", wide=True):
            self._table = Table(
                "Work orders",
                COLUMNS,
                empty_text="No work order of this machine is closed.",
                empty_hint="Close one above, or send it: POST /v1/apps/industrial/work-orders.",
            )
            self._pager = Pager(self.refresh)

    async def refresh(self) -> None:
        """Read the current page again. Raises `ApiError`."""
        page = await self._view.api.get(
            WORK_ORDERS, machine=self._machine, limit=ORDERS_SHOWN, cursor=self._pager.cursor
        )
        self._pager.show(page)
        self._table.show([order_row(order) for order in page["items"]])


def order_row(order: Mapping[str, Any]) -> dict[str, Any]:
    """A closed work order as a row of the table."""
    watched = order["points"] > 0
    return {
        "id": f"{order['run']}/{order['created_ns']}",
        "run": f"Run {order['run']}",
        "run_href": f"{machine_href(order['machine'])}?run={order['run']}",
        "end": finding_text(order).capitalize(),
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


def finding_text(outcome: Mapping[str, Any]) -> str:
    """The finding of a work order."""
    if outcome["kind"] == "failure":
        return f"failure at cycle {outcome['cycle']}"
    return f"inspection at cycle {outcome['cycle']}, {outcome['remaining_cycles']} cycles left"


def error_text(outcome: Mapping[str, Any]) -> str:
    """Prediction error of the edge on a closed run."""
    withheld = outcome["withheld"]
    if not outcome["points"] and withheld:
        return f"In none of {withheld} cycles was the remaining life known."
    if not outcome["points"]:
        return "No node had watched this run, so there is no prediction to compare with."
    bias = outcome["bias_cycles"]
    if abs(bias) < 0.5:
        leaning = "on average neither too high nor too low"
    else:
        leaning = f"on average {abs(bias):.1f} too {'high' if bias > 0 else 'low'}"
    return (
        f"Over {outcome['points']} cycles the edge was off by {outcome['rmse_cycles']:.1f} cycles (RMSE), "
        f"{leaning}." + (f" In {withheld} cycles it was not known." if withheld else "")
    )
