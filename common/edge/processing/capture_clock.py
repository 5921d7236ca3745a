"""Capture times of readings: by which clock they are, and whether they go back or lie in the future."""

from __future__ import annotations

from common.app.edge import Reading
from common.edge.problems import Problems
from common.errors import CapacityReached
from common.messages import AHEAD_LIMIT_NS
from common.subjects import SubjectMap

SUBJECTS_LIMIT = 10_000
"""Subjects whose capture times are checked; further ones are reported as not checked."""
FORGET_S = 86_400.0
BACK_LIMIT_NS = 1_000_000_000


class CaptureClock:
    """The newest capture time of each subject. ``virtual``: the source is a simulation."""

    def __init__(self, problems: Problems, *, virtual: bool) -> None:
        self._problems = problems
        self._virtual = virtual
        self._newest = SubjectMap[int](SUBJECTS_LIMIT, FORGET_S, setting="the limit of clock checks")

    def is_recorded(self, reading: Reading, now_ns: int) -> bool:
        """Whether the capture time is a recording's, or simulated ahead of this device's clock."""
        simulated = self._virtual and reading.captured_ns > now_ns + AHEAD_LIMIT_NS
        return reading.recorded or simulated

    def check(self, reading: Reading, now_ns: int) -> None:
        """Report a time that goes back, or lies in the future of this device; a recording's may."""
        try:
            before = self._newest.find(reading.subject, reading.captured_ns)
        except CapacityReached:
            self._problems.add(
                "clock", f"capture times are checked for {SUBJECTS_LIMIT} subjects only", reading.subject
            )
            return
        self._newest.keep(reading.subject, reading.captured_ns, reading.captured_ns)
        where = f"reading {reading.position} of {reading.subject}"
        if before is not None and reading.captured_ns < before - BACK_LIMIT_NS:
            back_s = (before - reading.captured_ns) / 1e9
            self._problems.add(
                "clock", f"{where} was captured {back_s:.1f} s before the last", reading.subject
            )
        elif not (self._virtual or reading.recorded) and reading.captured_ns > now_ns + AHEAD_LIMIT_NS:
            ahead_s = (reading.captured_ns - now_ns) / 1e9
            self._problems.add("clock", f"{where} was captured {ahead_s:.0f} s from now", reading.subject)
