"""Notices of the cloud about this node, and the uplink's own problems, as ``edgeloop.uplink`` events.

A notice counts for the node's health for `RECENT_S`. Repeated problems are counted (`common.edge.problems`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from common.clock import Clock
from common.edge.problems import Problems
from common.messages import Event, Priority

log = logging.getLogger(__name__)

UPLINK_TYPE = "edgeloop.uplink"
RECENT_S = 600.0
"""Time for which a notice affects the node's health."""
SHARED_REPEAT_S = 3600.0
"""Time between two alarms about a shared identity."""


class CloudNotices:
    """Of one node. The uplink thread writes; any thread reads `shared` and `limited`."""

    def __init__(self, node: str, clock: Clock, report: Callable[[Event], None]) -> None:
        self._node = node
        self._clock = clock
        self._report = report
        self._problems = Problems(UPLINK_TYPE)
        self._shared_s: float | None = None
        self._alarmed_s: float | None = None
        self._limited_s: float | None = None

    @property
    def shared(self) -> bool:
        """Whether another device lately used this node's identity."""
        return self._shared_s is not None and time.monotonic() - self._shared_s < RECENT_S

    @property
    def limited(self) -> bool:
        """Whether the cloud lately took less than this node sent."""
        return self._limited_s is not None and time.monotonic() - self._limited_s < RECENT_S

    def report(self, problem: str, detail: str, epoch: str, priority: Priority = Priority.EVENT) -> None:
        """Report a problem of the stream at once."""
        log.error("%s", detail)
        facts = {"problem": problem, "detail": detail[:500], "epoch": epoch}
        self._report(Event(UPLINK_TYPE, self._node, self._clock(), priority, facts))

    def count(self, kind: str, detail: str) -> None:
        """Count a problem that may repeat; `flush` reports it."""
        self._problems.add(kind, detail, self._node)

    def flush(self) -> None:
        """Report the counted problems that are due."""
        for event in self._problems.events(self._clock()):
            self._report(event)

    def identity_shared(self, epoch: str) -> None:
        """The cloud receives from two devices under this node's enrolment."""
        now_s = self._shared_s = time.monotonic()
        if self._alarmed_s is None or now_s - self._alarmed_s >= SHARED_REPEAT_S:
            self._alarmed_s = now_s
            self.report(
                "identity_shared",
                "another device sends under this node's enrolment: a cloned card, or one enrolment used "
                "twice; enrol each device by itself",
                epoch,
                Priority.ALARM,
            )

    def rate_limited(self, pause_s: float) -> None:
        """The cloud dropped a batch because this node sends more than its share."""
        self._limited_s = time.monotonic()
        self.count(
            "limited",
            f"this node sends more than the cloud takes of one node; it goes on after {pause_s:.1f} s, and "
            "nothing is lost",
        )
