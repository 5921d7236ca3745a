"""From the signal of all leads to the findings about it, in the order in which they become known.

One lead is analysed (`lead_selection`). A lead that takes over is caught up from the raw signal of the last
seconds, so that its detector and its templates are warm.

A finding is *known* at a sample number that depends on the signal alone: a change of quality at the end of
the windows behind it, a beat when its features are complete (`Tracker.delay_samples` after it at the latest),
a rhythm decision with the last beat of its window. `Tracker.known` returns findings in that order,
independent of chunk sizes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np

from apps.ecg.edge.absurd_values import AbsurdValues
from apps.ecg.edge.classifier import Classifier
from apps.ecg.edge.filters import Floats
from apps.ecg.edge.history import Known, KnownAbsurd, KnownBeat, KnownQuality, KnownRhythm
from apps.ecg.edge.lead_analysis import FoundBeat, LeadAnalysis
from apps.ecg.edge.lead_selection import LeadSelection
from apps.ecg.edge.ring import Ring, to_mv
from common.app.edge import Model

CATCH_UP_S = 10.0
REFRACTORY_S = 0.15
SPIKES_LIMIT = 512

_CLASSES: tuple[Any, ...] = (KnownAbsurd, KnownQuality, KnownBeat, KnownRhythm)


class _Placed(NamedTuple):
    """A finding with the sample at which it is known, and its order among those of that sample."""

    at: int
    order: tuple[int, int, int]
    finding: Known


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
        """``af_off`` as in `rhythm.suppress_s_in_af`."""
        self._rate_hz = rate_hz
        self._ring = ring
        self._absurd = AbsurdValues(rate_hz, len(leads))
        self._leads = LeadSelection(rate_hz, leads, preferred)
        self._analysis = LeadAnalysis(rate_hz, self._leads.first, 0)
        self._classifier = Classifier(model, rate_hz, af_off)
        self._end = 0
        self._last_beat = -(10**9)
        self._waiting: list[_Placed] = []
        self.spikes: deque[tuple[int, float]] = deque(maxlen=SPIKES_LIMIT)
        """The newest pacing spikes of the analysed lead: sample and height in mV."""
        self.delay_samples = self._analysis.delay_samples
        """Maximum delay of a beat after its R peak."""

    @property
    def analysed(self) -> int:
        """Index of the analysed lead."""
        return self._analysis.lead

    def push(self, signal_mv: Floats) -> None:
        """Process the next samples of all leads, ``(n, leads)`` mV, NaN where missing.

        Raises `InferenceError` if the model fails; its beats are then of class Q, and the stream continues.
        """
        begin, self._end = self._end, self._end + len(signal_mv)
        signal_mv, absurd = self._absurd.clean(signal_mv, begin)
        for finding in absurd:
            self._place(finding.sample, finding)
        self._ring.append(signal_mv)
        changes, switches = self._leads.push(signal_mv, self.analysed)
        for known, change in changes:
            self._place(known, change)
        beats: list[FoundBeat] = []
        at = begin
        for switch, lead in switches:
            self._analyse(signal_mv[at - begin : switch - begin], at, beats)
            self._take_over(lead, switch, beats)
            at = switch
        self._analyse(signal_mv[at - begin :], at, beats)
        self._classify(beats)

    def finish(self) -> None:
        """Classify the last beats, at the end of the signal. Nothing may be pushed after it.

        Beats without enough signal after them are unclassifiable (Q). Raises `InferenceError` as `push` does.
        """
        beats: list[FoundBeat] = []
        self._collect(self._analysis.finish(self._end), beats)
        self._classify(beats)

    def known(self, before: int) -> list[tuple[int, Known]]:
        """Findings known with samples before ``before``, each once, with that sample."""
        if not self._waiting:
            return []
        if len(self._waiting) > 1:
            self._waiting.sort(key=lambda placed: placed[:2])
        due = [placed for placed in self._waiting if placed.at < before]
        del self._waiting[: len(due)]
        return [(placed.at, placed.finding) for placed in due]

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "absurd": self._absurd.snapshot(),
            "leads": self._leads.snapshot(),
            "analysis": self._analysis.snapshot(),
            "classifier": self._classifier.snapshot(),
            "end": self._end,
            "last_beat": self._last_beat,
            "spikes": [list(spike) for spike in self.spikes],
            "waiting": [[p.at, p.order[0], list(astuple(p.finding))] for p in self._waiting],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot` for the same rate and leads."""
        self._absurd.restore(state["absurd"])
        self._leads.restore(state["leads"])
        self._analysis.restore(state["analysis"])
        self._classifier.restore(state["classifier"])
        self._end, self._last_beat = int(state["end"]), int(state["last_beat"])
        self.spikes.clear()
        self.spikes.extend((int(at), float(mv)) for at, mv in state["spikes"])
        self._waiting = []
        for at, kind, values in state["waiting"]:
            self._place(at, _CLASSES[kind](*(tuple(v) if isinstance(v, list) else v for v in values)))

    # ------------------------------------------------------------------------------------------ private

    def _place(self, at: int, finding: Known) -> None:
        order = _CLASSES.index(type(finding)), finding.sample, getattr(finding, "lead", 0)
        self._waiting.append(_Placed(at, order, finding))

    def _analyse(self, signal_mv: Floats, begin: int, beats: list[FoundBeat]) -> None:
        """Process the samples from ``begin`` on of the analysed lead."""
        if len(signal_mv):
            self._push(signal_mv[:, self.analysed], begin, beats)

    def _take_over(self, lead: int, switch: int, beats: list[FoundBeat]) -> None:
        begin = max(0, switch - round(CATCH_UP_S * self._rate_hz))
        self._analysis = LeadAnalysis(self._rate_hz, lead, begin)
        past = self._ring.cut(np.array([begin]), switch - begin)[0, :, lead]
        self._push(to_mv(past).astype(np.float64), switch, beats)

    def _push(self, lead_mv: Floats, known: int, beats: list[FoundBeat]) -> None:
        """Push samples into the analysis; its findings are not known before ``known``."""
        spikes, found = self._analysis.push(lead_mv, known)
        newest = self.spikes[-1][0] if self.spikes else -1
        self.spikes.extend((at, mv) for at, mv in spikes if at > newest)
        self._collect(found, beats)

    def _collect(self, found: Sequence[FoundBeat], beats: list[FoundBeat]) -> None:
        """Add new beats; those that the previous lead has already given are left out."""
        for beat in found:
            if beat.sample > self._last_beat + REFRACTORY_S * self._rate_hz:
                self._last_beat = beat.sample
                beats.append(beat)

    def _classify(self, beats: Sequence[FoundBeat]) -> None:
        if beats:
            quality = [self._leads.around_beat(beat.sample, beat.known, self._end) for beat in beats]
            self._classifier.classify(beats, quality, self._end, self._place)
