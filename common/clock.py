"""Time as edgeloop uses it: UTC nanoseconds from a monotonic anchor."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from common.messages import EARLIEST_CLOCK_NS, LARGEST_NUMBER

Clock = Callable[[], int]
"""Gives UTC nanoseconds."""


def steady_ns() -> int:
    """Time since the machine was started, which nobody sets; it goes on while the machine sleeps."""
    source = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if source is None else time.clock_gettime_ns(source)


class NodeClock:
    """`anchored_clock` of a node that may start before its clock is set: without a battery, at 1970.

    It is plausible from ``earliest_ns`` to ``latest_ns``. While it reads less, it waits for the system's
    clock to be set, and then takes that over (`adjust`). Once it is plausible, or too far ahead, it only
    moves forward: durations and schedules of the process are reckoned by it.
    """

    def __init__(self, wall_ns: Clock = time.time_ns, steady_ns: Callable[[], int] = steady_ns) -> None:
        self._wall_ns = wall_ns
        self._steady_ns = steady_ns
        self.offset_ns = wall_ns() - steady_ns()
        """The clock less the steady time since the machine was started."""
        self.earliest_ns = EARLIEST_CLOCK_NS
        """Raised to the times of the run before, where the clock went back between two starts."""
        self.latest_ns = LARGEST_NUMBER
        """`latest_plausible_ns`, where the node has set it."""

    def __call__(self) -> int:
        return self.offset_ns + self._steady_ns()

    @property
    def plausible(self) -> bool:
        return self.earliest_ns <= self() <= self.latest_ns

    def adjust(self) -> int:
        """Take over a clock that was set meanwhile. Returns by how much this one has moved; mostly 0."""
        wall_ns = self._wall_ns()
        if self() >= self.earliest_ns or not self.earliest_ns <= wall_ns <= self.latest_ns:
            return 0
        before_ns = self.offset_ns
        self.offset_ns = wall_ns - self._steady_ns()
        return self.offset_ns - before_ns


def is_plausible(clock: Clock) -> bool:
    """Whether nothing speaks against what a node's clock reads."""
    return clock.plausible if isinstance(clock, NodeClock) else clock() >= EARLIEST_CLOCK_NS


def latest_plausible_ns(horizon_s: float, signed_until_ns: int | None) -> int:
    """Time from which a node's clock cannot be right.

    ``horizon_s`` after the newest time that is certain: that of this release (`EARLIEST_CLOCK_NS`), or
    ``signed_until_ns``, when the newest update metadata of the cloud expires.
    """
    return max(EARLIEST_CLOCK_NS, signed_until_ns or 0) + round(horizon_s * 1e9)


class Anchor(msgspec.Struct, frozen=True):
    """Clock record of a run of a node for the next run, which may know the error."""

    boot: str
    """Identity of this start of the machine; the steady time goes on within it."""
    offset_ns: int
    epoch: str
    first_seq: int
    """The first event that was numbered in this run."""
    left_ns: int = 0
    """Time on the clock at that moment."""


def boot_id() -> str:
    """Identity of this start of the machine; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def anchored_clock() -> Clock:
    """A clock that is set once from the system's and then only moves forward.

    A wall clock that is stepped (NTP, a person) does not reorder what a process stamps; the cloud
    corrects the constant error of a node's clock when its batches arrive.
    """
    offset_ns = time.time_ns() - time.monotonic_ns()
    return lambda: offset_ns + time.monotonic_ns()
