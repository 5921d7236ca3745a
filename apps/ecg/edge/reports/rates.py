"""Report of heart rate, beats and rhythm over 10 s."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from apps.ecg import events
from apps.ecg.edge.beats import KINDS
from apps.ecg.edge.episodes import Episodes
from apps.ecg.edge.recording import Recording
from apps.ecg.edge.reports.intervals import IntervalReport
from apps.ecg.edge.reports.pacing import PacingReport
from common.messages import Event

RATES_S = 10.0
MIN_RR = 3
"""Minimum number of intervals in a span for a heart rate."""


def rhythm_between(recording: Recording, begin: int, end: int, episodes: Episodes) -> str:
    """The rhythm between two samples: an episode there, else sinus if it was analysed."""
    beats = [beat for beat in recording.history.between(begin, end) if beat.good]
    seen = 2 * recording.usability.good_samples(begin, end) >= end - begin
    sinus = seen and episodes.rhythm_decided and sum(beat.joined for beat in beats[1:]) >= MIN_RR
    return next(iter(episodes.during(begin, end)), "sinus" if sinus else "unknown")


class RateReport:
    """``ecg.rates`` of each span, with pacing findings; it collects beats for the interval report."""

    def __init__(self, recording: Recording, pacing: PacingReport, intervals: IntervalReport) -> None:
        self._recording = recording
        self._pacing = pacing
        self._intervals = intervals

    def report(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Event]:
        """The report on the samples ``begin`` to ``end``, at ``now``."""
        recording = self._recording
        rate_hz = recording.rate_hz
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        rr = [later.sample - beat.sample for beat, later in pairwise(beats) if later.joined]
        good_share = recording.usability.good_samples(begin, end) / (end - begin)
        sinus = good_share >= 0.5 and len(rr) >= MIN_RR and episodes.rhythm_decided
        paced = self._pacing.between(begin, end)
        rates = events.Rates(
            began_ns=recording.timeline.ns(begin),
            seconds=(end - begin) / rate_hz,
            heart_rate_bpm=round(60 * rate_hz * len(rr) / sum(rr), 1) if len(rr) >= MIN_RR else None,
            beats=events.BeatCounts(*(sum(beat.kind == kind for beat in beats) for kind in KINDS)),
            good_share=round(good_share, 3),
            rhythm=next(iter(episodes.going_on), "sinus" if sinus else "unknown"),
            lead=recording.leads[recording.analysed],
            pacing_spikes=len(paced),
            version=recording.version,
            virtual=recording.virtual,
        )
        yield recording.event(rates, now)
        yield from self._pacing.findings(paced, end, now)
        self._intervals.collect(begin, end)
