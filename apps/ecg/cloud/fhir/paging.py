"""Pages of a search over all patients, and totals.

- A page continues after the last key of the page before. Keys never change, so resources that arrive in
  between neither duplicate nor hide others. In the default order and by ``_id`` a page reads up to
  `PATIENTS_A_PAGE` patients, each by ranges of an index; it may be short and still have a next page.
- By ``date`` all patients are merged, up to `SORTED_PATIENTS`.
- Totals of patients, devices and searches by id are free. Others are counted on request, over up to
  `TOTAL_DAYS` patient-days.
"""

from __future__ import annotations

import heapq
import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from fastapi import HTTPException
from sqlmodel import Session, col

from apps.ecg.cloud.fhir import resource_kinds, resources
from apps.ecg.cloud.fhir.codes import Json
from apps.ecg.cloud.fhir.criteria import BEFORE_ALL_NS, Context, Criteria, Dates, Found, Kind, in_bytes
from apps.ecg.cloud.fhir.ids import ResourceId, parse
from apps.ecg.cloud.fhir.include import included_resources, matches_that_fit, targets_of
from apps.ecg.cloud.fhir.lookup import DEVICES_LIMIT
from apps.ecg.cloud.fhir.search import Cursor, Search, wanted
from apps.ecg.cloud.tables import DAY_NS, Device, Patient

PATIENTS_A_PAGE = 100
SORTED_PATIENTS = 1000
TOTAL_DAYS, TOTAL_DAYS_SUMMED = 10_000, 500
"""Patient-days over which a total is counted; fewer for kinds that aggregate rows."""
_OF_TYPE: dict[str, Sequence[Kind]] = {
    "Observation": resource_kinds.OBSERVATIONS,
    "DiagnosticReport": resource_kinds.REPORTS,
    "Provenance": resource_kinds.PROVENANCES,
}


@dataclass(frozen=True, slots=True)
class Page:
    """Matches, and the cursor of the next page; None at the end.

    ``total`` is the number of matches on all pages, None if not counted; ``no_total`` is the reason, where a
    total was requested.
    """

    found: list[Json]
    following: Cursor | None
    total: int | None = None
    included: list[Json] = field(default_factory=list)
    no_total: str = ""


def find_page(session: Session, search: Search, now_ns: int) -> Page:
    """The page of a search. Raises a 400 for one that would be too costly."""
    if search.type == "Patient":
        page = _patients(session, search)
    elif search.type == "Device":
        page = _devices(session, search)
    else:
        page = _page(session, search, now_ns)
    if search.count_only:
        if page.total is None:
            raise HTTPException(400, page.no_total)
        return Page([], None, page.total)
    return replace(page, total=None) if search.total is False else page


def _page(session: Session, search: Search, now_ns: int) -> Page:
    of_kinds = wanted(_OF_TYPE[search.type], search.codes)
    following = total = None
    no_total = ""
    if search.ids is not None or search.targets is not None:
        found = _few(session, search, of_kinds, now_ns)
        total = len(found)
        found = _after(search, found)
    else:
        if search.total or search.count_only:
            total = _total(session, search, of_kinds)
            no_total = (
                ""
                if total is not None
                else (
                    f"a total is limited to {_days_counted(of_kinds)} patient-days: "
                    "restrict patients or dates"
                )
            )
        if search.count_only:
            return Page([], None, total, no_total=no_total)
        found, following = _many(session, search, of_kinds, now_ns)
    matches = [each.resource() for each in found[: search.count]]
    fit = matches_that_fit(search, matches)
    if fit < len(found):
        key = found[fit - 1].key
        following = (key.patient, key.began_ns, key.kind)
    return Page(
        matches[:fit], following, total, included_resources(session, search, matches[:fit], now_ns), no_total
    )


# --------------------------------------------------------------------------------------- few, by id


def _few(session: Session, search: Search, of_kinds: Sequence[Kind], now_ns: int) -> list[Found]:
    """Resources by id or target that satisfy the other criteria, in order."""
    if search.targets is None:
        keys = [parse(id_) for id_ in search.ids or ()]
    else:
        keys = [maker for key, type_ in _targets(search) for maker in resource_kinds.makers_of(type_, key)]
    fitting = [
        key
        for key in keys
        if key is not None
        and any(kind.matches(key.kind) for kind in of_kinds)
        and (search.patients is None or key.patient in search.patients)
        and (search.ids is None or str(key) in search.ids)
    ]
    found = list(resource_kinds.find_by_key(session, fitting, now_ns, search.dates))
    if search.targets is not None:
        about = {f"{type_}/{key}" for key, type_ in _targets(search)}
        found = [each for each in found if about & targets_of(each.resource())]
    return sorted(found, key=lambda each: _rank(search, each.key), reverse=_is_reversed(search))


def _targets(search: Search) -> Iterator[tuple[ResourceId, str]]:
    for target in search.targets or ():
        type_, _, id_ = target.rpartition("/")
        key = parse(id_)
        if key is not None:
            yield key, type_.rpartition("/")[2]


def _after(search: Search, found: list[Found]) -> list[Found]:
    last = _last(search)
    if last is None:
        return found
    rank, back = _rank(search, last), _is_reversed(search)
    return [
        each for each in found if (_rank(search, each.key) < rank if back else _rank(search, each.key) > rank)
    ]


def _last(search: Search) -> ResourceId | None:
    """The last key of the page before; None on the first page, and at the end of a patient."""
    if search.after is None or search.after[1] == BEFORE_ALL_NS:
        return None
    patient, began_ns, kind = search.after
    return ResourceId(patient, kind, began_ns)


def _rank(search: Search, key: ResourceId) -> tuple[Any, ...]:
    if search.order.by == "_id":
        return f"{key.patient}.", f"{key.kind}.", key.began_ns
    if search.order.by == "date":
        return key.began_ns if search.order.ascending else -key.began_ns, str(key)
    return key.patient, -key.began_ns, str(key)


def _is_reversed(search: Search) -> bool:
    return search.order.by == "_id" and not search.order.ascending


# ------------------------------------------------------------------------------- many, by patient


def _many(
    session: Session, search: Search, of_kinds: Sequence[Kind], now_ns: int
) -> tuple[list[Found], Cursor | None]:
    """Up to one match more than a page, and the cursor if the limit of patients ended it."""
    patients = _named(session, search) if of_kinds else []
    by_date = search.order.by == "date"
    more = len(patients) > (SORTED_PATIENTS if by_date else PATIENTS_A_PAGE)
    if by_date and more:
        raise HTTPException(
            400, f"_sort=date is limited to {SORTED_PATIENTS} patients: restrict patients or dates"
        )
    together = [patients] if by_date and patients else [[each] for each in patients[:PATIENTS_A_PAGE]]
    find_ = _by_name if search.order.by == "_id" else _by_time
    found = (
        each
        for some in together
        for each in find_(Context(session, {each.patient: each for each in some}, now_ns), of_kinds, search)
    )
    page = list(itertools.islice(found, search.count + 1))
    following = (together[-1][0].patient, BEFORE_ALL_NS, "") if more and len(page) <= search.count else None
    return page, following


def _by_time(context: Context, of_kinds: Sequence[Kind], search: Search) -> Iterator[Found]:
    """Matches of some patients merged by begin, then id, after the page before."""
    ascending = search.order.by == "date" and search.order.ascending
    last = _last(search)
    if last is not None and search.order.by == "" and last.patient not in context.patients:
        last = None
    streams = [
        kind.find(context, search.dates, search.count + 1, ascending=ascending, after=last)
        for kind in of_kinds
        if _may_end_after(kind, context, search.dates)
    ]

    def rank(key: ResourceId) -> tuple[int, str]:
        return key.began_ns if ascending else -key.began_ns, str(key)

    merged = heapq.merge(*streams, key=lambda each: rank(each.key))
    return merged if last is None else (each for each in merged if rank(each.key) > rank(last))


def _by_name(context: Context, of_kinds: Sequence[Kind], search: Search) -> Iterator[Found]:
    """Matches of one patient by the parts of the id, after the page before."""
    ascending = search.order.ascending
    last = _last(search)
    if last is not None and last.patient not in context.patients:
        last = None
    criteria = Criteria(tuple(context.patients), search.dates)
    names = [(f"{name}.", kind) for kind in of_kinds for name in kind.names(context.session, criteria)]
    for name, kind in sorted(names, key=lambda each: each[0], reverse=not ascending):
        same = last if last is not None and name == f"{last.kind}." else None
        if last is not None and same is None and (name < f"{last.kind}.") is ascending:
            continue
        if _may_end_after(kind, context, search.dates):
            limit = search.count + 1
            found = kind.find(context, search.dates, limit, ascending=ascending, after=same, name=name[:-1])
            yield from (each for each in found if each.key != same)


def _may_end_after(kind: Kind, context: Context, dates: Dates) -> bool:
    """Whether resources of a kind can end after ``dates.ended_after``; only an episode may be ongoing."""
    last_ns = max(patient.last_ns for patient in context.patients.values())
    return kind.name == "rhy" or dates.ended_after < last_ns + DAY_NS


def _named(session: Session, search: Search) -> Sequence[Patient]:
    """Patients that the page reads, and one more if there are more."""
    dates, order = search.dates, search.order
    key: Any = col(Patient.patient)
    if order.by == "_id":
        key = in_bytes(session, key + sa.literal("."))
    query = sa.select(Patient).limit((SORTED_PATIENTS if order.by == "date" else PATIENTS_A_PAGE) + 1)
    query = query.order_by(key if order.ascending else sa.desc(key))
    if search.after is not None and order.by == "date":
        at_ns = search.after[1]
        dates = dates.both(Dates(began_from=at_ns) if order.ascending else Dates(began_before=at_ns + 1))
    elif search.after is not None:
        done = search.after[1] == BEFORE_ALL_NS
        beyond = (
            (operator.gt if done else operator.ge)
            if order.ascending
            else (operator.lt if done else operator.le)
        )
        query = query.where(beyond(key, f"{search.after[0]}." if order.by else search.after[0]))
    return session.scalars(query.where(*_have(search, dates))).all()


def _have(search: Search, dates: Dates) -> list[Any]:
    """SQL conditions for patients with data in the date range."""
    # A day begins up to a day before its data.
    which: list[Any] = [
        col(Patient.first_ns) < dates.began_before + DAY_NS,
        col(Patient.last_ns) >= dates.began_from,
    ]
    if search.patients is not None:
        which.append(col(Patient.patient).in_(search.patients))
    return which


def _days_counted(of_kinds: Sequence[Kind]) -> int:
    """Limit of patient-days over which a total is counted."""
    return TOTAL_DAYS_SUMMED if any(kind.summed for kind in of_kinds) else TOTAL_DAYS


def _total(session: Session, search: Search, of_kinds: Sequence[Kind]) -> int | None:
    """Number of matches on all pages; None above the limit of patient-days."""
    query = sa.select(col(Patient.patient), col(Patient.first_ns), col(Patient.last_ns))
    days = _days_counted(of_kinds)
    query = query.where(*_have(search, search.dates)).limit(days + 1)
    first_ns = max(search.dates.began_from, search.dates.ended_after)
    last_ns = min(search.dates.began_before, search.dates.ended_by)
    patients = session.execute(query).all()
    counted_ns = sum(
        max(min(row.last_ns, last_ns) - max(row.first_ns, first_ns), 0) + DAY_NS for row in patients
    )
    if counted_ns > days * DAY_NS:
        return None
    criteria = Criteria(tuple(row.patient for row in patients), search.dates)
    return sum(kind.count(session, criteria) for kind in of_kinds) if patients else 0


# --------------------------------------------------------------------------- patients and devices


def _patients(session: Session, search: Search) -> Page:
    key, ascending = in_bytes(session, col(Patient.patient)), search.order.ascending
    which = [] if search.ids is None else [col(Patient.patient).in_(search.ids)]
    total = session.scalar(sa.select(sa.func.count()).select_from(Patient).where(*which)) or 0
    query = sa.select(Patient).where(*which).order_by(key if ascending else key.desc())
    if search.after is not None:
        query = query.where(key > search.after[0] if ascending else key < search.after[0])
    rows = session.scalars(query.limit(search.count + 1)).all()
    following = (rows[search.count - 1].patient, BEFORE_ALL_NS, "") if 0 < search.count < len(rows) else None
    return Page([resources.patient_resource(row) for row in rows[: search.count]], following, total)


def _devices(session: Session, search: Search) -> Page:
    """Nodes and model versions; few enough to read all."""
    found = [
        resources.device_resource(row) for row in session.scalars(sa.select(Device).limit(DEVICES_LIMIT))
    ]
    if search.ids is not None:
        found = [each for each in found if each["id"] in search.ids]
    if search.identifiers is not None:
        found = [each for each in found if each["identifier"][0]["value"] in search.identifiers]
    ascending, last = search.order.ascending, search.after[2] if search.after else None
    rest = [each for each in found if last is None or (each["id"] > last if ascending else each["id"] < last)]
    rest.sort(key=lambda each: each["id"], reverse=not ascending)
    page = rest[: search.count]
    return Page(page, ("", 0, page[-1]["id"]) if page and len(rest) > len(page) else None, len(found))
