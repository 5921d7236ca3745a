"""Subjects refused because the app's capacity is reached: counted, and reported once an hour each.

Bounded: `SUBJECTS_LIMIT` are known by name; further ones are reported together, once an hour.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from common.edge.problems import SOURCE_TYPE
from common.errors import CapacityReached
from common.messages import Event, Priority

log = logging.getLogger(__name__)

EVERY_NS = 3_600_000_000_000
SUBJECTS_LIMIT = 256


@dataclass(slots=True)
class _Refused:
    detail: str
    last_ns: int
    due_ns: int
    readings: int = 0


class RefusedSubjects:
    """Subjects refused within the last hour. The process thread adds; any thread may read the counts."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._refused: dict[str, _Refused] = {}
        self.readings = 0
        """Readings refused since the start."""
        self.subjects = 0
        """Subjects that were refused within the last hour; `SUBJECTS_LIMIT` + 1 stands for more."""
        self.detail = ""
        """Message of the last refusal."""

    def add(self, error: CapacityReached, now_ns: int) -> None:
        """A reading was refused."""
        self.readings += 1
        name, detail = error.subject[:200], str(error)[:500]
        if name not in self._refused and len(self._refused) >= SUBJECTS_LIMIT:
            name = self._node
            detail = (
                f"more than {SUBJECTS_LIMIT} subjects are refused: this node takes {error.limit} at a time"
            )
        known = self._refused.get(name)
        if known is None:
            log.warning("%s", detail)
            known = self._refused[name] = _Refused(detail, now_ns, now_ns)
        known.last_ns = now_ns
        known.readings += 1
        self.subjects, self.detail = len(self._refused), detail

    def events(self, now_ns: int) -> list[Event]:
        """One event for each refused subject, once an hour while it continues."""
        if not self._refused:
            return []
        events: list[Event] = []
        for name, refused in self._refused.items():
            if refused.readings and now_ns >= refused.due_ns:
                facts = {"problem": "capacity", "detail": refused.detail, "count": refused.readings}
                events.append(Event(SOURCE_TYPE, name, now_ns, Priority.EVENT, facts))
                refused.readings, refused.due_ns = 0, now_ns + EVERY_NS
        over = [name for name, refused in self._refused.items() if now_ns - refused.last_ns > EVERY_NS]
        for name in over:
            del self._refused[name]
        self.subjects = len(self._refused)
        if not self._refused:
            self.detail = ""
        return events
