"""Response bodies: resources validated by `fhir.resources`, bundles, outcomes, the capability statement.

Importing this needs the extra ``fhir``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Any
from urllib.parse import urlencode

import msgspec
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.device import Device
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.patient import Patient
from fhir.resources.R4B.provenance import Provenance

from apps.ecg.cloud.fhir.codes import Json
from apps.ecg.cloud.fhir.paging import SORTED_PATIENTS, TOTAL_DAYS, TOTAL_DAYS_SUMMED, Page
from apps.ecg.cloud.fhir.resources import NOTICE
from apps.ecg.cloud.fhir.search import (
    PARAMETERS,
    RESULTS,
    REVINCLUDES,
    SORTS,
    Cursor,
    Search,
    encode_cursor,
    include_names,
)

FHIR_VERSION = "4.0.1"
RELEASED = "2026-11-24"
_CLASSES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        Bundle,
        CapabilityStatement,
        Device,
        DiagnosticReport,
        Observation,
        OperationOutcome,
        Patient,
        Provenance,
    )
}
_KINDS = {"date": "date", "_id": "token", "identifier": "token", "code": "token"}
"""Types of search parameters; the others are references."""


def encode(resource: Json) -> bytes:
    """A resource as JSON, validated by its class. Raises ``ValueError`` for an invalid one."""
    _CLASSES[resource["resourceType"]].model_validate(resource)
    return msgspec.json.encode(resource)  # the class would write the same, in twice the time


def outcome(severity: str, code: str, text: str) -> Json:
    """An OperationOutcome of one issue."""
    issue = {"severity": severity, "code": code, "diagnostics": text or code}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def searchset(base: str, search: Search, page: Page) -> Json:
    """The bundle of a page; ``base`` is the URL of the server's root."""
    entries: list[Json] = [
        {
            "fullUrl": f"{base}/{each['resourceType']}/{each['id']}",
            "resource": each,
            "search": {"mode": mode},
        }
        for mode, resources in (("match", page.found), ("include", page.included))
        for each in resources
    ]
    if search.ignored:
        text = f"parameters ignored, not supported: {', '.join(search.ignored)}"
        entries.append({"resource": outcome("warning", "not-supported", text), "search": {"mode": "outcome"}})
    if page.no_total:
        warning = outcome("warning", "too-costly", page.no_total)
        entries.append({"resource": warning, "search": {"mode": "outcome"}})
    total = {} if page.total is None else {"total": page.total}
    links = [{"relation": "self", "url": _url(base, search, None)}]
    if page.following is not None:
        links.append({"relation": "next", "url": _url(base, search, page.following)})
    bundle: Json = {"resourceType": "Bundle", "type": "searchset", **total, "link": links}
    return bundle | ({"entry": entries} if entries else {})


def _url(base: str, search: Search, following: Cursor | None) -> str:
    query = list(search.used) + ([("_page", encode_cursor(following))] if following else [])
    return f"{base}/{search.type}" + (f"?{urlencode(query, safe=',:/')}" if query else "")


_RESULT_NOTES = {
    "_count": "Matches on a page; 0 means _summary=count.",
    "_total": (
        "By default a total is given for patients, devices and searches by id. accurate and estimate also "
        f"count the others, exactly, over at most {TOTAL_DAYS} patient-days, "
        f"{TOTAL_DAYS_SUMMED} with means of intervals."
    ),
    "_sort": f"One key. By date, over at most {SORTED_PATIENTS} patients.",
    "_summary": "count, or false.",
}


def _include_parameters(type_: str) -> Json:
    parameters = {"searchInclude": include_names(type_), "searchRevInclude": list(REVINCLUDES.get(type_, ()))}
    return {name: values for name, values in parameters.items() if values}  # FHIR has no empty lists


def _sorted_by(type_: str) -> str:
    keys = ", ".join(f"{name} and -{name}" for name in SORTS[type_])
    note = " date is the start of the period." if "date" in SORTS[type_] else ""
    return f"Sorted by {keys}.{note}"


def capability_statement(base: str) -> Json:
    """The CapabilityStatement of this server."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": RELEASED,
        "kind": "instance",
        "software": {"name": "edgeloop ECG", "version": installed_version("edgeloop")},
        "implementation": {"description": f"ECG findings of edge nodes. {NOTICE}", "url": base},
        "fhirVersion": FHIR_VERSION,
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "description": "A bearer token of the cloud's admin, or a session of the dashboard."
                },
                "resource": [
                    {
                        "type": type_,
                        "interaction": [{"code": "read"}, {"code": "search-type"}],
                        "documentation": _sorted_by(type_),
                        **_include_parameters(type_),
                        "searchParam": [
                            {"name": name, "type": _KINDS.get(name, "reference")} for name in names
                        ],
                    }
                    for type_, names in PARAMETERS.items()
                ],
                "searchParam": [
                    {"name": name, "type": type_, "documentation": _RESULT_NOTES[name]}
                    for name, type_ in RESULTS.items()
                ],
            }
        ],
    }


def transaction(entries: Sequence[Json]) -> Json:
    """A transaction bundle."""
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
