"""Pages and resources of a search, and events of all kinds to search for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.testclient import TestClient

from common.app.cloud import ReceivedEvent
from tests.apps.ecg.received import hrv, intervals, rates, rhythm, strip

PATIENTS = ("p", "p-a", "P-b", "p0")
"""As ids sort otherwise than patients do, and in a language otherwise than in bytes."""
SORTS = {
    "Patient": ("", "_id", "-_id"),
    "Device": ("", "_id", "-_id"),
    "Observation": ("", "_id", "-_id", "date", "-date"),
    "DiagnosticReport": ("", "_id", "-_id", "date", "-date"),
    "Provenance": ("", "_id", "-_id"),
}
ORDERS = [(type_, sort) for type_, sorts in SORTS.items() for sort in sorts]
NO_BEATS = {"N": 0}


def pages(fhir: TestClient, path: str) -> Iterator[dict[str, Any]]:
    """Bundles of a search, by the links from one to the next."""
    for _ in range(1000):
        bundle = fhir.get(path).raise_for_status().json()
        yield bundle
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        if "next" not in links:
            return
        path = "{0.path}?{0.query}".format(urlsplit(links["next"]))
    raise AssertionError("the pages do not end")


def of_mode(bundle: dict[str, Any], mode: str) -> list[dict[str, Any]]:
    return [each["resource"] for each in bundle.get("entry", []) if each["search"]["mode"] == mode]


def walk(fhir: TestClient, path: str) -> list[dict[str, Any]]:
    return [resource for bundle in pages(fhir, path) for resource in of_mode(bundle, "match")]


def names(resources: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{each['resourceType']}/{each['id']}" for each in resources]


def sort_key(resource: dict[str, Any], sort: str) -> Any:
    return resource["id"] if sort.endswith("_id") else resource["effectivePeriod"]["start"]


def is_sorted(resources: Sequence[dict[str, Any]], sort: str) -> bool:
    keys = [sort_key(each, sort) for each in resources]
    return keys == sorted(keys, reverse=sort.startswith("-"))


def event_of(kind: str, patient: str, half_hour: int) -> ReceivedEvent:
    began = 1800.0 * half_hour
    more: dict[str, Any] = {
        "patient": patient,
        "node": f"bed-{half_hour % 4}",
        "version": f"v{half_hour % 3}",
    }
    made = {
        "rates": lambda: rates(began, **more),
        "silent rates": lambda: rates(began, None, beats=NO_BEATS, good=0.0, **more),
        "hrv": lambda: hrv(began, **more),
        "intervals": lambda: intervals(began, **more),
        "no intervals": lambda: intervals(began, None, beats=0, **more),
        "AF": lambda: rhythm(began, began + 5000, **more),
        "VT": lambda: rhythm(began, began + 60, "VT", **more),
        "sinus": lambda: rhythm(began, None, "sinus", **more),
        "strip": lambda: strip(began, **more),
    }
    return made[kind]()


def of_all_kinds() -> list[ReceivedEvent]:
    kinds = ("rates", "silent rates", "hrv", "intervals", "AF", "VT", "strip")
    return [
        event_of(kind, patient, 5 * number + index)
        for index, patient in enumerate(PATIENTS)
        for number, kind in enumerate(kinds * 2)
    ]
