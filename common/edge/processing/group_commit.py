"""Group commit: events and decided readings that wait are committed together, and tried until they fit.

A group is committed at once if it holds an event, an alarm or a health event, or is large; else after
``interval_s``, so that a node at rest writes little. While the disk is full, or only alarms are left in a
full outbox, the group is tried again; meanwhile the source waits, and nothing is lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from common.clock import Clock
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.recovery import Recovery
from common.edge.losses import Kind, Losses
from common.edge.processing.progress import Progress
from common.errors import OutboxError, OutboxFull
from common.messages import Event, Priority

log = logging.getLogger(__name__)

HEALTH_TYPE = "edgeloop.node.health"
OUTBOX_TYPE = "edgeloop.outbox"
RETRY_S = 0.5
STOP_RETRIES_S = 2.0
"""Time for which a stopping node retries to commit its readings."""
LARGE_EVENTS = 4000
"""Events from which a group is committed although more readings wait: what is committed can be sent."""
COMMIT_EVENTS = 64
"""Events from which waiting for more spares the disk nothing."""


class NotCommitted(OutboxError):
    """The node stops while nothing can be committed."""


class Committed(NamedTuple):
    """A group that is in the outbox: its events, the last one's seq, and how many readings it decided."""

    events: list[Event]
    last_seq: int
    readings: int


class GroupCommit:
    """The group of one node; belongs to the process thread, but for `stuck_since_s` and `alive_s`.

    ``stop`` is set when the node stops; ``saved_state`` returns the app's whole state; ``report`` takes
    events about the outbox.
    """

    def __init__(
        self,
        outbox: Outbox,
        progress: Progress,
        losses: Losses,
        clock: Clock,
        *,
        node: str,
        interval_s: float,
        stop: threading.Event,
        saved_state: Callable[[], bytes],
        report: Callable[[Event], None],
    ) -> None:
        self._outbox = outbox
        self._progress = progress
        self._losses = losses
        self._clock = clock
        self._node = node
        self._interval_s = interval_s
        self._stop = stop
        self._saved_state = saved_state
        self._report = report
        self._events: list[Event] = []
        self._position: int | None = None
        self._readings = 0
        self.due_s = float("inf")
        """Latest time of the group's commit, by the monotonic clock."""
        self.stuck_since_s: float | None = None
        """Since when nothing can be committed; None if all is well."""
        self.alive_s = 0.0
        """Time of the last retry of a commit."""

    @property
    def empty(self) -> bool:
        return not self._events and not self._readings

    @property
    def large(self) -> bool:
        """Whether it is committed although more readings wait."""
        return len(self._events) >= LARGE_EVENTS

    def add(self, events: Iterable[Event]) -> None:
        self._events += events

    def decided(self, position: int | None) -> None:
        """A reading was decided on, at ``position`` where it has one."""
        self._readings += 1
        if position is not None:
            self._position = position

    def is_due(self) -> bool:
        """Whether the group is committed now; also sets when it is at the latest."""
        events = self._events
        now_s = time.monotonic()
        self.due_s = min(self.due_s, now_s + self._interval_s)
        return (
            len(events) >= COMMIT_EVENTS
            or now_s >= self.due_s
            or any(event.priority >= Priority.EVENT or event.type == HEALTH_TYPE for event in events)
        )

    def commit(self) -> Committed:
        """Commit the group with the app's progress. Raises `NotCommitted` if the node stops before."""
        events, written = self._events, self._progress.write(time.monotonic(), self._saved_state)
        problem: OutboxError | None = None
        while True:
            try:
                last_seq = self._outbox.commit(events, written.state, self._position, journal=written.journal)
                break
            except OutboxError as error:
                if problem is None:
                    log.error("%s; trying again until it works", error)
                    self.stuck_since_s = time.monotonic()
                problem = error
                self._wait_to_retry()
        self._progress.committed(written, time.monotonic())
        committed = Committed(events, last_seq, self._readings)
        self._events, self._position, self._readings, self.due_s = [], None, 0, float("inf")
        if problem is not None:
            self._works_again(problem)
        if self._outbox.recovery is not None:
            self._report_recovery(self._outbox.recovery)
        return committed

    def _wait_to_retry(self) -> None:
        self.alive_s = time.monotonic()
        assert self.stuck_since_s is not None
        if not self._stop.wait(RETRY_S):
            return
        if time.monotonic() - self.stuck_since_s > STOP_RETRIES_S:
            raise NotCommitted(
                "the node stops without having kept its last readings; a source that can go back repeats them"
            )
        time.sleep(RETRY_S)

    def _works_again(self, problem: OutboxError) -> None:
        assert self.stuck_since_s is not None
        seconds = time.monotonic() - self.stuck_since_s
        self.stuck_since_s = None
        log.warning("the outbox works again after %.1f s", seconds)
        kind = "full" if isinstance(problem, OutboxFull) else "disk"
        self._report_outbox(kind, f"nothing could be kept for {seconds:.1f} s: {problem}")

    def _report_recovery(self, recovery: Recovery) -> None:
        if not recovery.certain:
            self._losses.add(Kind.OUTBOX)
        detail = f"the damaged outbox was moved to {recovery.moved_to}: {recovery.kept} events were saved, "
        detail += f"{recovery.lost} lost" + ("" if recovery.certain else ", and perhaps more")
        if not recovery.state_whole:
            detail += "; the app's state is lost in part"
        self._report_outbox("corrupt", detail)
        self._outbox.recovery_reported()
        self._progress.demand()

    def _report_outbox(self, kind: str, detail: str) -> None:
        facts = {"problem": kind, "detail": detail[:500]}
        self._report(Event(OUTBOX_TYPE, self._node, self._clock(), Priority.EVENT, facts))
