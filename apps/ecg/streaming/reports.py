"""What is reported of spans of time: rates, intervals, variability, and signal where the patient agrees.

A report is due with the first look after all beats of its span have been judged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.streaming import excerpts
from apps.ecg.streaming.beats import KINDS
from apps.ecg.streaming.episodes import Episodes
from apps.ecg.streaming.hrv import variability
from apps.ecg.streaming.intervals import average, intervals, span
from apps.ecg.streaming.leads import LeadCheck
from apps.ecg.streaming.recording import Recording, rounded
from apps.ecg.streaming.ring import LSB_MV, to_mv
from common.app import Sample
from common.messages import Event, Priority

RATES_S, INTERVALS_S, VARIABILITY_S = 10.0, 60.0, 300.0
LEAST_RR = 3
"""Intervals in a span of `RATES_S` under which no heart rate is told."""
MOST_AVERAGED = 64
"""Beats of a minute that are averaged, the first ones."""
STRIPS_WAITING = 8


class Reports:
    """The reports on one recording. ``consent`` is `apps.ecg.app.EcgSettings.consent`."""

    def __init__(self, recording: Recording, consent: str) -> None:
        self._recording = recording
        self._consent = consent
        self._strip_wait = recording.samples(excerpts.STRIP_SIDE_S)
        self._spans = tuple(
            (recording.samples(seconds), report)
            for seconds, report in (
                (RATES_S, self._rates),
                (excerpts.WINDOW_S, self._window),
                (INTERVALS_S, self._intervals),
                (VARIABILITY_S, self._variability),
            )
        )
        self._next = 0
        """No span ends before this sample."""
        self._checks = LeadCheck()
        self._averaged: list[NDArray[np.int16]] = []
        self._rhythm_p: deque[tuple[int, float]] = deque(maxlen=256)
        self._alarmed: deque[int] = deque(maxlen=32)
        self._strips: list[tuple[int, str]] = []

    def rhythm(self, sample: int, probability: float) -> None:
        """The probability of atrial fibrillation at ``sample``."""
        self._rhythm_p.append((sample, probability))

    def alarm(self, at: int, name: str) -> None:
        """An alarm was raised."""
        self._alarmed.append(at)
        if self._consent != "findings" and len(self._strips) < STRIPS_WAITING:
            self._strips.append((at, name))

    def due(self, now: int, before: int, judged: int, episodes: Episodes) -> Iterator[Event | Sample]:
        """What is due at ``now``: beats are judged up to ``judged``, at the last look up to ``before``.

        A strip is due once all its beats are.
        """
        while self._strips and judged >= self._strips[0][0] + self._strip_wait:
            yield self._strip(*self._strips.pop(0), now, episodes)
        if judged < self._next:
            return
        for length, report in self._spans:
            end = judged // length * length
            if end > max(before, 0) // length * length:
                yield from report(end - length, end, now, episodes)
        self._next = min((judged // length + 1) * length for length, _ in self._spans)

    # ------------------------------------------------------------------------------------------ private

    def _span(self, begin: int, end: int) -> dict[str, Any]:
        recording = self._recording
        return {"began_ns": recording.timeline.ns(begin), "seconds": (end - begin) / recording.rate_hz}

    def _rhythm_of(self, begin: int, end: int, episodes: Episodes) -> str:
        """The rhythm between two samples: an episode that took place there, else sinus if it was seen."""
        recording = self._recording
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        seen = 2 * recording.usability.good_samples(begin, end) >= end - begin
        sinus = seen and sum(beat.joined for beat in beats[1:]) >= LEAST_RR
        return next(iter(episodes.during(begin, end)), "sinus" if sinus else "unknown")

    def _rates(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Event | Sample]:
        recording = self._recording
        rate_hz = recording.rate_hz
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        rr = [later.sample - beat.sample for beat, later in pairwise(beats) if later.joined]
        good_share = recording.usability.good_samples(begin, end) / (end - begin)
        sinus = good_share >= 0.5 and len(rr) >= LEAST_RR
        data = {
            **self._span(begin, end),
            "heart_rate_bpm": round(60 * rate_hz * len(rr) / sum(rr), 1) if len(rr) >= LEAST_RR else None,
            "beats": {kind: sum(beat.kind == kind for beat in beats) for kind in KINDS},
            "good_share": round(good_share, 3),
            "rhythm": next(iter(episodes.going_on), "sinus" if sinus else "unknown"),
            "lead": recording.leads[recording.analysed],
        }
        yield recording.event("rates", now, Priority.TELEMETRY, data)
        held = sum(len(cut) for cut in self._averaged)
        normal = [b.sample for b in beats if b.kind == "N" and b.joined][: MOST_AVERAGED - held]
        if normal:
            ahead, after = span(rate_hz)
            self._averaged.append(recording.ring.cut(np.array(normal) - ahead, ahead + after))

    def _intervals(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Event | Sample]:
        recording = self._recording
        cuts, self._averaged = self._averaged, []
        past = recording.history.between(begin, end)
        rr = [
            later.sample - beat.sample
            for beat, later in pairwise(past)
            if beat.kind == later.kind == "N" and beat.good and later.joined
        ]
        if not cuts or not rr:
            return
        beats_mv = to_mv(np.concatenate(cuts))
        found = {
            name: average(beats_mv[:, :, at], recording.rate_hz) for at, name in enumerate(recording.leads)
        }
        averages = {name: each for name, each in found.items() if each is not None}
        for each in self._checks.check(averages):
            yield recording.finding(each.finding, each.lead, each.text, now)
        lead = recording.leads[recording.analysed]
        rr_s = sum(rr) / len(rr) / recording.rate_hz
        measured = (
            intervals(averages[lead], rr_s, p_wave="AF" not in episodes.going_on)
            if lead in averages
            else None
        )
        if measured is None:
            return
        data = {
            **self._span(begin, end),
            "beats": measured.beats,
            "rr_ms": round(measured.rr_ms, 1),
            "pr_ms": rounded(measured.pr_ms, 1),
            "qrs_ms": round(measured.qrs_ms, 1),
            "qt_ms": rounded(measured.qt_ms, 1),
            "qtc_bazett_ms": rounded(measured.qtc_bazett_ms, 1),
            "qtc_fridericia_ms": rounded(measured.qtc_fridericia_ms, 1),
            "lead": lead,
        }
        yield recording.event("intervals", now, Priority.TELEMETRY, data)

    def _variability(self, begin: int, end: int, now: int, _: Episodes) -> Iterator[Event | Sample]:
        recording = self._recording
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        found = variability(
            np.array([beat.sample for beat in beats], np.float64) / recording.rate_hz,
            np.array([beat.kind == "N" for beat in beats], np.bool_),
            np.array([beat.joined for beat in beats], np.bool_),
        )
        if found is None:
            return
        data = {
            **self._span(begin, end),
            "nn_count": found.nn_count,
            "ectopic_share": round(found.ectopic_share, 4),
            "mean_nn_ms": round(found.mean_nn_ms, 1),
            "sdnn_ms": round(found.sdnn_ms, 2),
            "rmssd_ms": round(found.rmssd_ms, 2),
            "pnn50_percent": round(found.pnn50_percent, 2),
            "vlf_ms2": rounded(found.vlf_ms2, 1),
            "lf_ms2": rounded(found.lf_ms2, 1),
            "hf_ms2": rounded(found.hf_ms2, 1),
            "lf_hf": rounded(found.lf_hf, 3),
        }
        yield recording.event("hrv", now, Priority.TELEMETRY, data)

    def _window(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Event | Sample]:
        """A window of signal to learn from, if it is worth it."""
        recording = self._recording
        if self._consent != "learning":
            return
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        rhythm_p = [p for sample, p in self._rhythm_p if begin <= sample < end]
        reasons = excerpts.worth(beats, rhythm_p, any(begin <= at < end for at in self._alarmed))
        if not reasons:
            return
        lead = recording.analysed
        steps = recording.ring.cut(np.array([begin]), end - begin)[0, :, lead : lead + 1]
        attributes = {
            "rate_hz": recording.rate_hz,
            "lsb_mv": LSB_MV,
            "began_ns": recording.timeline.ns(begin),
            "lead": recording.leads[lead],
            "rhythm": self._rhythm_of(begin, end, episodes),
            "version": recording.version,
        }
        yield Sample(
            subject=recording.subject,
            group=recording.subject,
            captured_ns=recording.timeline.ns(now),
            reasons=reasons,
            arrays=excerpts.arrays(steps, beats, rhythm_p, begin),
            attributes=attributes,
        )

    def _strip(self, at: int, alarm: str, now: int, episodes: Episodes) -> Event:
        recording = self._recording
        begin = max(0, at - self._strip_wait)
        length = at + self._strip_wait - begin
        steps = recording.ring.cut(np.array([begin]), length)[0]
        beats = recording.history.between(begin, begin + length)
        data = {
            "began_ns": recording.timeline.ns(begin),
            **excerpts.strip(steps, recording.rate_hz, recording.leads, beats, begin),
            "alarm": alarm,
            "rhythm": self._rhythm_of(begin, begin + length, episodes),
        }
        return recording.event("strip", now, Priority.EVENT, data)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "checks": self._checks.snapshot(),
            "averaged": list(self._averaged),
            "rhythm_p": [list(each) for each in self._rhythm_p],
            "alarmed": list(self._alarmed),
            "strips": [list(each) for each in self._strips],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._next = 0
        self._checks.restore(state["checks"])
        self._averaged = [np.array(cut, np.int16) for cut in state["averaged"]]
        self._rhythm_p = deque(((int(s), float(p)) for s, p in state["rhythm_p"]), maxlen=256)
        self._alarmed = deque(state["alarmed"], maxlen=32)
        self._strips = [(int(at), str(name)) for at, name in state["strips"]]
