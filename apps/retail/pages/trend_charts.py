"""Charts of trends as ECharts options: forecast with interval, sales, stores compared, queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apps.retail.pages.charts import hour_label, is_incomplete

Json = Mapping[str, Any]
PALE = 0.45


def outlook(days: Sequence[Json]) -> dict[str, Any]:
    """Visits by day, the expectation and its interval; unusual days are marked, incomplete ones pale."""
    band = {"type": "line", "stack": "interval", "symbol": "none", "lineStyle": {"opacity": 0}}
    width = [
        None if day["lower"] is None or day["upper"] is None else round(day["upper"] - day["lower"], 1)
        for day in days
    ]
    return {
        "legend": {"data": ["visits", "expected", "interval"], "top": 0, "left": 0},
        "xAxis": {"type": "category", "data": [day["day"][5:] for day in days]},
        "yAxis": {"type": "value", "minInterval": 1},
        "series": [
            {**band, "name": "lower", "data": [day["lower"] for day in days]},
            {**band, "name": "interval", "data": width, "areaStyle": {"opacity": 0.2}},
            {"type": "bar", "name": "visits", "data": [_visits(day) for day in days]},
            {
                "type": "line",
                "name": "expected",
                "symbol": "none",
                "data": [day["expected"] for day in days],
            },
        ],
    }


def _visits(day: Json) -> dict[str, Any]:
    style: dict[str, Any] = {"opacity": PALE if is_incomplete(day) else 1.0}
    if day["unusual"]:
        style["color"] = "#be123c"
    return {"value": day["visits"], "itemStyle": style}


def sales(hours: Sequence[Json]) -> dict[str, Any]:
    """Transactions by hour, and conversion in percent on an axis of its own."""
    if all(hour["transactions"] is None for hour in hours):
        return {"series": []}
    return {
        "xAxis": {"type": "category", "data": [hour_label(hour["local"], hours) for hour in hours]},
        "yAxis": [
            {"type": "value", "minInterval": 1},
            {"type": "value", "name": "%", "min": 0, "splitLine": {"show": False}},
        ],
        "series": [
            {"type": "bar", "name": "transactions", "data": [hour["transactions"] for hour in hours]},
            {
                "type": "line",
                "name": "conversion, %",
                "yAxisIndex": 1,
                "data": [
                    None if hour["conversion"] is None else round(100 * hour["conversion"], 1)
                    for hour in hours
                ],
            },
        ],
    }


def compared(stores: Sequence[Json], days: int) -> dict[str, Any]:
    """Visits by store over the last days and the days before."""
    return {
        "xAxis": {"type": "category", "data": [store["title"] for store in stores]},
        "yAxis": {"type": "value", "minInterval": 1},
        "series": [
            {
                "type": "bar",
                "name": f"{days} days before",
                "data": [store["visits_before"] for store in stores],
                "itemStyle": {"opacity": PALE},
            },
            {"type": "bar", "name": f"last {days} days", "data": [store["visits"] for store in stores]},
        ],
    }


def queues(quarters: Sequence[Json]) -> dict[str, Any]:
    """Queue length of one zone, and the mean wait in seconds on an axis of its own."""
    return {
        "xAxis": {"type": "category", "data": [quarter["local"][11:16] for quarter in quarters]},
        "yAxis": [
            {"type": "value", "minInterval": 1},
            {"type": "value", "name": "s", "min": 0, "splitLine": {"show": False}},
        ],
        # On a phone the legend has two lines.
        "grid": {"left": 8, "right": 16, "top": 64, "bottom": 8, "containLabel": True},
        "series": [
            {
                "type": "bar",
                "name": "longest queue, people",
                "data": [each["max_queue"] for each in quarters],
            },
            {
                "type": "line",
                "name": "mean queue, people",
                "symbol": "none",
                "data": [_rounded(each["mean_queue"]) for each in quarters],
            },
            {
                "type": "line",
                "name": "mean wait, s",
                "yAxisIndex": 1,
                "data": [_rounded(each["mean_wait_s"]) for each in quarters],
            },
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
