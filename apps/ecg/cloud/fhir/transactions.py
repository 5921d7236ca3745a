"""Idempotent transaction bundles of an hour or a day of a patient.

=====================================  ======================================================================
Patient, Device, Observation of HRV    never change: created where no resource has the identifier
other Observations, DiagnosticReport   may change: updated by identifier, created where none has it
Provenance                             has no identifier in R4: put under its own id
=====================================  ======================================================================

References within a bundle are by ``fullUrl``, others by identifier (conditional references), as the server
assigns its own ids.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
from sqlmodel import Session

from apps.ecg.cloud.fhir import resource_kinds
from apps.ecg.cloud.fhir.codes import Json
from apps.ecg.cloud.fhir.criteria import Context, Dates
from apps.ecg.cloud.fhir.ids import SYSTEM, parse
from apps.ecg.cloud.fhir.lookup import read_resources
from apps.ecg.cloud.fhir.resources import patient_resource
from apps.ecg.cloud.tables import DAY_NS, Patient

ENTRIES_A_BUNDLE = 60
BYTES_A_BUNDLE = 2 * 1024 * 1024
"""A bundle of one resource may be larger."""
ROWS_LIMIT = 2000
"""Limit of resources of one kind in a span; more than an hour has."""
_OF_DAYS = frozenset({"afb", "day", "made-day"})
_CREATED_ONCE = frozenset({"Patient", "Device", "hrv"})


@dataclass(frozen=True, slots=True)
class Contents:
    """Resources of a span; ``shared`` (patient, devices) is repeated in each bundle."""

    shared: Sequence[Json]
    own: Sequence[Json]


def contents_of(session: Session, patient: str, began_ns: int, seconds: int, now_ns: int) -> Contents:
    """Resources to export for an hour or a day; ongoing episodes are left out."""
    row = session.get(Patient, patient)
    if row is None:
        return Contents((), ())
    dates = Dates(began_from=began_ns, began_before=began_ns + seconds * 10**9)
    context = Context(session, {patient: row}, now_ns)
    of_day = seconds == DAY_NS // 10**9
    own = [
        resource
        for kind in resource_kinds.KINDS
        if (kind.name in _OF_DAYS) is of_day
        for resource in (found.resource() for found in kind.find(context, dates, ROWS_LIMIT))
        if resource["resourceType"] != "Observation" or "end" in resource["effectivePeriod"]
    ]
    names = {name for resource in own for name in _references(resource) if name.startswith("Device/")}
    return Contents([patient_resource(row), *read_resources(session, sorted(names), now_ns)], own)


def bundles_of(contents: Contents) -> Iterator[bytes]:
    """Transaction bundles of bounded size. Raises ``ValueError`` for an invalid resource."""
    from apps.ecg.cloud.fhir import bundles

    for part in _parts(contents.own):
        resources = [*contents.shared, *part]
        names = {f"{each['resourceType']}/{each['id']}": _full_url(each) for each in resources}
        identifiers = {
            name: each["identifier"][0]["value"]
            for name, each in zip(names, resources, strict=True)
            if "identifier" in each
        }
        entries = [_entry(each, names, identifiers) for each in resources]
        yield bundles.encode(bundles.transaction(entries))


def _parts(resources: Sequence[Json]) -> Iterator[list[Json]]:
    part: list[Json] = []
    size = 0
    for resource in resources:
        length = len(msgspec.json.encode(resource))
        if part and (len(part) >= ENTRIES_A_BUNDLE or size + length > BYTES_A_BUNDLE):
            yield part
            part, size = [], 0
        part.append(resource)
        size += length
    if part:
        yield part


def _entry(resource: Json, names: Mapping[str, str], identifiers: Mapping[str, str]) -> Json:
    type_, id_ = resource["resourceType"], resource["id"]
    name = f"{type_}/{id_}"
    sent = _with_references(resource, names)
    key = parse(id_)
    if type_ == "Provenance":
        request = {"method": "PUT", "url": name}
    else:
        del sent["id"]  # the server assigns its own; ours is the identifier
        condition = f"identifier={_token(identifiers[name])}"
        if type_ in _CREATED_ONCE or (key and key.kind in _CREATED_ONCE):
            request = {"method": "POST", "url": type_, "ifNoneExist": condition}
        else:
            request = {"method": "PUT", "url": f"{type_}?{condition}"}
    return {"fullUrl": names[name], "resource": sent, "request": request}


def _full_url(resource: Json) -> str:
    name = f"{SYSTEM}/{resource['resourceType']}/{resource['id']}"
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"


def _token(value: str) -> str:
    return quote(f"{SYSTEM}|{value}", safe=":/|.-")


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("reference"), str):
            yield reference
        value = list(value.values())
    for each in value if isinstance(value, list) else ():
        yield from _references(each)


def _with_references(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_with_references(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    copy = {name: _with_references(each, names) for name, each in value.items()}
    if isinstance(reference := copy.get("reference"), str):
        type_, _, id_ = reference.partition("/")
        copy["reference"] = names.get(reference) or f"{type_}?identifier={_token(id_)}"
    return copy
