"""ECharts options of the charts of several pages, from the API's answers.

Tooltips are drawn as text (``richText``), never as HTML: names in them come from nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

TOOLTIP = {"trigger": "axis", "confine": True, "renderMode": "richText"}
SERIES_LIMIT = 7
"""Maximum number of series of a chart; further ones are summed up as *all other*."""
OTHERS = "all other"
_GREY = "#7b8794"
_Points = Sequence[Mapping[str, Any]]


def latency_over_time(points: _Points) -> dict[str, Any]:
    """Median and 99th percentile of the time to a decision, in ms."""
    return _over_time(points, {"p50": "latency_p50_ms", "p99": "latency_p99_ms"}, "{value} ms")


def backlog_over_time(points: _Points) -> dict[str, Any]:
    """Events waiting in the outbox."""
    return _over_time(points, {"waiting events": "outbox_events"}, "{value}", area=True)


def _over_time(
    points: _Points, names: Mapping[str, str], labels: str, *, area: bool = False
) -> dict[str, Any]:
    series = [
        {
            "name": name,
            "type": "line",
            "showSymbol": False,
            "data": [[point["time_ns"] // 1_000_000, _rounded(point[key])] for point in points],
            **({"areaStyle": {"opacity": 0.15}} if area else {}),
        }
        for name, key in names.items()
    ]
    return {
        "tooltip": TOOLTIP,
        "xAxis": {"type": "time", "splitLine": {"show": False}},
        "yAxis": {"type": "value", "min": 0, "axisLabel": _labels(labels)},
        "series": series,
        "title": _title("" if points else "No health reports yet"),
    }


def volume_by_day(volumes: Sequence[Mapping[str, Any]], what: str) -> dict[str, Any]:
    """Stacked bars by event type of ``what`` (``events`` or ``bytes``) that arrived each UTC day.

    ``volumes`` are items of ``GET /v1/volumes``.
    """
    totals: dict[str, float] = defaultdict(float)
    by_day: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for each in volumes:
        totals[each["type"]] += each[what]
    shown = sorted(totals, key=lambda kind: (-totals[kind], kind))
    named = shown if len(shown) <= SERIES_LIMIT else shown[: SERIES_LIMIT - 1]
    for each in volumes:
        kind = each["type"] if each["type"] in named else OTHERS
        by_day[each["day"]][kind] += each[what]
    days = _every_day(by_day)
    scale, unit = _scale(
        max((sum(by_day[day].values()) for day in days), default=0) if what == "bytes" else 0
    )
    series = [
        {
            "name": kind,
            "type": "bar",
            "stack": "all",
            "barMaxWidth": 42,
            "data": [round(by_day[day].get(kind, 0) / scale, 2) for day in days],
        }
        for kind in [*named, *([OTHERS] if len(named) < len(shown) else [])]
    ]
    return {
        "tooltip": TOOLTIP,
        "legend": {"type": "scroll", "top": 0, "left": 0, "textStyle": {"color": _GREY}, "icon": "roundRect"},
        "xAxis": {"type": "category", "data": days},
        "yAxis": {"type": "value", "axisLabel": _labels(f"{{value}}{unit}")},
        "series": series,
        "title": _title("" if volumes else "No data in these days"),
    }


def _every_day(found: Iterable[str]) -> list[str]:
    """All days from the first to the last, as ``YYYY-MM-DD``."""
    days = sorted(date.fromisoformat(day) for day in found)
    if not days:
        return []
    return [(days[0] + timedelta(number)).isoformat() for number in range((days[-1] - days[0]).days + 1)]


def _scale(max_bytes: float) -> tuple[float, str]:
    """Divisor and unit of bytes on an axis; no unit for 0, which stands for plain counts."""
    for length, unit in ((1e9, " GB"), (1e6, " MB"), (1e3, " kB")):
        if max_bytes >= 2 * length:
            return length, unit
    return 1.0, " B" if max_bytes else ""


def _labels(text: str) -> dict[str, Any]:
    return {"formatter": text, "color": _GREY, "hideOverlap": True}


def _title(text: str) -> dict[str, Any]:
    """Text in the middle of an empty chart; it is hidden explicitly because ECharts keeps omitted options."""
    style = {"color": _GREY, "fontSize": 14, "fontWeight": "normal"}
    return {"show": bool(text), "text": text, "left": "center", "top": "middle", "textStyle": style}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
