"""Faults of a recording other than noise: ``faults=KIND:FROM-TO,...`` in seconds.

``arms_swapped``  the electrodes of the arms are swapped: I is inverted, II and III change places
``inverted``      all leads inverted
``gain``          a hundred times too large
``saturated``     clipped at +-0.3 mV about an offset, as by an amplifier in its limits
``flat``          0 mV throughout
``missing``       NaN in every third sample
``gap``           no chunks; position and time advance
``rate``          half the sampling rate
``clock``         captured an hour late
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.ecg.virtual.noise import parse_window
from common.errors import ConfigError

KINDS = ("arms_swapped", "inverted", "gain", "saturated", "flat", "missing", "gap", "rate", "clock")
CLOCK_JUMP_NS = 3_600_000_000_000
_SWAPPED = {
    "I": (-1.0, "I"),
    "II": (1.0, "III"),
    "III": (1.0, "II"),
    "aVR": (1.0, "aVL"),
    "aVL": (1.0, "aVR"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault with its time."""

    kind: str
    began_s: float
    ended_s: float


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Faults from ``KIND:FROM-TO,...``. Raises `ConfigError`."""
    faults = []
    for word in text.split(",") if text.strip() else ():
        kind, _, window = word.strip().partition(":")
        if kind not in KINDS:
            raise ConfigError(f"faults={word} is not KIND:FROM-TO with one of {', '.join(KINDS)}")
        faults.append(Fault(kind, *parse_window(window, f"faults={word}")))
    return tuple(faults)


def swapped_leads(leads: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
    """Source of each lead's signal with the arms swapped, and its sign ``(leads,)``."""
    found = [_SWAPPED.get(lead, (1.0, lead)) for lead in leads]
    return [name for _, name in found], np.array([sign for sign, _ in found])


def damaged(kind: str, values: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """``values`` ``(samples, leads)`` from sample ``first`` on, with this fault of the recorder."""
    if kind == "inverted":
        return -values
    if kind == "gain":
        return 100 * values
    if kind == "saturated":
        return np.clip(values + 0.25, -0.3, 0.3)
    if kind == "flat":
        return np.zeros_like(values)
    if kind == "missing":
        return np.where(((first + np.arange(len(values))) % 3 == 0)[:, np.newaxis], np.nan, values)
    return values
