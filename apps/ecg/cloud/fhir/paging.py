"""Pages of a search over all patients, and how much there is in all.

- A page goes on after the last one's key, which never changes: what arrives meanwhile neither doubles nor
  hides what was there. In our own order and by ``_id`` a page looks at `PATIENTS_A_PAGE` patients at most,
  each by ranges of an index; it may then hold few resources and still have a next one.
- By ``date`` all patients are looked at together, `SORTED_PATIENTS` at most.
- Patients, devices, and what is asked for by its id are counted on the way. Other totals are told only if
  they are asked for, and only over so many days of patients (`TOTAL_DAYS`).
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
from sqlmodel import Session

from apps.ecg.cloud.fhir import resource_kinds, resources
from apps.ecg.cloud.fhir.codes import Json
from apps.ecg.cloud.fhir.criteria import BEFORE_ALL_NS, Asked, Context, Dates, Found, Kind, in_bytes
from apps.ecg.cloud.fhir.ids import ResourceId, parse
from apps.ecg.cloud.fhir.include import included, targets_of, that_fit
from apps.ecg.cloud.fhir.lookup import DEVICES_LIMIT
from apps.ecg.cloud.fhir.search import Key, Search, wanted
from apps.ecg.cloud.tables import DAY_NS, Device, Patient

PATIENTS_A_PAGE = 100
SORTED_PATIENTS = 1000
TOTAL_DAYS, TOTAL_DAYS_SUMMED = 10_000, 500
"""Days of patients over which a total is counted; fewer where what is counted has to be summed up first."""
_OF_TYPE: dict[str, Sequence[Kind]] = {
    "Observation": resource_kinds.OBSERVATIONS,
    "DiagnosticReport": resource_kinds.REPORTS,
    "Provenance": resource_kinds.PROVENANCES,
}


@dataclass(frozen=True, slots=True)
class Page:
    """Some resources, and where the next page goes on; None at the end.

    ``total`` is how many match on all pages, None where that is not told; ``told`` is why, where it was asked
    for.
    """

    found: list[Json]
    following: Key | None
    total: int | None = None
    included: list[Json] = field(default_factory=list)
    told: str = ""


def find(session: Session, search: Search, now_ns: int) -> Page:
    """A page of what was asked for. Raises a 400 for what would cost too much."""
    if search.type == "Patient":
        page = _patients(session, search)
    elif search.type == "Device":
        page = _devices(session, search)
    else:
        page = _page(session, search, now_ns)
    if search.count_only:
        if page.total is None:
            raise HTTPException(400, page.told)
        return Page([], None, page.total)
    return replace(page, total=None) if search.total is False else page


def _page(session: Session, search: Search, now_ns: int) -> Page:
    of_kinds = wanted(_OF_TYPE[search.type], search.codes)
    following = total = None
    told = ""
    if search.ids is not None or search.targets is not None:
        found = _few(session, search, of_kinds, now_ns)
        total = len(found)
        found = _after(search, found)
    else:
        if search.total or search.count_only:
            total = _total(session, search, of_kinds)
            told = (
                ""
                if total is not None
                else (
                    f"a total is counted over {_days_counted(of_kinds)} days of patients at most: "
                    "name fewer patients or dates"
                )
            )
        if search.count_only:
            return Page([], None, total, told=told)
        found, following = _many(session, search, of_kinds, now_ns)
    matches = [each.resource() for each in found[: search.count]]
    fit = that_fit(search, matches)
    if fit < len(found):
        place = found[fit - 1].place
        following = (place.patient, place.began_ns, place.kind)
    return Page(matches[:fit], following, total, included(session, search, matches[:fit], now_ns), told)


# --------------------------------------------------------------------------------------- few, by id


def _few(session: Session, search: Search, of_kinds: Sequence[Kind], now_ns: int) -> list[Found]:
    """All that has one of the ids, or is about one of the targets, in order; what else is asked must hold."""
    if search.targets is None:
        places = [parse(id_) for id_ in search.ids or ()]
    else:
        places = [
            maker for place, type_ in _targets(search) for maker in resource_kinds.makers_of(type_, place)
        ]
    fitting = [
        place
        for place in places
        if place is not None
        and any(kind.matches(place.kind) for kind in of_kinds)
        and (search.patients is None or place.patient in search.patients)
        and (search.ids is None or str(place) in search.ids)
    ]
    found = list(resource_kinds.found_at(session, fitting, now_ns, search.dates))
    if search.targets is not None:
        about = {f"{type_}/{place}" for place, type_ in _targets(search)}
        found = [each for each in found if about & targets_of(each.resource())]
    return sorted(found, key=lambda each: _rank(search, each.place), reverse=_is_reversed(search))


def _targets(search: Search) -> Iterator[tuple[ResourceId, str]]:
    for target in search.targets or ():
        type_, _, id_ = target.rpartition("/")
        place = parse(id_)
        if place is not None:
            yield place, type_.rpartition("/")[2]


def _after(search: Search, found: list[Found]) -> list[Found]:
    last = _last(search)
    if last is None:
        return found
    rank, back = _rank(search, last), _is_reversed(search)
    return [
        each
        for each in found
        if (_rank(search, each.place) < rank if back else _rank(search, each.place) > rank)
    ]


def _last(search: Search) -> ResourceId | None:
    """Where the last page ended; None at the first, and at the end of a patient."""
    if search.after is None or search.after[1] == BEFORE_ALL_NS:
        return None
    patient, began_ns, kind = search.after
    return ResourceId(patient, kind, began_ns)


def _rank(search: Search, place: ResourceId) -> tuple[Any, ...]:
    if search.order.by == "_id":
        return f"{place.patient}.", f"{place.kind}.", place.began_ns
    if search.order.by == "date":
        return place.began_ns if search.order.ascending else -place.began_ns, str(place)
    return place.patient, -place.began_ns, str(place)


def _is_reversed(search: Search) -> bool:
    return search.order.by == "_id" and not search.order.ascending


# ------------------------------------------------------------------------------- many, by patient


def _many(
    session: Session, search: Search, of_kinds: Sequence[Kind], now_ns: int
) -> tuple[list[Found], Key | None]:
    """What is found after the last page, one more than its size at most; else where it goes on."""
    patients = _named(session, search) if of_kinds else []
    by_date = search.order.by == "date"
    more = len(patients) > (SORTED_PATIENTS if by_date else PATIENTS_A_PAGE)
    if by_date and more:
        raise HTTPException(
            400, f"_sort=date looks at {SORTED_PATIENTS} patients at most: name fewer patients or dates"
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
    """Of some patients together, by begin and then by id, after where the last page ended."""
    ascending = search.order.by == "date" and search.order.ascending
    last = _last(search)
    if last is not None and search.order.by == "" and last.patient not in context.patients:
        last = None
    streams = [
        kind.find(context, search.dates, search.count + 1, ascending=ascending, after=last)
        for kind in of_kinds
        if _may_go_on(kind, context, search.dates)
    ]

    def rank(place: ResourceId) -> tuple[int, str]:
        return place.began_ns if ascending else -place.began_ns, str(place)

    merged = heapq.merge(*streams, key=lambda each: rank(each.place))
    return merged if last is None else (each for each in merged if rank(each.place) > rank(last))


def _by_name(context: Context, of_kinds: Sequence[Kind], search: Search) -> Iterator[Found]:
    """Of one patient, by the parts of the id, after where the last page ended."""
    ascending = search.order.ascending
    last = _last(search)
    if last is not None and last.patient not in context.patients:
        last = None
    asked = Asked(tuple(context.patients), search.dates)
    names = [(f"{name}.", kind) for kind in of_kinds for name in kind.names(context.session, asked)]
    for name, kind in sorted(names, key=lambda each: each[0], reverse=not ascending):
        same = last if last is not None and name == f"{last.kind}." else None
        if last is not None and same is None and (name < f"{last.kind}.") is ascending:
            continue
        if _may_go_on(kind, context, search.dates):
            limit = search.count + 1
            found = kind.find(context, search.dates, limit, ascending=ascending, after=same, name=name[:-1])
            yield from (each for each in found if each.place != same)


def _may_go_on(kind: Kind, context: Context, dates: Dates) -> bool:
    """Whether anything of a kind may end after the dates ask; only an episode has no end."""
    last_ns = max(patient.last_ns for patient in context.patients.values())
    return kind.name == "rhy" or dates.ended_after < last_ns + DAY_NS


def _named(session: Session, search: Search) -> Sequence[Patient]:
    """Patients on whom the page looks, and one more if there are more."""
    dates, order = search.dates, search.order
    place: Any = Patient.patient
    if order.by == "_id":
        place = in_bytes(session, place + sa.literal("."))
    query = sa.select(Patient).limit((SORTED_PATIENTS if order.by == "date" else PATIENTS_A_PAGE) + 1)
    query = query.order_by(place if order.ascending else sa.desc(place))  # type: ignore[arg-type]
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
        query = query.where(beyond(place, f"{search.after[0]}." if order.by else search.after[0]))
    return session.scalars(query.where(*_have(search, dates))).all()


def _have(search: Search, dates: Dates) -> list[Any]:
    """Which patients may have anything within dates."""
    # Days begin up to a day before what is in them.
    which: list[Any] = [Patient.first_ns < dates.began_before + DAY_NS, Patient.last_ns >= dates.began_from]
    if search.patients is not None:
        which.append(Patient.patient.in_(search.patients))  # type: ignore[attr-defined]
    return which


def _days_counted(of_kinds: Sequence[Kind]) -> int:
    """How many days of patients are looked at for a total."""
    return TOTAL_DAYS_SUMMED if any(kind.summed for kind in of_kinds) else TOTAL_DAYS


def _total(session: Session, search: Search, of_kinds: Sequence[Kind]) -> int | None:
    """How much there is in all; None if that would be too much to count."""
    query = sa.select(Patient.patient, Patient.first_ns, Patient.last_ns)  # type: ignore[call-overload]
    days = _days_counted(of_kinds)
    query = query.where(*_have(search, search.dates)).limit(days + 1)
    first_ns = max(search.dates.began_from, search.dates.ended_after)
    last_ns = min(search.dates.began_before, search.dates.ended_by)
    patients = session.execute(query).all()
    looked_at_ns = sum(
        max(min(row.last_ns, last_ns) - max(row.first_ns, first_ns), 0) + DAY_NS for row in patients
    )
    if looked_at_ns > days * DAY_NS:
        return None
    asked = Asked(tuple(row.patient for row in patients), search.dates)
    return sum(kind.count(session, asked) for kind in of_kinds) if patients else 0


# --------------------------------------------------------------------------- patients and devices


def _patients(session: Session, search: Search) -> Page:
    place, ascending = in_bytes(session, Patient.patient), search.order.ascending
    which = [] if search.ids is None else [Patient.patient.in_(search.ids)]  # type: ignore[attr-defined]
    total = session.scalar(sa.select(sa.func.count()).select_from(Patient).where(*which)) or 0
    query = sa.select(Patient).where(*which).order_by(place if ascending else place.desc())
    if search.after is not None:
        query = query.where(place > search.after[0] if ascending else place < search.after[0])
    rows = session.scalars(query.limit(search.count + 1)).all()
    following = (rows[search.count - 1].patient, BEFORE_ALL_NS, "") if 0 < search.count < len(rows) else None
    return Page([resources.patient_resource(row) for row in rows[: search.count]], following, total)


def _devices(session: Session, search: Search) -> Page:
    """Nodes and versions of the model: as many as there are of them in a fleet, so all are looked at."""
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
