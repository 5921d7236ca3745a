"""Quality of all leads, and selection of the analysed one.

The first of the preferred leads is analysed while its signal is good, else the first good one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from apps.ecg.edge.filters import Floats
from apps.ecg.edge.history import BeatQuality, KnownQuality, Usability
from apps.ecg.edge.quality import LeadQuality

USUAL_LEADS = ("II", "MLII", "I", "V5", "V2", "V1")
AROUND_S = (0.1, 0.3)
"""Span with good signal for a beat to count: before and after its R peak."""


class Switch(NamedTuple):
    """From ``sample`` on, ``lead`` is analysed."""

    sample: int
    lead: int


class LeadSelection:
    """Quality of one patient's leads, and the lead that is analysed."""

    def __init__(self, rate_hz: float, leads: Sequence[str], preferred: Sequence[str]) -> None:
        wanted = [*preferred, *USUAL_LEADS]
        self._order = sorted(range(len(leads)), key=lambda at: (*(name != leads[at] for name in wanted), at))
        self._quality = [LeadQuality(rate_hz) for _ in leads]
        self._good = [True] * len(leads)
        self._around = tuple(round(seconds * rate_hz) for seconds in AROUND_S)
        self._usability = Usability()
        self._unapplied: list[tuple[int, int, bool]] = []
        """Changes of usability that no beat has reached: known with, from sample, usable."""
        self._last_beat: int | None = None

    @property
    def first(self) -> int:
        """The lead that is analysed first."""
        return self._order[0]

    def push(self, signal_mv: Floats, analysed: int) -> tuple[list[tuple[int, KnownQuality]], list[Switch]]:
        """Process the next samples of all leads while ``analysed`` is analysed.

        Returns the changes of quality, each with the sample at which it is known, and switches to other
        leads.
        """
        changes = [
            (change.known, lead, change)
            for lead, quality in enumerate(self._quality)
            for change in quality.push(signal_mv[:, lead])
        ]
        known: list[tuple[int, KnownQuality]] = []
        switches: list[Switch] = []
        for at, lead, change in sorted(changes, key=lambda each: each[:2]):
            self._good[lead] = change.good
            if not self._good[analysed]:
                others = [other for other in self._order if self._good[other]]
                if others:
                    analysed = others[0]
                    switches.append(Switch(at + 1, analysed))
            usable = self._good[analysed]
            self._unapplied.append((at, change.sample, usable))
            known.append(
                (at, KnownQuality(change.sample, lead, change.good, tuple(change.reasons), usable, analysed))
            )
        return known, switches

    def around_beat(self, sample: int, known: int, end: int) -> BeatQuality:
        """Quality of the next beat, as known with the sample ``known``.

        ``end`` is the number of samples so far.
        """
        while self._unapplied and self._unapplied[0][0] <= known:
            self._usability.change(*self._unapplied.pop(0)[1:])
        before, after = self._around
        good = self._usability.throughout(max(0, sample - before), sample + after)
        last, self._last_beat = self._last_beat, sample
        good = good and sample + after <= end
        joined = good and last is not None and self._usability.throughout(last, sample)
        return BeatQuality(good, joined)

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "quality": [quality.snapshot() for quality in self._quality],
            "good": list(self._good),
            "usability": self._usability.snapshot(),
            "unapplied": [list(change) for change in self._unapplied],
            "last_beat": self._last_beat,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of `snapshot` for the same rate and leads."""
        for quality, saved in zip(self._quality, state["quality"], strict=True):
            quality.restore(saved)
        self._good = [bool(good) for good in state["good"]]
        self._usability.restore(state["usability"])
        self._unapplied = [(int(known), int(sample), bool(u)) for known, sample, u in state["unapplied"]]
        self._last_beat = state["last_beat"]
