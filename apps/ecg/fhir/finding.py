"""Pages of a search over all patients: by patient, then the newest first, then by kind.

A page looks at `PATIENTS_A_PAGE` patients at most, each by ranges of an index; it may then hold few resources
and still have a next one.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlmodel import Session

from apps.ecg.fhir import codes, kinds, resources
from apps.ecg.fhir.asked import Asked, Dates, Found, Kind
from apps.ecg.fhir.codes import Json
from apps.ecg.fhir.ids import device_id, parse
from apps.ecg.fhir.search import Search, wanted
from apps.ecg.tables import DAY_NS, Device, Patient

PATIENTS_A_PAGE = 100
DEVICES_LIMIT = 10_000
_OF_TYPE: dict[str, Sequence[Kind]] = {
    "Observation": kinds.OBSERVATIONS,
    "DiagnosticReport": kinds.REPORTS,
    "Provenance": kinds.PROVENANCES,
}
Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Page:
    """Some resources, and where the next page goes on; None at the end."""

    found: list[Json]
    following: Key | None


def read(session: Session, type_: str, id_: str, now_ns: int) -> Json | None:
    """The resource of a type with an id; None where there is none."""
    if type_ == "Patient":
        row = session.get(Patient, id_)
        return resources.patient_resource(row) if row else None
    if type_ == "Device":
        device = _device(session, id_)
        return resources.device_resource(device) if device else None
    place = parse(id_)
    found = kinds.read(session, place, now_ns) if place else None
    return found if found and found["resourceType"] == type_ else None


def find(session: Session, search: Search, now_ns: int) -> Page:
    """A page of what was asked for."""
    if search.type == "Patient":
        return _patients(session, search)
    if search.type == "Device":
        return _devices(session, search)
    if search.targets is not None:
        search = replace(search, ids=_makers(search.targets, search.ids), targets=None)
    if search.ids is not None:
        return _by_id(session, search, now_ns)
    return _by_patient(session, search, now_ns)


def _by_id(session: Session, search: Search, now_ns: int) -> Page:
    """Few, so they come on one page; the other parameters must hold as well."""
    fitting = wanted(_OF_TYPE[search.type], search.codes)
    found = []
    for id_ in search.ids or ():
        place = parse(id_)
        if place is None or not any(kind.matches(place.kind) for kind in fitting):
            continue
        if search.patients is not None and place.patient not in search.patients:
            continue
        patient = session.get(Patient, place.patient)
        kind = next(kind for kind in fitting if kind.matches(place.kind))
        at = Dates(began_from=place.began_ns, began_before=place.began_ns + 1).both(search.dates)
        if patient is not None:
            asked = Asked(session, patient, at, 20, now_ns)
            found += [resource for _, resource in kind.find(asked) if resource["id"] == id_]
    return Page(found, None)


def _by_patient(session: Session, search: Search, now_ns: int) -> Page:
    fitting = sorted(wanted(_OF_TYPE[search.type], search.codes), key=lambda kind: kind.name)
    found: list[tuple[Key, Json]] = []
    patients = _named(session, search) if fitting else []
    for patient in patients[:PATIENTS_A_PAGE]:
        found += _of_patient(session, patient, fitting, search, now_ns, search.count + 1 - len(found))
        if len(found) > search.count:
            return Page([resource for _, resource in found[: search.count]], found[search.count - 1][0])
    following = None
    if len(patients) > PATIENTS_A_PAGE:
        following = (patients[PATIENTS_A_PAGE - 1].patient, -1, "")
    return Page([resource for _, resource in found], following)


def _of_patient(
    session: Session, patient: Patient, fitting: Sequence[Kind], search: Search, now_ns: int, limit: int
) -> list[tuple[Key, Json]]:
    """The newest first, at one time by kind and id, after where the last page ended."""
    after = search.after if search.after and search.after[0] == patient.patient else None
    dates = search.dates if after is None else search.dates.both(Dates(began_before=after[1] + 1))
    # Those at the time where the last page ended come again here, and are left out below.
    again = 0 if after is None else len(codes.RHYTHMS) + 10
    asked = Asked(session, patient, dates, limit + again, now_ns)
    streams = [kind.find(asked) for kind in fitting if _may_go_on(kind, patient, dates)]
    merged = heapq.merge(*streams, key=_place)  # made one by one: a strip is long
    if after is not None:
        merged = (each for each in merged if _place(each) > (-after[1], after[2]))
    return [
        ((patient.patient, began_ns, resource["id"]), resource)
        for began_ns, resource in itertools.islice(merged, limit)
    ]


def _place(found: Found) -> tuple[int, str]:
    return -found[0], found[1]["id"]


def _named(session: Session, search: Search) -> Sequence[Patient]:
    query = sa.select(Patient).order_by(Patient.patient).limit(PATIENTS_A_PAGE + 1)  # type: ignore[arg-type]
    if search.patients is not None:
        query = query.where(Patient.patient.in_(search.patients))  # type: ignore[attr-defined]
    if search.after is not None:
        query = query.where(Patient.patient >= search.after[0])  # type: ignore[arg-type]
    # Days begin up to a day before what is in them.
    query = query.where(Patient.first_ns < search.dates.began_before + DAY_NS)  # type: ignore[arg-type]
    query = query.where(Patient.last_ns >= search.dates.began_from)  # type: ignore[arg-type]
    return session.scalars(query).all()


def _may_go_on(kind: Kind, patient: Patient, dates: Dates) -> bool:
    """Whether anything of a kind may end after the dates ask; only an episode has no end."""
    return kind.name == "rhy" or dates.ended_after < patient.last_ns + DAY_NS


def _patients(session: Session, search: Search) -> Page:
    query = sa.select(Patient).order_by(Patient.patient).limit(search.count + 1)  # type: ignore[arg-type]
    if search.ids is not None:
        query = query.where(Patient.patient.in_(search.ids))  # type: ignore[attr-defined]
    if search.after is not None:
        query = query.where(Patient.patient > search.after[0])  # type: ignore[arg-type]
    rows = session.scalars(query).all()
    following = (rows[search.count - 1].patient, -1, "") if len(rows) > search.count else None
    return Page([resources.patient_resource(row) for row in rows[: search.count]], following)


def _devices(session: Session, search: Search) -> Page:
    """Nodes and versions of the model: as many as there are of them in a fleet, so all are looked at."""
    rows = session.scalars(sa.select(Device).order_by(Device.kind, Device.name).limit(DEVICES_LIMIT))  # type: ignore[arg-type]
    found = [resources.device_resource(row) for row in rows]
    if search.ids is not None:
        known = set(search.ids)
        found = [each for each in found if {each["id"], each["identifier"][0]["value"]} & known]
    first = search.after[1] if search.after else 0
    last = first + search.count
    return Page(found[first:last], ("", last, "") if len(found) > last else None)


def _device(session: Session, id_: str) -> Device | None:
    kind, _, name = id_.partition(".")
    row = session.get(Device, (kind, name))
    if row is not None or not name.startswith("x-"):
        return row
    rows = session.scalars(sa.select(Device).where(Device.kind == kind).limit(DEVICES_LIMIT))  # type: ignore[arg-type]
    return next((row for row in rows if device_id(row.kind, row.name) == id_), None)


def _makers(targets: Sequence[str], ids: tuple[str, ...] | None) -> tuple[str, ...]:
    """Ids of the Provenances that may be about targets."""
    found = []
    for target in targets:
        type_, _, id_ = target.rpartition("/")
        place = parse(id_)
        if place is None or not type_:
            continue
        for maker in kinds.makers_of(type_.rpartition("/")[2], place):
            found.append(str(maker))
    return tuple(dict.fromkeys(each for each in found if ids is None or each in ids))
