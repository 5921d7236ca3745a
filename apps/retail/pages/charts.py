"""The retail app's charts as ECharts options. Names from nodes stay data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

MIN_SHARE = 0.95
"""Share of complete minutes under which an hour is marked as incomplete."""
HEAT_FRAME_PX = 88, 88
"""Width and height of axes and scale around a heat map."""
Json = Mapping[str, Any]


def hours(items: Sequence[Json]) -> dict[str, Any]:
    """People who came in and went out by local hour; incomplete hours are pale."""
    labels = [hour_label(item["local"], items) for item in items]
    return {
        "xAxis": {"type": "category", "data": labels, "name": "hour"},
        "yAxis": {"type": "value", "minInterval": 1},
        "series": [
            {"type": "bar", "name": "in", "data": [_bar(item, "entered") for item in items]},
            {"type": "bar", "name": "out", "data": [_bar(item, "left") for item in items]},
        ],
    }


def dwell(zones: Sequence[Json], edges_s: Sequence[float]) -> dict[str, Any]:
    """Visits of zones by class of dwell time."""
    names = [f"< {edges_s[0]:g} s"]
    names += [f"{low:g}–{high:g} s" for low, high in itertools.pairwise(edges_s)]
    names.append(f"≥ {edges_s[-1]:g} s")
    return {
        "xAxis": {"type": "category", "data": names},
        "yAxis": {"type": "value", "minInterval": 1},
        "series": [
            {"type": "bar", "name": f"{zone['camera']} {zone['zone']}", "data": zone["dwell_classes"]}
            for zone in zones
            if zone["visits"]
        ],
    }


def heat(answer: Json | None) -> dict[str, Any]:
    """Person-time by cell of a camera's floor plan."""
    if answer is None:
        return {"series": []}
    rows = answer["seconds"]
    cells = [[x, y, value] for y, row in enumerate(rows) for x, value in enumerate(row) if value]
    side = answer["cell_m"]
    most = max((cell[2] for cell in cells), default=1.0)
    return {
        "legend": {"show": False},
        "grid": {"left": 8, "right": 40, "top": 12, "bottom": 56, "containLabel": True},
        "tooltip": {"trigger": "item", "renderMode": "richText", "confine": True},
        "xAxis": {"type": "category", "data": [f"{x * side:g}" for x in range(len(rows[0]))], "name": "m"},
        "yAxis": {"type": "category", "data": [f"{y * side:g}" for y in range(len(rows))], "name": "m"},
        "visualMap": {
            "min": 0,
            "max": most,
            "orient": "horizontal",
            "left": 8,
            "bottom": 0,
            "itemHeight": 160,
            "itemWidth": 12,
            "text": [f"{most:,.0f} s", "0"],
            "textStyle": {"color": "#7b8794"},
            "inRange": {"color": ["#fef3c7", "#b45309"]},
        },
        "series": [{"type": "heatmap", "name": "seconds", "data": cells}],
    }


def heat_width_px(answer: Json, height_px: float) -> float:
    """Width of a heat map of ``height_px`` whose cells are squares."""
    rows = answer["seconds"]
    return (height_px - HEAT_FRAME_PX[1]) * len(rows[0]) / len(rows) + HEAT_FRAME_PX[0]


def is_incomplete(item: Json) -> bool:
    """Whether a count misses some of its minutes."""
    share = item["complete_share"]
    return share is not None and share < MIN_SHARE


def hour_label(local: str, items: Sequence[Json]) -> str:
    """``09:00``; with its offset where the day has the hour twice."""
    label = local[11:16]
    twice = sum(item["local"][11:16] == label for item in items) > 1
    return f"{label} {local[19:]}" if twice else label


def _bar(item: Json, name: str) -> dict[str, Any]:
    return {"value": item[name], "itemStyle": {"opacity": 0.45 if is_incomplete(item) else 1.0}}
