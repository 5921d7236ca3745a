"""SQL criteria by patients, dates and kind of resource.

A kind selects one row for each of its resources, by ranges of an index, and makes the resource from it.
Search, totals, read and export use the same criteria with other dates, so totals agree with results.
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
"""Twice the maximum number of a patient's episodes that begin at one time."""
STRETCH_NS = HOUR_NS


@dataclass(frozen=True, slots=True)
class Dates:
    """A range of time spans: begun in ``began_from <= t < began_before``, ended in ``ended_after < t <=
    ended_by``.

    The end of an ongoing span is infinite.
    """

    began_from: int = EARLIEST_NS
    began_before: int = LATEST_NS
    ended_after: int = BEFORE_ALL_NS
    ended_by: int = LATEST_NS

    def both(self, other: Dates) -> Dates:
        """The intersection of two ranges."""
        return Dates(
            max(self.began_from, other.began_from),
            min(self.began_before, other.began_before),
            max(self.ended_after, other.ended_after),
            min(self.ended_by, other.ended_by),
        )

    def of_length(self, length_ns: int) -> tuple[int, int]:
        """First begin and the limit of begins, for spans that are all ``length_ns`` long."""
        first = max(self.began_from, self.ended_after - length_ns + 1)
        before = min(self.began_before, self.ended_by - length_ns + 1)
        return -(-first // length_ns) * length_ns, before


@dataclass(frozen=True, slots=True)
class Criteria:
    """Patients and dates whose rows are selected."""

    patients: tuple[str, ...]
    dates: Dates

    def of(self, table: Any) -> Any:
        """SQL: rows of these patients, of any time."""
        return (
            table.patient == self.patients[0] if len(self.patients) == 1 else table.patient.in_(self.patients)
        )

    def within(self, table: Any, ended: Any, longest_ns: int) -> Any:
        """SQL: rows of these patients within the dates.

        ``ended`` is the column of the end; null for ongoing rows of tables whose rows may exceed a day.
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
    """Session, patients and time with which resources are made."""

    session: Session
    patients: Mapping[str, Patient]
    now_ns: int

    def is_virtual(self, patient: str) -> bool:
        """Whether a patient's data is simulated."""
        return self.patients[patient].virtual

    def stretches(self, dates: Dates, ascending: bool) -> Iterator[Dates]:
        """Dates cut into stretches of growing length, within the patients' data."""
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
    """SQL: a text with byte-wise collation, the order of ids and of Python."""
    return sa.collate(text, "C") if session.get_bind().dialect.name == "postgresql" else text


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource; ``name`` is the kind in its id, or the prefix of that.

    ``rows`` selects a row for each resource: ``patient``, ``began_ns``, ``label`` where ids have one, and
    what ``make`` makes the resource of. ``summed`` marks kinds that aggregate many rows of a table.
    """

    name: str
    type: str
    codings: tuple[Json, ...]
    rows: Callable[[Criteria], Any]
    make: Callable[[Context, Any], Json]
    summed: bool = False

    @property
    def is_labelled(self) -> bool:
        """Whether ids also contain a label, so that several may begin at one time."""
        return self.name == "rhy"

    def matches(self, name: str) -> bool:
        """Whether a resource with this kind in its id is of this kind."""
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
        """Resources of patients in order of begin, then id; only those of ``name`` where given.

        With ``after``, resources after that key, possibly preceded by some before it. At least ``limit``
        after it, if that many exist. Each is made on `Found.resource`.
        """
        if after is not None:
            at_ns = after.began_ns
            dates = dates.both(Dates(began_from=at_ns) if ascending else Dates(began_before=at_ns + 1))
        # Aggregated or sorted rows are selected in stretches: the whole range might be years.
        cut = self.summed or len(context.patients) > 1
        found = (
            each
            for between in (context.stretches(dates, ascending) if cut else [dates])
            for each in self._find(context, between, limit + 1 + _TIES, ascending, after, name)
        )
        if not self.is_labelled:
            return found
        ties = itertools.groupby(found, key=lambda each: (each.key.began_ns, each.key.patient))
        return (each for _, tie in ties for each in sorted(tie, key=lambda each: str(each.key)))

    def _find(
        self,
        context: Context,
        dates: Dates,
        limit: int,
        ascending: bool,
        after: ResourceId | None,
        name: str,
    ) -> Iterator[Found]:
        rows = self.rows(Criteria(tuple(context.patients), dates))
        columns = rows.selected_columns
        if self.is_labelled and name:
            rows = rows.where(columns.label == name.removeprefix(f"{self.name}-"))
        rows = rows.order_by(columns.began_ns if ascending else sa.desc(columns.began_ns))
        if len(context.patients) > 1:
            key = in_bytes(context.session, columns.patient + sa.literal("."))
            rows = rows.order_by(key)
            if after is not None and dates.began_from <= after.began_ns < dates.began_before:
                began = getattr(columns.began_ns, "element", columns.began_ns)
                rows = rows.where(sa.or_(began != after.began_ns, key >= f"{after.patient}."))
        for row in context.session.execute(rows.limit(limit)):
            kind = f"{self.name}-{row.label}" if self.is_labelled else self.name
            yield Found(ResourceId(row.patient, kind, row.began_ns), self, context, row)

    def names(self, session: Session, criteria: Criteria) -> list[str]:
        """The kinds in ids of existing resources."""
        if not self.is_labelled:
            return [self.name]
        rows = self.rows(criteria).with_only_columns(self.rows(criteria).selected_columns.label)
        return [f"{self.name}-{label}" for label in session.scalars(rows.distinct())]

    def count(self, session: Session, criteria: Criteria) -> int:
        """Number of resources."""
        rows = self.rows(criteria)
        keys = rows.with_only_columns(rows.selected_columns.patient, rows.selected_columns.began_ns)
        return session.scalar(sa.select(sa.func.count()).select_from(keys.subquery())) or 0


@dataclass(frozen=True, slots=True)
class Found:
    """A resource's key, and the row that it is made from."""

    key: ResourceId
    kind: Kind
    context: Context
    row: Any

    def resource(self) -> Json:
        """The resource itself."""
        return self.kind.make(self.context, self.row)
