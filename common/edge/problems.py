"""Rate-limited reports of repeated problems: counts by kind, at most one event a minute for each.

Losses are reported at most once an hour.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from common.messages import Event, Priority

log = logging.getLogger(__name__)

EVERY_NS = 60_000_000_000
RARELY_NS = 3_600_000_000_000
HOURLY_KINDS = frozenset({"lost", "replaced"})
"""Kinds that are reported once an hour."""
SOURCE_TYPE = "edgeloop.source"


@dataclass(slots=True)
class _Problem:
    count: int = 0
    reported: int = 0
    due_ns: int = 0
    detail: str = ""
    subject: str = ""


class Problems:
    """Counts of problems by kind, a few fixed words such as ``unusable``. Any thread may add."""

    def __init__(self, event_type: str = SOURCE_TYPE) -> None:
        self._type = event_type
        self._problems: dict[str, _Problem] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, detail: str, subject: str, count: int = 1) -> None:
        """Something went wrong with ``subject``, ``count`` times."""
        with self._lock:
            problem = self._problems.setdefault(kind, _Problem())
            if problem.count == problem.reported:
                problem.detail, problem.subject = detail[:500], subject
            problem.count += count
            if not problem.reported:
                log.warning("%s: %s", kind, detail)

    def count(self, kind: str) -> int:
        """Number of occurrences since the start."""
        problem = self._problems.get(kind)
        return problem.count if problem else 0

    def events(self, now_ns: int) -> list[Event]:
        """Events that are due: the first of a kind at once, more of them once a minute or an hour.

        ``detail`` is of the first one that was not reported yet.
        """
        events: list[Event] = []
        with self._lock:
            for kind, problem in self._problems.items():
                if problem.count > problem.reported and now_ns >= problem.due_ns:
                    facts = {"problem": kind, "detail": problem.detail, "count": problem.count}
                    events.append(Event(self._type, problem.subject, now_ns, Priority.EVENT, facts))
                    every_ns = RARELY_NS if kind in HOURLY_KINDS else EVERY_NS
                    problem.reported, problem.due_ns = problem.count, now_ns + every_ns
        return events
