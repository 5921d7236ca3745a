"""Live view of the cameras: crossings of today by line, and troubles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apps.demo.world.snapshot import SubjectView

FULL_CROSSINGS = 60.0
"""Crossings in the newest minute at the top of the sparkline."""


def view_cameras(get: Callable[..., Any], app: str) -> Mapping[str, SubjectView]:
    """The camera of each node."""
    found: dict[str, SubjectView] = {}
    for store in get(f"/v1/apps/{app}/stores", limit=100)["items"]:
        day = get(f"/v1/apps/{app}/stores/{store['site']}/day")
        for camera in day["cameras"]:
            lines = [line for line in day["lines"] if line["camera"] == camera["camera"]]
            minutes = max((line["minutes"] for line in lines), default=0)
            crossings = sum(line["entered"] + line["left"] for line in lines)
            found[camera["node"]] = SubjectView(
                ", ".join(f"{each['line']}: {each['entered']} in, {each['left']} out" for each in lines),
                store["title"],
                ", ".join(camera["troubles"]).upper(),
                min(1.0, crossings / max(1, minutes) / FULL_CROSSINGS),
                (0, minutes),
            )
    return found
