"""What the live view shows of a patient: rhythm, heart rate and how it went, and alarms that are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apps.demo.world.snapshot import Picture

FULL_BPM = 180.0


def look(ask: Callable[..., Any], app: str) -> Mapping[str, Picture]:
    """A picture of the patient of each node."""
    return {
        patient["node"]: Picture(
            f"{patient['rhythm']:12s} {_rate(patient['heart_rate_bpm'])} beats a minute",
            patient["patient"],
            "ALARM" if patient["open_alarms"] else "",
            (patient["heart_rate_bpm"] or 0.0) / FULL_BPM,
            (0, patient["last_ns"]),
        )
        for patient in ask(f"/v1/apps/{app}/patients", limit=100)["items"]
    }


def _rate(bpm: float | None) -> str:
    return "  -" if bpm is None else f"{bpm:3.0f}"
