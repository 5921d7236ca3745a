"""The process thread: from readings to committed events, progress and position.

Whatever waits is decided on together and committed in one transaction
(`common.edge.processing.group_commit`): the events, the app's progress, and the last reading's position. So
after a crash at any moment the node continues exactly behind the last committed reading.
`common.edge.processing.decisions` decides on each reading, `common.edge.processing.progress` on what is
written of the app's progress,
`common.edge.processing.app_state` restores it, `common.edge.processing.platform_events` makes the node's own
events.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from common.app.edge import Reading
from common.clock import Clock
from common.edge.delivery.outbox import Outbox
from common.edge.losses import Losses
from common.edge.processing.app_state import AppState
from common.edge.processing.decisions import Decisions, SampleSink
from common.edge.processing.group_commit import GroupCommit, NotCommitted
from common.edge.processing.platform_events import PlatformEvents
from common.edge.processing.progress import Progress
from common.edge.processing.reading_queue import ReadingQueue
from common.edge.telemetry import NodeMetrics
from common.edge.update.adoption import Adoption
from common.errors import ReadingError
from common.messages import Event, Priority

log = logging.getLogger(__name__)

IDLE_S = 1.0
"""Time between two checks for commands while no readings come, and between two calls about the passing of
time."""
_PRIORITY_OF = attrgetter("priority")


class Processing:
    """The process thread of one node.

    ``health`` returns the data of a health event; ``committed`` is called with the events of each commit and
    the last one's seq.
    """

    def __init__(
        self,
        queue: ReadingQueue,
        adoption: Adoption,
        outbox: Outbox,
        sink: SampleSink | None,
        metrics: NodeMetrics,
        losses: Losses,
        clock: Clock,
        *,
        node: str,
        virtual: bool,
        health_interval_s: float,
        commit_interval_s: float = 0.0,
        checkpoint_interval_s: float = 300.0,
        health: Callable[[], Mapping[str, Any]],
        committed: Callable[[Sequence[Event], int], None],
    ) -> None:
        self._queue = queue
        self._adoption = adoption
        self._outbox = outbox
        self._sink = sink
        self._metrics = metrics
        self._losses = losses
        self._clock = clock
        self._node = node
        self.platform = PlatformEvents(
            queue,
            adoption,
            outbox,
            metrics,
            losses,
            clock,
            node=node,
            health_interval_s=health_interval_s,
            health=health,
        )
        self._committed = committed
        self._stop = threading.Event()
        self._flush = threading.Event()
        self._round_s = time.monotonic()
        self._passed_s = self._round_s
        self._switches = adoption.switches
        self.handled = 0
        """Readings, usable or not, that were decided on and committed."""
        self._progress = Progress(checkpoint_interval_s)
        self.decisions = Decisions(
            adoption, sink, self.platform, self._progress, metrics, losses, clock, virtual=virtual
        )
        self._state = AppState(adoption, self.decisions.drift, outbox)
        self._group = GroupCommit(
            outbox,
            self._progress,
            losses,
            clock,
            node=node,
            interval_s=commit_interval_s,
            stop=self._stop,
            saved_state=self._state.checkpoint,
            report=self.platform.report,
        )

    # -------------------------------------------------------------------------------------- any thread

    @property
    def stuck_since_s(self) -> float | None:
        """Since when nothing can be committed; None if all is well."""
        return self._group.stuck_since_s

    @property
    def alive_s(self) -> float:
        """Time of this thread's last round."""
        return max(self._round_s, self._group.alive_s)

    def flush(self) -> None:
        """Commit what waits in the next round: no more is to come."""
        self._flush.set()

    def stop(self) -> None:
        """End `run` once the queue, which must be closed, is empty."""
        self._stop.set()

    # ------------------------------------------------------------------------------- the process thread

    def restore(self) -> None:
        """Take over what an earlier process has committed: a checkpoint, and the readings behind it."""
        self._state.restore(self._losses, self.platform.problems, self._node)

    def run(self) -> None:
        """Decide and commit until `stop`."""
        while True:
            items = self._queue.take(self._patience_s())
            over = self._stop.is_set() and not items
            self._round_s = time.monotonic()
            try:
                self._handle(items)
                if over and self._progress.behind:  # The next start then has nothing to decide again.
                    self._progress.demand()
                    self._commit()
            except NotCommitted as error:
                log.error("%s", error)
                return
            if over:
                return

    def _patience_s(self) -> float:
        now_s = time.monotonic()
        due_s = min(self.platform.due_s, self._group.due_s, self._passed_s + IDLE_S)
        return max(0.0, min(IDLE_S, due_s - now_s))

    def _handle(self, items: Sequence[Reading | ReadingError]) -> None:
        for item in items:
            if isinstance(item, ReadingError):
                self.decisions.report_unusable(item, self._node)
                self._group.decided(None)
            else:
                self._group.add(self.decisions.decide(item))
                self._group.decided(item.position)
            if self._group.large:
                self._commit()
        if not items:
            self._group.add(self._adoption.events())
        self._pass_time()
        if self._sink is not None:
            self._group.add(self._sink.finished())
        self._group.add(self.platform.due())
        if self._group.empty:
            self._flush.clear()
        elif self._group.is_due() or self._flush.is_set() or self._stop.is_set():
            self._commit()

    def _pass_time(self) -> None:
        """Have the app decide on time without readings, about once a second."""
        now_s = time.monotonic()
        if now_s - self._passed_s < IDLE_S:
            return
        self._passed_s = now_s
        events = self._adoption.pass_time(self._clock())
        if events:
            self._progress.passed()
            self._group.add(events)

    def _commit(self) -> None:
        if self._adoption.switches != self._switches:
            self._switches = self._adoption.switches
            self._progress.demand()
        committed = self._group.commit()
        self.handled += committed.readings
        self._flush.clear()
        self._adoption.committed()
        if self._sink is not None:
            self._sink.committed()
        for priority, count in Counter(map(_PRIORITY_OF, committed.events)).items():
            self._metrics.events.labels(Priority(priority).name.lower()).inc(count)
        self._committed(committed.events, committed.last_seq)
