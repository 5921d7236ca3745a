"""Time as edgeloop uses it: UTC nanoseconds from a monotonic anchor."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives UTC nanoseconds."""


def anchored_clock() -> Clock:
    """A clock that is set once from the system's and then only moves forward.

    A wall clock that is stepped (NTP, a person) does not reorder what a process stamps; the cloud
    corrects the constant error of a node's clock when its batches arrive.
    """
    offset_ns = time.time_ns() - time.monotonic_ns()
    return lambda: offset_ns + time.monotonic_ns()
