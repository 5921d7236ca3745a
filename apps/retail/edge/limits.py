"""Limits of zones: an alarm begins when a zone has more people, or a longer queue, than its limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from apps.retail.domain import CountingZone
from apps.retail.edge.minutes import Occupied
from apps.retail.events import ZoneLimitExceeded, ZoneLimitKept
from common.app.events import EventData

KEPT_S = 10.0
"""Time within its limit after which a zone's alarm ends."""


@dataclass(slots=True)
class Limit:
    """State of one limit of a zone; ``kept_ns`` is since when it is kept again."""

    exceeded: bool = False
    kept_ns: int | None = None

    def change(self, over: bool, now_ns: int) -> bool:
        """Take in whether the limit is exceeded now; whether its alarm begins or ends with that."""
        if over:
            self.kept_ns = None
            begins = not self.exceeded
            self.exceeded = True
            return begins
        if not self.exceeded:
            return False
        if self.kept_ns is None:
            self.kept_ns = now_ns
        if (now_ns - self.kept_ns) / 1e9 < KEPT_S:
            return False
        self.exceeded, self.kept_ns = False, None
        return True


class ZoneLimits:
    """Of the zones of one camera."""

    def __init__(self, zones: Sequence[CountingZone]) -> None:
        self._zones = zones
        self._limits: dict[str, Limit] = {}

    def changes(self, occupied: Mapping[str, Occupied], now_ns: int, version: str) -> Iterator[EventData]:
        """Alarms that begin or end with a frame."""
        for zone in self._zones:
            each = occupied[zone.name]
            counts: tuple[tuple[Literal["people", "queue"], int, int], ...] = (
                ("people", zone.max_people, each.people),
                ("queue", zone.max_queue, len(each.waiting_s)),
            )
            for what, most, count in counts:
                if not most:
                    continue
                limit = self._limits.setdefault(f"{what} {zone.name}", Limit())
                if limit.change(count > most, now_ns):
                    kind = ZoneLimitExceeded if limit.exceeded else ZoneLimitKept
                    yield kind(zone=zone.name, what=what, count=count, limit=most, version=version)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {name: [limit.exceeded, limit.kept_ns] for name, limit in self._limits.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`."""
        self._limits = {name: Limit(*values) for name, values in state.items()}
