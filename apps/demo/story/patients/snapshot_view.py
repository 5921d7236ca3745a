"""Live view of the patients: rhythm, heart rate with its history, and open alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apps.demo.world.snapshot import SubjectView

FULL_BPM = 180.0


def view_patients(get: Callable[..., Any], app: str) -> Mapping[str, SubjectView]:
    """The patient of each node."""
    return {
        patient["node"]: SubjectView(
            f"{patient['rhythm']:12s} {_rate(patient['heart_rate_bpm'])} beats per minute",
            patient["patient"],
            "ALARM" if patient["open_alarms"] else "",
            (patient["heart_rate_bpm"] or 0.0) / FULL_BPM,
            (0, patient["last_ns"]),
        )
        for patient in get(f"/v1/apps/{app}/patients", limit=100)["items"]
    }


def _rate(bpm: float | None) -> str:
    return "  -" if bpm is None else f"{bpm:3.0f}"
