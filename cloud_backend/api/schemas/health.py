"""Health history of a node, and numbers out of the health reports that nodes send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


class HealthPoint(BaseModel):
    """One health report of a node; null where it did not tell."""

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
    def of(cls, time_ns: int, health: Any) -> HealthPoint:
        facts = health if isinstance(health, dict) else {}
        floats = {name: number(facts, name) for name in ("latency_p50_ms", "latency_p99_ms", "cpu_s")}
        names = ("outbox_events", "bytes_sent", "bytes_raw", "readings", "rss_bytes")
        return cls(time_ns=time_ns, **floats, **{name: whole(facts, name) for name in names})


def number(facts: Mapping[str, Any], name: str) -> float | None:
    """A finite number among what a node told; None for anything else, for a node may tell anything."""
    value = facts.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 2**63:
        return None
    return value if math.isfinite(value) else None


def whole(facts: Mapping[str, Any], name: str) -> int | None:
    """A count among what a node told; None for anything else."""
    value = number(facts, name)
    return None if value is None else int(value)
