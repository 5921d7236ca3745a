"""Report of PR, QRS and QT of the averaged beat of a minute.

Averaged are normal beats between normal ones: a premature QRS complex may lie in the T wave of the beat
before it, and after a pause QT is longer than the rate explains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg import events
from apps.ecg.edge.beats import MAX_RR_S
from apps.ecg.edge.episodes import Episodes
from apps.ecg.edge.intervals import MIN_BEATS, Average, average, intervals, span
from apps.ecg.edge.leads import LeadCheck
from apps.ecg.edge.pacing import without_spikes
from apps.ecg.edge.recording import Recording, rounded
from apps.ecg.edge.ring import to_mv
from common.messages import Event

INTERVALS_S = 60.0
SHORT_BEATS = 6
"""Minimum number of similar beats where the whole signal is shorter than `INTERVALS_S`."""
MIN_FOLLOWING = 0.85
"""Minimum interval after an averaged beat, relative to the mean interval."""
MAX_ECTOPIC = 0.2
"""Share of ectopic beats that is named as the reason for a missing QT."""
MAX_AVERAGED = 64
"""Number of averaged beats of a minute, the first ones."""
NO_NORMAL = "no normal beat between normal beats with a sufficient interval after it"


class IntervalReport:
    """``ecg.intervals`` of each minute, and findings on leads and on a missing QT."""

    def __init__(self, recording: Recording, spikes: Sequence[tuple[int, float]]) -> None:
        """``spikes`` are the pacing spikes of `tracker.Tracker`."""
        self._recording = recording
        self._spikes = spikes
        self._checks = LeadCheck()
        self._averaged: list[NDArray[np.int16]] = []
        self._beside: list[tuple[int, int]] = []
        """Samples from the previous beat to each of ``_averaged``, and from it to the next one."""
        self._withheld = ""
        """Reason of the last finding on QT; empty where the last minute had one."""
        self.measured = False
        """Whether intervals were ever measured."""

    def collect(self, begin: int, end: int) -> None:
        """Keep the beats for the minute's average whose next beat lies in ``begin`` to ``end``."""
        recording = self._recording
        past = recording.history.between(begin - recording.samples(2 * MAX_RR_S), end)
        kept = [
            (before.sample, beat.sample, later.sample)
            for before, beat, later in zip(past, past[1:], past[2:], strict=False)
            if later.sample >= begin
            and before.kind == beat.kind == later.kind == "N"
            and beat.good and beat.joined and later.joined
        ][: MAX_AVERAGED - len(self._beside)]  # fmt: skip
        if kept:
            ahead, after = span(recording.rate_hz)
            samples = np.array([sample for _, sample, _ in kept])
            self._averaged.append(recording.ring.cut(samples - ahead, ahead + after))
            self._beside += [(sample - before, later - sample) for before, sample, later in kept]

    def report(self, begin: int, end: int, now: int, episodes: Episodes) -> Iterator[Event]:
        """The report on the samples ``begin`` to ``end``, at ``now``."""
        recording = self._recording
        rate_hz = recording.rate_hz
        cuts, self._averaged = self._averaged, []
        beside, self._beside = np.array(self._beside).reshape(-1, 2), []
        mean_rr = self._mean_rr(begin, end)
        following = beside[:, 1]
        late = following >= MIN_FOLLOWING * mean_rr if mean_rr is not None else np.zeros(0, np.bool_)
        if not cuts or not late.any():
            yield from self._qt_withheld(begin, end, now, episodes, NO_NORMAL)
            return
        min_beats = MIN_BEATS if end >= recording.samples(INTERVALS_S) else SHORT_BEATS
        averages = self._averages(np.concatenate(cuts)[late], begin, min_beats)
        for each in self._checks.check(averages):
            yield recording.finding(each.finding, each.lead, each.text, now)
        lead = recording.leads[recording.analysed]
        if lead not in averages:
            yield from self._qt_withheld(
                begin, end, now, episodes, f"fewer than {min_beats} similar normal beats"
            )
            return
        rr_s, following_s = float(beside[late, 0].mean()) / rate_hz, float(following[late].min()) / rate_hz
        measured = intervals(averages[lead], rr_s, following_s, p_wave="AF" not in episodes.going_on)
        if measured is None:
            yield from self._qt_withheld(begin, end, now, episodes, "begin and end of QRS are uncertain")
            return
        self.measured = True
        reason = "" if measured.qt_ms is not None else "the end of the T wave is uncertain"
        yield from self._qt_withheld(begin, end, now, episodes, reason)
        data = events.Intervals(
            began_ns=recording.timeline.ns(begin),
            seconds=(end - begin) / rate_hz,
            beats=measured.beats,
            rr_ms=round(measured.rr_ms, 1),
            pr_ms=rounded(measured.pr_ms, 1),
            qrs_ms=round(measured.qrs_ms, 1),
            qt_ms=rounded(measured.qt_ms, 1),
            qtc_bazett_ms=rounded(measured.qtc_bazett_ms, 1),
            qtc_fridericia_ms=rounded(measured.qtc_fridericia_ms, 1),
            lead=lead,
            version=recording.version,
            virtual=recording.virtual,
        )
        yield recording.event(data, now)

    def _mean_rr(self, begin: int, end: int) -> float | None:
        """Mean interval between normal beats, in samples; None without any."""
        past = self._recording.history.between(begin, end)
        rr = [
            later.sample - beat.sample
            for beat, later in pairwise(past)
            if beat.kind == later.kind == "N" and beat.good and later.joined
        ]
        return sum(rr) / len(rr) if rr else None

    def _averages(self, beats: NDArray[np.int16], begin: int, min_beats: int) -> dict[str, Average]:
        """Averaged beat by lead, from cuts ``(n, samples, leads)``."""
        recording, rate_hz = self._recording, self._recording.rate_hz
        beats_mv = to_mv(beats)
        if self._spikes and self._spikes[-1][0] >= begin:
            clean = [
                [without_spikes(lead, rate_hz) for lead in beat.T] for beat in beats_mv.astype(np.float64)
            ]
            beats_mv = np.array(clean).swapaxes(1, 2)
        found = {
            name: average(beats_mv[:, :, at], rate_hz, min_beats) for at, name in enumerate(recording.leads)
        }
        return {name: each for name, each in found.items() if each is not None}

    def _qt_withheld(
        self, begin: int, end: int, now: int, episodes: Episodes, reason: str
    ) -> Iterator[Event]:
        """Report once why a whole minute of good signal has no QT; ``reason`` is empty if it has one."""
        recording = self._recording
        good = 2 * recording.usability.good_samples(begin, end) >= end - begin
        if end - begin < recording.samples(INTERVALS_S) or (reason and not good):
            return  # Bad and short signal have findings of their own.
        beats = [beat for beat in recording.history.between(begin, end) if beat.good]
        ectopic = sum(beat.kind != "N" for beat in beats)
        kind, detail = reason, ""
        if reason and "AF" in episodes.during(begin, end):
            kind, detail = "AF", "in atrial fibrillation; "
        elif reason and ectopic > MAX_ECTOPIC * len(beats):
            kind, detail = "ectopic", f"{ectopic} of {len(beats)} beats are not normal; "
        before, self._withheld = self._withheld, kind
        if reason and kind != before:
            text = f"no QT of these {INTERVALS_S:g} s: {detail}{reason}"
            yield recording.finding("qt_withheld", recording.leads[recording.analysed], text, now)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "checks": self._checks.snapshot(),
            "averaged": list(self._averaged),
            "beside": [list(pair) for pair in self._beside],
            "withheld": self._withheld,
            "measured": self.measured,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._checks.restore(state["checks"])
        self._averaged = [np.array(cut, np.int16) for cut in state["averaged"]]
        self._beside = [(int(before), int(after)) for before, after in state["beside"]]
        self._withheld, self.measured = str(state["withheld"]), bool(state["measured"])
