"""Causal filters with carried state, and a bounded memory of past samples.

Results are bit-identical for all chunk sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter

Floats = NDArray[np.float64]

MIN_RATE_HZ = 125.0
MAX_RATE_HZ = 1000.0


def check_rate(rate_hz: float) -> float:
    """``rate_hz`` as a float. Raises `ValueError` for one outside of `MIN_RATE_HZ` to `MAX_RATE_HZ`."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ValueError(f"{rate_hz:g} Hz: an ECG is analysed from {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz")
    return float(rate_hz)


@lru_cache
def butterworth(order: int, edges_hz: float | tuple[float, float], kind: str, rate_hz: float) -> Floats:
    """Second-order sections ``(sections, 6)`` of a Butterworth filter: ``low``, ``high`` or ``band``.

    Cached, as a design takes 0.3 ms; the array must not be modified.
    """
    return np.asarray(butter(order, edges_hz, kind, fs=rate_hz, output="sos"))


class Filter:
    """A cascade of second-order sections over a stream, at rest before its first sample.

    >>> low = Filter(butterworth(2, 35.0, "low", 360.0))
    >>> low.push(np.zeros(5))             # (n,) -> (n,)

    Sections run in pairs, each pair as one recursion: `scipy.signal.sosfilt` spends 0.1 ms on each call.
    """

    def __init__(self, sections: Floats) -> None:
        self._stages = [_combined(sections[at : at + 2]) for at in range(0, len(sections), 2)]
        self._states = [np.zeros(len(feedback) - 1) for _, feedback in self._stages]

    def push(self, values: Floats) -> Floats:
        """The filtered values, ``(n,)``. No value may be NaN."""
        if not len(values):
            return np.empty(0)
        for number, (forward, feedback) in enumerate(self._stages):
            values, self._states[number] = lfilter(forward, feedback, values, zi=self._states[number])
        return values

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"states": [state.copy() for state in self._states]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._states = [np.array(each, np.float64) for each in state["states"]]


def _combined(sections: Floats) -> tuple[Floats, Floats]:
    """One transfer function, numerator and denominator, for some sections."""
    forward, feedback = np.ones(1), np.ones(1)
    for section in sections:
        forward = np.convolve(forward, np.trim_zeros(section[:3], "b"))
        feedback = np.convolve(feedback, np.trim_zeros(section[3:], "b"))
    return forward, feedback


class Joined:
    """Makes a signal with missing samples (NaN, infinity) continuous, starting at 0.

    A missing sample takes the previous value, and the signal after a gap is shifted to continue from it, so
    that neither the start nor a gap is a step for the high-pass filters that follow.
    """

    def __init__(self) -> None:
        self._last = 0.0
        self._offset = 0.0
        self._in_gap = True

    def push(self, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """``(joined, missing)``, both ``(n,)``."""
        if not len(values):
            return np.empty(0), np.zeros(0, np.bool_)
        if not self._in_gap and isfinite(values.dot(values)):  # finite sum of squares: all finite
            self._last = float(values[-1])
            return values + self._offset, np.zeros(len(values), np.bool_)
        missing = ~np.isfinite(values)
        newest = np.maximum.accumulate(np.where(missing, 0, np.arange(1, len(values) + 1)))
        filled = np.concatenate([[self._last], np.where(missing, 0.0, values)])[newest]
        before = np.concatenate([[self._last], filled[:-1]])
        after_gap = ~missing & np.concatenate([[self._in_gap], missing[:-1]])
        jumps = np.where(after_gap, before - filled, 0.0)
        offsets = np.add.accumulate(np.concatenate([[self._offset], jumps]))[1:]
        self._last, self._offset = float(filled[-1]), float(offsets[-1])
        self._in_gap = bool(missing[-1])
        return filled + offsets, missing

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"last": self._last, "offset": self._offset, "in_gap": self._in_gap}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._last, self._offset = float(state["last"]), float(state["offset"])
        self._in_gap = bool(state["in_gap"])


class Past:
    """At least the newest ``kept`` samples of a stream by absolute number; 0 before the first.

    ``channels`` parallel signals. A chunk has up to ``max_chunk`` samples (default ``kept``); memory is for
    the sum of both.
    """

    def __init__(self, channels: int, kept: int, max_chunk: int | None = None) -> None:
        self._kept = kept
        self._max_chunk = kept if max_chunk is None else max_chunk
        self._held = np.zeros((channels, kept + self._max_chunk))
        self._first = -kept  # number of the sample in the first column
        self._used = kept

    @property
    def end(self) -> int:
        """Number of samples appended; the newest has the number ``end - 1``."""
        return self._first + self._used

    def append(self, chunk: Floats) -> None:
        """Append ``(channels, n)``. Raises `ValueError` for n above ``max_chunk``."""
        self.room(chunk.shape[1])[:] = chunk

    def room(self, length: int) -> Floats:
        """A writable view ``(channels, length)`` for the next samples, which count as appended.

        Raises `ValueError` for a length above ``max_chunk``.
        """
        if length > self._max_chunk:
            raise ValueError(f"{length} samples at once: at most {self._max_chunk}")
        if self._used + length > self._held.shape[1]:
            self._held[:, : self._kept] = self._newest()
            self._first += self._used - self._kept
            self._used = self._kept
        self._used += length
        return self._held[:, self._used - length : self._used]

    def view(self, begin: int, end: int) -> Floats:
        """Samples ``begin`` to ``end`` (exclusive), ``(channels, end - begin)``; a view, valid until the next
        append.

        Raises `ValueError` if they are not all held.
        """
        if not self._first <= begin <= end <= self.end:
            raise ValueError(f"samples {begin} to {end} are not all in {self._first} to {self.end}")
        return self._held[:, begin - self._first : end - self._first]

    def _newest(self) -> Floats:
        return self._held[:, self._used - self._kept : self._used].copy()

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"end": self.end, "newest": self._newest()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._held[:, : self._kept] = state["newest"]
        self._first = int(state["end"]) - self._kept
        self._used = self._kept
