"""The process thread: from readings to committed events, progress and position, in groups.

Whatever waits is decided on together and committed in one transaction (see `common.edge.delivery.outbox`):
the events, the app's progress, and the last reading's position. So a crash at any moment goes on exactly
behind the last committed reading. When the disk is full or only alarms are left in a full outbox, the group
is tried again until it fits; meanwhile the source waits, and nothing is lost.

A group is committed at once if it holds an event or an alarm, or is large; else after ``commit_interval_s``,
so that a node at rest writes little. `common.edge.processing.progress` decides what is written of the app's
progress.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol

import msgspec

from common.app.edge import Reading, Sample
from common.clock import Clock
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.recovery import Recovery
from common.edge.losses import Kind, Losses
from common.edge.problems import Problems
from common.edge.processing.drift import DriftDetector
from common.edge.processing.journal import Decided, decode_readings, pack, unpack
from common.edge.processing.progress import Progress
from common.edge.processing.refusals import RefusedSubjects
from common.edge.processing.state import decode_state, encode_state
from common.edge.sensing.sources import ReadingQueue
from common.edge.telemetry import NodeMetrics
from common.edge.update.adoption import Adoption
from common.errors import CapacityReached, OutboxError, OutboxFull, ReadingError, SampleError
from common.messages import AHEAD_LIMIT_NS, Event, Priority
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
COMMIT_EVENTS = 64
"""Events from which waiting for more spares the disk nothing."""
NOTICES_LIMIT = 256
"""Platform events that wait for the next group; what comes above is counted and told as a problem."""
CLOCKS_LIMIT = 10_000
"""Subjects whose capture times are checked; further ones are reported as not checked."""
CLOCK_FORGET_S = 86_400.0
_PRIORITY_OF = attrgetter("priority")
CLOCK_BACK_NS = 1_000_000_000


class _GivenUp(OutboxError):
    """The node stops while nothing can be committed."""


class SampleSink(Protocol):
    """Takes samples that may be worth learning from (`common.edge.curation.curation.Curation` is one)."""

    def offer(self, sample: Sample, *, drifting: bool, recorded: bool) -> None: ...

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
        sink: SampleSink | None,
        metrics: NodeMetrics,
        losses: Losses,
        clock: Clock,
        *,
        node: str,
        virtual: bool,
        health_s: float,
        commit_interval_s: float = 0.0,
        checkpoint_s: float = 300.0,
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
        self._virtual = virtual
        self._health_s = health_s
        self._health = health
        self._committed = committed
        self._stop = threading.Event()
        self._flush = threading.Event()
        self._interval_s = commit_interval_s
        self._progress = Progress(checkpoint_s)
        self._switches = adoption.switches
        self._waiting: list[Event] = []
        self._position: int | None = None
        self._decided = 0
        self._due_s = float("inf")
        self._notices: deque[Event] = deque()
        self._captured = SubjectMap[int](CLOCKS_LIMIT, CLOCK_FORGET_S, setting="the limit of clock checks")
        self._drift: DriftDetector | None = None
        self._drift_version = ""
        self._next_health_s = time.monotonic()
        self._dropped_reported = self._given_up_reported = self._dropped_notes_reported = 0
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
        if len(self._notices) >= NOTICES_LIMIT:
            self.problems.add("notices", f"{event.type} is not told: too many notices wait", self._node)
            self._losses.add(Kind.REPORTS)
        else:
            self._notices.append(event)

    def flush(self) -> None:
        """Commit what waits at the next turn: no more is to come."""
        self._flush.set()

    def report_health(self) -> None:
        """Make a health event with the next group, instead of when it is due."""
        self._next_health_s = 0.0

    def stop(self) -> None:
        """End `run` once the queue, which must be closed, is empty."""
        self._stop.set()

    # ------------------------------------------------------------------------------- the process thread

    def restore(self) -> None:
        """Take over what an earlier process has committed: a checkpoint, and the readings behind it."""
        recovery = self._outbox.recovery
        if recovery is not None and not recovery.state_whole:
            self._losses.add(Kind.STATE)
        try:
            saved, journal = self._outbox.saved_state(), self._outbox.journal()
            if saved is not None:
                self._restore_state(decode_state(unpack(saved)))
        except Exception as error:  # Whatever an app's restore raises: it starts afresh, and says so.
            log.exception("the app cannot take over its saved state and starts without it")
            self._losses.add(Kind.STATE)
            self.problems.add("state", f"the app starts without its saved state: {error}", self._node)
            return
        for number, content in enumerate(journal):
            try:
                self._replay(decode_readings(content))
            except OutboxError as error:
                left = len(journal) - number
                detail = f"the app goes on from a state that is {left} commits older: {error}"
                self._losses.add(Kind.STATE)
                self.problems.add("state", detail, self._node)
                return

    def _restore_state(self, state: Mapping[str, Any]) -> None:
        self._adoption.restore(state["app"])
        cusum, rate, drifting = state["drift"]
        detector = self._detector()
        if detector is not None and state["version"] == self._drift_version:
            detector.cusum, detector.exceed_rate, detector.drifting = cusum, rate, drifting

    def _replay(self, readings: Sequence[Decided]) -> None:
        """Decide again on what was decided and committed, for the state alone."""
        for reading, now_ns in readings:
            if self._adoption.replay(reading, now_ns):
                self._watch_drift(reading)

    def run(self) -> None:
        """Decide and commit until `stop`."""
        while True:
            items = self._queue.take(self._patience_s())
            over = self._stop.is_set() and not items
            self.alive_s = time.monotonic()
            try:
                self._handle(items)
                if over:
                    self._finish()
            except _GivenUp as error:
                log.error("%s", error)
                return
            if over:
                return

    def _patience_s(self) -> float:
        now_s = time.monotonic()
        return max(0.0, min(IDLE_S, self._next_health_s - now_s, self._due_s - now_s))

    def _handle(self, items: Sequence[Reading | ReadingError]) -> None:
        for item in items:
            if isinstance(item, ReadingError):
                self._unusable(item, self._node)
            else:
                self._waiting += self._decide(item)
                self._position = item.position
            self._decided += 1
            if len(self._waiting) >= GROUP_EVENTS:
                self._commit()
        if not items:
            self._waiting += self._adoption.events()
        if self._sink is not None:
            self._waiting += self._sink.finished()
        self._waiting += self._platform_events()
        if self._is_due():
            self._commit()

    def _is_due(self) -> bool:
        """Whether what waits is committed now; also sets when it is at the latest."""
        waiting = self._waiting
        if not waiting and not self._decided:
            self._flush.clear()
            return False
        now_s = time.monotonic()
        self._due_s = min(self._due_s, now_s + self._interval_s)
        return (
            len(waiting) >= COMMIT_EVENTS
            or now_s >= self._due_s
            or self._flush.is_set()
            or self._stop.is_set()
            or any(event.priority >= Priority.EVENT or event.type == HEALTH_TYPE for event in waiting)
        )

    def _finish(self) -> None:
        """Leave a checkpoint, so that the next start has nothing to decide again."""
        if self._progress.behind:
            self._progress.demand()
            self._commit()

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
                events.append(self._timed_as(reading, result, now_ns))
            else:
                self._offer(result, self._is_recorded(reading, now_ns))
        news = self._watch_drift(reading)
        if news is not None:
            events.append(self._timed_as(reading, news, now_ns))
        took_s = time.perf_counter() - started
        self._progress.add(reading, now_ns, took_s)
        self.usable += 1
        self._metrics.readings.inc()
        self._metrics.processing.observe(took_s)
        return events

    def _unusable(self, error: ReadingError, subject: str) -> None:
        if error.kind == "unusable":
            self._metrics.unusable.inc()
        elif error.kind == "lost":
            self._losses.add(Kind.READINGS, error.count)
        self.problems.add(error.kind, str(error), subject, error.count)

    def _offer(self, sample: Sample, recorded: bool) -> None:
        if self._sink is None:
            return
        try:
            self._sink.offer(sample, drifting=self.drifting, recorded=recorded)
        except (SampleError, OSError) as error:
            self.problems.add("sample", f"a sample of {sample.subject} is not kept: {error}", sample.subject)

    def _check_clock(self, reading: Reading, now_ns: int) -> None:
        """Tell when capture times go back, or lie in the future of this device; a recording's may."""
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
        elif not (self._virtual or reading.recorded) and reading.captured_ns > now_ns + AHEAD_LIMIT_NS:
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
        self.look_for_losses()
        events = [*self.problems.events(now_ns), *self.refused.events(now_ns)]
        while self._notices:
            events.append(self._notices.popleft())
        if time.monotonic() >= self._next_health_s:
            self._next_health_s = time.monotonic() + self._health_s
            events.append(self._health_event(now_ns))
        return events

    def look_for_losses(self) -> None:
        """Take note of what others have counted as lost or left out."""
        if replaced := self._queue.dropped - self._dropped_reported:
            self._dropped_reported += replaced
            self._metrics.dropped.inc(replaced)
            detail = "readings of a live source that a newer one replaced before the app took them"
            self.problems.add("replaced", detail, self._node, replaced)
        if (given_up := sum(self._outbox.dropped.values()) - self._given_up_reported) > 0:
            self._given_up_reported += given_up
            self._losses.add(Kind.EVENTS, given_up)
        if dropped_notes := self._adoption.reports.dropped - self._dropped_notes_reported:
            self._dropped_notes_reported += dropped_notes
            self._losses.add(Kind.REPORTS, dropped_notes)
            self.problems.add(
                "notices", "notes on models are not told: too many wait", self._node, dropped_notes
            )
        self._losses.save()

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
            "outbox_bytes": self._outbox.size_bytes,
            "dropped": self._queue.dropped,
            "unusable": self.problems.count("unusable"),
            "refused_subjects": self.refused.subjects,
            "refused_readings": self.refused.readings,
            "given_up": self._outbox.dropped,
            "drift": self.drifting,
            "bytes_raw": self.raw_bytes,
            "soak_ok": health.soak_ok,
            "confirmed": health.confirmed,
            "virtual": self._virtual,
            **self._health(),
        }
        return Event(HEALTH_TYPE, self._node, now_ns, Priority.TELEMETRY, facts)

    # ------------------------------------------------------------------------------------- committing

    def _commit(self) -> None:
        if self._adoption.switches != self._switches:
            self._switches = self._adoption.switches
            self._progress.demand()
        events, written = self._waiting, self._progress.write(time.monotonic(), self._saved_state)
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
                self._wait_for_room()
        self._progress.committed(written, time.monotonic())
        self.handled += self._decided
        self._waiting, self._position, self._decided, self._due_s = [], None, 0, float("inf")
        self._flush.clear()
        self._adoption.committed()
        if self._sink is not None:
            self._sink.committed()
        self._count(events)
        if problem is not None:
            self._recovered(problem)
        if self._outbox.recovery is not None:
            self._report_recovery(self._outbox.recovery)
        self._committed(events, last_seq)

    def _report_recovery(self, recovery: Recovery) -> None:
        if not recovery.certain:
            self._losses.add(Kind.OUTBOX)
        detail = f"the damaged outbox was moved to {recovery.moved_to}: {recovery.kept} events were saved, "
        detail += f"{recovery.lost} lost" + ("" if recovery.certain else ", and perhaps more")
        if not recovery.state_whole:
            detail += "; the app's state is lost in part"
        self._tell_outbox("corrupt", detail)
        self._outbox.recovery_reported()
        self._progress.demand()

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
        state = {"app": self._adoption.snapshot(), "drift": list(drift), "version": self._drift_version}
        return pack(encode_state(state))

    def _count(self, events: Sequence[Event]) -> None:
        for priority, count in Counter(map(_PRIORITY_OF, events)).items():
            self._metrics.events.labels(Priority(priority).name.lower()).inc(count)

    def _timed_as(self, reading: Reading, event: Event, now_ns: int) -> Event:
        """The event, marked where its time is not by this device's clock."""
        recorded = self._is_recorded(reading, now_ns)
        return msgspec.structs.replace(event, recorded=True) if recorded else event

    def _is_recorded(self, reading: Reading, now_ns: int) -> bool:
        """Whether the capture time is a recording's, or simulated ahead of this device's clock."""
        simulated = self._virtual and reading.captured_ns > now_ns + AHEAD_LIMIT_NS
        return reading.recorded or simulated
