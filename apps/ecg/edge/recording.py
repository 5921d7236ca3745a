"""Shared state of a patient's monitor: signal, times, beats, and the making of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apps.ecg import events
from apps.ecg.edge.history import History, Usability
from apps.ecg.edge.ring import Ring, Timeline
from common.app.events import make_event
from common.messages import Event

RING_S = 45.0
PIECE_S = 10.0
"""Longest piece that is processed at once, so that the ring still holds the signal of later cuts."""


class Recording:
    """One recorder's signal of one patient at one rate, with the version of the model."""

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
        """Index of the analysed lead."""
        self.reasons: list[tuple[str, ...]] = [()] * len(leads)
        """Reasons of each bad lead; empty for good ones."""
        self.virtual = False
        """Whether the signal is simulated; marked in every event."""

    def samples(self, seconds: float) -> int:
        """Number of samples in ``seconds``."""
        return round(seconds * self.rate_hz)

    def event(self, data: events.EcgEvent, at: int) -> Event:
        """The event with ``data`` about the signal at sample ``at``."""
        return make_event(data, self.subject, self.timeline.ns(at))

    def finding(self, finding: str, lead: str | None, text: str, at: int) -> Event:
        """An ``ecg.finding``."""
        data = events.Finding(
            finding=finding, lead=lead, text=text, version=self.version, virtual=self.virtual
        )
        return self.event(data, at)

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
