"""The ECG app's charts as ECharts options, from its API's responses. Times are in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from apps.ecg.cloud import formatting
from common.pages.blocks import CHART_COLOURS

Json = Mapping[str, Any]
_TEAL, _AMBER, _INDIGO, _RED, _BLUE, _GREEN, _PURPLE = CHART_COLOURS
_GREY = "#7b8794"
BANDS = {"AF": _INDIGO, "VT": _RED, "tachycardia": _AMBER, "bradycardia": _BLUE, "pause": _PURPLE}
BAD_SHARE = 0.5
"""Buckets with a smaller share of good signal are drawn as withheld."""
SHORTEST_BAND = 1 / 400
"""Minimum width of a band as a share of the axis, so that short episodes are visible."""
_HOUR_NS = 3600 * 10**9
_TEXT_TOOLTIP = {"renderMode": "richText", "confine": True}
_PRIORITIES = {"high": (_RED, "triangle"), "medium": (_AMBER, "diamond"), "low": (_BLUE, "circle")}


def trend(points: Sequence[Json], bucket_s: int, episodes: Sequence[Json], alarms: Sequence[Json]) -> Any:
    """Heart rate over a day with its range, episodes of rhythm behind it, and alarms above it.

    ``points`` and ``bucket_s`` are those of a trend, ``episodes`` and ``alarms`` those of a day.
    """
    if not points:
        return {"series": []}
    first_ms, last_ms = _ms(points[0]["at_ns"]), _ms(points[-1]["at_ns"]) + 1000.0 * bucket_s
    rows = _with_gaps(points, bucket_s)

    def values(value: Any) -> list[list[float | None]]:
        return [[at_ms, None if point is None else value(point)] for at_ms, point in rows]

    line = {"type": "line", "showSymbol": False, "connectNulls": False}
    band = {**line, "stack": "range", "silent": True, "lineStyle": {"opacity": 0}, "tooltip": {"show": False}}
    bands = _bands(episodes, first_ms, last_ms) + _withheld(points, bucket_s)
    series: list[dict[str, Any]] = [
        {**band, "data": values(lambda p: p["min_bpm"])},
        {
            **band,
            "name": "Range",
            "color": _TEAL,
            "areaStyle": {"color": _TEAL, "opacity": 0.18},
            "data": values(lambda p: _difference(p["max_bpm"], p["min_bpm"])),
        },
        {
            **line,
            "name": "Heart rate",
            "color": _TEAL,
            "lineStyle": {"width": 2},
            "data": values(lambda p: _rounded(p["heart_rate_bpm"])),
            "markArea": {"silent": True, "label": {"color": _GREY, "fontSize": 11}, "data": bands},
        },
    ]
    top = max((p["max_bpm"] for p in points if p["max_bpm"] is not None), default=100.0)
    top = 20.0 * (int(max(top, 100.0) / 20) + 2)
    series += _alarm_marks(alarms, first_ms, last_ms, top - 6.0)
    return {
        "useUTC": True,
        "grid": {"left": 28, "right": 20, "top": 40, "bottom": 26, "containLabel": True},
        "legend": _legend("Heart rate", "Range", *(each["name"] for each in series[3:])),
        "tooltip": {"trigger": "axis", **_TEXT_TOOLTIP},
        "xAxis": _time_axis(first_ms, last_ms),
        "yAxis": {
            "type": "value",
            "name": "beats a minute",
            "nameLocation": "middle",
            "nameGap": 34,
            "min": 20,
            "max": top,
            "interval": 20 if top <= 200 else 40,
        },
        "series": series,
    }


def fibrillation(hours: Sequence[Json]) -> Any:
    """Atrial fibrillation by the hour, in percent of the good signal."""
    return _by_hour(hours, {"AF burden": ("af_burden_percent", _INDIGO)})


def ectopy(hours: Sequence[Json]) -> Any:
    """Ectopic beats by the hour, in percent of all beats."""
    shown = {"V beats": ("v_percent", _RED), "S beats": ("s_percent", _BLUE)}
    return _by_hour(hours, shown)


def variability(windows: Sequence[Json]) -> Any:
    """SDNN and RMSSD of each 5 minutes."""
    if not windows:
        return {"series": []}
    first_ms = _ms(windows[0]["began_ns"])
    last_ms = _ms(windows[-1]["began_ns"]) + 1000.0 * windows[-1]["seconds"]
    series = [
        {
            "type": "line",
            "name": name,
            "color": colour,
            "symbolSize": 6,
            "showSymbol": len(windows) < 60,
            "data": [[_ms(each["began_ns"]), _rounded(each[key], 1)] for each in windows],
        }
        for name, key, colour in (("SDNN", "sdnn_ms", _TEAL), ("RMSSD", "rmssd_ms", _AMBER))
    ]
    return {
        "useUTC": True,
        "grid": {"left": 28, "right": 20, "top": 40, "bottom": 26, "containLabel": True},
        "legend": _legend("SDNN", "RMSSD"),
        "tooltip": {"trigger": "axis", **_TEXT_TOOLTIP},
        "xAxis": _time_axis(first_ms, last_ms),
        "yAxis": {
            "type": "value",
            "name": "ms",
            "nameLocation": "middle",
            "nameGap": 34,
            "min": 0,
            "splitNumber": 3,
        },
        "series": series,
    }


def _by_hour(hours: Sequence[Json], shown: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Bars by hour, with gaps for hours without data."""
    bar = {"type": "bar", "stack": "all", "barMaxWidth": 22}
    known = {hour["began_ns"]: hour for hour in hours}
    shown_ns = range(min(known), max(known) + 1, _HOUR_NS) if known else ()

    def values(key: str) -> list[float | None]:
        return [_rounded(known[at_ns][key], 2) if at_ns in known else None for at_ns in shown_ns]

    return {
        "grid": {"left": 28, "right": 12, "top": 40, "bottom": 26, "containLabel": True},
        "legend": _legend(*shown),
        "tooltip": {"trigger": "axis", **_TEXT_TOOLTIP},
        "xAxis": {
            "type": "category",
            "name": "hour (UTC)",
            "nameLocation": "middle",
            "nameGap": 26,
            "data": [formatting.clock(at_ns)[:5] for at_ns in shown_ns],
            "axisTick": {"show": False},
        },
        "yAxis": {"type": "value", "name": "%", "nameLocation": "middle", "nameGap": 34, "min": 0}
        | {"splitNumber": 3},
        "series": [
            {**bar, "name": name, "color": colour, "data": values(key)}
            for name, (key, colour) in shown.items()
        ],
    }


def _with_gaps(points: Sequence[Json], bucket_s: int) -> list[tuple[float, Json | None]]:
    """Points by time, with None at missing buckets, so that no line crosses a gap."""
    rows: list[tuple[float, Json | None]] = [(_ms(points[0]["at_ns"]), points[0])]
    for before, point in pairwise(points):
        if point["at_ns"] - before["at_ns"] > 1.5e9 * bucket_s:
            rows.append((_ms(before["at_ns"]) + 1000.0 * bucket_s, None))
        rows.append((_ms(point["at_ns"]), point))
    return rows


def _bands(episodes: Sequence[Json], first_ms: float, last_ms: float) -> list[Any]:
    shown = []
    for episode in episodes:
        began_ms = max(first_ms, _ms(episode["began_ns"]))
        ended_ms = last_ms if episode["ended_ns"] is None else min(last_ms, _ms(episode["ended_ns"]))
        if began_ms >= last_ms or ended_ms <= first_ms:
            continue
        wide = ended_ms - began_ms > (last_ms - first_ms) / 25
        ended_ms = max(ended_ms, began_ms + (last_ms - first_ms) * SHORTEST_BAND)
        label = episode["label"]
        look = {"color": BANDS.get(label, _GREY), "opacity": 0.16}
        begin: dict[str, Any] = {"xAxis": began_ms, "name": label if wide else "", "itemStyle": look}
        shown.append([begin, {"xAxis": ended_ms}])
    return shown


def _withheld(points: Sequence[Json], bucket_s: int) -> list[Any]:
    """Bands of bad signal, without findings."""
    shown: list[Any] = []
    last_ns = 0
    for point in points:
        if point["good_share"] >= BAD_SHARE:
            continue
        end = {"xAxis": _ms(point["at_ns"]) + 1000.0 * bucket_s}
        if shown and point["at_ns"] - last_ns <= 1.5e9 * bucket_s:
            shown[-1][1] = end
        else:
            look = {"color": _GREY, "opacity": 0.3}
            shown.append([{"xAxis": _ms(point["at_ns"]), "name": "withheld", "itemStyle": look}, end])
        last_ns = point["at_ns"]
    return shown


def _alarm_marks(
    alarms: Sequence[Json], first_ms: float, last_ms: float, height: float
) -> list[dict[str, Any]]:
    marks = []
    for priority, (colour, symbol) in _PRIORITIES.items():
        raised = [
            {"value": [_ms(alarm["raised_ns"]), height], "name": formatting.alarm(alarm["alarm"])}
            for alarm in alarms
            if alarm["priority"] == priority and first_ms <= _ms(alarm["raised_ns"]) <= last_ms
        ]
        if raised:
            marks.append(
                {
                    "type": "scatter",
                    "name": f"Alarm, {priority}",
                    "color": colour,
                    "symbol": symbol,
                    "symbolSize": 10,
                    "tooltip": {"trigger": "item", "formatter": "{b}"},
                    "data": raised,
                }
            )
    return marks


def _time_axis(first_ms: float, last_ms: float) -> dict[str, Any]:
    return {
        "type": "time",
        "name": "time (UTC)",
        "nameLocation": "middle",
        "nameGap": 26,
        "min": first_ms,
        "max": max(last_ms, first_ms + 60_000.0),
        "splitLine": {"show": False},
    }


def _ms(time_ns: int) -> float:
    return time_ns / 1e6


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def _difference(upper: float | None, lower: float | None) -> float | None:
    return None if upper is None or lower is None else round(upper - lower, 1)


def _legend(*names: str) -> dict[str, Any]:
    look = {"textStyle": {"color": _GREY}, "itemWidth": 14, "itemGap": 12, "type": "scroll"}
    return {"top": 0, "left": 0, **look, "data": list(names)}
