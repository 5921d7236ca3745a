"""From the signal of all leads to what is known about it, in the order in which it becomes known.

One lead is analysed: the first of the preferred ones while its signal is good, else the first one that is. A
lead that takes over is caught up from the raw signal of the last seconds, so that its detector and its
templates are warm.

Everything is *known* at a sample number that depends on the signal alone: a change of quality when the
quality part says so, a beat when its features are complete (at the latest `beats.BeatFeatures.delay_samples`
after it), a decision on the rhythm with the beat that completes its window. `Tracker.known` gives it in that
order, however the signal was cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import FEATURES, KINDS, REACH_S, BeatFeatures, BeatRows, decided
from apps.ecg.edge.filters import Floats, Joined
from apps.ecg.edge.history import Known, KnownAbsurd, KnownBeat, KnownQuality, KnownRhythm, Usability
from apps.ecg.edge.pacing import SpikeFilter
from apps.ecg.edge.peaks import LOOK_AHEAD_S, RPeaks
from apps.ecg.edge.quality import LeadQuality
from apps.ecg.edge.rhythm import RHYTHM_FEATURES, RhythmFeatures, as_told
from apps.ecg.edge.ring import Ring, to_mv
from common.app.edge import Model
from common.errors import InferenceError

USUAL_LEADS = ("II", "MLII", "I", "V5", "V2", "V1")
CATCH_UP_S = 10.0
REFRACTORY_S = 0.15
AROUND_S = (0.1, 0.3)
"""Where the signal must be good for a beat to count: before and after its R peak."""
MOST_MV = 50.0
ABSURD_HOLD_S = 3.0
"""A lead is taken as missing for so long after such a value: its gain is wrong between beats too."""
TOLD_AGAIN_S = 60.0
SPIKES_LIMIT = 512
LEAST_S = 0.6
"""No beat is known sooner after its R peak: the wave after it is looked at."""


_NO_BEATS = np.empty((0, FEATURES), np.float32)
_NO_RHYTHM = np.empty((0, RHYTHM_FEATURES), np.float32)
_CLASSES: tuple[Any, ...] = (KnownAbsurd, KnownQuality, KnownBeat, KnownRhythm)


class _Placed(NamedTuple):
    """Something known, with the sample at which it is, and its order among what is known with that sample."""

    at: int
    order: tuple[int, int, int]
    what: Known


class _Chain:
    """The analysis of one lead; its parts count samples from ``begin``."""

    def __init__(self, rate_hz: float, lead: int, begin: int) -> None:
        self.lead = lead
        self.begin = begin
        self.spikes = SpikeFilter(rate_hz)
        self.peaks = RPeaks(rate_hz)
        self.joined = Joined()
        self.features = BeatFeatures(rate_hz)
        self.recent: deque[int] = deque(maxlen=64)

    def snapshot(self) -> dict[str, Any]:
        return {
            "lead": self.lead,
            "begin": self.begin,
            "spikes": self.spikes.snapshot(),
            "peaks": self.peaks.snapshot(),
            "joined": self.joined.snapshot(),
            "features": self.features.snapshot(),
            "recent": list(self.recent),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.lead, self.begin = int(state["lead"]), int(state["begin"])
        for name in ("spikes", "peaks", "joined", "features"):
            if name in state:
                getattr(self, name).restore(state[name])
        self.recent = deque(state["recent"], maxlen=64)


class _Rows:
    """Beats that the model is to see: when they are known, R peaks, RR intervals, features."""

    def __init__(self) -> None:
        self.known: list[int] = []
        self.samples: list[int] = []
        self.rr_s: list[float] = []
        self.features: list[NDArray[np.float32]] = []


class Tracker:
    """One patient's leads; see the module. It fills ``ring``."""

    def __init__(
        self,
        rate_hz: float,
        leads: Sequence[str],
        preferred: Sequence[str],
        model: Model,
        af_off: float,
        ring: Ring,
    ) -> None:
        """``af_off`` as in `rhythm.as_told`."""
        self._rate_hz = rate_hz
        self._model = model
        self._ring = ring
        self._odds: Mapping[str, float] = model.manifest.parameters.get("operating_point", {})
        wanted = [*preferred, *USUAL_LEADS]
        self._order = sorted(range(len(leads)), key=lambda at: (*(name != leads[at] for name in wanted), at))
        self._quality = [LeadQuality(rate_hz) for _ in leads]
        self._good = [True] * len(leads)
        self._chain = _Chain(rate_hz, self._order[0], 0)
        self._rhythm = RhythmFeatures()
        self._af_off = af_off
        self._af_p = 0.0
        self._around = tuple(round(seconds * rate_hz) for seconds in AROUND_S)
        self._usability = Usability()
        self._unapplied: list[tuple[int, int, bool]] = []
        self._end = 0
        self._last = -(10**9)
        self._last_seen: int | None = None
        self._absurd_until = [0] * len(leads)
        self._absurd_told = [-(10**9)] * len(leads)
        self._waiting: list[_Placed] = []
        self.spikes: deque[tuple[int, float]] = deque(maxlen=SPIKES_LIMIT)
        """The newest pacing spikes of the analysed lead: sample and height in mV."""
        self.delay_samples = self._chain.features.delay_samples + self._chain.spikes.delay_samples
        """A beat is known no later than this after its R peak."""

    @property
    def analysed(self) -> int:
        """The lead that is analysed."""
        return self._chain.lead

    def push(self, signal_mv: Floats) -> None:
        """Take in the next samples of all leads, ``(n, leads)`` mV, NaN where missing.

        Raises `InferenceError` if the model fails; its beats are then left out, and the signal goes on.
        """
        begin, self._end = self._end, self._end + len(signal_mv)
        signal_mv = self._cleaned(signal_mv, begin)
        self._ring.append(signal_mv)
        rows = _Rows()
        at = begin
        for switch, lead in self._judge(signal_mv):
            self._analyse(signal_mv[at - begin : switch - begin], at, rows)
            self._take_over(lead, switch, rows)
            at = switch
        self._analyse(signal_mv[at - begin :], at, rows)
        self._decide(rows)

    def finish(self) -> None:
        """Decide on the last beats, as the signal ends here. Nothing may be pushed after it.

        What the signal is too short for is unclassifiable (Q). Raises `InferenceError` as `push` does.
        """
        chain, rows = self._chain, _Rows()
        rest = chain.features.delay_samples + chain.peaks.delay_samples + round(LOOK_AHEAD_S * self._rate_hz)
        self._find(chain.spikes.finish(), self._end, rows)
        self._find(np.full(rest, np.nan), self._end, rows)
        self._decide(rows)

    def known(self, before: int) -> list[tuple[int, Known]]:
        """What is known with samples before ``before`` and has not been given yet, each with that sample."""
        if not self._waiting:
            return []
        if len(self._waiting) > 1:
            self._waiting.sort(key=lambda placed: placed[:2])
        given = [placed for placed in self._waiting if placed.at < before]
        del self._waiting[: len(given)]
        return [(placed.at, placed.what) for placed in given]

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "quality": [quality.snapshot() for quality in self._quality],
            "good": list(self._good),
            "chain": self._chain.snapshot(),
            "rhythm": self._rhythm.snapshot(),
            "af_p": self._af_p,
            "usability": self._usability.snapshot(),
            "unapplied": [list(change) for change in self._unapplied],
            "end": self._end,
            "last": self._last,
            "last_seen": self._last_seen,
            "spikes": [list(spike) for spike in self.spikes],
            "absurd": [list(self._absurd_until), list(self._absurd_told)],
            "waiting": [[p.at, p.order[0], list(astuple(p.what))] for p in self._waiting],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave for the same rate and leads."""
        for quality, saved in zip(self._quality, state["quality"], strict=True):
            quality.restore(saved)
        self._good = [bool(good) for good in state["good"]]
        self._chain.restore(state["chain"])
        self._rhythm.restore(state["rhythm"])
        self._af_p = float(state["af_p"])
        self._usability.restore(state["usability"])
        self._unapplied = [(int(known), int(sample), bool(u)) for known, sample, u in state["unapplied"]]
        self._end, self._last = int(state["end"]), int(state["last"])
        self._last_seen = state["last_seen"]
        self.spikes = deque(((int(at), float(mv)) for at, mv in state.get("spikes", ())), maxlen=SPIKES_LIMIT)
        self._absurd_until, self._absurd_told = (list(each) for each in state["absurd"])
        self._waiting = []
        for at, kind, values in state["waiting"]:
            self._place(at, _CLASSES[kind](*(tuple(v) if isinstance(v, list) else v for v in values)))

    # ------------------------------------------------------------------------------------------ private

    def _place(self, at: int, what: Known) -> None:
        order = _CLASSES.index(type(what)), what.sample, getattr(what, "lead", 0)
        self._waiting.append(_Placed(at, order, what))

    def _cleaned(self, signal_mv: Floats, begin: int) -> Floats:
        """``signal_mv`` without what no ECG has; told at most each `TOLD_AGAIN_S` for each lead."""
        usual = np.count_nonzero(np.abs(signal_mv) <= MOST_MV)
        if usual == signal_mv.size and begin >= max(self._absurd_until):
            return signal_mv
        cleaned = np.where(np.isfinite(signal_mv), signal_mv, np.nan)
        hold, again = (round(seconds * self._rate_hz) for seconds in (ABSURD_HOLD_S, TOLD_AGAIN_S))
        numbers = np.arange(begin, begin + len(signal_mv))
        for lead in range(signal_mv.shape[1]):
            there = numbers[np.abs(cleaned[:, lead]) > MOST_MV]
            until = np.full(len(numbers), self._absurd_until[lead])
            until[there - begin] = there + hold
            until = np.maximum.accumulate(until)
            cleaned[numbers < until, lead] = np.nan
            self._absurd_until[lead] = int(until[-1])
            for at in there:
                if at >= self._absurd_told[lead] + again:
                    self._absurd_told[lead] = int(at)
                    self._place(int(at), KnownAbsurd(int(at), lead))
        return cleaned

    def _judge(self, signal_mv: Floats) -> list[tuple[int, int]]:
        """Follow the quality of all leads; ``(sample, lead)`` where another lead takes over."""
        changes = [
            (change.known, lead, change)
            for lead, quality in enumerate(self._quality)
            for change in quality.push(signal_mv[:, lead])
        ]
        switches: list[tuple[int, int]] = []
        analysed = self._chain.lead
        for known, lead, change in sorted(changes, key=lambda each: each[:2]):
            self._good[lead] = change.good
            if not self._good[analysed]:
                others = [other for other in self._order if self._good[other]]
                if others:
                    analysed = others[0]
                    switches.append((known + 1, analysed))
            usable = self._good[analysed]
            self._unapplied.append((known, change.sample, usable))
            self._place(
                known, KnownQuality(change.sample, lead, change.good, tuple(change.reasons), usable, analysed)
            )
        return switches

    def _analyse(self, signal_mv: Floats, begin: int, rows: _Rows) -> None:
        """Take the samples from ``begin`` on into the analysed lead."""
        if len(signal_mv):
            self._push(signal_mv[:, self._chain.lead], begin, rows)

    def _take_over(self, lead: int, switch: int, rows: _Rows) -> None:
        begin = max(0, switch - round(CATCH_UP_S * self._rate_hz))
        self._chain = _Chain(self._rate_hz, lead, begin)
        past = self._ring.cut(np.array([begin]), switch - begin)[0, :, lead]
        self._push(to_mv(past).astype(np.float64), switch, rows)

    def _push(self, lead_mv: Floats, known: int, rows: _Rows) -> None:
        """Push samples into the chain; nothing that it finds is known before ``known``."""
        chain = self._chain
        cleaned, spikes = chain.spikes.push(lead_mv)
        newest = self.spikes[-1][0] if self.spikes else -1
        self.spikes.extend((chain.begin + at, mv) for at, mv in spikes if chain.begin + at > newest)
        self._find(cleaned, known, rows)

    def _find(self, lead_mv: Floats, known: int, rows: _Rows) -> None:
        """Beats in samples without spikes."""
        chain = self._chain
        joined, missing = chain.joined.push(lead_mv)
        peaks = chain.peaks.follow(joined, missing)
        chain.recent.extend(peaks)
        found = chain.features.push(joined, peaks)
        beats = zip(found.samples.tolist(), found.rr_s.tolist(), found.features, strict=True)
        for sample, rr_s, features in beats:
            absolute = chain.begin + sample
            if absolute <= self._last + REFRACTORY_S * self._rate_hz:
                continue  # the lead before has given it
            self._last = absolute
            rows.known.append(max(known, chain.begin + self._key(sample)))
            rows.samples.append(absolute)
            rows.rr_s.append(rr_s)
            rows.features.append(features)

    def _key(self, sample: int) -> int:
        """With which of the chain's samples a beat at ``sample`` is known."""
        chain = self._chain
        held = chain.spikes.delay_samples
        latest = sample + chain.features.delay_samples + held
        following = next((peak for peak in chain.recent if peak > sample), None)
        if following is None:
            return latest
        complete = sample + round(LEAST_S * self._rate_hz) + held
        return min(latest, max(complete, following + chain.peaks.delay_samples + held))

    def _decide(self, rows: _Rows) -> None:
        """Let the model see what is complete. Raises `InferenceError`; beats that it could not see are Q."""
        if not rows.known:
            return
        features, samples = np.array(rows.features, np.float32), np.array(rows.samples)
        quality = [self._seen(sample, known) for sample, known in zip(rows.samples, rows.known, strict=True)]
        try:
            outputs = self._model.run({"beats": features, "rhythm": _NO_RHYTHM})
        except InferenceError:
            for known, sample, good in zip(rows.known, rows.samples, quality, strict=True):
                self._place(known, KnownBeat(sample, "Q", 0.0, 0.0, 0.0, *good))
            raise
        beat_p = np.asarray(outputs["beat_p"], np.float64)
        kinds = decided(beat_p, self._odds)
        kinds[samples + round(REACH_S * self._rate_hz) > self._end] = KINDS.index("Q")
        told = [at for at, (_, joined) in enumerate(quality) if joined]
        seen = BeatRows(samples, np.array(rows.rr_s), features)
        if len(told) < len(seen):
            seen = BeatRows(samples[told], seen.rr_s[told], features[told])
        windows = self._rhythm.push(seen, kinds[told])
        rhythm_p = np.empty(0)
        try:
            if len(windows):
                rhythm_p = self._model.run({"beats": _NO_BEATS, "rhythm": windows.features})["rhythm_p"]
        finally:  # beats are told, also if their rhythm cannot be
            decided_at = windows.samples[: len(rhythm_p)]
            kinds = as_told(kinds, samples, decided_at, rhythm_p, self._af_off, self._af_p)
            beats = zip(
                rows.known, rows.samples, kinds.tolist(), beat_p.tolist(), outputs["novelty"].tolist(),
                quality, strict=True,
            )  # fmt: skip
            for known, sample, kind, p, novelty, good in beats:
                *_, second, first = sorted(p)
                self._place(known, KnownBeat(sample, KINDS[kind], p[kind], first - second, novelty, *good))
        known_of = dict(zip(rows.samples, rows.known, strict=True))
        for sample, began, p in zip(windows.samples, windows.began, rhythm_p, strict=True):
            self._af_p = float(p)
            self._place(known_of[int(sample)], KnownRhythm(int(sample), int(began), self._af_p))

    def _seen(self, sample: int, known: int) -> tuple[bool, bool]:
        """``good`` and ``joined`` of the next beat, by what is known of quality with the sample ``known``."""
        while self._unapplied and self._unapplied[0][0] <= known:
            self._usability.change(*self._unapplied.pop(0)[1:])
        before, after = self._around
        good = self._usability.throughout(max(0, sample - before), sample + after)
        last, self._last_seen = self._last_seen, sample
        good = good and sample + after <= self._end
        return good, good and last is not None and self._usability.throughout(last, sample)
