"""The industrial app's charts as ECharts options, from what the API gives. Names from nodes stay data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import RUL_CAP_CYCLES, SCALE, UNITS, USED_CHANNELS
from common.pages.blocks import CHART_COLOURS

CHART_MACHINES = 20
"""Machines on the chart of intervals."""
SENSORS_SHOWN = 3
"""Sensors on a label form's chart."""
_LIFE, _AMBER, _INDIGO, _RED = CHART_COLOURS[:4]
_GREY = "#7b8794"
_TEXT_TOOLTIP = {"renderMode": "richText", "confine": True}
_TAIL_CYCLES = 200
"""Cycles that a curve shows beyond the last one, up to the end in a work order."""
_NAME_LIMIT = 24

Json = Mapping[str, Any]


def intervals(machines: Sequence[Json]) -> dict[str, Any]:
    """The first machines by horizon: the interval as a bar, the prediction in it, the horizon as a stroke.

    Machines of unknown remaining life are left out.
    """
    shown = [machine for machine in machines if machine["rul_cycles"] is not None][:CHART_MACHINES]
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
            "max": RUL_CAP_CYCLES,
            "interval": 25,
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
        return [None if row is None or row[key] is None else round(row[key], 1) for row in rows]

    unknown = [point["cycle"] for point in points if point["rul_cycles"] is None]
    line = {"type": "line", "showSymbol": False, "connectNulls": not unknown}
    band = {**line, "stack": "band", "silent": True, "lineStyle": {"opacity": 0}, "tooltip": {"show": False}}
    band["itemStyle"] = {"color": _LIFE, "opacity": 0.3}
    lower, upper = values("lower_cycles"), values("upper_cycles")
    width = [
        None if low is None or high is None else round(high - low, 1)
        for low, high in zip(lower, upper, strict=True)
    ]
    bound = {**line, "lineStyle": {"width": 1, "opacity": 0.45}, "color": _LIFE}
    marks: list[dict[str, Any]] = [
        {
            "yAxis": horizon,
            "name": f"horizon {horizon:g}",
            "lineStyle": {"color": _AMBER},
            "label": {"position": "insideStartTop"},
        }
    ]
    marks += [_upright(alarm["cycle"], "alarm", _RED) for alarm in alarms if alarm["cycle"] in of_cycle]
    marks += [
        _upright(cycle, f"model {version[:_NAME_LIMIT]}", _INDIGO) for cycle, version in changes(points)
    ]
    if outcome is not None and end in cycles:
        marks.append(_upright(end, "failure" if outcome["kind"] == "failure" else "end of life", _AMBER))
    series = [
        {**band, "data": lower},
        {
            **band,
            "name": "90 % interval",
            "areaStyle": {"color": _LIFE, "opacity": 0.16},
            "data": width,
        },
        {**bound, "name": "Upper bound", "data": upper},
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
            "markArea": {
                "silent": True,
                "itemStyle": {"color": _GREY, "opacity": 0.15},
                "label": {"color": _GREY, "position": "insideTop"},
                "data": [
                    [{"name": "not known", "xAxis": str(first)}, {"xAxis": str(last)}]
                    for first, last in spans(unknown)
                ],
            },
        },
        {**bound, "name": "Lower bound", "data": lower},
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
        "legend": _legend("Remaining life", "90 % interval", *(["What was true"] if end else [])),
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
            "max": RUL_CAP_CYCLES,
            "interval": 25,
        },
        "series": series,
    }


def spans(cycles: Sequence[int]) -> list[tuple[int, int]]:
    """Rising numbers as spans of neighbours, ``(first, last)``."""
    found: list[tuple[int, int]] = []
    for cycle in cycles:
        if found and found[-1][1] == cycle - 1:
            found[-1] = (found[-1][0], cycle)
        else:
            found.append((cycle, cycle))
    return found


def changes(points: Sequence[Json]) -> list[tuple[int, str]]:
    """Changes of the model version: ``(cycle, version)``."""
    return [
        (int(point["cycle"]), str(point["version"]))
        for before, point in pairwise(points)
        if point["version"] != before["version"]
    ]


@dataclass(frozen=True, slots=True)
class SensorRun:
    """The sensor values of a run, ``(cycles, used channels)``; NaN where nothing was measured."""

    first_cycle: int
    values: NDArray[np.float64]

    @classmethod
    def of(cls, sample: Json, content: Json) -> SensorRun | None:
        """From a sample and its content as the API gives them; None where they are not those of a run."""
        attributes = sample["attributes"]
        first, channels = attributes.get("first_cycle", 1), attributes.get("channels")
        if not isinstance(first, int) or not isinstance(channels, list):
            return None
        try:
            values = np.array(content["arrays"]["values"], np.float64)
            used = values[:, [channels.index(name) for name in USED_CHANNELS]]
        except (KeyError, ValueError, TypeError, IndexError):
            return None
        return cls(first, used) if len(used) else None

    @property
    def cycles(self) -> list[int]:
        return list(range(self.first_cycle, self.first_cycle + len(self.values)))

    def of_channel(self, channel: str) -> list[float | None]:
        """The values of a used channel as a chart takes them."""
        return _plain(self.values[:, USED_CHANNELS.index(channel)])

    def moves(self) -> NDArray[np.float64]:
        """Distance of each value from the start of the run, in units of its sensor's noise."""
        return (self.values - _mean(self.values[: self._edge])) / SCALE

    def largest_moves(self) -> list[tuple[str, float]]:
        """The channels that moved most from the start to the end, and by how much of their noise."""
        moved = np.nan_to_num(_mean(self.moves()[-self._edge :]))
        return [
            (USED_CHANNELS[place], float(moved[place]))
            for place in np.argsort(-np.abs(moved))[:SENSORS_SHOWN]
        ]

    @property
    def _edge(self) -> int:
        return max(1, min(20, len(self.values) // 4))


def sensor(run: SensorRun, channel: str) -> dict[str, Any]:
    """One sensor over a run, small."""
    values = run.of_channel(channel)
    upright: dict[str, Any] = {"type": "value", "scale": True, "splitNumber": 2}
    if len(levels := {value for value in values if value is not None}) == 1:
        level = levels.pop()
        upright |= {"min": level - 1.0, "max": level + 1.0, "interval": 1.0}
    return {
        "grid": {"left": 4, "right": 12, "top": 8, "bottom": 4, "containLabel": True},
        "legend": {"show": False},
        "tooltip": {"trigger": "axis", **_TEXT_TOOLTIP},
        "xAxis": {
            "type": "value",
            "min": run.cycles[0],
            "max": run.cycles[-1],
            "splitLine": {"show": False},
            "splitNumber": 3,
        },
        "yAxis": upright,
        "series": [_dots(channel, run.cycles, values, _LIFE)],
    }


def largest_moves(run: SensorRun) -> dict[str, Any]:
    """The channels with the largest moves over a run, as moves from the start in units of their noise."""
    names = [name for name, _ in run.largest_moves()]
    moves = run.moves().round(2)
    return {
        "grid": {"left": 28, "right": 16, "top": 36, "bottom": 26, "containLabel": True},
        "legend": _legend(*names),
        "tooltip": {"trigger": "axis", **_TEXT_TOOLTIP},
        "xAxis": {
            "type": "value",
            "name": "cycle of the run",
            "nameLocation": "middle",
            "nameGap": 26,
            "min": run.cycles[0],
            "max": run.cycles[-1],
        },
        "yAxis": {
            "type": "value",
            "name": "move, in noise",
            "nameLocation": "middle",
            "nameGap": 30,
        },
        "series": [
            _dots(name, run.cycles, _plain(moves[:, USED_CHANNELS.index(name)]), colour)
            for name, colour in zip(names, CHART_COLOURS, strict=False)
        ],
    }


def titled(channel: str) -> str:
    """A channel with its unit."""
    unit = UNITS.get(channel, "")
    return f"{channel} ({unit})" if unit else channel


def _dots(name: str, cycles: Sequence[int], values: Sequence[float | None], colour: str) -> dict[str, Any]:
    """Single values as small dots: noise is not joined to a line that means nothing."""
    return {
        "type": "scatter",
        "name": name,
        "symbolSize": 3,
        "color": colour,
        "data": [[cycle, value] for cycle, value in zip(cycles, values, strict=True)],
    }


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.round(4).tolist()]


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the cycles of what was measured; NaN where nothing was."""
    count = np.isfinite(values).sum(axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)


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
    look = {"textStyle": {"color": _GREY}, "icon": "roundRect", "itemWidth": 14, "itemGap": 12}
    return {"top": 0, "left": 0, **look, "data": list(names)}


def _is_under(machine: Json) -> bool:
    lower = machine["lower_cycles"]
    return bool(machine["due"]) or (lower is not None and lower < machine["horizon_cycles"])
