"""R peaks of one lead as the signal comes in.

>>> peaks = RPeaks(360.0)
>>> peaks.push(chunk_mv)                  # (n,) mV, NaN where missing -> (k,) sample numbers of R peaks

Sample numbers are absolute: the first sample that was ever pushed is 0. A peak at sample r is given by
the push that brings sample ``r + peaks.delay_samples`` at the latest, which is within 400 ms, and never
taken back.

Energy in the band of the QRS complex (Pan, Tompkins 1985) has its local maxima as candidates; which of them
are beats is decided with the signal up to `LOOK_AHEAD_S` after each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from apps.ecg.streaming.filters import Filter, Floats, Joined, Past, butterworth, check_rate

DELAY_S = 0.4
"""A peak is known no later than this after it."""
LOOK_AHEAD_S = 0.26
"""After a candidate (a maximum of the energy, which the filters put after its R peak)."""
PAST_S = 4.0
REFRACTORY_S = 0.2
_DOMINANCE_S = 0.09
"""A candidate is the largest energy within this distance to both sides."""
_FLOOR_MV2 = 1e-4
"""Energy under which nothing is a beat: 10 uV in the band of the QRS complex."""


class RPeaks:
    """The detector; see the module."""

    def __init__(self, rate_hz: float) -> None:
        """For a lead of ``rate_hz``. Raises `ValueError` for a rate that cannot be analysed."""
        self._rate = check_rate(rate_hz)
        self.delay_samples = int(DELAY_S * rate_hz)
        self._look = round(LOOK_AHEAD_S * rate_hz)
        self._dominance = round(_DOMINANCE_S * rate_hz)
        self._joined = Joined()
        self._wave = Filter(
            np.concatenate([butterworth(1, 0.7, "high", rate_hz), butterworth(2, 40.0, "low", rate_hz)])
        )
        self._band = Filter(butterworth(2, (5.0, 18.0), "band", rate_hz))
        pole = butterworth(1, 7.0, "low", rate_hz)
        self._smooth = Filter(np.concatenate([pole, pole]))
        self._past = Past(3, round(PAST_S * rate_hz))
        self._scanned = 0
        self._beats: list[int] = []
        self._levels: list[float] = []

    def push(self, signal_mv: Floats) -> NDArray[np.int64]:
        """Take in the next samples, ``(n,)`` mV with NaN for missing ones; give the peaks now certain.

        The sample numbers of the peaks rise, within a push and from push to push.
        """
        found: list[int] = []
        step = round(self._rate)
        for begin in range(0, len(signal_mv), step):
            self._take(np.asarray(signal_mv[begin : begin + step], np.float64))
            for candidate in self._candidates():
                peak = self._decide(candidate)
                if peak is not None:
                    found.append(peak)
        return np.array(found, np.int64)

    def _take(self, signal_mv: Floats) -> None:
        joined, missing = self._joined.push(signal_mv)
        band = self._band.push(joined)
        self._past.append(np.stack([self._wave.push(joined), self._smooth.push(band * band), missing]))

    def _candidates(self) -> list[int]:
        """Sample numbers of the maxima of energy that can be decided on now."""
        begin, end = self._scanned, self._past.end - self._look
        if end <= begin:
            return []
        self._scanned = end
        width = self._dominance
        energy = self._past.view(begin - width, end + width)[1]
        highest = maximum_filter1d(energy, 2 * width + 1)[width:-width]
        middle = energy[width:-width]
        chosen = (middle == highest) & (middle > energy[width - 1 : -width - 1]) & (middle > _FLOOR_MV2)
        return [begin + int(at) for at in np.flatnonzero(chosen)]

    def _decide(self, candidate: int) -> int | None:
        rate = self._rate
        energy = float(self._past.view(candidate, candidate + 1)[1, 0]) ** 0.5
        peak = self._locate(candidate)
        if self._past.view(peak, peak + 1)[2, 0]:
            return None
        level = float(np.median(self._levels)) if self._levels else 0.0
        since = (peak - self._beats[-1]) / rate if self._beats else np.inf
        rr = float(np.median(np.diff(self._beats))) / rate if len(self._beats) > 2 else 0.8
        if since < REFRACTORY_S:
            return None
        share = 0.45 if since < 0.9 * rr else max(0.15, 0.45 - 0.3 * (since / rr - 0.9))
        if since < 0.36:
            share = 0.6
        if energy < share * level:
            return None
        self._beats = [*self._beats[-8:], peak]
        self._levels = [*self._levels[-8:], energy]
        return peak

    def _locate(self, candidate: int) -> int:
        """The R peak of a candidate: where the wave is furthest from the level around it."""
        begin = max(0, candidate - round(0.12 * self._rate))
        wave = self._past.view(begin, candidate + round(0.02 * self._rate))[0]
        return begin + int(np.argmax(np.abs(wave - np.median(wave))))

    def snapshot(self) -> dict[str, Any]:
        """The state as numbers and arrays in plain dicts, for `restore`."""
        return {
            "joined": self._joined.snapshot(),
            "wave": self._wave.snapshot(),
            "band": self._band.snapshot(),
            "smooth": self._smooth.snapshot(),
            "past": self._past.snapshot(),
            "scanned": self._scanned,
            "beats": np.array(self._beats, np.int64),
            "levels": np.array(self._levels),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave at the same rate."""
        self._joined.restore(state["joined"])
        self._wave.restore(state["wave"])
        self._band.restore(state["band"])
        self._smooth.restore(state["smooth"])
        self._past.restore(state["past"])
        self._scanned = int(state["scanned"])
        self._beats = [int(at) for at in state["beats"]]
        self._levels = [float(level) for level in state["levels"]]
