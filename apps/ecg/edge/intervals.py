"""PR, QRS and QT from the average of many sinus beats.

Averaging reduces noise by the square root of the number of beats, so that the limits of small waves can be
found. QRS begins and ends where the slope of the average stays
small; the P wave begins and the T wave ends where the tangent at the steepest slope meets the level between
the waves (Lepeschkin, Surawicz, Circulation 6:378, 1952). QT is corrected for the rate by Bazett (1920) and
Fridericia (1920). Uncertain measures are None.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfiltfilt

from apps.ecg.edge.filters import Floats, butterworth

BEFORE_S = 0.34
AFTER_S = 0.62
"""Averaged part of a beat, around its R peak."""
MIN_BEATS = 15
_LIKE_AVERAGE = 0.9
"""Minimum correlation of an averaged beat with the median beat."""
_QUIET_SLOPE = 0.06
"""Share of the steepest QRS slope below which the signal is outside of the complex."""
_QUIET_S = 0.016
_P_MIN_MV, _T_MIN_MV = 0.03, 0.06
_MIN_TO_NOISE = 5.0
"""Minimum ratio of a wave's height to the noise of the average."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Result of `intervals`, in milliseconds."""

    beats: int
    rr_ms: float
    qrs_ms: float
    pr_ms: float | None
    qt_ms: float | None

    @property
    def qtc_bazett_ms(self) -> float | None:
        """QT over the square root of RR in seconds."""
        return None if self.qt_ms is None else self.qt_ms / (self.rr_ms / 1e3) ** 0.5

    @property
    def qtc_fridericia_ms(self) -> float | None:
        """QT over the cube root of RR in seconds."""
        return None if self.qt_ms is None else self.qt_ms / (self.rr_ms / 1e3) ** (1 / 3)


@dataclass(frozen=True, slots=True)
class Average:
    """A beat averaged: ``wave_mv`` ``(samples,)`` with R at ``r``; ``noise_mv`` is its standard error."""

    wave_mv: Floats
    r: int
    rate_hz: float
    beats: int
    noise_mv: float


def span(rate_hz: float) -> tuple[int, int]:
    """Number of samples of a beat before its R peak, and from it on."""
    return round(BEFORE_S * rate_hz), round(AFTER_S * rate_hz)


def average(beats_mv: NDArray[np.floating], rate_hz: float, min_beats: int = MIN_BEATS) -> Average | None:
    """Average of beats ``(n, samples)`` cut by `span`; None for fewer than ``min_beats`` similar ones.

    Beats that differ from the median beat (ectopic, noisy, with a missing sample) are excluded.
    """
    if len(beats_mv) < min_beats:
        return None
    beats = np.asarray(beats_mv, np.float64)
    beats = beats[np.isfinite(beats).all(axis=1)]
    if len(beats) < min_beats:
        return None
    beats = beats - _medians(beats)[:, np.newaxis]
    middle = _medians(beats.T)
    middle = middle - middle.mean()
    centred = beats - beats.mean(axis=1, keepdims=True)
    size = np.linalg.norm(centred, axis=1) * np.linalg.norm(middle)
    like = np.divide(centred @ middle, size, out=np.zeros(len(beats)), where=size > 0)
    beats = beats[like >= _LIKE_AVERAGE]
    if len(beats) < min_beats:
        return None
    wave = beats.mean(axis=0)
    # noise from neighbouring samples, so that wander and true beat-to-beat variation do not count
    noise = (
        float(_medians(np.abs(np.diff(beats - wave, axis=1)).reshape(1, -1))[0]) / 0.954 / len(beats) ** 0.5
    )
    return Average(wave, span(rate_hz)[0], rate_hz, len(beats), noise)


def intervals(
    beat: Average, rr_s: float, following_s: float | None = None, *, p_wave: bool = True
) -> Intervals | None:
    """PR, QRS and QT of an averaged beat; None if QRS is uncertain.

    ``rr_s`` is the mean RR interval before the beats, ``following_s`` the shortest one after any of them.
    Without ``p_wave`` (in atrial fibrillation) PR is None.
    """
    limits = _qrs(beat)
    if limits is None:
        return None
    begin, end = limits
    rate_hz = beat.rate_hz
    t_end = _t_end(beat, begin, end, rr_s if following_s is None else min(rr_s, following_s))
    p_begin = _p_begin(beat, begin, rr_s) if p_wave else None
    to_ms = 1e3 / rate_hz
    return Intervals(
        beats=beat.beats,
        rr_ms=1e3 * rr_s,
        qrs_ms=float((end - begin) * to_ms),
        pr_ms=None if p_begin is None else float((begin - p_begin) * to_ms),
        qt_ms=None if t_end is None else float((t_end - begin) * to_ms),
    )


def _smooth(wave_mv: Floats, edge_hz: float, rate_hz: float) -> Floats:
    """Zero-phase low-pass filter at ``edge_hz``."""
    return sosfiltfilt(butterworth(2, edge_hz, "low", rate_hz), wave_mv)


def _qrs(beat: Average) -> tuple[float, float] | None:
    """Begin and end of QRS, in samples of the average."""
    rate_hz, r = beat.rate_hz, beat.r
    edge = min(60.0 / rate_hz, 0.4)
    slope = np.abs(np.gradient(_smooth(beat.wave_mv, edge * rate_hz, rate_hz)))
    # of white noise below the edge: its share, times the derivative's mean gain
    noise = beat.noise_mv * (2 * edge) ** 0.5 * 2 * np.pi * edge / 3**0.5
    low, high = r - round(0.14 * rate_hz), r + round(0.16 * rate_hz)
    steepest = low + int(np.argmax(slope[low:high]))
    quiet = max(_QUIET_SLOPE * slope[steepest], 3 * noise)
    if quiet > 0.4 * slope[steepest]:
        return None
    run = max(2, round(_QUIET_S * rate_hz))
    loud = slope > quiet
    at_rest = np.convolve(loud, np.ones(run), "valid") == 0  # [i]: samples i to i + run are quiet
    before = np.flatnonzero(at_rest[low - run : min(r, steepest) - run + 1])
    after = np.flatnonzero(at_rest[max(r, steepest) : high])
    if not len(before) or not len(after):
        return None
    begin = low - run + int(before[-1]) + run - 1
    end = max(r, steepest) + int(after[0])
    return _crossing(slope, begin, quiet), _crossing(slope, end - 1, quiet)


def _crossing(slope: Floats, left: int, level: float) -> float:
    """Position at which the slope crosses ``level`` between ``left`` and the next sample."""
    first, second = float(slope[left]), float(slope[left + 1])
    return left + (level - first) / (second - first) if (first - level) * (second - level) < 0 else left + 0.5


def _t_end(beat: Average, qrs_begin: float, qrs_end: float, rr_s: float) -> float | None:
    """End of T: the tangent at its last steep slope crosses the level between the waves."""
    rate_hz = beat.rate_hz
    low = int(qrs_end + 0.06 * rate_hz)
    # the next beat's P wave may begin 0.24 s before its R
    high = min(len(beat.wave_mv) - round(0.02 * rate_hz), beat.r + int((rr_s - 0.24) * rate_hz))
    if high - low < 0.16 * rate_hz:
        return None
    wave = _smooth(beat.wave_mv, 15.0, rate_hz) - _level(beat, qrs_begin)
    peak = _peak(wave, low, high)
    if peak is None or abs(wave[peak]) < max(_T_MIN_MV, _MIN_TO_NOISE * beat.noise_mv):
        return None
    # a biphasic T wave ends with its last part, where that is of size
    turned = np.maximum(0.0, -np.sign(wave[peak]) * wave)
    last = _peak(turned, peak + 1, high)
    if last is not None and turned[last] > max(_T_MIN_MV, 0.4 * abs(wave[peak])):
        peak = last
    return _foot(wave, peak, min(high, peak + round(0.2 * rate_hz)), 0.0)


def _p_begin(beat: Average, qrs_begin: float, rr_s: float) -> float | None:
    """Begin of P: the tangent at its first steep slope crosses the level before it."""
    rate_hz = beat.rate_hz
    low = max(round(0.02 * rate_hz), beat.r - int(max(0.0, rr_s - 0.42) * rate_hz))
    high = int(qrs_begin - 0.02 * rate_hz)
    if high - low < 0.08 * rate_hz:
        return None
    wave = _smooth(beat.wave_mv, 20.0, rate_hz) - _level(beat, qrs_begin)
    peak = _peak(wave, low, high)
    if peak is None or abs(wave[peak]) < max(_P_MIN_MV, _MIN_TO_NOISE * beat.noise_mv):
        return None
    first = max(low, peak - round(0.1 * rate_hz))
    before = float(np.median(wave[max(0, first - round(0.02 * rate_hz)) : first + 1]))
    if abs(before) > 0.5 * abs(wave[peak]):
        return None  # the end of a T wave, or no level to measure from
    return _foot(wave, peak, first, before)


def _level(beat: Average, qrs_begin: float) -> float:
    """The isoelectric level: just before QRS."""
    end = int(qrs_begin)
    return float(np.median(beat.wave_mv[max(0, end - round(0.02 * beat.rate_hz)) : end + 1]))


def _peak(wave: Floats, low: int, high: int) -> int | None:
    """The highest local maximum of |wave| in ``low`` to ``high``."""
    if high - low < 3:
        return None
    size = np.abs(wave[low:high])
    inside = (size[1:-1] >= size[:-2]) & (size[1:-1] >= size[2:])
    if not inside.any():
        return None
    places = np.flatnonzero(inside) + 1
    return low + int(places[np.argmax(size[places])])


def _foot(wave: Floats, peak: int, limit: int, level: float) -> float | None:
    """Crossing of ``level`` by the tangent at the steepest slope between ``peak`` and ``limit``."""
    low, high = min(peak, limit), max(peak, limit)
    if high - low < 3:
        return None
    slope = np.gradient(wave)
    leaving = np.sign(wave[peak]) * (1 if limit < peak else -1)  # sign of the slope between peak and foot
    steepest = low + int(np.argmax(leaving * slope[low : high + 1]))
    if leaving * slope[steepest] <= 0:
        return None
    foot = float(steepest + (level - wave[steepest]) / slope[steepest])
    return foot if low - 0.1 * len(wave) <= foot <= high + 0.1 * len(wave) else None


def _medians(rows: Floats) -> Floats:
    """The median of each row of ``(k, n)``; `numpy.median` takes up to ten times as long."""
    ordered, middle = np.sort(rows, axis=1), rows.shape[1] // 2
    return (ordered[:, middle] + ordered[:, ~middle]) / 2
