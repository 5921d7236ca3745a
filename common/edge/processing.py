"""The process thread: from readings to committed events, state and position, in groups.

Whatever waits is decided on together and committed in one transaction (see `common.edge.outbox`): the
events, the app's state after the last reading, and that reading's position. So a crash at any moment goes
on exactly behind the last committed reading. When the disk is full or only alarms are left in a full
outbox, the group is tried again until it fits; meanwhile the source waits, and nothing is lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol

from common.app import Reading, Sample
from common.clock import Clock
from common.edge.adoption import Adoption
from common.edge.drift import DriftDetector
from common.edge.outbox import Outbox
from common.edge.problems import Problems
from common.edge.refusals import RefusedSubjects
from common.edge.sources import ReadingQueue
from common.edge.state import decode_state, encode_state
from common.edge.telemetry import NodeMetrics
from common.errors import CapacityReached, OutboxError, OutboxFull, ReadingError, SampleError
from common.messages import Event, Priority
from common.subjects import SubjectMap

log = logging.getLogger(__name__)

HEALTH_TYPE = "edgeloop.node.health"
OUTBOX_TYPE = "edgeloop.outbox"
IDLE_S = 1.0
"""How often a node without readings looks after its models."""
RETRY_S = 0.5
STOP_TRIES_S = 2.0
"""How long a stopping node goes on trying to commit what it has."""
GROUP_EVENTS = 4000
"""Events from which a group is committed although more readings wait: what is committed can be sent."""
CLOCKS_LIMIT = 10_000
"""Subjects whose capture times are checked; further ones are reported as not checked."""
CLOCK_FORGET_S = 86_400.0
_PRIORITY_OF = attrgetter("priority")
CLOCK_BACK_NS = 1_000_000_000
CLOCK_AHEAD_NS = 300_000_000_000


class _GivenUp(OutboxError):
    """The node stops while nothing can be committed."""


class Keeper(Protocol):
    """Takes samples that may be worth learning from (`common.edge.curation.Curation` is one)."""

    def offer(self, sample: Sample, *, drifting: bool) -> None: ...

    def finished(self) -> list[Event]: ...

    def committed(self) -> None: ...


class Processing:
    """The process thread of one node.

    ``health`` gives what a health event tells beside what is known here; ``committed`` is called with
    the events of each commit and the last one's seq.
    """

    def __init__(
        self,
        queue: ReadingQueue,
        adoption: Adoption,
        outbox: Outbox,
        keeper: Keeper | None,
        metrics: NodeMetrics,
        clock: Clock,
        *,
        node: str,
        virtual: bool,
        health_s: float,
        health: Callable[[], Mapping[str, Any]],
        committed: Callable[[Sequence[Event], int], None],
    ) -> None:
        self._queue = queue
        self._adoption = adoption
        self._outbox = outbox
        self._keeper = keeper
        self._metrics = metrics
        self._clock = clock
        self._node = node
        self._virtual = virtual
        self._health_s = health_s
        self._health = health
        self._committed = committed
        self._stop = threading.Event()
        self._notices: deque[Event] = deque(maxlen=256)
        self._captured = SubjectMap[int](CLOCKS_LIMIT, CLOCK_FORGET_S, setting="the limit of clock checks")
        self._drift: DriftDetector | None = None
        self._drift_version = ""
        self._next_health_s = time.monotonic()
        self._dropped_told = 0
        self.problems = Problems()
        self.refused = RefusedSubjects(node)
        self.handled = 0
        """Readings, usable or not, that were decided on and committed."""
        self.usable = 0
        """Readings that were decided on."""
        self.raw_bytes = 0
        """Bytes of all readings: what sending everything to the cloud would have cost."""
        self.stuck_since_s: float | None = None
        """Since when nothing can be committed; None if all is well."""
        self.alive_s = time.monotonic()
        """When this thread last went round."""

    # --------------------------------------------------------------------------------------- anywhere

    @property
    def drifting(self) -> bool:
        return self._drift is not None and self._drift.drifting

    def tell(self, event: Event) -> None:
        """Put a platform event into the outbox with the next group."""
        self._notices.append(event)

    def report_health(self) -> None:
        """Make a health event with the next group, instead of when it is due."""
        self._next_health_s = 0.0

    def stop(self) -> None:
        """End `run` once the queue, which must be closed, is empty."""
        self._stop.set()

    # ------------------------------------------------------------------------------- the process thread

    def restore(self) -> None:
        """Take over what an earlier process has committed."""
        saved = self._outbox.saved_state()
        if saved is None:
            return
        try:
            state = decode_state(saved)
            self._adoption.restore(state["app"])
            cusum, rate, drifting = state["drift"]
            detector = self._detector()
            if detector is not None and state["version"] == self._drift_version:
                detector.cusum, detector.exceed_rate, detector.drifting = cusum, rate, drifting
        except Exception as error:  # Whatever an app's restore raises: it starts afresh, and says so.
            log.exception("the app cannot take over its saved state and starts without it")
            self.problems.add("state", f"the app starts without its saved state: {error}", self._node)

    def run(self) -> None:
        """Decide and commit until `stop`."""
        while True:
            items = self._queue.take(self._patience_s())
            over = self._stop.is_set() and not items
            self.alive_s = time.monotonic()
            try:
                self._handle(items)
            except _GivenUp as error:
                log.error("%s", error)
                return
            if over:
                return

    def _patience_s(self) -> float:
        return max(0.0, min(IDLE_S, self._next_health_s - time.monotonic()))

    def _handle(self, items: Sequence[Reading | ReadingError]) -> None:
        events: list[Event] = []
        position: int | None = None
        for item in items:
            if isinstance(item, ReadingError):
                self._unusable(item, self._node)
            else:
                events += self._decide(item)
                position = item.position
                if len(events) >= GROUP_EVENTS:
                    self._commit(events, position)
                    events, position = [], None
        if not items:
            events += self._adoption.events()
        if self._keeper is not None:
            events += self._keeper.finished()
        events += self._platform_events()
        if events or position is not None:
            self._commit(events, position)
        self._adoption.committed()
        if self._keeper is not None:
            self._keeper.committed()
        self.handled += len(items)

    def _decide(self, reading: Reading) -> list[Event]:
        started = time.perf_counter()
        now_ns = self._clock()
        self.raw_bytes += reading.values.nbytes
        try:
            results = self._adoption.process(reading, now_ns, drifting=self.drifting)
        except CapacityReached as error:
            self.refused.add(error, now_ns)
            return []
        except ReadingError as error:
            self._check_clock(reading, now_ns)
            self._unusable(error, reading.subject)
            return []
        self._check_clock(reading, now_ns)
        events: list[Event] = []
        for result in results:
            if isinstance(result, Event):
                events.append(result)
            else:
                self._offer(result)
        news = self._watch_drift(reading)
        if news is not None:
            events.append(news)
        self.usable += 1
        self._metrics.readings.inc()
        self._metrics.processing.observe(time.perf_counter() - started)
        return events

    def _unusable(self, error: ReadingError, subject: str) -> None:
        if error.kind == "unusable":
            self._metrics.unusable.inc()
        self.problems.add(error.kind, str(error), subject)

    def _offer(self, sample: Sample) -> None:
        if self._keeper is None:
            return
        try:
            self._keeper.offer(sample, drifting=self.drifting)
        except (SampleError, OSError) as error:
            self.problems.add("sample", f"a sample of {sample.subject} is not kept: {error}", sample.subject)

    def _check_clock(self, reading: Reading, now_ns: int) -> None:
        """Tell when capture times go back, or lie in the future of this device."""
        try:
            before = self._captured.find(reading.subject, reading.captured_ns)
        except CapacityReached:
            self.problems.add(
                "clock", f"capture times are checked for {CLOCKS_LIMIT} subjects only", reading.subject
            )
            return
        self._captured.keep(reading.subject, reading.captured_ns, reading.captured_ns)
        where = f"reading {reading.position} of {reading.subject}"
        if before is not None and reading.captured_ns < before - CLOCK_BACK_NS:
            back_s = (before - reading.captured_ns) / 1e9
            self.problems.add(
                "clock", f"{where} was captured {back_s:.1f} s before the last", reading.subject
            )
        elif not self._virtual and reading.captured_ns > now_ns + CLOCK_AHEAD_NS:
            ahead_s = (reading.captured_ns - now_ns) / 1e9
            self.problems.add("clock", f"{where} was captured {ahead_s:.0f} s from now", reading.subject)

    def _detector(self) -> DriftDetector | None:
        manifest = self._adoption.manifest
        if manifest.version != self._drift_version:
            self._drift_version = manifest.version
            self._drift = DriftDetector(manifest.drift) if manifest.drift is not None else None
        return self._drift

    def _watch_drift(self, reading: Reading) -> Event | None:
        detector, outputs = self._detector(), self._adoption.outputs
        if detector is None or outputs is None:
            return None
        news = detector.update(outputs)
        if news is None:
            return None
        return detector.event(news, reading.subject, reading.captured_ns, self._drift_version)

    def _platform_events(self) -> list[Event]:
        now_ns = self._clock()
        if self._queue.dropped > self._dropped_told:
            self._metrics.dropped.inc(self._queue.dropped - self._dropped_told)
            self._dropped_told = self._queue.dropped
        events = [*self.problems.events(now_ns), *self.refused.events(now_ns)]
        while self._notices:
            events.append(self._notices.popleft())
        if time.monotonic() >= self._next_health_s:
            self._next_health_s = time.monotonic() + self._health_s
            events.append(self._health_event(now_ns))
        return events

    def _health_event(self, now_ns: int) -> Event:
        health = self._adoption.health()
        facts: dict[str, Any] = {
            "version": health.version,
            "slot": health.slot,
            "step": health.step,
            "readings": health.readings,
            "inference_failures": health.failures,
            "latency_p50_ms": round(health.latency_p50_ms, 4),
            "latency_p99_ms": round(health.latency_p99_ms, 4),
            "queue": len(self._queue),
            "outbox_events": self._outbox.events,
            "outbox_bytes": self._outbox.bytes,
            "dropped": self._queue.dropped,
            "unusable": self.problems.count("unusable"),
            "refused_subjects": self.refused.subjects,
            "refused_readings": self.refused.readings,
            "given_up": dict(self._outbox.dropped),
            "drift": self.drifting,
            "bytes_raw": self.raw_bytes,
            "soak_ok": health.soak_ok,
            "confirmed": health.confirmed,
            "virtual": self._virtual,
            **self._health(),
        }
        return Event(HEALTH_TYPE, self._node, now_ns, Priority.TELEMETRY, facts)

    # ------------------------------------------------------------------------------------- committing

    def _commit(self, events: list[Event], position: int | None) -> None:
        state = self._saved_state() if position is not None else None
        problem: OutboxError | None = None
        while True:
            try:
                last_seq = self._outbox.commit(events, state, position)
                break
            except OutboxError as error:
                if problem is None:
                    log.error("%s; trying again until it works", error)
                    self.stuck_since_s = time.monotonic()
                problem = error
                self._wait_for_room()
        self._adoption.committed()
        self._count(events)
        if problem is not None:
            self._recovered(problem)
        if self._outbox.replaced:
            self._tell_outbox("corrupt", f"the damaged outbox was moved to {self._outbox.replaced}")
            self._outbox.replaced = ""
        self._committed(events, last_seq)

    def _wait_for_room(self) -> None:
        """Wait before the next try. Raises `_GivenUp` when the node stops and it is no use to go on."""
        self.alive_s = time.monotonic()
        assert self.stuck_since_s is not None
        if not self._stop.wait(RETRY_S):
            return
        if time.monotonic() - self.stuck_since_s > STOP_TRIES_S:
            raise _GivenUp(
                "the node stops without having kept its last readings; a source that can go back "
                "gives them again"
            )
        time.sleep(RETRY_S)

    def _recovered(self, problem: OutboxError) -> None:
        assert self.stuck_since_s is not None
        seconds = time.monotonic() - self.stuck_since_s
        self.stuck_since_s = None
        log.warning("the outbox works again after %.1f s", seconds)
        kind = "full" if isinstance(problem, OutboxFull) else "disk"
        self._tell_outbox(kind, f"nothing could be kept for {seconds:.1f} s: {problem}")

    def _tell_outbox(self, kind: str, detail: str) -> None:
        facts = {"problem": kind, "detail": detail[:500]}
        self.tell(Event(OUTBOX_TYPE, self._node, self._clock(), Priority.EVENT, facts))

    def _saved_state(self) -> bytes:
        detector = self._detector()
        drift = (detector.cusum, detector.exceed_rate, detector.drifting) if detector else (0.0, 0.0, False)
        return encode_state(
            {"app": self._adoption.snapshot(), "drift": list(drift), "version": self._drift_version}
        )

    def _count(self, events: Sequence[Event]) -> None:
        for priority, count in Counter(map(_PRIORITY_OF, events)).items():
            self._metrics.events.labels(Priority(priority).name.lower()).inc(count)
