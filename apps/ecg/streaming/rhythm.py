"""Features of the rhythm over the last beats, for the model's decision on atrial fibrillation.

>>> rhythm = RhythmFeatures()
>>> rows = rhythm.push(beat_rows, kinds)  # classified beats, in order -> RhythmRows

Every `HOP` beats there is a row of `RHYTHM_NAMES`, once there are `LEAST_BEATS`: how irregular the RR
intervals of the last `WINDOWS` beats are, and in what manner, and whether there are P waves. Intervals that
begin or end at a ventricular beat are left out, so that ectopy in sinus rhythm is not irregularity; what is
left of a regular pattern (bigeminy, Wenckebach) shows in the correlation of intervals with those before.

Sources: normalized RMSSD, turning points and entropy of intervals (Dash et al. 2009), coefficient of sample
entropy (Lake, Moorman 2011), scatter of successive differences (Sarkar et al. 2008), absent P waves.

State is bounded: `WINDOWS` beats with six numbers each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.streaming.beats import FEATURE_NAMES, KINDS, BeatRows
from apps.ecg.streaming.filters import Floats

HOP = 4
WINDOWS = (24, 64)
"""Beats that a row looks at."""
LEAST_BEATS = 12
_VENTRICULAR = [KINDS.index(kind) for kind in "VF"]
_ATRIAL = KINDS.index("S")
_TAKEN = ("p_alike", "p_height_dominant", "p_off", "alike_dominant")
_COLUMNS = [FEATURE_NAMES.index(name) for name in _TAKEN]
_MOST_LOG = 3.0

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


@dataclass(frozen=True, slots=True)
class RhythmRows:
    """Moments of decision: each looks back from the beat at ``samples``; ``began`` is the middle of its short
    window, where a change that it finds took place, more or less. All ``(m,)``; features ``(m, G)``."""

    samples: NDArray[np.int64]
    began: NDArray[np.int64]
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.samples)


class RhythmFeatures:
    """Features of one patient's rhythm; see the module."""

    def __init__(self) -> None:
        self._seen = 0
        self._samples: list[int] = []
        self._beats: list[tuple[float, ...]] = []  # RR, kind, and _TAKEN

    def push(self, rows: BeatRows, kinds: NDArray[np.integer]) -> RhythmRows:
        """Take in beats and their classes (index in `beats.KINDS`), ``(n,)``; give the rows now complete."""
        samples, began, features = [], [], []
        for sample, rr, kind, row in zip(rows.samples, rows.rr_s, kinds, rows.features, strict=True):
            self._samples.append(int(sample))
            self._beats.append((float(rr), float(kind), *(float(row[column]) for column in _COLUMNS)))
            del self._samples[: -WINDOWS[-1]], self._beats[: -WINDOWS[-1]]
            self._seen += 1
            if self._seen % HOP == 0 and len(self._beats) >= LEAST_BEATS:
                samples.append(int(sample))
                began.append(self._samples[-min(len(self._samples), WINDOWS[0] // 2)])
                features.append(self._features())
        found = np.array(features, np.float32) if features else np.empty((0, RHYTHM_FEATURES), np.float32)
        return RhythmRows(np.array(samples, np.int64), np.array(began, np.int64), found)

    def _features(self) -> list[float]:
        beats = np.array(self._beats)
        ectopic = np.isin(beats[:, 1], _VENTRICULAR)
        used = ~ectopic
        used[1:] &= ~ectopic[:-1]
        values: list[float] = []
        for window in WINDOWS:
            values += _timing(beats[-window:, 0], used[-window:])
        for window in reversed(WINDOWS):
            values += _waves(beats[-window:], ectopic[-window:])
        return values

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"seen": self._seen, "samples": list(self._samples), "beats": np.array(self._beats)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._seen = int(state["seen"])
        self._samples = [int(sample) for sample in state["samples"]]
        self._beats = [tuple(float(value) for value in beat) for beat in state["beats"]]


def _timing(intervals_s: Floats, used: NDArray[np.bool_]) -> list[float]:
    """Features `_TIMING` of the intervals, ``(n,)``, of those that are used."""
    rr = intervals_s[used]
    clean = len(rr) / len(intervals_s)
    if len(rr) < LEAST_BEATS // 2:
        return [float(np.median(intervals_s)), *([0.0] * (len(_TIMING) - 2)), clean]
    median = float(np.sort(rr)[len(rr) // 2])
    relative = np.minimum(rr / median, 3.0)
    # Only differences of intervals that follow each other.
    steps = np.diff(np.minimum(intervals_s / median, 3.0))[used[1:] & used[:-1]]
    if len(steps) < 4:
        steps = np.diff(relative)
    size = np.abs(steps)
    centred = relative - relative.mean()
    variance = float(centred @ centred) + 1e-6
    lags = [float(centred[lag:] @ centred[:-lag]) / variance for lag in (1, 2, 3)]
    turning = np.mean(steps[1:] * steps[:-1] < 0) if len(steps) > 1 else 0.0
    shares = np.bincount(np.minimum((relative * 12.5).astype(int), 25), minlength=26) / len(rr)
    positive = shares[shares > 0]
    cells = np.unique(np.round(steps[1:] / 0.06) * 1000 + np.round(steps[:-1] / 0.06))
    small = (size[1:] < 0.05) & (size[:-1] < 0.05)
    return [
        median,
        math.sqrt(variance / len(rr)),
        math.sqrt(float(steps @ steps) / len(steps)),
        float(np.sort(size)[len(size) // 2]),
        float(turning),
        -float(positive @ np.log(positive)),
        len(cells) / max(1, len(steps) - 1),
        float(small.mean()) if len(small) else 0.0,
        *lags,
        _sample_entropy(relative, median),
        float(np.mean(relative < 0.85)),
        clean,
    ]


def _sample_entropy(relative: Floats, median_s: float) -> float:
    """Coefficient of sample entropy (m = 1) of intervals in units of their median, 30 ms or 5 % equal."""
    near = np.abs(relative[:, np.newaxis] - relative) <= max(0.05, 0.03 / median_s)
    one = int(near[:-1, :-1].sum()) - (len(relative) - 1)
    two = int((near[:-1, :-1] & near[1:, 1:]).sum()) - (len(relative) - 1)
    return min(_MOST_LOG, math.log((one + 1) / (two + 1)))


def _waves(beats: Floats, ectopic: NDArray[np.bool_]) -> list[float]:
    """Features `_WAVES` of beats ``(n, 2 + len(_TAKEN))``."""
    normal = beats[~ectopic]
    atrial = float(np.mean(beats[:, 1] == _ATRIAL))
    if len(normal) < LEAST_BEATS // 2:
        return [0.0, 0.0, 0.0, 0.0, float(ectopic.mean()), atrial]
    alike, height, off, shape = (np.sort(normal[:, 2 + k])[len(normal) // 2] for k in range(4))
    return [
        float(alike),
        float(height),
        math.log((float(off) + 0.005) / (float(height) + 0.005)),
        float(shape),
        float(ectopic.mean()),
        atrial,
    ]
