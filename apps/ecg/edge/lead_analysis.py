"""Analysis of one lead: pacing spikes, R peaks and beat features, each with the sample at which it is
known."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import BeatFeatures
from apps.ecg.edge.filters import Floats, Joined
from apps.ecg.edge.pacing import SpikeFilter
from apps.ecg.edge.peaks import LOOK_AHEAD_S, RPeaks

MIN_KNOWN_S = 0.6
"""Minimum delay of a beat after its R peak, for the wave after it."""


class FoundBeat(NamedTuple):
    """A beat for the model: the sample with which it is known, R peak, RR interval, features."""

    known: int
    sample: int
    rr_s: float
    features: NDArray[np.float32]


class LeadAnalysis:
    """The detectors of one lead; they count samples from ``begin``, results are absolute."""

    def __init__(self, rate_hz: float, lead: int, begin: int) -> None:
        self.lead = lead
        self._rate_hz = rate_hz
        self._begin = begin
        self._spikes = SpikeFilter(rate_hz)
        self._peaks = RPeaks(rate_hz)
        self._joined = Joined()
        self._features = BeatFeatures(rate_hz)
        self._recent: deque[int] = deque(maxlen=64)

    @property
    def delay_samples(self) -> int:
        """Maximum delay of a beat after its R peak."""
        return self._features.delay_samples + self._spikes.delay_samples

    def push(self, lead_mv: Floats, known: int) -> tuple[list[tuple[int, float]], list[FoundBeat]]:
        """Process the next samples, ``(n,)`` mV; spikes and beats, these not known before ``known``."""
        cleaned, spikes = self._spikes.push(lead_mv)
        return [(self._begin + at, mv) for at, mv in spikes], list(self._find(cleaned, known))

    def finish(self, end: int) -> list[FoundBeat]:
        """The last beats, at the end of the signal. Nothing may be pushed after it."""
        rest = self._features.delay_samples + self._peaks.delay_samples + round(LOOK_AHEAD_S * self._rate_hz)
        return [*self._find(self._spikes.finish(), end), *self._find(np.full(rest, np.nan), end)]

    def _find(self, lead_mv: Floats, known: int) -> Iterator[FoundBeat]:
        joined, missing = self._joined.push(lead_mv)
        peaks = self._peaks.follow(joined, missing)
        self._recent.extend(peaks)
        found = self._features.push(joined, peaks)
        beats = zip(found.samples.tolist(), found.rr_s.tolist(), found.features, strict=True)
        for sample, rr_s, features in beats:
            at = max(known, self._begin + self._known_with(sample))
            yield FoundBeat(at, self._begin + sample, rr_s, features)

    def _known_with(self, sample: int) -> int:
        """The sample of this lead with which a beat at ``sample`` is known."""
        held = self._spikes.delay_samples
        latest = sample + self._features.delay_samples + held
        following = next((peak for peak in self._recent if peak > sample), None)
        if following is None:
            return latest
        complete = sample + round(MIN_KNOWN_S * self._rate_hz) + held
        return min(latest, max(complete, following + self._peaks.delay_samples + held))

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "lead": self.lead,
            "begin": self._begin,
            "spikes": self._spikes.snapshot(),
            "peaks": self._peaks.snapshot(),
            "joined": self._joined.snapshot(),
            "features": self._features.snapshot(),
            "recent": list(self._recent),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot` at the same rate."""
        self.lead, self._begin = int(state["lead"]), int(state["begin"])
        self._spikes.restore(state["spikes"])
        self._peaks.restore(state["peaks"])
        self._joined.restore(state["joined"])
        self._features.restore(state["features"])
        self._recent = deque(state["recent"], maxlen=64)
