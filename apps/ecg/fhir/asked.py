"""What is asked of the tables: whose resources, within which dates, of which kind.

A kind gives a patient's resources within `Dates`, the newest first, by ranges of an index; so search, read
and export ask the same thing with other dates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from apps.ecg.fhir.codes import Json
from apps.ecg.tables import DAY_NS, Patient

LATEST_NS = 2**62


@dataclass(frozen=True, slots=True)
class Dates:
    """Which spans of time are meant: begun from ``began_from`` on and before ``began_before``,
    ended after ``ended_after`` and by ``ended_by``.

    A span that still goes on has not ended by any time, and ends after every one.
    """

    began_from: int = 0
    began_before: int = LATEST_NS
    ended_after: int = -1
    ended_by: int = LATEST_NS

    def both(self, other: Dates) -> Dates:
        """What lies in both."""
        return Dates(
            max(self.began_from, other.began_from),
            min(self.began_before, other.began_before),
            max(self.ended_after, other.ended_after),
            min(self.ended_by, other.ended_by),
        )

    def of_length(self, length_ns: int) -> tuple[int, int]:
        """First begin and the begin after the last one, for spans that are all ``length_ns`` long."""
        first = max(self.began_from, self.ended_after - length_ns + 1)
        before = min(self.began_before, self.ended_by - length_ns + 1)
        return max(-(-first // length_ns) * length_ns, 0), before


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose resources are asked for, from when, how many at most, and what time it is."""

    session: Session
    patient: Patient
    dates: Dates
    limit: int
    now_ns: int

    def within(self, table: Any, ended: Any, longest_ns: int, which: Any = None) -> Any:
        """Rows of ``table`` in the dates, newest first.

        ``ended`` is its end; only what may last longer than a day can go on, and has none then.
        """
        dates = self.dates
        query = sa.select(table).where(
            table.patient == self.patient.patient,
            table.began_ns >= dates.began_from,
            table.began_ns < dates.began_before,
        )
        if dates.ended_after >= 0:
            recent = sa.and_(table.began_ns >= dates.ended_after - longest_ns, ended > dates.ended_after)
            query = query.where(sa.or_(ended.is_(None), recent) if longest_ns > DAY_NS else recent)
        if dates.ended_by < LATEST_NS:
            query = query.where(ended <= dates.ended_by)
        if which is not None:
            query = query.where(which)
        return self.session.scalars(query.order_by(sa.desc(table.began_ns)).limit(self.limit))


Found = tuple[int, Json]
"""When it began, and the resource."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource; ``name`` is the part of its id, or what that begins with."""

    name: str
    type: str
    codings: tuple[Json, ...]
    find: Callable[[Asked], Iterator[Found]]

    def matches(self, name: str) -> bool:
        """Whether a resource with this part in its id is of this kind."""
        return name == self.name or (self.name == "rhy" and name.startswith("rhy-"))
