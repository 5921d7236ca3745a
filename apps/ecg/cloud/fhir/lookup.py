"""Resources by their type and id, one or many at once."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlmodel import Session, col

from apps.ecg.cloud.fhir import resource_kinds, resources
from apps.ecg.cloud.fhir.codes import Json
from apps.ecg.cloud.fhir.ids import device_id, parse
from apps.ecg.cloud.tables import Device, Patient

DEVICES_LIMIT = 10_000


def read_resource(session: Session, type_: str, id_: str, now_ns: int) -> Json | None:
    """The resource of a type with an id; None if it does not exist."""
    return next(iter(read_resources(session, [f"{type_}/{id_}"], now_ns)), None)


def read_resources(session: Session, references: Iterable[str], now_ns: int) -> list[Json]:
    """The existing resources of some references (``Type/id``), each once."""
    found: list[Json] = []
    keys = []
    for reference in dict.fromkeys(references):
        type_, _, id_ = reference.partition("/")
        if type_ == "Patient":
            row = session.get(Patient, id_)
            found += [resources.patient_resource(row)] if row else []
        elif type_ == "Device":
            device = _device(session, id_)
            found += [resources.device_resource(device)] if device else []
        elif (key := parse(id_)) and (kind := resource_kinds.kind_of(key)) and kind.type == type_:
            keys.append(key)
    return found + [each.resource() for each in resource_kinds.find_by_key(session, keys, now_ns)]


def _device(session: Session, id_: str) -> Device | None:
    kind, _, name = id_.partition(".")
    row = session.get(Device, (kind, name))
    if row is not None or not name.startswith("x-"):
        return row
    rows = session.scalars(sa.select(Device).where(col(Device.kind) == kind).limit(DEVICES_LIMIT))
    return next((row for row in rows if device_id(row.kind, row.name) == id_), None)
