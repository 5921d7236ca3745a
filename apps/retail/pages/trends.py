"""Parts of a store's page about more than one day: forecast, unusual days, sales."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from apps.retail.pages import trend_charts
from apps.retail.pages.sales_form import SalesForm
from common.pages import Chart, Column, Table, Text, View, card

REFRESH_S = 60.0
MODELS = {"seasonal_naive": "Same weekday of the newest known week", "prophet": "Prophet with holidays"}
BACKTEST_COLUMNS = (
    Column("model", "Model"),
    Column("wape", "Error (WAPE)", kind="number", hint="Sum of errors by sum of visits, 14 days ahead"),
    Column("coverage", "Days within the interval", kind="number"),
    Column("days", "Days judged", kind="number"),
)
FINDING_COLUMNS = (Column("finding", "Day"),)


class Trends:
    """Forecast, unusual days and sales of one store."""

    def __init__(self, view: View, path: str, parameters: Mapping[str, str]) -> None:
        self._view = view
        self._path = path
        self._parameters = parameters

    async def build(self) -> None:
        """Build the parts, and keep them up to date."""
        with card("Visits and forecast", "Local days; the band is the interval of the forecast.", wide=True):
            self._trend = Chart("Visits by day with forecast and interval", {"series": []}, height_px=300)
            self._made = Text("p", "").classes("hint")
        with card("Unusual days", "Outside of the interval, of the last four weeks.", wide=True):
            self._findings = Table("Unusual days", FINDING_COLUMNS, empty_text="No unusual day.")
            self._backtests = Table(
                "Back-test of the forecast", BACKTEST_COLUMNS, empty_text="No forecast has been made yet."
            )
        with card("Sales", "Conversion: transactions by visits, in the hours with sales.", wide=True):
            self._sales = Chart("Transactions and conversion by hour", {"series": []})
            self._total = Text("p", "").classes("hint")
            SalesForm(self._view, self._path, self._refresh)
        await self._view.live(self._refresh, REFRESH_S)

    async def _refresh(self) -> None:
        api = self._view.api
        outlook, hours, day = await asyncio.gather(
            api.get(f"{self._path}/forecast"),
            api.get(f"{self._path}/trade", by="hour", **self._parameters),
            api.get(f"{self._path}/trade", by="day", **self._parameters),
        )
        self._trend.show(trend_charts.outlook(outlook["days"]))
        self._made.text = made_text(outlook)
        unusual = [each for each in reversed(outlook["days"]) if each["unusual"]]
        self._findings.show([{"id": each["day"], "finding": each["finding"]} for each in unusual])
        self._backtests.show([backtest_row(each) for each in outlook["backtests"]])
        self._sales.element.set_visibility(day["items"][0]["transactions"] is not None)
        self._sales.show(trend_charts.sales(hours["items"]))
        self._total.text = sales_text(day["items"][0])


def made_text(outlook: Mapping[str, Any]) -> str:
    """Day and model of the forecast, and the reason for a missing one."""
    note = f" {outlook['note']}." if outlook["note"] else ""
    if not outlook["model"]:
        return f"No forecast.{note}" if note else "No forecast has been made yet."
    model = MODELS.get(outlook["model"], outlook["model"])
    return f"Made on {outlook['made_day']} by: {model}; interval {outlook['interval_percent']:.0f} %.{note}"


def backtest_row(score: Mapping[str, Any]) -> dict[str, Any]:
    """A model as a row of the table."""
    return {
        "id": score["model"],
        "model": MODELS.get(score["model"], score["model"]),
        "wape": _percent(score["wape_percent"]),
        "coverage": _percent(score["coverage_percent"]),
        "days": str(score["days"]),
    }


def sales_text(trade: Mapping[str, Any]) -> str:
    """The day's sales in a line."""
    if trade["transactions"] is None:
        text = "No sales are known of this day"
    else:
        share = trade["sales_share"]
        known = "" if share is None else f", known of {share:.0%} of the past opening hours"
        conversion = trade["conversion"]
        rate = "" if conversion is None else f", conversion {conversion:.1%}"
        if trade["group_conversion"] is not None:
            rate += f" ({trade['group_conversion']:.1%} by groups)"
        text = f"{trade['transactions']:,} transactions{known}{rate}"
    if trade["capture_rate"] is not None:
        text += f"; capture rate {trade['capture_rate']:.1%} of {trade['passers_by']:,} passers-by"
    return f"{text}."


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %"
