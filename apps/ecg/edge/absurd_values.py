"""Removal of values outside of any ECG, as of a recorder with a wrong gain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apps.ecg.edge.filters import Floats
from apps.ecg.edge.history import KnownAbsurd

MAX_MV = 50.0
HOLD_S = 3.0
"""A lead counts as missing for this time after such a value: its gain is wrong between beats too."""
REPEAT_S = 60.0
"""Minimum time between two findings on one lead."""


class AbsurdValues:
    """Replaces absurd values of all leads by NaN, each with a hold time."""

    def __init__(self, rate_hz: float, leads: int) -> None:
        self._hold, self._repeat = (round(seconds * rate_hz) for seconds in (HOLD_S, REPEAT_S))
        self._until = [0] * leads
        self._reported = [-(10**9)] * leads

    def clean(self, signal_mv: Floats, begin: int) -> tuple[Floats, list[KnownAbsurd]]:
        """``signal_mv`` ``(n, leads)`` from sample ``begin`` without absurd values, and the findings."""
        usual = np.count_nonzero(np.abs(signal_mv) <= MAX_MV)
        if usual == signal_mv.size and begin >= max(self._until):
            return signal_mv, []
        found: list[KnownAbsurd] = []
        cleaned = np.where(np.isfinite(signal_mv), signal_mv, np.nan)
        numbers = np.arange(begin, begin + len(signal_mv))
        for lead in range(signal_mv.shape[1]):
            absurd = numbers[np.abs(cleaned[:, lead]) > MAX_MV]
            until = np.full(len(numbers), self._until[lead])
            until[absurd - begin] = absurd + self._hold
            until = np.maximum.accumulate(until)
            cleaned[numbers < until, lead] = np.nan
            self._until[lead] = int(until[-1])
            for at in absurd:
                if at >= self._reported[lead] + self._repeat:
                    self._reported[lead] = int(at)
                    found.append(KnownAbsurd(int(at), lead))
        return cleaned, found

    def snapshot(self) -> list[list[int]]:
        """The state, for `restore`."""
        return [list(self._until), list(self._reported)]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Take over a state of `snapshot` for the same leads."""
        self._until, self._reported = (list(each) for each in state)
