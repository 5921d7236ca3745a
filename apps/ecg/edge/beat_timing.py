"""Timing features of beats: RR intervals relative to the patient's running statistics."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

AHEAD_S = 1.0
"""Limit of the interval to the next R peak."""
NEAR_BEATS = 10
"""Number of beats of the short running statistics."""
TIMING_NAMES = (
    "rr/median10", "rr/median60", "rr/mean10", "rr/normal", "next/median60", "next/normal", "rr/previous",
    "next/rr", "previous/median60", "second/median60", "pair/normal", "rr_s", "next_s", "median10_s",
    "median60_s", "normal_s", "jitter", "jitter60", "rmssd", "late", "early_share", "rr/rmssd", "rr/jitter",
    "next/rmssd", "rr/late", "next/late",
)  # fmt: skip
_MEMORY_BEATS = 60
_NORMAL_LOG = 0.15
_LOST_BEATS = 12
"""Number of consecutive beats off the normal interval after which it is determined again."""
_LATE_RISE, _LATE_FALL, _LATE_MAX = 0.3, 0.01, 1.3
"""The interval of late beats rises fast, limited to a factor of `_LATE_MAX`, and falls slowly: where most
beats come early, in runs, the few between the runs show the rate of the sinus node."""


class Timing(NamedTuple):
    """Features `TIMING_NAMES`, RR relative to the running median, and two RRs relative to the normal one."""

    features: list[float]
    relative: float
    pair: float


class BeatTiming:
    """Running statistics of one patient's RR intervals."""

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=_MEMORY_BEATS)
        self._steps: deque[float] = deque(maxlen=_MEMORY_BEATS - 1)
        """Absolute differences of consecutive intervals."""
        self._normal = 0.0
        self._abnormal = 0
        self._late = 0.0

    def add(self, rr: float, ahead: float) -> Timing:
        """Features of the next beat; ``rr`` before it and ``ahead`` after it, in seconds."""
        recent = self._intervals
        before = recent[-1] if recent else rr
        second = recent[-2] if len(recent) > 1 else before
        if recent:
            self._steps.append(abs(rr - before))
        recent.append(rr)
        last, longer = list(recent), list(self._steps) or [0.0]
        near, steps = last[-NEAR_BEATS:], longer[-20:]
        ordered = sorted(last)
        median10, median60 = sorted(near)[len(near) // 2], ordered[len(last) // 2]
        normal = self._normal or median60
        late = self._late or rr
        step = min(rr, _LATE_MAX * late) - late
        self._late = late + (_LATE_RISE if step > 0 else _LATE_FALL) * step
        jitter = sorted(steps)[len(steps) // 2] / median60
        rmssd = math.hypot(*steps) / math.sqrt(len(steps)) / median60
        early = sum([r < 0.85 * normal for r in last[-20:]]) / 20
        jitter60 = sorted(longer)[len(longer) // 2] / median60
        log = math.log
        values = [
            log(rr / median10), log(rr / median60), log(rr * len(near) / sum(near)), log(rr / normal),
            min(0.3, log(ahead / median60)), log(min(1.0, ahead / normal)), log(rr / before), log(ahead / rr),
            log(before / median60), log(second / median60), log((rr + ahead) / (2 * normal)), rr, ahead,
            median10, median60, normal, jitter, jitter60, rmssd, float(ahead >= AHEAD_S), early,
            log(rr / normal) / (0.03 + rmssd), log(rr / median60) / (0.03 + jitter),
            log(min(1.0, ahead / normal)) / (0.03 + rmssd), log(rr / late), min(0.3, log(ahead / late)),
        ]  # fmt: skip
        return Timing(values, rr / median60, (rr + ahead) / (2 * normal))

    def follow_normal(self, rr: float, alike: float) -> None:
        """Update the interval of normal beats: of dominant shape, neither early nor late."""
        if not self._normal or self._abnormal >= _LOST_BEATS:
            near = sorted(list(self._intervals)[-NEAR_BEATS:])
            self._normal, self._abnormal = near[len(near) // 2], 0
        step = math.log(rr / self._normal)
        if abs(step) < _NORMAL_LOG and alike > 0.85:
            self._normal *= math.exp(0.1 * step)
            self._abnormal = 0
        else:
            self._abnormal += 1

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "intervals": list(self._intervals),
            "normal": self._normal,
            "abnormal": self._abnormal,
            "late": self._late,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._intervals = deque(state["intervals"], maxlen=_MEMORY_BEATS)
        self._steps = deque((abs(b - a) for a, b in pairwise(self._intervals)), maxlen=_MEMORY_BEATS - 1)
        self._normal, self._abnormal = float(state["normal"]), int(state["abnormal"])
        self._late = float(state["late"])
