"""Pacing spikes: detected and removed in one lead before its analysis, so that none is counted as a beat.

>>> spikes = SpikeFilter(1000.0)
>>> spikes.push(chunk_mv)                 # (n,) mV -> (cleaned, delayed by `delay_samples`; spikes)

A pacemaker's pulse lasts up to 2 ms (IEC 60601-2-27, 201.12.1.101.12), shorter than any
part of a heart beat. A spike rises from the signal by `MIN_MV` and returns within `LONGEST_S`, while the
signal beside it moves far less: the tip of a steep QRS complex continues with its slope on both sides, and
noise is present before it. A spike is replaced by a line.

From `SPIKE_RATE_HZ` a pulse has a sample of its own. At lower rates, or behind a low-pass filter below
`SPIKE_PASS_HZ`, spikes are smeared or lost: detection is off, and `pacing_limit` gives the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import grey_closing, grey_opening

from apps.ecg.edge.filters import Floats

SPIKE_RATE_HZ = 500.0
SPIKE_PASS_HZ = 150.0
LONGEST_S = 0.004
MIN_MV = 0.2
STANDS_OUT = 1.5
"""Minimum ratio of a spike's height to the movement of the signal beside it, within its own duration."""
QUIET_S = (0.03, 0.008)
OVER_NOISE = 3.0
"""Minimum ratio of a spike's height to any step between samples in `QUIET_S` before it."""
CAPTURE_S = 0.35
"""Maximum time from a spike to its beat, also for atrial pacing."""
MIN_SPIKES = 5
"""Minimum number of spikes in `apps.ecg.edge.reports.rates.RATES_S` for pacing."""
LIKE, STEADY, MOSTLY = 0.5, 0.1, 0.7
"""At least `MOSTLY` of a pacemaker's spikes are within these shares of their median height and interval."""
MAX_SPIKES_HZ = 6.0
"""Higher rates are noise: two chambers are paced at up to 180 a minute."""
_EDGE_MV = 0.4 * MIN_MV
_SIDE_S, _RINGING_S, _LEVEL_S = 0.0015, 0.007, 0.005
"""Removed beside a spike: ``_SIDE_S``, above `_RINGS_MV` the ringing of the recorder's filter; the line
connects the levels over ``_LEVEL_S`` before and after."""
_RINGS_MV = 0.8
_APART_S = 0.012
"""Spikes closer than this to a higher one belong to it."""
_REACH_S = 0.05
"""Context on both sides that the cleaned value of a sample may depend on."""


def pacing_limit(rate_hz: float, low_pass_hz: float | None) -> str | None:
    """Reason of undetectable pacing spikes in a signal; None if they are detectable."""
    if rate_hz < SPIKE_RATE_HZ:
        why = f"at {rate_hz:g} Hz (needs {SPIKE_RATE_HZ:g} Hz)"
    elif low_pass_hz is not None and low_pass_hz < SPIKE_PASS_HZ:
        why = f"behind a {low_pass_hz:g} Hz low-pass filter (needs {SPIKE_PASS_HZ:g} Hz)"
    else:
        return None
    return (
        f"pacing spikes cannot be detected {why}: pacemaker function is not assessed, and spikes may be "
        "counted as beats"
    )


def spikes_in(signal_mv: Floats, rate_hz: float) -> list[tuple[int, int, float]]:
    """First and last sample, and height in mV, of each spike in ``(n,)`` mV with context on both sides."""
    steps = np.abs(np.diff(signal_mv))
    if not (steps >= _EDGE_MV).any():
        return []
    wide = _wide(rate_hz)
    early, late = (round(seconds * rate_hz) for seconds in QUIET_S)
    known = np.isfinite(signal_mv)
    level = np.where(known, signal_mv, 0.0)
    up = level - grey_opening(level, wide + 1)
    down = grey_closing(level, wide + 1) - level
    found: list[tuple[int, int, float]] = []
    for sign, height in ((1.0, up), (-1.0, down)):
        high = np.flatnonzero(height >= MIN_MV)
        for run in np.split(high, np.flatnonzero(np.diff(high) > 1) + 1) if len(high) else ():
            first, last = int(run[0]), int(run[-1])
            left, right = first - 1 - wide, last + 1 + wide
            if last - first >= wide or left < 0 or right >= len(level) or not known[left : right + 1].all():
                continue
            beside = max(abs(level[first - 1] - level[left]), abs(level[right] - level[last + 1]))
            top = float(height[first : last + 1].max())
            noise = steps[max(0, first - early) : max(0, first - late)]
            if top >= STANDS_OUT * beside and not (noise * OVER_NOISE > top).any():
                found.append((first, last, sign * top))
    return sorted(found)


def without_spikes(signal_mv: Floats, rate_hz: float) -> Floats:
    """``(n,)`` mV with each spike replaced by a line."""
    return _cleaned(signal_mv, spikes_in(signal_mv, rate_hz), rate_hz)


def are_pacing(spikes: Sequence[tuple[int, float]], seconds: float) -> bool:
    """Whether spikes (sample and height in mV) of some seconds are those of a pacemaker.

    Criteria: similar heights, and steady intervals of one or two chambers.
    """
    if not MIN_SPIKES <= len(spikes) <= MAX_SPIKES_HZ * seconds:
        return False
    at, sizes = np.array([each[0] for each in spikes]), np.abs([each[1] for each in spikes])
    alike = [_near(sizes, LIKE)] + [_near(at[lag:] - at[:-lag], STEADY) for lag in (1, 2)]
    return alike[0] >= MOSTLY and max(alike[1:]) >= MOSTLY


def _near(values: Floats, share: float) -> float:
    """Share of values within a relative distance of their median."""
    middle = np.median(values)
    return float((np.abs(values - middle) <= share * middle).mean())


class SpikeFilter:
    """Spike removal for one lead of a stream. Below `SPIKE_RATE_HZ` the signal passes unchanged."""

    def __init__(self, rate_hz: float) -> None:
        self._rate = rate_hz
        self.delay_samples = round(_REACH_S * rate_hz) if rate_hz >= SPIKE_RATE_HZ else 0
        self._held: Floats = np.full(self.delay_samples, np.nan)
        """The last ``delay_samples`` that were returned, followed by those not yet returned."""
        self._end = 0

    def push(self, signal_mv: Floats) -> tuple[Floats, list[tuple[int, float]]]:
        """The cleaned samples that are now final, and their spikes by sample and height."""
        reach = self.delay_samples
        if not reach:
            return signal_mv, []
        both = np.concatenate([self._held, signal_mv])
        count = len(both) - 2 * reach
        self._held = both[-2 * reach :]
        if count <= 0:
            return np.empty(0), []
        spikes = spikes_in(both, self._rate)
        begin = self._end - reach
        self._end += count
        final = [
            (first + begin, height)
            for first, _, height in _alone(spikes, self._rate)
            if reach <= first < reach + count
        ]
        cleaned = _cleaned(both, spikes, self._rate) if spikes else both
        return cleaned[reach : reach + count], final

    def finish(self) -> Floats:
        """The held samples, at the end of the signal. Nothing may be pushed after it."""
        return self.push(np.full(self.delay_samples, np.nan))[0]

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"held": self._held.copy(), "end": self._end}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._held, self._end = np.array(state["held"], np.float64), int(state["end"])


def _wide(rate_hz: float) -> int:
    return max(2, round(LONGEST_S * rate_hz))


def _alone(spikes: Sequence[tuple[int, int, float]], rate_hz: float) -> list[tuple[int, int, float]]:
    """Spikes without the ringing beside a higher one."""
    apart = _APART_S * rate_hz
    return [
        spike
        for spike in spikes
        if not any(abs(other[2]) > abs(spike[2]) and abs(other[0] - spike[0]) <= apart for other in spikes)
    ]


def _cleaned(signal_mv: Floats, spikes: Sequence[tuple[int, int, float]], rate_hz: float) -> Floats:
    cleaned = signal_mv.copy()
    level = max(2, round(_LEVEL_S * rate_hz))
    for first, last, height in spikes:
        side = max(1, round((_RINGING_S if abs(height) > _RINGS_MV else _SIDE_S) * rate_hz))
        left, right = max(0, first - side), min(len(cleaned), last + side + 1)
        before, after = signal_mv[max(0, left - level) : left], signal_mv[right : right + level]
        if len(before) and len(after):
            ends = float(np.median(before)), float(np.median(after))
            cleaned[left:right] = np.linspace(*ends, right - left)
    return cleaned
