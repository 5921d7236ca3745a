"""Ring buffer of the raw signal, for strips and averaged beats, and the capture times of its samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.filters import Floats

LSB_MV = 0.005
"""A step of a stored sample; that of the MIT-BIH records."""
MISSING = -32768
ANCHORS = 16


class Ring:
    """The newest ``span`` samples of all leads, as multiples of `LSB_MV`; `MISSING` where absent."""

    def __init__(self, leads: int, span: int) -> None:
        self._held = np.full((span, leads), MISSING, np.int16)
        self._end = 0

    @property
    def end(self) -> int:
        """Number of samples ever appended; the newest has the number ``end - 1``."""
        return self._end

    def append(self, signal_mv: Floats) -> None:
        """Append ``(n, leads)`` mV, NaN where missing; ``n`` is at most the span."""
        steps = np.rint(signal_mv * (1 / LSB_MV))
        np.minimum(np.maximum(steps, MISSING + 1, out=steps), -MISSING - 1, out=steps)
        np.fmax(steps, MISSING, out=steps)  # NaN becomes MISSING
        place = self._end % len(self._held)
        until_end = len(self._held) - place
        self._held[place : place + len(steps)] = steps[:until_end]
        if len(steps) > until_end:
            self._held[: len(steps) - until_end] = steps[until_end:]
        self._end += len(steps)

    def cut(self, begins: NDArray[np.int64], length: int) -> NDArray[np.int16]:
        """Samples ``begin`` to ``begin + length`` of each of ``begins``, ``(len(begins), length, leads)``."""
        begins = np.asarray(begins, np.int64)[:, np.newaxis]
        places = begins % len(self._held) + np.arange(length)
        found = self._held.take(places, axis=0, mode="wrap")
        first, last = max(0, self._end - len(self._held)), self._end - length
        if (begins < first).any() or (begins > last).any():
            samples = begins + np.arange(length)
            found[(samples < first) | (samples >= self._end)] = MISSING
        return found

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"held": self._held.copy(), "end": self._end}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._held = np.array(state["held"], np.int16)
        self._end = int(state["end"])


def to_mv(steps: NDArray[np.int16]) -> NDArray[np.float32]:
    """Samples of `Ring.cut` in mV, NaN where missing."""
    return np.where(steps == MISSING, np.float32(np.nan), steps * np.float32(LSB_MV))


class Timeline:
    """UTC of samples: exact multiples of the period from the last setting of the clock.

    Times are independent of chunk sizes, as long as the chunks' own times agree.
    """

    def __init__(self, rate_hz: float, ns: int) -> None:
        self._period_ns = 1e9 / rate_hz
        self._anchors: deque[tuple[int, int]] = deque([(0, ns)], maxlen=ANCHORS)

    def ns(self, sample: int) -> int:
        """Capture time of ``sample``, by the clock setting at that sample."""
        begin, ns = self._anchors[-1]
        if begin > sample:
            earlier = (anchor for anchor in reversed(self._anchors) if anchor[0] <= sample)
            begin, ns = next(earlier, self._anchors[0])
        return ns + round((sample - begin) * self._period_ns)

    def set(self, sample: int, ns: int) -> None:
        """Set the clock from ``sample`` on."""
        self._anchors.append((sample, ns))

    def snapshot(self) -> list[list[int]]:
        """The state, for `restore`."""
        return [list(anchor) for anchor in self._anchors]

    def restore(self, state: list[list[int]]) -> None:
        """Take over what `snapshot` gave."""
        self._anchors = deque(((int(s), int(ns)) for s, ns in state), maxlen=ANCHORS)
