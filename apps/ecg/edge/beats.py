"""Features of one lead's beats for the model, from a stream of signal and R peaks, and their classes.

>>> beats = BeatFeatures(360.0)
>>> rows = beats.push(chunk_mv, peaks)    # (n,) mV without NaN, and the R peaks now known -> BeatRows

The features of a beat (`FEATURE_NAMES`) depend on the past and on at most `AHEAD_S` of signal after it: a
beat is returned by the push of the sample ``AHEAD_S + DELAY_S`` after its R peak at the latest
(`BeatFeatures.delay_samples`; the second term is the detector's delay), earlier if the next R peak is known.
They are

- timing (`beat_timing`): the RR intervals before and after, relative to the patient's running medians, mean,
  normal interval, and the interval of late beats;
- group (`beat_groups`): beats are grouped by the correlation of their QRS complexes (a group is a running
  template); the share of a beat's group, and how early its beats usually come, are features;
- shape (`beat_shape`): QRS, P and T relative to the template of the dominant group, in units of that
  template's amplitude and of their usual deviations.

Running statistics of the same patient are a reader's reference as well (de Chazal, O'Dwyer, Reilly 2004;
Llamedo, Martinez 2011); the model's weights do not change. State is bounded (about 60 kB at 360 Hz) and
depends on samples and peaks only, not on chunk sizes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beat_groups import GROUP_NAMES, BeatGroups
from apps.ecg.edge.beat_shape import LINE_S, REACH_S, SHAPE_NAMES, SHIFT_S, BeatShape
from apps.ecg.edge.beat_timing import AHEAD_S, TIMING_NAMES, BeatTiming
from apps.ecg.edge.filters import Filter, Floats, Past, butterworth, check_rate
from apps.ecg.edge.peaks import DELAY_S

KINDS = "NSVFQ"
"""AAMI classes in the order of the model's output ``beat_p`` (ANSI/AAMI EC57)."""

MAX_RR_S = 3.0
FIRST_RR_S = 0.8
"""Interval assumed before the first beat."""
_BAND_HZ = (0.5, 40.0)
FEATURE_NAMES = (*TIMING_NAMES, *GROUP_NAMES, *SHAPE_NAMES)
FEATURES = len(FEATURE_NAMES)
PATIENT_LEVEL_FEATURES = (
    "width_dominant_s", "p_height_dominant", "t_height_dominant", "rr_s", "median10_s", "median60_s",
    "normal_s", "dominant_share",
)  # fmt: skip
"""Features that identify patients rather than beats. Trees with them overfit the few patients of DS1 (by
folds over DS1, F1 of V falls from 0.86 to 0.80), so only the novelty part of the model uses them."""


@dataclass(frozen=True, slots=True)
class BeatRows:
    """Beats with complete features: R peaks ``(n,)``, RR before ``(n,)``, features ``(n, FEATURES)``."""

    samples: NDArray[np.int64]
    rr_s: Floats
    features: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.samples)


def decided(probabilities: NDArray[Any], odds: Mapping[str, float]) -> NDArray[np.int64]:
    """Index in `KINDS` of each beat's class, ``(n,)``, from ``(n, 5)``.

    ``odds`` are weights of the classes (a bundle's ``operating_point``), default 1.
    """
    weights = [odds.get(kind, 1.0) for kind in KINDS]
    return (np.asarray(probabilities, np.float64) * weights).argmax(axis=1)


class BeatFeatures:
    """Features of one lead's beats; see the module."""

    def __init__(self, rate_hz: float) -> None:
        """For a lead of ``rate_hz``. Raises `ValueError` for an unsupported rate."""
        self._rate = check_rate(rate_hz)
        self._side = math.ceil((REACH_S + SHIFT_S) * rate_hz) + 1
        self._times_s = np.arange(-self._side, self._side + 1) / rate_hz
        high, low = _BAND_HZ
        self._band = Filter(
            np.concatenate([butterworth(1, high, "high", rate_hz), butterworth(2, low, "low", rate_hz)])
        )
        self.delay_samples = int(AHEAD_S * rate_hz) + int(DELAY_S * rate_hz)
        self._step = round(rate_hz)
        self._past = Past(1, self.delay_samples + self._side + 2 * self._step)
        self._waiting: deque[int] = deque()
        self._last: int | None = None
        self._timing = BeatTiming()
        self._groups = BeatGroups()
        self._shape = BeatShape()

    def push(self, signal_mv: Floats, peaks: Iterable[int]) -> BeatRows:
        """Process the next samples, ``(n,)`` mV, and the R peaks found with them; returns the complete beats.

        No sample may be NaN (`filters.Joined` fills them). Peaks are ascending from push to push and come at
        most `DELAY_S` after their sample.
        """
        self._waiting.extend(int(at) for at in peaks)
        samples: list[int] = []
        intervals: list[float] = []
        rows: list[list[float]] = []
        for begin in range(0, len(signal_mv), self._step):
            chunk = np.asarray(signal_mv[begin : begin + self._step], np.float64)
            self._past.append(self._band.push(chunk)[np.newaxis])
            while self._waiting and self._is_complete():
                at = self._waiting.popleft()
                following = self._waiting[0] if self._waiting else None
                rr = min(MAX_RR_S, (at - self._last) / self._rate) if self._last is not None else FIRST_RR_S
                rows.append(self._features(at, rr, following))
                samples.append(at)
                intervals.append(rr)
                self._last = at
        features = np.array(rows, np.float32) if rows else np.empty((0, FEATURES), np.float32)
        return BeatRows(np.array(samples, np.int64), np.array(intervals), features)

    def _is_complete(self) -> bool:
        at, newest = self._waiting[0], self._past.end - 1
        if newest < at + self._side:
            return False
        return len(self._waiting) > 1 or newest >= at + self.delay_samples

    def _features(self, at: int, rr: float, following: int | None) -> list[float]:
        window = self._past.view(at - self._side, at + self._side + 1)[0]
        line = np.interp(LINE_S, self._times_s, window)
        ahead = AHEAD_S if following is None else min(AHEAD_S, (following - at) / self._rate)
        timing = self._timing.add(rr, ahead)
        match = self._groups.match(line, timing)
        shape = self._shape.add(match.wave, match.template)
        self._timing.follow_normal(rr, match.features[0])
        self._groups.add(match, timing)
        return [*timing.features, *match.features, *shape]

    def snapshot(self) -> dict[str, Any]:
        """The state as numbers and arrays in plain dicts, for `restore`."""
        return {
            "band": self._band.snapshot(),
            "past": self._past.snapshot(),
            "waiting": list(self._waiting),
            "last": -1 if self._last is None else self._last,
            "timing": self._timing.snapshot(),
            "groups": self._groups.snapshot(),
            "shape": self._shape.snapshot(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot` at the same rate."""
        self._band.restore(state["band"])
        self._past.restore(state["past"])
        self._waiting = deque(int(at) for at in state["waiting"])
        self._last = None if state["last"] < 0 else int(state["last"])
        self._timing.restore(state["timing"])
        self._groups.restore(state["groups"])
        self._shape.restore(state["shape"])
