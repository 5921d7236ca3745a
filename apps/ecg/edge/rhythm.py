"""Rhythm features over the last beats, for the model's decision on atrial fibrillation.

>>> rhythm = RhythmFeatures()
>>> rows = rhythm.push(beat_rows, kinds)  # classified beats, in order -> RhythmRows

From `MIN_BEATS` on, every `HOP` beats give a row of `RHYTHM_NAMES`: amount and kind of irregularity of the RR
intervals of the last `WINDOWS` beats, and presence of P waves. Intervals that begin or end at a ventricular
beat are excluded, so that ectopy in sinus rhythm is not irregularity; remaining regular patterns (bigeminy,
Wenckebach) show in the correlation with earlier intervals.

Sources: normalized RMSSD, turning points and entropy of intervals (Dash et al. 2009), coefficient of sample
entropy (Lake, Moorman 2011), scatter of successive differences (Sarkar et al. 2008), absent P waves.

State is bounded: `WINDOWS` beats with seven numbers each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import FEATURE_NAMES, KINDS, BeatRows
from apps.ecg.edge.filters import Floats

HOP = 4
WINDOWS = (24, 64)
"""Numbers of beats behind a row."""
MIN_BEATS = 12
_V, _F, _ATRIAL = (KINDS.index(kind) for kind in "VFS")
_TAKEN = ("p_alike", "p_height_dominant", "p_off", "alike_dominant")
_COLUMNS = [FEATURE_NAMES.index(name) for name in _TAKEN]
_MAX_LOG = 3.0

_TIMING = (
    "rr_s", "variation", "rmssd", "jitter", "turning", "entropy", "scatter", "origin", "lag1", "lag2", "lag3",
    "sampled", "premature", "clean",
)  # fmt: skip
_WAVES = ("p_alike", "p_height", "p_off/height", "alike", "ventricular", "atrial")
RHYTHM_NAMES = (
    *(f"{name}({window})" for window in WINDOWS for name in _TIMING),
    *(f"{name}({WINDOWS[-1]})" for name in _WAVES),
    *(f"{name}({WINDOWS[0]})" for name in _WAVES),
)
RHYTHM_FEATURES = len(RHYTHM_NAMES)
_LEAD_LEVEL = ("p_alike", "p_height", "p_off/height", "alike")
LEAD_LEVEL_FEATURES = tuple(name for name in RHYTHM_NAMES if name.partition("(")[0] in _LEAD_LEVEL)
"""Features that also identify leads and patients. With them, trees are no better by folds over DS1, and trees
grown on virtual patients miss half of DS1's fibrillation, so only the novelty part of the model uses them."""


@dataclass(frozen=True, slots=True)
class RhythmRows:
    """Decisions: each covers the beats up to ``samples``; ``began`` is the middle of its short window, the
    approximate time of a change. All ``(m,)``; features ``(m, G)``."""

    samples: NDArray[np.int64]
    began: NDArray[np.int64]
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.samples)


_NO_ROWS = RhythmRows(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, RHYTHM_FEATURES), np.float32)
)


class RhythmFeatures:
    """Features of one patient's rhythm; see the module."""

    def __init__(self) -> None:
        self._seen = 0
        self._beats = np.empty((0, 3 + len(_TAKEN)))  # sample, RR, kind, and _TAKEN

    def push(self, rows: BeatRows, kinds: NDArray[np.integer]) -> RhythmRows:
        """Take in beats and their classes (index in `beats.KINDS`), ``(n,)``; give the rows now complete."""
        longest, kept = WINDOWS[-1], len(self._beats)
        beats = np.empty((kept + len(rows), self._beats.shape[1]))
        beats[:kept] = self._beats
        new = beats[kept:]
        new[:, 0], new[:, 1], new[:, 2], new[:, 3:] = (
            rows.samples, rows.rr_s, kinds, rows.features[:, _COLUMNS],
        )  # fmt: skip
        first = kept + HOP - self._seen % HOP
        ends = [end for end in range(first, len(beats) + 1, HOP) if end >= MIN_BEATS]
        self._beats = beats[-longest:].copy()
        self._seen += len(rows)
        if not ends:
            return _NO_ROWS
        samples = beats[:, 0].astype(np.int64)
        features = [_features(beats[max(0, end - longest) : end]) for end in ends]
        return RhythmRows(
            samples[[end - 1 for end in ends]],
            samples[[end - min(end, WINDOWS[0] // 2) for end in ends]],
            np.array(features, np.float32),
        )

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"seen": self._seen, "beats": self._beats.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave. Raises `ValueError` for beats of another form."""
        self._seen = int(state["seen"])
        self._beats = np.array(state["beats"], np.float64).reshape(-1, 3 + len(_TAKEN))


def suppress_s_in_af(
    kinds: NDArray[np.int64],
    samples: NDArray[np.int64],
    decided_at: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    af_off: float,
    before: float = 0.0,
) -> NDArray[np.int64]:
    """Classes ``(n,)`` of the beats at ``samples`` with S replaced by N during atrial fibrillation.

    An early beat in fibrillation is conducted like the others. AF at a beat is by the newest of
    ``probabilities`` ``(m,)``, decided at the beats ``decided_at``, ``before`` the first of them; AF lasts
    while it is at least ``af_off`` (`episodes.EpisodeLimits`). Rhythm decisions use the classes before this
    replacement.
    """
    newest = np.concatenate([[before], probabilities])[np.searchsorted(decided_at, samples, side="right")]
    return np.where((kinds == _ATRIAL) & (newest >= af_off), KINDS.index("N"), kinds)


def _features(beats: Floats) -> list[float]:
    """Features `RHYTHM_NAMES` of the last beats, ``(n, 3 + len(_TAKEN))``."""
    kinds = beats[:, 2]
    ectopic = (kinds == _V) | (kinds == _F)
    used = ~ectopic
    used[1:] &= ~ectopic[:-1]
    values: list[float] = []
    for window in WINDOWS:
        values += _timing(beats[-window:, 1], used[-window:])
    for window in reversed(WINDOWS):
        values += _waves(beats[-window:], ectopic[-window:])
    return values


def _timing(intervals_s: Floats, used: NDArray[np.bool_]) -> list[float]:
    """Features `_TIMING` of the intervals, ``(n,)``, of those that are used."""
    rr = intervals_s[used]
    clean = len(rr) / len(intervals_s)
    if len(rr) < MIN_BEATS // 2:
        return [float(np.median(intervals_s)), *([0.0] * (len(_TIMING) - 2)), clean]
    median = float(np.sort(rr)[len(rr) // 2])
    capped = np.minimum(intervals_s / median, 3.0)
    relative = capped[used]
    # Only differences of consecutive intervals.
    steps = (capped[1:] - capped[:-1])[used[1:] & used[:-1]]
    if len(steps) < 4:
        steps = relative[1:] - relative[:-1]
    size = np.abs(steps)
    small = size < 0.05
    pairs = len(steps) - 1
    centred = relative - np.add.reduce(relative) / len(rr)
    variance = float(centred @ centred) + 1e-6
    lags = [float(centred[lag:] @ centred[:-lag]) / variance for lag in (1, 2, 3)]
    counts = np.bincount(np.minimum((relative * 12.5).astype(int), 25))
    shares = counts[counts > 0] / len(rr)
    cells = np.rint(steps / 0.06)
    return [
        median,
        math.sqrt(variance / len(rr)),
        math.sqrt(float(steps @ steps) / len(steps)),
        float(np.sort(size)[len(size) // 2]),
        np.count_nonzero(steps[1:] * steps[:-1] < 0) / pairs,
        -float(shares @ np.log(shares)),
        len(set((cells[1:] * 1000 + cells[:-1]).tolist())) / pairs,
        np.count_nonzero(small[1:] & small[:-1]) / pairs,
        *lags,
        _sample_entropy(relative, median),
        np.count_nonzero(relative < 0.85) / len(rr),
        clean,
    ]


def _sample_entropy(relative: Floats, median_s: float) -> float:
    """Coefficient of sample entropy (m = 1) of intervals in units of their median, 30 ms or 5 % equal."""
    near = np.abs(relative[:, np.newaxis] - relative) <= max(0.05, 0.03 / median_s)
    one = np.count_nonzero(near[:-1, :-1]) - (len(relative) - 1)
    two = np.count_nonzero(near[:-1, :-1] & near[1:, 1:]) - (len(relative) - 1)
    return min(_MAX_LOG, math.log((one + 1) / (two + 1)))


def _waves(beats: Floats, ectopic: NDArray[np.bool_]) -> list[float]:
    """Features `_WAVES` of beats ``(n, 3 + len(_TAKEN))``."""
    normal = beats[~ectopic]
    ventricular, atrial = np.count_nonzero(ectopic), np.count_nonzero(beats[:, 2] == _ATRIAL)
    shares = [ventricular / len(beats), atrial / len(beats)]
    if len(normal) < MIN_BEATS // 2:
        return [0.0, 0.0, 0.0, 0.0, *shares]
    alike, height, off, shape = np.sort(normal[:, 3:], axis=0)[len(normal) // 2].tolist()
    return [alike, height, math.log((off + 0.005) / (height + 0.005)), shape, *shares]
