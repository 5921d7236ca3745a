"""Events of the node itself, as they are due: notices, problems, refused subjects, losses and health.

The process thread commits them with the app's events (`common.edge.processing.processing`); other threads
report here at any time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from common.clock import Clock
from common.edge.delivery.outbox import Outbox
from common.edge.losses import Kind, Losses
from common.edge.problems import Problems
from common.edge.processing.group_commit import HEALTH_TYPE
from common.edge.processing.reading_queue import ReadingQueue
from common.edge.processing.refusals import RefusedSubjects
from common.edge.telemetry import NodeMetrics
from common.edge.update.adoption import Adoption
from common.messages import Event, Priority

NOTICES_LIMIT = 256
"""Notices that wait for the next group; any above are counted and reported as a problem."""


class PlatformEvents:
    """Any thread may report; `due`, `due_s` and `count_losses` belong to the process thread while it runs.

    ``health`` returns the data of a health event.
    """

    def __init__(
        self,
        queue: ReadingQueue,
        adoption: Adoption,
        outbox: Outbox,
        metrics: NodeMetrics,
        losses: Losses,
        clock: Clock,
        *,
        node: str,
        health_interval_s: float,
        health: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._queue = queue
        self._adoption = adoption
        self._outbox = outbox
        self._metrics = metrics
        self._losses = losses
        self._clock = clock
        self._node = node
        self._health_interval_s = health_interval_s
        self._health = health
        self._notices: deque[Event] = deque()
        self._replaced_reported = self._given_up_reported = self._notes_reported = 0
        self.problems = Problems()
        self.refused = RefusedSubjects(node)
        self.due_s = time.monotonic()
        """Time of the next health event, by the monotonic clock."""

    def report(self, event: Event) -> None:
        """Put a notice into the outbox with the next group."""
        if len(self._notices) >= NOTICES_LIMIT:
            self.problems.add("notices", f"{event.type} is dropped: too many notices wait", self._node)
            self._losses.add(Kind.REPORTS)
        else:
            self._notices.append(event)

    def report_health(self) -> None:
        """Make a health event with the next group, instead of when it is due."""
        self.due_s = 0.0

    def due(self) -> list[Event]:
        """The events to commit with the next group."""
        now_ns = self._clock()
        self.count_losses()
        events = [*self.problems.events(now_ns), *self.refused.events(now_ns)]
        while self._notices:
            events.append(self._notices.popleft())
        if time.monotonic() >= self.due_s:
            self.due_s = time.monotonic() + self._health_interval_s
            events.append(Event(HEALTH_TYPE, self._node, now_ns, Priority.TELEMETRY, dict(self._health())))
        return events

    def count_losses(self) -> None:
        """Take note of losses that others have counted."""
        if replaced := self._queue.dropped - self._replaced_reported:
            self._replaced_reported += replaced
            self._metrics.dropped.inc(replaced)
            detail = "readings of a live source that a newer one replaced before the app took them"
            self.problems.add("replaced", detail, self._node, replaced)
        if (given_up := sum(self._outbox.dropped.values()) - self._given_up_reported) > 0:
            self._given_up_reported += given_up
            self._losses.add(Kind.EVENTS, given_up)
        if dropped := self._adoption.reports.dropped - self._notes_reported:
            self._notes_reported += dropped
            self._losses.add(Kind.REPORTS, dropped)
            detail = "reports on models are dropped: too many wait"
            self.problems.add("notices", detail, self._node, dropped)
        self._losses.save()
