"""The industrial app's charts as ECharts options, from what the API gives. Names from nodes stay data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from apps.industrial.features import RUL_CAP_CYCLES, SCALE, UNITS, USED_CHANNELS
from common.pages.blocks import CHART_COLOURS

CHART_MACHINES = 20
"""Machines on the chart of intervals."""
TELLING = 3
"""Channels on a label form's chart."""
_LIFE, _AMBER, _INDIGO, _RED = CHART_COLOURS[:4]
_GREY = "#7b8794"
_TEXT_TOOLTIP = {"renderMode": "richText", "confine": True}
_TAIL_CYCLES = 200
"""Cycles that a curve shows beyond the last one, up to the end that a work order tells."""
_NAME_LIMIT = 24

Json = Mapping[str, Any]


def intervals(machines: Sequence[Json]) -> dict[str, Any]:
    """The first machines by horizon: the interval as a bar, the prediction in it, the horizon as a stroke."""
    shown = machines[:CHART_MACHINES]
    bars = {"type": "bar", "stack": "interval", "silent": True, "barMaxWidth": 10, "tooltip": {"show": False}}
    spots = {"type": "scatter", "encode": {"x": 0, "y": 1, "tooltip": [0, 2, 3]}}
    widths = [
        {
            "value": round(m["upper_cycles"] - m["lower_cycles"], 1),
            "itemStyle": {"color": _RED if _is_under(m) else _LIFE, "opacity": 0.45, "borderRadius": 4},
        }
        for m in shown
    ]
    return {
        "grid": {"left": 8, "right": 24, "top": 32, "bottom": 24, "containLabel": True},
        "legend": _legend("Remaining life, 90 % interval", "Horizon"),
        "tooltip": {"trigger": "item", **_TEXT_TOOLTIP},
        "xAxis": {
            "type": "value",
            "name": "cycles left",
            "nameLocation": "middle",
            "nameGap": 28,
            "min": 0,
            "max": _ceiling(shown),
        },
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [m["machine"] for m in shown],
            "axisLabel": {"color": _GREY, "width": 120, "overflow": "truncate"},
            "axisTick": {"show": False},
        },
        "series": [
            {**bars, "itemStyle": {"color": "transparent"}, "data": [m["lower_cycles"] for m in shown]},
            {**bars, "data": widths},
            {
                **spots,
                "name": "Horizon",
                "symbol": "rect",
                "symbolSize": [2, 16],
                "itemStyle": {"color": _AMBER},
                "silent": True,
                "tooltip": {"show": False},
                "data": [[m["horizon_cycles"], place] for place, m in enumerate(shown)],
            },
            {
                **spots,
                "name": "Remaining life, 90 % interval",
                "symbolSize": 9,
                "itemStyle": {"color": _LIFE},
                "dimensions": ["remaining cycles", "machine", "lower bound", "upper bound"],
                "data": [
                    [m["rul_cycles"], place, m["lower_cycles"], m["upper_cycles"]]
                    for place, m in enumerate(shown)
                ],
            },
        ],
    }  # fmt: skip


def curve(
    points: Sequence[Json], horizon: float, alarms: Sequence[Json] = (), outcome: Json | None = None
) -> dict[str, Any]:
    """A run's remaining life with its interval, the horizon, its alarms, changes of model, and what was true.

    ``points``, ``alarms`` and ``outcome`` are as ``runs/{run}``, ``runs`` and ``work-orders`` give them.
    """
    if not points:
        return {"series": []}
    end = None if outcome is None else int(outcome["end_cycle"])
    cycles, step = _axis([int(point["cycle"]) for point in points], end)
    of_cycle = {point["cycle"]: point for point in points}
    rows = [of_cycle.get(cycle) for cycle in cycles]

    def values(key: str) -> list[float | None]:
        return [None if row is None else round(row[key], 1) for row in rows]

    line = {"type": "line", "showSymbol": False, "connectNulls": True}
    band = {**line, "stack": "band", "silent": True, "lineStyle": {"opacity": 0}, "tooltip": {"show": False}}
    width = [None if row is None else round(row["upper_cycles"] - row["lower_cycles"], 1) for row in rows]
    bound = {**line, "lineStyle": {"width": 1, "opacity": 0.45}, "color": _LIFE}
    marks = [{"yAxis": horizon, "name": f"horizon {horizon:g}", "lineStyle": {"color": _AMBER}}]
    marks += [_upright(alarm["cycle"], "alarm", _RED) for alarm in alarms if alarm["cycle"] in of_cycle]
    marks += [
        _upright(cycle, f"model {version[:_NAME_LIMIT]}", _INDIGO) for cycle, version in changes(points)
    ]
    series = [
        {**band, "data": values("lower_cycles")},
        {**band, "areaStyle": {"color": _LIFE, "opacity": 0.16}, "data": width},
        {**bound, "name": "Upper bound", "data": values("upper_cycles")},
        {
            **line,
            "name": "Remaining life",
            "color": _LIFE,
            "lineStyle": {"width": 2.5},
            "data": values("rul_cycles"),
            "markLine": {
                "silent": True,
                "symbol": "none",
                "label": {"formatter": "{b}", "color": _GREY, "position": "insideEndTop"},
                "data": marks,
            },
        },
        {**bound, "name": "Lower bound", "data": values("lower_cycles")},
    ]
    if end is not None:
        true = [min(RUL_CAP_CYCLES, end - cycle) if cycle <= end else None for cycle in cycles]
        series.append(
            {
                **line,
                "name": "What was true",
                "color": _AMBER,
                "lineStyle": {"type": "dashed", "width": 2},
                "data": true,
            }
        )
    return {
        "grid": {"left": 28, "right": 24, "top": 44, "bottom": 26, "containLabel": True},
        "legend": _legend(
            "Remaining life", "Lower bound", "Upper bound", *(["What was true"] if end else [])
        ),
        "tooltip": {"trigger": "axis", **_TEXT_TOOLTIP},
        "xAxis": {
            "type": "category",
            "name": "cycle of the run",
            "nameLocation": "middle",
            "nameGap": 28,
            "boundaryGap": False,
            "data": [str(cycle) for cycle in cycles],
            "axisTick": {"show": False},
            "axisLabel": {"color": _GREY, "hideOverlap": True} | ({"interval": step - 1} if step else {}),
        },
        "yAxis": {
            "type": "value",
            "name": "cycles left",
            "nameLocation": "middle",
            "nameGap": 34,
            "min": 0,
        },
        "series": series,
    }


def changes(points: Sequence[Json]) -> list[tuple[int, str]]:
    """Where another model version began to speak: ``(cycle, version)``."""
    return [
        (int(point["cycle"]), str(point["version"]))
        for before, point in pairwise(points)
        if point["version"] != before["version"]
    ]


def sensor(cycles: Sequence[int], values: Sequence[float | None]) -> dict[str, Any]:
    """One sensor over a run, small."""
    return {
        "grid": {"left": 4, "right": 12, "top": 8, "bottom": 4, "containLabel": True},
        "legend": {"show": False},
        "tooltip": {"trigger": "axis", **_TEXT_TOOLTIP},
        "xAxis": {
            "type": "value",
            "min": cycles[0],
            "max": cycles[-1],
            "splitLine": {"show": False},
            "splitNumber": 3,
        },
        "yAxis": {"type": "value", "scale": True, "splitNumber": 2},
        "series": [_dots("", cycles, values)],
    }


def telling(values: Sequence[Sequence[float | None]], channels: Sequence[str]) -> list[tuple[str, float]]:
    """The channels that moved most from the start to the end of a run, and by how much of their noise."""
    table = _table(values, channels)
    edge = max(1, min(20, len(table) // 4))
    moved = (np.nanmean(table[-edge:], axis=0) - np.nanmean(table[:edge], axis=0)) / SCALE
    order = np.argsort(-np.abs(moved))[:TELLING]
    return [(USED_CHANNELS[place], float(moved[place])) for place in order]


def telling_chart(
    cycles: Sequence[int], values: Sequence[Sequence[float | None]], channels: Sequence[str]
) -> dict[str, Any]:
    """The most telling channels over a run, each as its move from the start in units of its noise."""
    table = _table(values, channels)
    edge = max(1, min(20, len(table) // 4))
    moves = (table - np.nanmean(table[:edge], axis=0)) / SCALE
    names = [name for name, _ in telling(values, channels)]
    series = [
        _dots(name, cycles, [round(v, 2) for v in moves[:, USED_CHANNELS.index(name)].tolist()])
        for name in names
    ]
    for place, each in enumerate(series):
        each["color"] = CHART_COLOURS[place]
    return {
        "grid": {"left": 28, "right": 16, "top": 36, "bottom": 26, "containLabel": True},
        "legend": _legend(*names),
        "tooltip": {"trigger": "axis", **_TEXT_TOOLTIP},
        "xAxis": {
            "type": "value",
            "name": "cycle of the run",
            "nameLocation": "middle",
            "nameGap": 26,
            "min": cycles[0],
            "max": cycles[-1],
        },
        "yAxis": {
            "type": "value",
            "name": "move, in noise",
            "nameLocation": "middle",
            "nameGap": 30,
        },
        "series": series,
    }


def titled(channel: str) -> str:
    """A channel with its unit."""
    unit = UNITS.get(channel, "")
    return f"{channel} ({unit})" if unit else channel


def _dots(name: str, cycles: Sequence[int], values: Sequence[float | None]) -> dict[str, Any]:
    """Single values as small dots: noise is not joined to a line that means nothing."""
    return {
        "type": "scatter",
        "name": name,
        "symbolSize": 3,
        "color": _LIFE,
        "data": [[cycle, value] for cycle, value in zip(cycles, values, strict=True)],
    }


def _table(values: Sequence[Sequence[float | None]], channels: Sequence[str]) -> np.ndarray:
    """``(cycles, used channels)``; NaN where nothing was measured."""
    whole = np.array(values, np.float64)
    return whole[:, [list(channels).index(name) for name in USED_CHANNELS]]


def _axis(cycles: Sequence[int], end: int | None) -> tuple[list[int], int]:
    """The cycles that a curve's axis shows, and every how many it is labelled (0: as it fits)."""
    first, last = cycles[0], max(cycles[-1], min(end or 0, cycles[-1] + _TAIL_CYCLES))
    span = last - first + 1
    if span > 2 * len(cycles) + _TAIL_CYCLES:
        return [*cycles], 0
    step = next(size for size in (1, 5, 10, 25, 50, 100, 250) if span <= 10 * size or size == 250)
    return list(range(first - first % step, last + 1)), step


def _upright(cycle: int, name: str, colour: str) -> dict[str, Any]:
    return {"xAxis": str(cycle), "name": name, "lineStyle": {"color": colour}}


def _legend(*names: str) -> dict[str, Any]:
    return {"top": 0, "left": 0, "textStyle": {"color": _GREY}, "icon": "roundRect", "data": list(names)}


def _is_under(machine: Json) -> bool:
    return bool(machine["due"]) or machine["lower_cycles"] < machine["horizon_cycles"]


def _ceiling(machines: Sequence[Json]) -> float:
    most = max((max(m["upper_cycles"], m["horizon_cycles"]) for m in machines), default=0.0)
    return max(130.0, 10 * np.ceil(most / 10)) if most > 60 else max(60.0, most)
