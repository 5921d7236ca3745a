"""Health history of a node, and validated numbers from health reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from common.json_bounds import finite_number


class HealthPoint(BaseModel):
    """One health report of a node; null for a missing or invalid figure."""

    time_ns: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    outbox_events: int | None
    bytes_sent: int | None
    bytes_raw: int | None
    readings: int | None
    cpu_s: float | None
    rss_bytes: int | None

    @classmethod
    def of(cls, time_ns: int, health: object) -> HealthPoint:
        values = health if isinstance(health, dict) else {}
        floats = {name: number(values, name) for name in ("latency_p50_ms", "latency_p99_ms", "cpu_s")}
        names = ("outbox_events", "bytes_sent", "bytes_raw", "readings", "rss_bytes")
        return cls(time_ns=time_ns, **floats, **{name: whole(values, name) for name in names})


def number(values: Mapping[str, Any], name: str) -> float | None:
    """The finite number under ``name``; None for any other value, since a node may send anything."""
    return finite_number(values.get(name))


def whole(values: Mapping[str, Any], name: str) -> int | None:
    """The number under ``name`` as an integer; None for any other value."""
    value = number(values, name)
    return None if value is None else int(value)
