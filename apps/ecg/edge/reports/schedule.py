"""Schedule of the reports on one recording.

A report is due at the first tick after all beats of its span have been classified. At the end of the signal,
the partial spans of rates and intervals are reported, and a finding lists the reports that need a longer
signal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from apps.ecg.edge.episodes import Episodes
from apps.ecg.edge.recording import Recording
from apps.ecg.edge.reports.excerpts import WINDOW_S, AlarmStrips, TrainingWindows
from apps.ecg.edge.reports.intervals import INTERVALS_S, SHORT_BEATS, IntervalReport
from apps.ecg.edge.reports.pacing import PacingReport
from apps.ecg.edge.reports.rates import RATES_S, RateReport
from apps.ecg.edge.reports.variability import VARIABILITY_S, VariabilityReport
from apps.ecg.edge.rhythm import HOP, MIN_BEATS
from common.app.edge import Sample
from common.messages import Event

RHYTHM_BEATS = MIN_BEATS + HOP
"""Number of beats up to the first rhythm decision, at most."""
DECISIONS_LIMIT = 256


class SpanReport(Protocol):
    """A report on spans of one length."""

    def report(
        self, begin: int, end: int, now: int, episodes: Episodes
    ) -> Iterator[Event] | Iterator[Event | Sample]:
        """The report on the samples ``begin`` to ``end``, at ``now``."""
        ...


class Reports:
    """The reports on one recording. ``consent`` is `apps.ecg.app.EcgSettings.consent`."""

    def __init__(self, recording: Recording, consent: str, spikes: Sequence[tuple[int, float]]) -> None:
        """``spikes`` are the pacing spikes of `tracker.Tracker`."""
        self._recording = recording
        self._rhythm_p: deque[tuple[int, float]] = deque(maxlen=DECISIONS_LIMIT)
        """Newest decisions: sample, and probability of atrial fibrillation."""
        self._strips = AlarmStrips(recording, consent)
        self._pacing = PacingReport(recording, spikes)
        self._intervals = IntervalReport(recording, spikes)
        self._rates = RateReport(recording, self._pacing, self._intervals)
        self._windows = TrainingWindows(recording, consent, self._rhythm_p)
        self._variability = VariabilityReport(recording, self._pacing, self._rhythm_p)
        self._spans: tuple[tuple[int, SpanReport], ...] = (
            (recording.samples(RATES_S), self._rates),
            (recording.samples(WINDOW_S), self._windows),
            (recording.samples(INTERVALS_S), self._intervals),
            (recording.samples(VARIABILITY_S), self._variability),
        )
        self._next = 0
        """No span ends before this sample."""

    def rhythm(self, sample: int, probability: float) -> None:
        """Add the probability of atrial fibrillation at ``sample``."""
        self._rhythm_p.append((sample, probability))

    def alarm(self, at: int, name: str) -> None:
        """Add an alarm that was raised."""
        self._windows.alarm(at)
        self._strips.alarm(at, name)

    def due(self, now: int, before: int, classified: int, episodes: Episodes) -> Iterator[Event | Sample]:
        """Reports due at ``now``, with beats classified up to ``classified``, before that to ``before``."""
        yield from self._strips.due(classified, now, episodes)
        if classified < self._next:
            return
        for length, span in self._spans:
            end = classified // length * length
            if end > max(before, 0) // length * length:
                yield from span.report(end - length, end, now, episodes)
        self._next = min((classified // length + 1) * length for length, _ in self._spans)

    def finish(self, end: int, episodes: Episodes) -> Iterator[Event | Sample]:
        """The remaining reports, as the signal ends at ``end``."""
        yield from self._strips.finish(end, episodes)
        for length, span in self._spans:
            begin = end // length * length
            if span in (self._rates, self._intervals) and begin < end:
                yield from span.report(begin, end, end, episodes)
        recording = self._recording
        if 0 < end < recording.samples(VARIABILITY_S):
            lacking: list[str] = []
            if not episodes.rhythm_decided:
                lacking.append(f"the rhythm, fibrillation or not ({RHYTHM_BEATS} beats)")
            if not self._intervals.measured and end < recording.samples(INTERVALS_S):
                lacking.append(f"intervals ({SHORT_BEATS} similar normal beats)")
            lacking.append(f"heart rate variability ({VARIABILITY_S:g} s)")
            text = f"{end / recording.rate_hz:.1f} s of signal are too short for {', '.join(lacking)}"
            yield recording.finding("short_signal", None, text, end)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "rhythm_p": [list(each) for each in self._rhythm_p],
            "strips": self._strips.snapshot(),
            "pacing": self._pacing.snapshot(),
            "intervals": self._intervals.snapshot(),
            "windows": self._windows.snapshot(),
            "variability": self._variability.snapshot(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._next = 0
        self._rhythm_p.clear()
        self._rhythm_p.extend((int(sample), float(p)) for sample, p in state["rhythm_p"])
        self._strips.restore(state["strips"])
        self._pacing.restore(state["pacing"])
        self._intervals.restore(state["intervals"])
        self._windows.restore(state["windows"])
        self._variability.restore(state["variability"])
