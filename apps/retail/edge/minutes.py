"""Counts by the minute of one camera.

A minute stays open for `CLOSE_S` after its end, since a crossing is certain some frames after it happened; it
is then given as events, those without anybody too, so that zero and unknown differ. Minutes without a frame
have no event. A frame of a minute that is closed counts in the next one, so that no minute is given twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from apps.retail.domain import DWELL_EDGES_S, MINUTE_NS, CameraLayout, dwell_class
from apps.retail.edge.entries import Entry
from apps.retail.events import LineMinute, ZoneMinute
from common.vision.lines import Crossing
from common.vision.zones import Visit

CLOSE_S = 5.0
MAX_STEP_S = 2.0
"""Longest time between two frames that counts as observed."""
COMPLETE_S = 58.0
"""Observed time from which a minute without trouble is complete."""


@dataclass(slots=True)
class ZoneCount:
    """One zone in one minute; fields as in `ZoneMinute`."""

    people_s: float = 0.0
    max_people: int = 0
    visits: int = 0
    dwell_s: float = 0.0
    dwell_classes: list[int] = field(default_factory=lambda: [0] * (len(DWELL_EDGES_S) + 1))
    queue_s: float = 0.0
    max_queue: int = 0
    waited: int = 0
    wait_s: float = 0.0
    longest_wait_s: float = 0.0


@dataclass(slots=True)
class LineCount:
    """One line in one minute; fields as in `LineMinute`."""

    entered: int = 0
    left: int = 0
    returned: int = 0
    groups: int = 0


@dataclass(slots=True)
class Minute:
    """One minute."""

    observed_s: float = 0.0
    dropped: int = 0
    troubles: list[str] = field(default_factory=list[str])
    lines: dict[str, LineCount] = field(default_factory=dict[str, LineCount])
    zones: dict[str, ZoneCount] = field(default_factory=dict[str, ZoneCount])


@dataclass(frozen=True, slots=True)
class Occupied:
    """A zone at one frame: people, and the time that each of the queue has waited, longest first."""

    people: int
    waiting_s: list[float]


class Minutes:
    """The open minutes of a camera, two or fewer; belongs to one thread."""

    def __init__(self) -> None:
        self._open: dict[int, Minute] = {}
        self._closed_ns = 0
        """End of the newest closed minute."""

    def observe(
        self,
        captured_ns: int,
        step_s: float,
        troubles: Iterable[str],
        dropped: int,
        zones: Mapping[str, Occupied],
    ) -> None:
        """Count one frame, which stands for the ``step_s`` before it."""
        begin_ns = max(captured_ns // MINUTE_NS * MINUTE_NS, self._closed_ns)
        minute = self._open.setdefault(begin_ns, Minute())
        step_s = min(step_s, MAX_STEP_S)
        minute.observed_s += step_s
        minute.dropped += dropped
        self._add_troubles(minute, troubles)
        for name, occupied in zones.items():
            zone = minute.zones.setdefault(name, ZoneCount())
            zone.people_s += step_s * occupied.people
            zone.max_people = max(zone.max_people, occupied.people)
            zone.queue_s += step_s * len(occupied.waiting_s)
            zone.max_queue = max(zone.max_queue, len(occupied.waiting_s))
            if occupied.waiting_s:
                zone.longest_wait_s = max(zone.longest_wait_s, occupied.waiting_s[0])

    def spoil(self, troubles: Iterable[str]) -> None:
        """Mark the open minutes as incomplete."""
        names = list(troubles)
        for minute in self._open.values():
            self._add_troubles(minute, names)

    def cross(self, crossing: Crossing, entry: Entry) -> None:
        """Count a crossing in the minute in which it happened, or in the oldest one that is open."""
        begin_ns = crossing.time_ns // MINUTE_NS * MINUTE_NS
        minute = self._open.get(begin_ns) or self._open[min(self._open)]
        line = minute.lines.setdefault(crossing.line, LineCount())
        line.entered += crossing.direction == "in"
        line.left += crossing.direction == "out"
        line.returned += entry.returned
        line.groups += entry.begins_group

    def visit(self, visit: Visit) -> None:
        """Count a visit that has ended, in the newest minute."""
        zone = self._open[max(self._open)].zones.setdefault(visit.zone, ZoneCount())
        zone.visits += 1
        zone.dwell_s += visit.dwell_s
        zone.dwell_classes[dwell_class(visit.dwell_s)] += 1
        if visit.waited:
            zone.waited += 1
            zone.wait_s += visit.dwell_s
            zone.longest_wait_s = max(zone.longest_wait_s, visit.dwell_s)

    def close(
        self, before_ns: int | None, layout: CameraLayout, version: str
    ) -> Iterator[tuple[int, LineMinute | ZoneMinute]]:
        """Events with their times of the minutes that are over at ``before_ns``; of all, where None."""
        limit_ns = None if before_ns is None else before_ns - MINUTE_NS - round(CLOSE_S * 1e9)
        over = [begin for begin in sorted(self._open) if limit_ns is None or begin <= limit_ns]
        for begin_ns in over:
            minute = self._open.pop(begin_ns)
            self._closed_ns = begin_ns + MINUTE_NS
            for data in _events(minute, layout, version):
                yield begin_ns, data

    @staticmethod
    def _add_troubles(minute: Minute, troubles: Iterable[str]) -> None:
        minute.troubles += [name for name in sorted(troubles) if name not in minute.troubles]

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "closed_ns": self._closed_ns,
            "open": {str(begin): asdict(minute) for begin, minute in self._open.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`."""
        self._open = {
            int(begin): Minute(
                **{
                    **values,
                    "lines": {name: LineCount(**line) for name, line in values["lines"].items()},
                    "zones": {name: ZoneCount(**zone) for name, zone in values["zones"].items()},
                }
            )
            for begin, values in state["open"].items()
        }
        self._closed_ns = int(state["closed_ns"])


def _events(minute: Minute, layout: CameraLayout, version: str) -> Iterator[LineMinute | ZoneMinute]:
    observed_s = round(min(minute.observed_s, 60.0), 2)
    complete = observed_s >= COMPLETE_S and not minute.troubles
    for line in layout.lines:
        count = minute.lines.get(line.name, LineCount())
        yield LineMinute(
            line=line.name,
            entrance=line.entrance,
            entered=count.entered,
            left=count.left,
            returned=count.returned,
            groups=count.groups if line.group_s else None,
            observed_s=observed_s,
            complete=complete,
            troubles=minute.troubles,
            dropped=minute.dropped,
            layout=layout.version,
            version=version,
        )
    for each in layout.zones:
        zone = minute.zones.get(each.name, ZoneCount())
        yield ZoneMinute(
            zone=each.name,
            people_s=round(zone.people_s, 2),
            max_people=zone.max_people,
            visits=zone.visits,
            dwell_s=round(zone.dwell_s, 2),
            dwell_classes=zone.dwell_classes if zone.visits else [],
            queue_s=round(zone.queue_s, 2),
            max_queue=zone.max_queue,
            waited=zone.waited,
            wait_s=round(zone.wait_s, 2),
            longest_wait_s=round(zone.longest_wait_s, 2),
            observed_s=observed_s,
            complete=complete,
            troubles=minute.troubles,
            layout=layout.version,
            version=version,
        )
