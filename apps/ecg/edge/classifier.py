"""Classes of beats and decisions on atrial fibrillation, by the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from apps.ecg.edge.beat_shape import REACH_S
from apps.ecg.edge.beats import FEATURES, KINDS, BeatRows, decided
from apps.ecg.edge.history import BeatQuality, KnownBeat, KnownRhythm
from apps.ecg.edge.lead_analysis import FoundBeat
from apps.ecg.edge.rhythm import RHYTHM_FEATURES, RhythmFeatures, suppress_s_in_af
from common.app.edge import Model
from common.errors import InferenceError

_NO_BEATS = np.empty((0, FEATURES), np.float32)
_NO_RHYTHM = np.empty((0, RHYTHM_FEATURES), np.float32)
OnKnown = Callable[[int, KnownBeat | KnownRhythm], None]
"""Called with a finding and the sample with which it is known."""


class Classifier:
    """The model on one patient's beats. ``af_off`` as in `rhythm.suppress_s_in_af`."""

    def __init__(self, model: Model, rate_hz: float, af_off: float) -> None:
        self._model = model
        self._odds: Mapping[str, float] = model.manifest.parameters.get("operating_point", {})
        self._reach = round(REACH_S * rate_hz)
        self._af_off = af_off
        self._af_p = 0.0
        self._rhythm = RhythmFeatures()

    def classify(
        self, beats: Sequence[FoundBeat], quality: Sequence[BeatQuality], end: int, known: OnKnown
    ) -> None:
        """Give ``known`` the classes of ``beats`` and the rhythm decisions after them.

        ``end`` is the number of samples so far. Raises `InferenceError`; beats without a model output are Q.
        """
        features = np.array([beat.features for beat in beats], np.float32)
        samples = np.array([beat.sample for beat in beats])
        try:
            outputs = self._model.run({"beats": features, "rhythm": _NO_RHYTHM})
        except InferenceError:
            for beat, around in zip(beats, quality, strict=True):
                known(beat.known, KnownBeat(beat.sample, "Q", 0.0, 0.0, 0.0, *around))
            raise
        beat_p = np.asarray(outputs["beat_p"], np.float64)
        kinds = decided(beat_p, self._odds)
        kinds[samples + self._reach > end] = KINDS.index("Q")
        joined = [at for at, around in enumerate(quality) if around.joined]
        rows = BeatRows(samples, np.array([beat.rr_s for beat in beats]), features)
        if len(joined) < len(rows):
            rows = BeatRows(samples[joined], rows.rr_s[joined], features[joined])
        windows = self._rhythm.push(rows, kinds[joined])
        rhythm_p = np.empty(0)
        try:
            if len(windows):
                rhythm_p = self._model.run({"beats": _NO_BEATS, "rhythm": windows.features})["rhythm_p"]
        finally:  # beats are given also without a rhythm
            decided_at = windows.samples[: len(rhythm_p)]
            kinds = suppress_s_in_af(kinds, samples, decided_at, rhythm_p, self._af_off, self._af_p)
            results = zip(
                beats, quality, kinds.tolist(), beat_p.tolist(), outputs["novelty"].tolist(), strict=True
            )
            for beat, around, kind, p, novelty in results:
                *_, second, first = sorted(p)
                known(
                    beat.known,
                    KnownBeat(beat.sample, KINDS[kind], p[kind], first - second, novelty, *around),
                )
        known_of = {beat.sample: beat.known for beat in beats}
        for sample, began, p in zip(windows.samples, windows.began, rhythm_p, strict=True):
            self._af_p = float(p)
            known(known_of[int(sample)], KnownRhythm(int(sample), int(began), self._af_p))

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"rhythm": self._rhythm.snapshot(), "af_p": self._af_p}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._rhythm.restore(state["rhythm"])
        self._af_p = float(state["af_p"])
