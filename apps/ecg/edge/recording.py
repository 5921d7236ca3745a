"""What the parts of a patient's monitor share: the signal, its times, its beats, and how events are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apps.ecg.edge.history import History, Usability
from apps.ecg.edge.ring import Ring, Timeline
from common.messages import Event, Priority

RING_S = 45.0
PIECE_S = 10.0
"""Signal is taken in by so much at a time at most, so that the ring still holds what is cut from it later."""


class Recording:
    """One recorder's signal of one patient at one rate, with the model version that reads it."""

    def __init__(
        self, subject: str, rate_hz: float, leads: Sequence[str], start_ns: int, version: str
    ) -> None:
        self.subject = subject
        self.rate_hz = rate_hz
        self.leads = tuple(leads)
        self.version = version
        self.ring = Ring(len(leads), round(RING_S * rate_hz))
        self.timeline = Timeline(rate_hz, start_ns)
        self.history = History()
        self.usability = Usability()
        self.analysed = 0
        """The lead that is analysed."""
        self.reasons: list[tuple[str, ...]] = [()] * len(leads)
        """Why each lead is bad; empty for those that are good."""
        self.virtual = False
        """Whether the signal is simulated: every event says so."""

    def samples(self, seconds: float) -> int:
        """Number of samples in ``seconds``."""
        return round(seconds * self.rate_hz)

    def event(self, name: str, at: int, priority: Priority, data: Mapping[str, Any]) -> Event:
        """An event about the signal at sample ``at``."""
        facts = {**data, "version": self.version} | ({"virtual": True} if self.virtual else {})
        return Event(f"ecg.{name}", self.subject, self.timeline.ns(at), priority, facts)

    def finding(self, finding: str, lead: str | None, text: str, at: int) -> Event:
        """An ``ecg.finding``."""
        return self.event("finding", at, Priority.EVENT, {"finding": finding, "lead": lead, "text": text})

    def snapshot(self) -> dict[str, Any]:
        """The state, for `restore`."""
        return {
            "ring": self.ring.snapshot(),
            "timeline": self.timeline.snapshot(),
            "history": self.history.snapshot(),
            "usability": self.usability.snapshot(),
            "analysed": self.analysed,
            "virtual": self.virtual,
            "reasons": [list(reasons) for reasons in self.reasons],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self.ring.restore(state["ring"])
        self.timeline.restore(state["timeline"])
        self.history.restore(state["history"])
        self.usability.restore(state["usability"])
        self.analysed = int(state["analysed"])
        self.virtual = bool(state.get("virtual", False))
        self.reasons = [tuple(reasons) for reasons in state["reasons"]]


def rounded(value: float | None, digits: int) -> float | None:
    """``value`` rounded, None as it is."""
    return None if value is None else round(value, digits)
