"""A model made of three rules, so that the edge is tested without what training brings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from apps.ecg.edge.beats import FEATURE_NAMES
from apps.ecg.edge.rhythm import RHYTHM_NAMES
from common.app.edge import Arrays
from common.errors import InferenceError

_ALIKE = FEATURE_NAMES.index("alike_dominant")
_EARLY = FEATURE_NAMES.index("rr/median60")
_IRREGULAR = RHYTHM_NAMES.index("rmssd(24)")


class RuleModel:
    """Beats unlike the dominant one are V, early ones S; irregular rhythm is fibrillation.

    ``fail_at`` are the calls (from 0) that fail.
    """

    def __init__(self, fail_at: tuple[int, ...] = ()) -> None:
        self.manifest: Any = SimpleNamespace(version="rules-1", parameters={})
        self._fail_at = fail_at
        self._calls = 0

    def run(self, inputs: Arrays) -> Arrays:
        self._calls += 1
        if self._calls - 1 in self._fail_at:
            raise InferenceError("it fails on purpose")
        beats, rhythm = inputs["beats"], inputs["rhythm"]
        ventricular = beats[:, _ALIKE] < 0.7
        early = ~ventricular & (beats[:, _EARLY] < -0.25)
        kinds = np.where(ventricular, 2, np.where(early, 1, 0))
        beat_p = np.full((len(beats), 5), 0.02, np.float32)
        beat_p[np.arange(len(beats)), kinds] = 0.92
        return {
            "beat_p": beat_p,
            "rhythm_p": np.where(rhythm[:, _IRREGULAR] > 0.15, 0.9, 0.1).astype(np.float32),
            "novelty": np.zeros(len(beats), np.float32),
        }
