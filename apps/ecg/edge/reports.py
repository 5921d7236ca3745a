"""What is reported of spans of time: rates, intervals, variability, and signal where the patient agrees.

A report is due with the first look after all beats of its span have been judged. Where the signal ends, what
is left of a span of rates or intervals is reported, and what the signal is too short for.

Intervals are of normal beats between normal ones: a premature QRS complex may lie in the T wave of the beat
before it, and after a pause QT is longer than the rate explains. There is no variability where the beats do
not come from the sinus node: in atrial fibrillation, while many beats are ectopic or paced, or with too few
intervals of normal ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge import excerpts
from apps.ecg.edge.beats import KINDS, MOST_RR_S
from apps.ecg.edge.episodes import Episodes
from apps.ecg.edge.hrv import LEAST_NN, variability
from apps.ecg.edge.intervals import LEAST_BEATS, average, intervals, span
from apps.ecg.edge.leads import LeadCheck
from apps.ecg.edge.pacing import CAPTURE_S, LEAST_SPIKES, are_pacing, without_spikes
from apps.ecg.edge.recording import Recording, rounded
from apps.ecg.edge.rhythm import HOP
from apps.ecg.edge.rhythm import LEAST_BEATS as LEAST_RHYTHM_BEATS
from apps.ecg.edge.ring import LSB_MV, to_mv
from common.app.edge import Sample
from common.messages import Event, Priority

RATES_S, INTERVALS_S, VARIABILITY_S = 10.0, 60.0, 300.0
RHYTHM_BEATS = LEAST_RHYTHM_BEATS + HOP
"""Within so many the rhythm has been decided on."""
SHORT_BEATS = 6
"""Beats alike that are averaged at least where the whole signal is shorter than `INTERVALS_S`."""
LEAST_FOLLOWING = 0.85
"""Of the mean interval: a beat that is followed sooner is in no average."""
MOST_ECTOPIC = 0.2
"""Share of beats that are not normal above which there is no variability."""
AF_P, AF_DECISIONS = 0.5, 2
"""So many decisions with more than this probability of fibrillation, and there is no variability."""
LEAST_RR = 3
"""Intervals in a span of `RATES_S` under which no heart rate is told."""
MOST_AVERAGED = 64
"""Beats of a minute that are averaged, the first ones."""
STRIPS_WAITING = 8
NO_NORMAL = "no normal beat stands between normal beats and is followed late enough to average"


class Reports:
    """The reports on one recording. ``consent`` is `apps.ecg.app.EcgSettings.consent`."""

    def __init__(self, recording: Recording, consent: str, spikes: Sequence[tuple[int, float]]) -> None:
        """``spikes`` are the pacing spikes, as `tracker.Tracker` keeps them."""
        self._recording = recording
        self._spikes = spikes
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
        self._beside: list[tuple[int, int]] = []
        """Samples from the beat before each of those in ``_averaged``, and to the one after it."""
        self._measured = False
        self._told: dict[str, str] = {}
        """What was said last of pacing, and of why there is no variability and no QT."""
        self._spikes_there = False
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

    def finish(self, end: int, episodes: Episodes) -> Iterator[Event | Sample]:
        """What is left to report, as the signal ends at ``end``, and what it is too short for."""
        for at, name in self._strips:
            yield self._strip(at, name, end, episodes)
        self._strips.clear()
        for length, report in self._spans:
            begin = end // length * length
            if report in (self._rates, self._intervals) and begin < end:
                yield from report(begin, end, end, episodes)
        recording = self._recording
        if 0 < end < recording.samples(VARIABILITY_S):
            lacking: list[str] = []
            if not episodes.rhythm_decided:
                lacking.append(f"the rhythm, fibrillation or not ({RHYTHM_BEATS} beats)")
            if not self._measured and end < recording.samples(INTERVALS_S):
                lacking.append(f"intervals ({SHORT_BEATS} normal beats that are alike)")
            lacking.append(f"heart rate variability ({VARIABILITY_S:g} s)")
            text = f"{end / recording.rate_hz:.1f} s of signal are too short for {', '.join(lacking)}"
            yield recording.finding("short_signal", None, text, end)

    # ------------------------------------------------------------------------------------------ private

    def _span(self, begin: int, end: int) -> dict[str, Any]:
        recording = self._recording
        return {"began_ns": recording.timeline.ns(begin), "seconds": (end - begin) / recording.rate_hz}

    def _rhythm_of(self, begin: int, end: int, episodes: Episodes) -> str:
        """The rhythm between two samples: an episode that took place there, else sinus if it was seen."""
        recording = self._recording
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        seen = 2 * recording.usability.good_samples(begin, end) >= end - begin
        sinus = seen and episodes.rhythm_decided and sum(beat.joined for beat in beats[1:]) >= LEAST_RR
        return next(iter(episodes.during(begin, end)), "sinus" if sinus else "unknown")

    def _rates(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Event | Sample]:
        recording = self._recording
        rate_hz = recording.rate_hz
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        rr = [later.sample - beat.sample for beat, later in pairwise(beats) if later.joined]
        good_share = recording.usability.good_samples(begin, end) / (end - begin)
        sinus = good_share >= 0.5 and len(rr) >= LEAST_RR and episodes.rhythm_decided
        data = {
            **self._span(begin, end),
            "heart_rate_bpm": round(60 * rate_hz * len(rr) / sum(rr), 1) if len(rr) >= LEAST_RR else None,
            "beats": {kind: sum(beat.kind == kind for beat in beats) for kind in KINDS},
            "good_share": round(good_share, 3),
            "rhythm": next(iter(episodes.going_on), "sinus" if sinus else "unknown"),
            "lead": recording.leads[recording.analysed],
        }
        paced = self._paced(begin, end)
        if paced:
            data["pacing_spikes"] = len(paced)
        yield recording.event("rates", now, Priority.TELEMETRY, data)
        yield from self._pacing(paced, end, now)
        self._keep_for_average(begin, end)

    def _paced(self, begin: int, end: int) -> list[int]:
        """Spikes of a pacemaker between two samples."""
        found = [spike for spike in self._spikes if begin <= spike[0] < end]
        is_pacing = are_pacing(found, (end - begin) / self._recording.rate_hz)
        return [at for at, _ in found] if is_pacing else []

    def _pacing(self, paced: list[int], end: int, now: int) -> Iterator[Event]:
        """What there is to say of a pacemaker, where that changes."""
        recording = self._recording
        self._spikes_there |= bool(paced)
        capture = recording.samples(CAPTURE_S)
        judged = [at for at in paced if at + capture <= end]
        beats = [b.sample for b in recording.history.between(end - recording.samples(RATES_S + 1), end)]
        alone = [at for at in judged if not any(at - 2 < beat <= at + capture for beat in beats)]
        finding = "" if not paced else "pacing_no_capture" if len(alone) >= LEAST_SPIKES else "pacing"
        if self._told.get("pacing", "") == finding:
            return
        self._told["pacing"] = finding
        if finding:
            text = (
                f"{len(paced)} pacing spikes; after {len(alone)} of {len(judged)} there is no beat within "
                f"{CAPTURE_S:g} s"
            )
            yield recording.finding(finding, recording.leads[recording.analysed], text, now)

    def _keep_for_average(self, begin: int, end: int) -> None:
        """Keep the normal beats between two normal ones, the later in a span, for the minute's average."""
        recording = self._recording
        past = recording.history.between(begin - recording.samples(2 * MOST_RR_S), end)
        kept = [
            (before.sample, beat.sample, later.sample)
            for before, beat, later in zip(past, past[1:], past[2:], strict=False)
            if later.sample >= begin
            and before.kind == beat.kind == later.kind == "N"
            and beat.good and beat.joined and later.joined
        ][: MOST_AVERAGED - len(self._beside)]  # fmt: skip
        if kept:
            ahead, after = span(recording.rate_hz)
            samples = np.array([sample for _, sample, _ in kept])
            self._averaged.append(recording.ring.cut(samples - ahead, ahead + after))
            self._beside += [(sample - before, later - sample) for before, sample, later in kept]

    def _intervals(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Event | Sample]:
        recording = self._recording
        cuts, self._averaged = self._averaged, []
        beside, self._beside = np.array(self._beside).reshape(-1, 2), []
        past = recording.history.between(begin, end)
        rr = [
            later.sample - beat.sample
            for beat, later in pairwise(past)
            if beat.kind == later.kind == "N" and beat.good and later.joined
        ]
        if not cuts or not rr:
            yield from self._qt_withheld(begin, end, now, episodes, NO_NORMAL)
            return
        rate_hz, following = recording.rate_hz, beside[:, 1]
        late = following >= LEAST_FOLLOWING * sum(rr) / len(rr)
        if not late.any():
            yield from self._qt_withheld(begin, end, now, episodes, NO_NORMAL)
            return
        beats_mv = to_mv(np.concatenate(cuts)[late])
        if self._spikes and self._spikes[-1][0] >= begin:
            clean = [
                [without_spikes(lead, rate_hz) for lead in beat.T] for beat in beats_mv.astype(np.float64)
            ]
            beats_mv = np.array(clean).swapaxes(1, 2)
        least = LEAST_BEATS if end >= recording.samples(INTERVALS_S) else SHORT_BEATS
        found = {name: average(beats_mv[:, :, at], rate_hz, least) for at, name in enumerate(recording.leads)}
        averages = {name: each for name, each in found.items() if each is not None}
        for each in self._checks.check(averages):
            yield recording.finding(each.finding, each.lead, each.text, now)
        lead = recording.leads[recording.analysed]
        if lead not in averages:
            yield from self._qt_withheld(begin, end, now, episodes, f"fewer than {least} of them are alike")
            return
        rr_s, following_s = float(beside[late, 0].mean()) / rate_hz, float(following[late].min()) / rate_hz
        measured = intervals(averages[lead], rr_s, following_s, p_wave="AF" not in episodes.going_on)
        if measured is None:
            yield from self._qt_withheld(begin, end, now, episodes, "no certain begin and end of QRS")
            return
        self._measured = True
        without = "" if measured.qt_ms is not None else "no certain end of the T wave"
        yield from self._qt_withheld(begin, end, now, episodes, without)
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

    def _qt_withheld(self, begin: int, end: int, now: int, episodes: Episodes, why: str) -> Iterator[Event]:
        """Report once why a whole minute of good signal has no QT; ``why`` is empty where it has one."""
        recording = self._recording
        good = 2 * recording.usability.good_samples(begin, end) >= end - begin
        if end - begin < recording.samples(INTERVALS_S) or (why and not good):
            return  # Bad and short signal is reported as such.
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        ectopic = sum(beat.kind != "N" for beat in beats)
        kind, detail = why, ""
        if why and "AF" in episodes.during(begin, end):
            kind, detail = "AF", "in atrial fibrillation; "
        elif why and ectopic > MOST_ECTOPIC * len(beats):
            kind, detail = "ectopic", f"{ectopic} of {len(beats)} beats are not normal; "
        told, self._told["qt"] = self._told.get("qt", ""), kind
        if why and kind != told:
            text = f"no QT of these {INTERVALS_S:g} s: {detail}{why}"
            yield recording.finding("qt_withheld", recording.leads[recording.analysed], text, now)

    def _variability(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Event | Sample]:
        recording = self._recording
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        at = np.array([beat.sample for beat in beats], np.int64)
        paced = np.array(self._paced(begin, end) if self._spikes_there else [], np.int64)
        capture = recording.samples(CAPTURE_S)
        is_paced = np.searchsorted(paced, at + 2) > np.searchsorted(paced, at - capture)
        normal = np.array([beat.kind == "N" for beat in beats], np.bool_) & ~is_paced
        decisions = sum(begin <= sample < end and p > AF_P for sample, p in self._rhythm_p)
        why, found = "", None
        if "AF" in episodes.during(begin, end) or decisions >= AF_DECISIONS:
            why = "in atrial fibrillation there are no intervals between beats of the sinus node"
        elif is_paced.sum() > MOST_ECTOPIC * len(beats):
            why = f"{is_paced.sum()} of {len(beats)} beats are paced"
        elif len(beats) and (~normal).mean() > MOST_ECTOPIC:
            why = f"{(~normal).sum()} of {len(beats)} beats are not normal"
        else:
            joined = np.array([beat.joined for beat in beats], np.bool_)
            found = variability(at / recording.rate_hz, normal, joined)
            if found is None:
                why = f"there are fewer than {LEAST_NN} intervals of normal beats"
        told, self._told["hrv"] = self._told.get("hrv", ""), why and why[:9]
        if why and self._told["hrv"] != told:
            text = f"no heart rate variability of these {VARIABILITY_S:g} s: {why}"
            yield recording.finding("hrv_withheld", None, text, now)
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
            "beside": [list(pair) for pair in self._beside],
            "measured": self._measured,
            "told": dict(self._told),
            "spikes_there": self._spikes_there,
            "rhythm_p": [list(each) for each in self._rhythm_p],
            "alarmed": list(self._alarmed),
            "strips": [list(each) for each in self._strips],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._next = 0
        self._checks.restore(state["checks"])
        self._averaged = [np.array(cut, np.int16) for cut in state["averaged"]]
        self._beside = [(int(before), int(after)) for before, after in state.get("beside", [])]
        if len(self._beside) != sum(len(cut) for cut in self._averaged):
            self._averaged, self._beside = [], []
        self._measured = bool(state.get("measured"))
        self._told = dict(state.get("told", {}))
        self._spikes_there = bool(state.get("spikes_there"))
        self._rhythm_p = deque(((int(s), float(p)) for s, p in state["rhythm_p"]), maxlen=256)
        self._alarmed = deque(state["alarmed"], maxlen=32)
        self._strips = [(int(at), str(name)) for at, name in state["strips"]]
