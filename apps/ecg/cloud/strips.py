"""Strips of signal: samples, ids in the API, and rank in the review queue."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from apps.ecg.events import PATIENT

MISSING = -32768
_TIME = re.compile(r"-?\d{1,19}", re.ASCII)
PRIORITIES = {
    "asystole": "high",
    "ventricular_tachycardia": "high",
    "extreme_tachycardia": "high",
    "extreme_bradycardia": "high",
    "atrial_fibrillation": "medium",
    "pause": "medium",
    "frequent_ventricular_beats": "medium",
    "lead_off": "low",
}
"""Priorities of alarms; low for others."""
_RANKS = {"high": 2.0, "medium": 1.0, "low": 0.0}


def reason_of(alarm: str, probabilities: Iterable[float | None]) -> float:
    """Rank of a strip in the review queue, in [0, 3]: alarm priority, then the lowest beat probability."""
    doubts = [1.0 - p for p in probabilities if p is not None]
    return _RANKS[PRIORITIES.get(alarm, "low")] + max(doubts, default=0.0)


def decode_samples(samples: bytes, leads: int, lsb_mv: float) -> NDArray[np.float64]:
    """Samples ``(samples, leads)`` in mV, NaN where one is missing."""
    raw = np.frombuffer(samples, "<i2").reshape(-1, leads)
    return np.where(raw == MISSING, np.nan, raw * lsb_mv)


def strip_id(patient: str, began_ns: int) -> str:
    """The id of a strip in the API."""
    return f"{patient}.{began_ns}"


def parse_strip_id(text: str) -> tuple[str, int] | None:
    """Inverse of `strip_id`; None for another text."""
    patient, _, began = text.partition(".")
    if not PATIENT.fullmatch(patient) or not _TIME.fullmatch(began) or not abs(int(began)) < 2**63:
        return None
    return patient, int(began)
