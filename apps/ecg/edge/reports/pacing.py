"""Findings on pacing: spikes of a pacemaker, and spikes without a beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apps.ecg.edge.pacing import CAPTURE_S, MIN_SPIKES, are_pacing
from apps.ecg.edge.recording import Recording
from common.messages import Event

BEATS_S = 11.0
"""Span before the end of a report whose beats may follow its spikes."""


class PacingReport:
    """Pacing of one recording, by the spikes of the analysed lead (sample, height in mV)."""

    def __init__(self, recording: Recording, spikes: Sequence[tuple[int, float]]) -> None:
        self._recording = recording
        self._spikes = spikes
        self._reported = ""
        self.seen = False
        """Whether there was ever pacing."""

    def between(self, begin: int, end: int) -> list[int]:
        """Spikes of a pacemaker between two samples; none where they are not pacing."""
        found = [spike for spike in self._spikes if begin <= spike[0] < end]
        is_pacing = are_pacing(found, (end - begin) / self._recording.rate_hz)
        return [at for at, _ in found] if is_pacing else []

    def findings(self, paced: Sequence[int], end: int, now: int) -> Iterator[Event]:
        """The finding on a span with the spikes ``paced``, if it differs from the last one."""
        recording = self._recording
        self.seen |= bool(paced)
        capture = recording.samples(CAPTURE_S)
        assessed = [at for at in paced if at + capture <= end]
        beats = [b.sample for b in recording.history.between(end - recording.samples(BEATS_S), end)]
        alone = [at for at in assessed if not any(at - 2 < beat <= at + capture for beat in beats)]
        finding = "" if not paced else "pacing_no_capture" if len(alone) >= MIN_SPIKES else "pacing"
        if finding == self._reported:
            return
        self._reported = finding
        if finding:
            text = (
                f"{len(paced)} pacing spikes; {len(alone)} of {len(assessed)} without a beat within "
                f"{CAPTURE_S:g} s"
            )
            yield recording.finding(finding, recording.leads[recording.analysed], text, now)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {"reported": self._reported, "seen": self.seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot`."""
        self._reported, self.seen = str(state["reported"]), bool(state["seen"])
