"""Exponential backoff: the waits between attempts, the same rule everywhere. No I/O and no sleeping.

Libraries for retries (tenacity, stamina) sleep inside a decorator; the loops here wait on events instead, so
that a stop ends the wait.
"""

from __future__ import annotations

from random import Random

_MAX_DOUBLINGS = 60


def backoff_s(min_s: float, max_s: float, failures: int) -> float:
    """Wait after ``failures`` (from 1) in a row: ``min_s``, then doubled each time, up to ``max_s``."""
    return min(max_s, min_s * 2.0 ** min(max(failures, 1) - 1, _MAX_DOUBLINGS))


class Backoff:
    """The waits of one loop. With ``rng`` each is shortened by up to half, so that nodes spread out."""

    def __init__(self, min_s: float, max_s: float, rng: Random | None = None) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._rng = rng
        self._failures = 0

    def next_s(self) -> float:
        """Count a failure and return the wait that follows it."""
        self._failures += 1
        wait_s = backoff_s(self._min_s, self._max_s, self._failures)
        return wait_s if self._rng is None else wait_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """An attempt succeeded: the next wait is ``min_s`` again."""
        self._failures = 0
