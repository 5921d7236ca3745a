"""What is asked of the tables: whose resources, within which dates, of which kind.

A kind selects one row for each of its resources, by ranges of an index, and makes the resource of a row; so
search, totals, read and export ask the same thing with other dates, and what is counted is what is found.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from apps.ecg.cloud.fhir.codes import RHYTHMS, Json
from apps.ecg.cloud.fhir.ids import ResourceId
from apps.ecg.cloud.tables import DAY_NS, HOUR_NS, Patient
from apps.ecg.events import EARLIEST_NS, LATEST_NS

BEFORE_ALL_NS = EARLIEST_NS - 1
_TIES = 2 * (len(RHYTHMS) + 10)
"""More than the episodes of a patient that begin at one time, twice."""
STRETCH_NS = HOUR_NS


@dataclass(frozen=True, slots=True)
class Dates:
    """Which spans of time are meant: begun from ``began_from`` on and before ``began_before``,
    ended after ``ended_after`` and by ``ended_by``.

    A span that still goes on has not ended by any time, and ends after every one.
    """

    began_from: int = EARLIEST_NS
    began_before: int = LATEST_NS
    ended_after: int = BEFORE_ALL_NS
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
        return -(-first // length_ns) * length_ns, before


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose rows are asked for, and from when."""

    patients: tuple[str, ...]
    dates: Dates

    def of(self, table: Any) -> Any:
        """Rows of ``table`` that are these patients', whenever they began."""
        return (
            table.patient == self.patients[0] if len(self.patients) == 1 else table.patient.in_(self.patients)
        )

    def within(self, table: Any, ended: Any, longest_ns: int) -> Any:
        """Rows of ``table`` in the dates.

        ``ended`` is its end; only what may last longer than a day can go on, and has none then.
        """
        dates = self.dates
        which = sa.and_(self.of(table), table.began_ns >= dates.began_from)
        which = sa.and_(which, table.began_ns < dates.began_before)
        if dates.ended_after > BEFORE_ALL_NS:
            recent = sa.and_(table.began_ns >= dates.ended_after - longest_ns, ended > dates.ended_after)
            which = sa.and_(which, sa.or_(ended.is_(None), recent) if longest_ns > DAY_NS else recent)
        return sa.and_(which, ended <= dates.ended_by) if dates.ended_by < LATEST_NS else which


@dataclass(frozen=True, slots=True)
class Context:
    """With what resources are made: the patients whose they are, and what time it is."""

    session: Session
    patients: Mapping[str, Patient]
    now_ns: int

    def is_virtual(self, patient: str) -> bool:
        """Whether a patient is made up."""
        return self.patients[patient].virtual

    def stretches(self, dates: Dates, ascending: bool) -> Iterator[Dates]:
        """Dates cut into stretches, the first one where there is anything, each longer than the last."""
        low = max(dates.began_from, min(each.first_ns for each in self.patients.values()))
        high = min(dates.began_before, max(each.last_ns for each in self.patients.values()))
        length_ns, at_ns, sign = STRETCH_NS, low if ascending else high, 1 if ascending else -1
        rest = dates
        while low < at_ns + sign * length_ns < high:
            at_ns += sign * length_ns
            older, newer = rest.both(Dates(began_before=at_ns)), rest.both(Dates(began_from=at_ns))
            found, rest = (older, newer) if ascending else (newer, older)
            yield found
            length_ns *= 4
        yield rest


def in_bytes(session: Session, text: Any) -> Any:
    """A text such that the database sorts it as Python does, and as ids are sorted: by its bytes."""
    return sa.collate(text, "C") if session.get_bind().dialect.name == "postgresql" else text


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource; ``name`` is the part of its id, or what that begins with.

    ``rows`` selects a row for each resource: ``patient``, ``began_ns``, ``label`` where ids have one, and
    what ``make`` makes the resource of. ``summed`` is whether it sums up many rows of a table in one.
    """

    name: str
    type: str
    codings: tuple[Json, ...]
    rows: Callable[[Asked], Any]
    make: Callable[[Context, Any], Json]
    summed: bool = False

    @property
    def is_labelled(self) -> bool:
        """Whether ids also tell a label, so that several may begin at one time."""
        return self.name == "rhy"

    def matches(self, name: str) -> bool:
        """Whether a resource with this part in its id is of this kind."""
        return name == self.name or (self.is_labelled and name.startswith(f"{self.name}-"))

    def find(
        self,
        context: Context,
        dates: Dates,
        limit: int,
        *,
        ascending: bool = False,
        after: ResourceId | None = None,
        name: str = "",
    ) -> Iterator[Found]:
        """Resources of patients by their begin, then by id; of ``name`` alone where it is given.

        Those after a place in this order; some that are not may come first. At least ``limit`` that are,
        where there are that many. Each is made when its `Found.resource` is called.
        """
        if after is not None:
            at_ns = after.began_ns
            dates = dates.both(Dates(began_from=at_ns) if ascending else Dates(began_before=at_ns + 1))
        # What has to be summed up or sorted first is not asked for at once: it might be years.
        cut = self.summed or len(context.patients) > 1
        found = (
            each
            for between in (context.stretches(dates, ascending) if cut else [dates])
            for each in self._find(context, between, limit + 1 + _TIES, ascending, after, name)
        )
        if not self.is_labelled:
            return found
        ties = itertools.groupby(found, key=lambda each: (each.place.began_ns, each.place.patient))
        return (each for _, tie in ties for each in sorted(tie, key=lambda each: str(each.place)))

    def _find(
        self,
        context: Context,
        dates: Dates,
        limit: int,
        ascending: bool,
        after: ResourceId | None,
        name: str,
    ) -> Iterator[Found]:
        rows = self.rows(Asked(tuple(context.patients), dates))
        columns = rows.selected_columns
        if self.is_labelled and name:
            rows = rows.where(columns.label == name.removeprefix(f"{self.name}-"))
        rows = rows.order_by(columns.began_ns if ascending else sa.desc(columns.began_ns))
        if len(context.patients) > 1:
            place = in_bytes(context.session, columns.patient + sa.literal("."))
            rows = rows.order_by(place)
            if after is not None and dates.began_from <= after.began_ns < dates.began_before:
                began = getattr(columns.began_ns, "element", columns.began_ns)
                rows = rows.where(sa.or_(began != after.began_ns, place >= f"{after.patient}."))
        for row in context.session.execute(rows.limit(limit)):
            part = f"{self.name}-{row.label}" if self.is_labelled else self.name
            yield Found(ResourceId(row.patient, part, row.began_ns), self, context, row)

    def names(self, session: Session, asked: Asked) -> list[str]:
        """The parts of ids that there are."""
        if not self.is_labelled:
            return [self.name]
        rows = self.rows(asked).with_only_columns(self.rows(asked).selected_columns.label)
        return [f"{self.name}-{label}" for label in session.scalars(rows.distinct())]

    def count(self, session: Session, asked: Asked) -> int:
        """How many resources there are."""
        rows = self.rows(asked)
        keys = rows.with_only_columns(rows.selected_columns.patient, rows.selected_columns.began_ns)
        return session.scalar(sa.select(sa.func.count()).select_from(keys.subquery())) or 0


@dataclass(frozen=True, slots=True)
class Found:
    """Where a resource is, and the row that it is made of."""

    place: ResourceId
    kind: Kind
    context: Context
    row: Any

    def resource(self) -> Json:
        """The resource itself."""
        return self.kind.make(self.context, self.row)
