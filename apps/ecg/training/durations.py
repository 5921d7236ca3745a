"""Detected against annotated atrial fibrillation, by duration and by episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.episodes import EpisodeLimits, Episodes
from apps.ecg.edge.rhythm import RhythmRows
from apps.ecg.training.examples import Examples

SHORTEST_S = 30.0
"""Minimum length of counted episodes: shorter ones are no clinical AF (ESC guideline, 2020)."""

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds of AF detected, falsely detected and missed; episodes of `SHORTEST_S`, and those detected."""

    found_s: float = 0.0
    wrong_s: float = 0.0
    missed_s: float = 0.0
    episodes: int = 0
    episodes_found: int = 0

    def __add__(self, other: Durations) -> Durations:
        return Durations(
            self.found_s + other.found_s,
            self.wrong_s + other.wrong_s,
            self.missed_s + other.missed_s,
            self.episodes + other.episodes,
            self.episodes_found + other.episodes_found,
        )

    @property
    def f1(self) -> float:
        """NaN without AF, detected or true."""
        total = 2 * self.found_s + self.wrong_s + self.missed_s
        return 2 * self.found_s / total if total else float("nan")


def detected_spans(
    rows: RhythmRows, probabilities: NDArray[np.floating], limits: EpisodeLimits, rate_hz: float
) -> list[tuple[int, int]]:
    """Episodes of AF as the app dates them, in samples; an ongoing one ends with the rows."""
    episodes = Episodes(rate_hz, limits)
    changes = []
    for sample, began, p in zip(rows.samples, rows.began, probabilities, strict=True):
        changes += episodes.rhythm(int(began), int(sample), float(p))
    if len(rows):
        changes += episodes.close(int(rows.samples[-1]))
    return [(change.began, change.ended) for change in changes if change.ended is not None]


def durations_of(
    one: Examples, rows: RhythmRows, probabilities: NDArray[np.floating], limits: EpisodeLimits
) -> Durations:
    """Durations of a recording's decisions against its annotations."""
    detected = detected_spans(rows, probabilities, limits, one.rate_hz)
    return compared(detected, one.truth.fibrillation, one.rate_hz)


def compared(detected: Spans, true: Spans, rate_hz: float) -> Durations:
    """Detected against true episodes, in samples; neither overlap among themselves."""
    overlaps = np.zeros((len(true), len(detected)))
    for at, (begin, end) in enumerate(true):
        overlaps[at] = [max(0, min(end, until) - max(begin, since)) for since, until in detected]
    found = float(overlaps.sum())
    long = [at for at, (begin, end) in enumerate(true) if end - begin >= SHORTEST_S * rate_hz]
    return Durations(
        found / rate_hz,
        (sum(f - c for c, f in detected) - found) / rate_hz,
        (sum(e - b for b, e in true) - found) / rate_hz,
        len(long),
        sum(bool(overlaps[at].any()) for at in long),
    )
