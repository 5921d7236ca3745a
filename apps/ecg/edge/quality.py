"""Signal quality of one lead by the second, with reasons.

>>> quality = LeadQuality(360.0)
>>> quality.push(chunk_mv)                # (n,) mV, NaN where missing -> changes, in order

Quality is assessed in windows of one second that begin at multiples of a second's samples. Reasons:

- ``lead_off``: samples are missing (NaN).
- ``flat``: less movement than the noise of an amplifier.
- ``saturated``: the signal stays at its extreme, or exceeds any ECG.
- ``noise``: muscle and mains (above 35 Hz) against the QRS complexes of the last seconds; or baseline
  jumps; or continuous, aperiodic energy in the band of the QRS complex, as of a moving electrode. Ventricular
  tachycardia has such energy too, but periodic.

A lead becomes bad after noise in two of three windows, or one window of another reason; it becomes good again
after `GOOD_AGAIN` windows within `EASE` of the limits, after noise `QUIET_AGAIN` (the pauses of a moving
electrode are shorter). A change is known at the end of the last window behind it. To bad it counts from the
start of the first window, to good from the last two: the signal before them was excluded and is no silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np

from apps.ecg.edge.filters import Filter, Floats, Joined, Past, butterworth, check_rate

REASONS = ("lead_off", "flat", "saturated", "noise")
GOOD_AGAIN, QUIET_AGAIN = 3, 5
EASE = 0.85
MISSING_SHARE = 0.1
FLAT_MV = 0.012
"""Peak to peak in a second; an open input of MIT-BIH's recorder moves by 2 steps of 0.005 mV."""
RAIL_S = 0.12
RAIL_MV = (0.1, 4.0)
"""A signal at its extreme for `RAIL_S` is saturated if it moves by more than the first in that second, or is
further from 0 than the second. No unsaturated second of DS1 comes near."""
LARGEST_MV = 25.0
NOISE_LIMITS = (0.13, 2.5, 0.25)
"""Root mean square above 35 Hz, and baseline movement in a second, relative to the size of the QRS complexes;
and the median of the envelope relative to its peaks. The last one withholds a moving electrode at 0 dB
 (`apps.ecg.benchmarks.noise`); it costs 0.2 % of DS1's time in two leads, and 1 % in one."""
EASED_LIMITS = tuple(EASE * limit for limit in NOISE_LIMITS)
MIN_PEAK_MV = 0.05
"""Minimum reference size of the complexes for noise: asystole is no reason to withhold."""
JUMP, MIN_SHARE = 0.4, 0.5
"""The third limit is scaled by baseline movement over `JUMP`, within `MIN_SHARE` and 1: atrial fibrillation
has energy between beats too, but a quiet baseline."""
PERIODIC = 0.55
"""Minimum autocorrelation, at a lag of 0.2 to 1.2 s, of a periodic signal."""
PIECE_S = 10
"""Longest piece that is processed at once."""
_SECONDS = 4
_PARTS = 12


@dataclass(frozen=True, slots=True)
class QualityChange:
    """From ``sample`` on the lead is ``good`` or bad for ``reasons``; known with the sample ``known``."""

    sample: int
    known: int
    good: bool
    reasons: tuple[str, ...]


class _Window(NamedTuple):
    """Measures of one second."""

    known: int
    lowest: float
    highest: float
    held: int
    """Number of samples at the lowest or at the highest value."""
    high_energy: float
    """Above 35 Hz, in mV2: median over parts of the second, which excludes QRS complexes."""
    baseline_mv: float
    energy_peak: float
    energy_level: float
    """In the band of the QRS complex, smoothed, in mV2: highest and median."""


class LeadQuality:
    """Quality of one lead; see the module."""

    def __init__(self, rate_hz: float) -> None:
        """For a lead of ``rate_hz``. Raises `ValueError` for an unsupported rate."""
        self._rate = check_rate(rate_hz)
        self._second = round(rate_hz)
        self._joined = Joined()
        self._high = Filter(butterworth(1, 35.0, "high", rate_hz))
        self._low = Filter(butterworth(2, 1.5, "low", rate_hz))
        self._band = Filter(butterworth(1, (5.0, 18.0), "band", rate_hz))
        pole = butterworth(1, 7.0, "low", rate_hz)
        self._smooth = Filter(np.concatenate([pole, pole]))
        self._piece = PIECE_S * self._second
        self._past = Past(5, (_SECONDS + 1) * self._second, self._piece)
        self._peaks: deque[float] = deque(maxlen=_SECONDS)
        self._levels: deque[float] = deque(maxlen=_SECONDS)
        self._jumps: deque[float] = deque(maxlen=_SECONDS)
        self._windows = 0
        self._reasons: tuple[str, ...] = ()
        self._seen: list[tuple[str, ...]] = []
        self._good_since = 0

    def push(self, signal_mv: Floats) -> list[QualityChange]:
        """Process the next samples, ``(n,)`` mV; returns the changes now known."""
        changes: list[QualityChange] = []
        for begin in range(0, len(signal_mv), self._piece):
            self._take(np.asarray(signal_mv[begin : begin + self._piece], np.float64))
            first, last = self._windows, self._past.end // self._second
            for number in range(first, last):
                strict, eased = self._judge(self._measured(number))
                changes += self._follow(strict, eased)
                self._windows += 1
        return changes

    def _take(self, signal_mv: Floats) -> None:
        joined, missing = self._joined.push(signal_mv)
        band = self._band.push(joined)
        rows = self._past.room(len(joined))
        rows[0] = signal_mv
        np.copyto(rows[0], np.nan, where=missing)
        rows[1] = self._high.push(joined)
        rows[2] = self._low.push(joined)
        rows[3] = band
        rows[4] = self._smooth.push(band * band)

    def _measured(self, number: int) -> _Window:
        """Measures of a window."""
        second = self._second
        raw, high, low, _, energy = self._past.view(number * second, (number + 1) * second)
        known = raw if isfinite(raw.dot(raw)) else raw[~np.isnan(raw)]
        lowest, highest = _extremes(known)
        baseline_low, baseline_high = _extremes(low)
        part = second // _PARTS
        parts = high[: part * _PARTS].reshape(_PARTS, part)
        energies = sorted((np.add.reduce(parts * parts, axis=1) / part).tolist())
        levels = energy.copy()
        levels.sort()
        return _Window(
            known=len(known),
            lowest=lowest,
            highest=highest,
            held=int(max(np.count_nonzero(known == lowest), np.count_nonzero(known == highest))),
            high_energy=_middle(energies),
            baseline_mv=baseline_high - baseline_low,
            energy_peak=float(levels[-1]),
            energy_level=float(_middle(levels)),
        )

    def _judge(self, window: _Window) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Reasons against a window: by the limits, and by the eased ones."""
        self._peaks.append(max(window.energy_peak, 0.0) ** 0.5)
        self._levels.append(max(window.energy_level, 0.0) ** 0.5)
        if window.known < (1 - MISSING_SHARE) * self._second:
            return ("lead_off",), ("lead_off",)
        extreme = max(abs(window.lowest), abs(window.highest))
        moved = window.highest - window.lowest
        held = window.held >= RAIL_S * self._rate and (moved > RAIL_MV[0] or extreme > RAIL_MV[1])
        if held or extreme > LARGEST_MV:
            return ("saturated",), ("saturated",)
        if moved < FLAT_MV:
            return ("flat",), ("flat",)
        peak = max(sorted(self._peaks)[len(self._peaks) // 2], MIN_PEAK_MV)
        self._jumps.append(window.baseline_mv / (4 * peak))
        jump = sorted(self._jumps)[len(self._jumps) // 2]
        busy = sorted(self._levels)[len(self._levels) // 2] / peak
        busy *= min(max(jump / JUMP, MIN_SHARE), 1.0)
        if busy > EASED_LIMITS[2] and self._period() >= PERIODIC:
            busy = 0.0
        found = (window.high_energy**0.5 / (4 * peak), self._jumps[-1], busy)
        strict = any(value > limit for value, limit in zip(found, NOISE_LIMITS, strict=True))
        eased = any(value > limit for value, limit in zip(found, EASED_LIMITS, strict=True))
        return ("noise",) if strict else (), ("noise",) if eased else ()

    def _period(self) -> float:
        """The highest autocorrelation of the band at a lag of 0.2 to 1.2 s, up to this second."""
        end = (self._windows + 1) * self._second
        band = self._past.view(end - _SECONDS * self._second, end)[3]
        step = max(1, int(self._rate / 60))
        thin = np.ascontiguousarray(band[::step])
        shortest, longest = round(0.2 * self._rate / step), round(1.2 * self._rate / step)
        part = thin[longest:]
        energy = float(part @ part) + 1e-12
        best = 0.0
        for lag in range(shortest, longest + 1):
            moved = thin[longest - lag : len(thin) - lag]
            best = max(best, float(part @ moved) / (energy * (float(moved @ moved) + 1e-12)) ** 0.5)
        return best

    def _follow(self, strict: tuple[str, ...], eased: tuple[str, ...]) -> list[QualityChange]:
        """Hysteresis: changes at the newest window."""
        second, window = self._second, self._windows
        known = (window + 1) * second - 1
        self._seen = [*self._seen[-2:], strict]
        if eased:
            self._good_since = window + 1
        if not strict and not self._reasons:
            return []
        noisy = [at for at, reasons in enumerate(self._seen) if reasons == ("noise",)]
        if strict and (strict != ("noise",) or len(noisy) >= 2) and strict != self._reasons:
            first = window - (len(self._seen) - 1 - noisy[0]) if strict == ("noise",) else window
            if self._reasons:
                first = window
            self._reasons = strict
            return [QualityChange(first * second, known, False, strict)]
        again = QUIET_AGAIN if self._reasons == ("noise",) else GOOD_AGAIN
        if self._reasons and window + 1 - self._good_since >= again:
            self._reasons = ()
            self._seen = []
            return [QualityChange((window - 1) * second, known, True, ())]
        return []

    def snapshot(self) -> dict[str, Any]:
        """The state as numbers and arrays in plain dicts, for `restore`."""
        return {
            "joined": self._joined.snapshot(),
            "filters": [each.snapshot() for each in self._filters()],
            "past": self._past.snapshot(),
            "peaks": list(self._peaks),
            "levels": list(self._levels),
            "jumps": list(self._jumps),
            "windows": self._windows,
            "reasons": list(self._reasons),
            "seen": [list(reasons) for reasons in self._seen],
            "good_since": self._good_since,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave at the same rate."""
        self._joined.restore(state["joined"])
        for each, saved in zip(self._filters(), state["filters"], strict=True):
            each.restore(saved)
        self._past.restore(state["past"])
        self._peaks = deque(state["peaks"], _SECONDS)
        self._levels = deque(state["levels"], _SECONDS)
        self._jumps = deque(state["jumps"], _SECONDS)
        self._windows = int(state["windows"])
        self._reasons = tuple(state["reasons"])
        self._seen = [tuple(reasons) for reasons in state["seen"]]
        self._good_since = int(state["good_since"])

    def _filters(self) -> tuple[Filter, ...]:
        return self._high, self._low, self._band, self._smooth


def _extremes(values: Floats) -> tuple[float, float]:
    """Lowest and highest value; by index, which is five times as fast as reducing."""
    if not len(values):
        return nan, nan
    return float(values[values.argmin()]), float(values[values.argmax()])


def _middle(ordered: Sequence[float] | Floats) -> float:
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[~middle]) / 2
