"""Groups of a patient's beats by shape: running templates, the dominant one, and features of membership."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from apps.ecg.edge.beat_shape import QRS, SHIFTS, STEP_S, UNLIKE, WAVE_POINTS
from apps.ecg.edge.beat_timing import NEAR_BEATS, Timing
from apps.ecg.edge.filters import Floats

GROUPS = 5
GROUP_NAMES = (
    "alike_dominant", "alike_group", "group_share", "dominant_share", "group_rr", "group_rr/dominant",
    "group_pair", "size/dominant", "alike_before", "alike_mean10", "unlike_share", "shift",
)  # fmt: skip
_ALIKE = 0.92
"""Minimum correlation of a beat's QRS complex with that of its group."""
_FADE = 0.995
_SLOWEST = 0.05
_SLIDING = np.arange(2 * SHIFTS + 1)[:, np.newaxis] + np.arange(QRS.start, QRS.stop)
_SHIFT_COST = 0.002 * np.abs(np.arange(-SHIFTS, SHIFTS + 1))[:, np.newaxis]
_FIRST_BEAT = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]


class Match(NamedTuple):
    """An aligned beat: its wave, the dominant template, features `GROUP_NAMES`, and its best group."""

    wave: Floats
    template: Floats
    features: list[float]
    group: int
    alike: float


class BeatGroups:
    """Running templates; the dominant group is that of most recent beats."""

    def __init__(self) -> None:
        self._waves = np.zeros((GROUPS, WAVE_POINTS))
        self._shapes = np.zeros((GROUPS, QRS.stop - QRS.start))
        """QRS complexes without their mean, of length 1."""
        self._sizes = [1.0] * GROUPS
        self._counts = [0.0] * GROUPS
        self._rr = [1.0] * GROUPS
        self._pair = [1.0] * GROUPS
        self._alike_before: deque[float] = deque(maxlen=NEAR_BEATS)

    def match(self, line: Floats, timing: Timing) -> Match:
        """Align the next beat, sampled at `beat_shape.LINE_S`, with its best group."""
        shift, alike, size = self._best_shift(line)
        best = alike.index(max(alike))
        dominant = self._counts.index(max(self._counts))
        known = self._counts[dominant] > 0
        if not known:
            shift = SHIFTS
        wave = line[shift : shift + WAVE_POINTS]
        wave = wave - np.sort(wave)[WAVE_POINTS // 2]
        template = self._waves[dominant] if known else wave
        features = self._features(alike, size, best, dominant, timing) if known else [*_FIRST_BEAT]
        features.append((shift - SHIFTS) * STEP_S)
        return Match(wave, template, features, best, alike[best])

    def add(self, match: Match, timing: Timing) -> None:
        """Update the groups with a matched beat; one unlike all groups replaces the smallest."""
        best, wave = match.group, match.wave
        self._alike_before.append(match.features[0])
        self._counts = [count * _FADE for count in self._counts]
        if match.alike > _ALIKE:
            gain = max(_SLOWEST, 1 / (self._counts[best] + 1))
            self._waves[best] += gain * (wave - self._waves[best])
            self._rr[best] += gain * (timing.relative - self._rr[best])
            self._pair[best] += gain * (timing.pair - self._pair[best])
            self._counts[best] += 1
        else:
            best = self._counts.index(min(self._counts))
            self._waves[best], self._counts[best] = wave, 1.0
            self._rr[best], self._pair[best] = timing.relative, timing.pair
        qrs = self._waves[best, QRS]
        centred = qrs - np.add.reduce(qrs) / len(qrs)
        self._sizes[best] = math.sqrt(centred @ centred) + 1e-6
        self._shapes[best] = centred / self._sizes[best]

    def _best_shift(self, line: Floats) -> tuple[int, list[float], float]:
        """Best shift ``0 .. 2 * SHIFTS``, each group's correlation at its own best one, and the size."""
        windows = line.take(_SLIDING)
        windows -= np.add.reduce(windows, axis=1, keepdims=True) / windows.shape[1]
        sizes = np.sqrt(np.add.reduce(windows * windows, axis=1, keepdims=True)) + 1e-6
        alike = windows @ self._shapes.T / sizes - _SHIFT_COST
        best = int(alike.argmax()) // GROUPS
        return best, np.maximum.reduce(alike, axis=0).tolist(), float(sizes[best, 0])

    def _features(
        self, alike: list[float], size: float, best: int, dominant: int, timing: Timing
    ) -> list[float]:
        """Features `GROUP_NAMES` except the shift."""
        total = sum(self._counts)
        member = alike[best] > _ALIKE
        rr = self._rr[best] if member else timing.relative
        near = self._alike_before
        return [
            alike[dominant],
            alike[best],
            self._counts[best] / total if member else 0.0,
            self._counts[dominant] / total,
            rr,
            rr / self._rr[dominant],
            self._pair[best] if member else timing.pair,
            math.log(size / self._sizes[dominant]),
            near[-1],
            sum(near) / len(near),
            sum(one < UNLIKE for one in near) / len(near),
        ]

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "waves": self._waves.copy(),
            "shapes": self._shapes.copy(),
            "sizes": list(self._sizes),
            "counts": list(self._counts),
            "rr": list(self._rr),
            "pair": list(self._pair),
            "alike_before": list(self._alike_before),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._waves = np.array(state["waves"], np.float64)
        self._shapes = np.array(state["shapes"], np.float64)
        self._sizes = [float(size) for size in state["sizes"]]
        self._counts = [float(count) for count in state["counts"]]
        self._rr = [float(rr) for rr in state["rr"]]
        self._pair = [float(pair) for pair in state["pair"]]
        self._alike_before = deque(state["alike_before"], maxlen=NEAR_BEATS)
