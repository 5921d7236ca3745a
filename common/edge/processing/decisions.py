"""Decisions on readings: the app's events, drift, and samples offered for curation. Of the process thread."""

from __future__ import annotations

import time
from typing import Protocol

import msgspec

from common.app.edge import Reading, Sample
from common.clock import Clock
from common.edge.losses import Kind, Losses
from common.edge.processing.capture_clock import CaptureClock
from common.edge.processing.drift import DriftWatch
from common.edge.processing.platform_events import PlatformEvents
from common.edge.processing.progress import Progress
from common.edge.telemetry import NodeMetrics
from common.edge.update.adoption import Adoption
from common.errors import CapacityReached, ReadingError, SampleError
from common.messages import Event


class SampleSink(Protocol):
    """Takes samples that may be worth learning from (`common.edge.curation.curation.Curation` is one)."""

    def offer(self, sample: Sample, *, drifting: bool, recorded: bool) -> None: ...

    def finished(self) -> list[Event]: ...

    def committed(self) -> None: ...


class Decisions:
    """Decides on one reading after the other by the live model, and counts them."""

    def __init__(
        self,
        adoption: Adoption,
        sink: SampleSink | None,
        platform: PlatformEvents,
        progress: Progress,
        metrics: NodeMetrics,
        losses: Losses,
        clock: Clock,
        *,
        virtual: bool,
    ) -> None:
        self.drift = DriftWatch(adoption)
        self.usable = 0
        """Readings that were decided on."""
        self.raw_bytes = 0
        """Bytes of all readings: the cost of sending everything to the cloud."""
        self._adoption = adoption
        self._sink = sink
        self._platform = platform
        self._progress = progress
        self._metrics = metrics
        self._losses = losses
        self._clock = clock
        self._capture = CaptureClock(platform.problems, virtual=virtual)

    def decide(self, reading: Reading) -> list[Event]:
        """The events of one reading; a reading that cannot be used has none and is reported."""
        started = time.perf_counter()
        now_ns = self._clock()
        self.raw_bytes += reading.values.nbytes
        try:
            results = self._adoption.process(reading, now_ns, drifting=self.drift.drifting)
        except CapacityReached as error:
            self._platform.refused.add(error, now_ns)
            return []
        except ReadingError as error:
            self._capture.check(reading, now_ns)
            self.report_unusable(error, reading.subject)
            return []
        self._capture.check(reading, now_ns)
        recorded = self._capture.is_recorded(reading, now_ns)
        events: list[Event] = []
        for result in results:
            if isinstance(result, Event):
                events.append(result)
            else:
                self._offer(result, recorded)
        news = self.drift.watch(reading)
        if news is not None:
            events.append(news)
        if recorded:  # Their times are not by this device's clock.
            events = [msgspec.structs.replace(event, recorded=True) for event in events]
        took_s = time.perf_counter() - started
        self._progress.add(reading, now_ns, took_s)
        self.usable += 1
        self._metrics.readings.inc()
        self._metrics.processing.observe(took_s)
        return events

    def report_unusable(self, error: ReadingError, subject: str) -> None:
        """Count and report a reading that cannot be used."""
        if error.kind == "unusable":
            self._metrics.unusable.inc()
        elif error.kind == "lost":
            self._losses.add(Kind.READINGS, error.count)
        self._platform.problems.add(error.kind, str(error), subject, error.count)

    def _offer(self, sample: Sample, recorded: bool) -> None:
        if self._sink is None:
            return
        try:
            self._sink.offer(sample, drifting=self.drift.drifting, recorded=recorded)
        except (SampleError, OSError) as error:
            self._platform.problems.add(
                "sample", f"a sample of {sample.subject} is not kept: {error}", sample.subject
            )
