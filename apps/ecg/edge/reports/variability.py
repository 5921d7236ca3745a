"""Report of heart rate variability over 5 minutes.

Only beats of the sinus node have a variability: none is reported in atrial fibrillation, with many ectopic or
paced beats, or with too few intervals between normal beats; a finding gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from apps.ecg import events
from apps.ecg.edge.episodes import Episodes
from apps.ecg.edge.hrv import MIN_NN, Variability, variability
from apps.ecg.edge.pacing import CAPTURE_S
from apps.ecg.edge.recording import Recording, rounded
from apps.ecg.edge.reports.pacing import PacingReport
from common.messages import Event

VARIABILITY_S = 300.0
MAX_ECTOPIC = 0.2
"""Maximum share of beats that are not normal."""
AF_P, AF_DECISIONS = 0.5, 2
"""Number of decisions with a higher probability of fibrillation from which there is no variability."""


class VariabilityReport:
    """``ecg.hrv`` of each 5 minutes, or the finding ``hrv_withheld``."""

    def __init__(
        self, recording: Recording, pacing: PacingReport, rhythm_p: Iterable[tuple[int, float]]
    ) -> None:
        """``rhythm_p`` are decisions: sample, and probability of atrial fibrillation."""
        self._recording = recording
        self._pacing = pacing
        self._rhythm_p = rhythm_p
        self._withheld = ""

    def report(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Event]:
        """The report on the samples ``begin`` to ``end``, at ``now``."""
        recording = self._recording
        found = self._measured(begin, end, episodes)
        reason = found if isinstance(found, str) else ""
        before, self._withheld = self._withheld, reason[:9]
        if reason and self._withheld != before:
            text = f"no heart rate variability of these {VARIABILITY_S:g} s: {reason}"
            yield recording.finding("hrv_withheld", None, text, now)
        if isinstance(found, str):
            return
        data = events.Hrv(
            began_ns=recording.timeline.ns(begin),
            seconds=(end - begin) / recording.rate_hz,
            nn_count=found.nn_count,
            ectopic_share=round(found.ectopic_share, 4),
            mean_nn_ms=round(found.mean_nn_ms, 1),
            sdnn_ms=round(found.sdnn_ms, 2),
            rmssd_ms=round(found.rmssd_ms, 2),
            pnn50_percent=round(found.pnn50_percent, 2),
            vlf_ms2=rounded(found.vlf_ms2, 1),
            lf_ms2=rounded(found.lf_ms2, 1),
            hf_ms2=rounded(found.hf_ms2, 1),
            lf_hf=rounded(found.lf_hf, 3),
            version=recording.version,
            virtual=recording.virtual,
        )
        yield recording.event(data, now)

    def _measured(self, begin: int, end: int, episodes: Episodes) -> Variability | str:
        """The variability between two samples, or the reason why there is none."""
        recording = self._recording
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        at = np.array([beat.sample for beat in beats], np.int64)
        paced = np.array(self._pacing.between(begin, end) if self._pacing.seen else [], np.int64)
        capture = recording.samples(CAPTURE_S)
        is_paced = np.searchsorted(paced, at + 2) > np.searchsorted(paced, at - capture)
        normal = np.array([beat.kind == "N" for beat in beats], np.bool_) & ~is_paced
        decisions = sum(begin <= sample < end and p > AF_P for sample, p in self._rhythm_p)
        if "AF" in episodes.during(begin, end) or decisions >= AF_DECISIONS:
            return "atrial fibrillation, without beats of the sinus node"
        if is_paced.sum() > MAX_ECTOPIC * len(beats):
            return f"{is_paced.sum()} of {len(beats)} beats are paced"
        if len(beats) and (~normal).mean() > MAX_ECTOPIC:
            return f"{(~normal).sum()} of {len(beats)} beats are not normal"
        joined = np.array([beat.joined for beat in beats], np.bool_)
        found = variability(at / recording.rate_hz, normal, joined)
        return f"fewer than {MIN_NN} intervals between normal beats" if found is None else found

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"withheld": self._withheld}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._withheld = str(state["withheld"])
