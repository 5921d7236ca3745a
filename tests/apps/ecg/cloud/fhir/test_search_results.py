"""Parameters of a search result: its order, totals, and included resources."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlmodel import Session, SQLModel
from starlette.testclient import TestClient

from apps.ecg.cloud.fhir import include, paging
from apps.ecg.cloud.projection import EcgCloud
from cloud_backend.store.engine import open_store, sqlite_url
from common.app.cloud import ReceivedEvent
from tests.apps.ecg.cloud.fhir.test_api import fhir, ids, issue, make_api, sqlite
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB, a_day, at, hrv, intervals, rates, received, rhythm, strip

__all__ = ["fhir"]
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


@contextmanager
def a_cloud() -> Iterator[tuple[TestClient, Project]]:
    """A cloud of its own, for what is tried many times in a test."""
    cloud = EcgCloud()
    with tempfile.TemporaryDirectory() as folder:
        engine = open_store(sqlite_url(Path(folder) / "store.sqlite"))
        SQLModel.metadata.create_all(
            engine, tables=[SQLModel.metadata.tables[str(table.__tablename__)] for table in cloud.tables()]
        )

        def project(events: Sequence[ReceivedEvent]) -> None:
            with Session(engine) as session:
                cloud.project(session, events)
                session.commit()

        with TestClient(make_api(engine), headers={"Authorization": "Bearer right"}) as client:
            yield client, project
        engine.dispose()


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


EVENTS = st.lists(
    st.builds(
        event_of,
        st.sampled_from(
            ["rates", "silent rates", "hrv", "intervals", "no intervals", "AF", "VT", "sinus", "strip"]
        ),
        st.sampled_from(PATIENTS),
        st.integers(0, 120),
    ),
    max_size=30,
)


# ------------------------------------------------------------------------------------------- order


@given(
    before=EVENTS,
    later=EVENTS,
    order=st.sampled_from(ORDERS),
    count=st.sampled_from([1, 2, 3, 7, 50]),
)
@settings(max_examples=40, phases=[Phase.reuse, Phase.generate])  # to shrink takes minutes
def test_pages_in_any_order_hold_each_resource_once_while_new_ones_arrive(
    before: list[ReceivedEvent], later: list[ReceivedEvent], order: tuple[str, str], count: int
) -> None:
    type_, sort = order
    with a_cloud() as (fhir, project):
        project(before)
        there = {each["id"] for each in walk(fhir, f"/fhir/{type_}?_count=200")}
        found: list[dict[str, Any]] = []
        arriving = iter(later)
        path = f"/fhir/{type_}?_count={count}&_total=accurate" + (f"&_sort={sort}" if sort else "")
        for number, bundle in enumerate(pages(fhir, path)):
            assert number or bundle["total"] == len(there)
            assert len(of_mode(bundle, "match")) <= count
            found += of_mode(bundle, "match")
            project([event for event in [next(arriving, None), next(arriving, None)] if event])
        found_ids = [each["id"] for each in found]
        assert len(found_ids) == len(set(found_ids))
        assert there <= set(found_ids)
        assert not sort or is_sorted(found, sort)


@pytest.mark.parametrize(("type_", "sort"), ORDERS)
def test_every_order_is_the_same_in_pages_of_any_size(
    fhir: TestClient, project: Project, type_: str, sort: str
) -> None:
    project(of_all_kinds())
    query = f"_sort={sort}" if sort else ""
    whole = walk(fhir, f"/fhir/{type_}?_count=200&{query}")
    assert len(whole) >= 3
    assert is_sorted(whole, sort or "_id") or not (sort or type_ in ("Patient", "Device"))
    assert sorted(names(whole)) == sorted(names(walk(fhir, f"/fhir/{type_}?_count=200")))
    assert names(walk(fhir, f"/fhir/{type_}?_count=4&{query}")) == names(whole)
    listed = ",".join(each["id"] for each in reversed(whole[:90]))
    of_ids = walk(fhir, f"/fhir/{type_}?_count=7&_id={listed}&{query}")
    assert sorted(names(of_ids)) == sorted(names(whole[:90]))
    assert names(of_ids) == names(whole[:90]) or not sort


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_database_that_sorts_as_a_language_does_keeps_the_order(
    fhir: TestClient, project: Project, engine: Engine, cloud_app: EcgCloud
) -> None:
    with engine.begin() as connection:
        for table in cloud_app.tables():
            columns = [name for name in ("patient", "label") if name in sa.inspect(table).columns]
            for column in columns:
                change = f'ALTER COLUMN {column} TYPE varchar COLLATE "en-x-icu"'
                connection.execute(sa.text(f"ALTER TABLE {table.__tablename__} {change}"))
    project([*of_all_kinds(), *(rates(7200, patient=patient) for patient in PATIENTS)])
    for type_, sort in ORDERS:
        path = f"/fhir/{type_}?" + (f"_sort={sort}&" if sort else "")
        whole = walk(fhir, f"{path}_count=200")
        assert names(walk(fhir, f"{path}_count=5")) == names(whole)
        assert not sort or is_sorted(whole, sort)


@sqlite
def test_by_date_the_patients_are_mixed(fhir: TestClient, project: Project) -> None:
    project([rates(3600 * hour, patient=(ANN, BOB)[hour % 2]) for hour in range(6)])
    path = "/fhir/Observation?code=8867-4&_count=4&_sort="
    begins = [int(each["id"].rpartition(".")[2]) for each in walk(fhir, f"{path}-date")]
    assert begins == [at(3600 * hour) for hour in (5, 4, 3, 2, 1, 0)]
    assert [each["subject"]["reference"][-1] for each in walk(fhir, f"{path}date")] == [*"ab" * 3]


@sqlite
def test_hours_without_a_rate_do_not_hide_those_before(fhir: TestClient, project: Project) -> None:
    silent = [rates(3600.0 * hour, None, beats=NO_BEATS, good=0.0) for hour in range(2, 60)]
    project([rates(10), rates(3610), intervals(20), *silent])
    for type_, code, least in (("Observation", "8867-4", 2), ("Observation", "8625-6", 1)):
        assert len(walk(fhir, f"/fhir/{type_}?code={code}&_count=1")) == least
    hours = [each for each in walk(fhir, "/fhir/Provenance?_count=1") if ".made-hour." in each["id"]]
    assert len(hours) == 2


@pytest.mark.parametrize("sort", ["", "_id", "-_id", "date", "-date"])
@sqlite
def test_a_rhythm_that_nobody_knows_does_not_stop_the_pages(
    fhir: TestClient, project: Project, sort: str
) -> None:
    project([rhythm(10, 20, label) for label in ("AF", "block-2", "block-3", "VT")])
    query = f"&_sort={sort}" if sort else ""
    assert len(walk(fhir, f"/fhir/Observation?_count=1{query}")) == 4


@sqlite
def test_links_keep_the_order(fhir: TestClient, project: Project) -> None:
    project(a_day())
    for link in fhir.get("/fhir/Observation?_sort=-date&_count=2&_total=accurate").json()["link"]:
        query = parse_qs(urlsplit(link["url"]).query)
        assert (query["_sort"], query["_total"]) == (["-date"], ["accurate"])


@pytest.mark.parametrize(
    ("query", "possible"),
    [
        ("Observation?_sort=status", "_id, -_id, date, -date"),
        ("Observation?_sort=date,_id", "_id, -_id, date, -date"),
        ("Observation?_sort=_lastUpdated", "_id, -_id, date, -date"),
        ("DiagnosticReport?_sort=--date", "_id, -_id, date, -date"),
        ("Patient?_sort=date", "_id, -_id"),
        ("Observation?_include=Observation:encounter", "Observation:subject"),
        ("Observation?_include=Provenance:target", "Observation:device"),
        ("Observation?_include=Observation:device:Patient", "Observation:device"),
        ("DiagnosticReport?_include=subject", "DiagnosticReport:result"),
        ("Patient?_include=Patient:organization", "none"),
        ("Observation?_revinclude=DiagnosticReport:result", "Provenance:target"),
        ("Patient?_revinclude=Provenance:target", "none"),
        ("Observation?_total=some", "accurate"),
        ("Observation?_include:iterate=Observation:subject", "modifier"),
    ],
)
@sqlite
def test_what_cannot_be_had_is_refused_with_what_can(fhir: TestClient, query: str, possible: str) -> None:
    answer = fhir.get(f"/fhir/{query}")
    assert answer.status_code == 400
    assert possible in issue(answer)[1]


@sqlite
def test_by_date_only_so_many_patients_are_sorted(
    fhir: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "SORTED_PATIENTS", 1)
    project([rates(10), rates(90_000, patient=BOB)])
    assert "restrict patients" in issue(fhir.get("/fhir/Observation?_sort=date"))[1]
    assert len(walk(fhir, f"/fhir/Observation?_sort=date&patient={ANN}")) == 3
    assert fhir.get("/fhir/Observation?_sort=_id").status_code == 200


@sqlite
def test_many_patients_come_in_pages_of_some_in_any_order(
    fhir: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PATIENTS_A_PAGE", 2)
    project([rates(10, patient=f"p-{number}") for number in range(7)])
    for sort in ("", "_sort=_id", "_sort=-_id"):
        found = walk(fhir, f"/fhir/Observation?code=8867-4&{sort}")
        patients = [each["subject"]["reference"] for each in found]
        assert patients == sorted((f"Patient/p-{number}" for number in range(7)), reverse="-" in sort)


@pytest.mark.parametrize(
    "key",
    [["p", 0, "hr"], ["p", 2**62 - 1, ""], ["p", 2**63, "hr"], ["", 0, ""], ["p", -(2**63), "hr"], ["p"]],
)
@pytest.mark.parametrize("sort", ["", "_sort=date", "_sort=-date", "_sort=_id"])
@sqlite
def test_a_page_that_never_was_breaks_nothing(
    fhir: TestClient, project: Project, key: list[Any], sort: str
) -> None:
    project([rates(10, patient="p")])
    page = base64.urlsafe_b64encode(json.dumps(key).encode()).decode()
    there_might_be = len(key) == 3 and -1 <= key[1] < 2**62
    answer = fhir.get(f"/fhir/Observation?_page={page}&{sort}")
    assert answer.status_code == (200 if there_might_be else 400)


# ------------------------------------------------------------------------------------------ totals


@pytest.mark.parametrize(
    "query",
    [
        "Patient?",
        "Device?",
        "Observation?",
        "DiagnosticReport?",
        "Provenance?",
        "Observation?date=2026-11-16",
        "Observation?date=gt2026-11-16T00:30:00Z",
        "Observation?date=lt2026-11-16T01:00:00Z",
        "Observation?code=8884-9,8867-4",
        "Observation?code=nothing",
        f"Observation?patient={ANN}",
        "Observation?patient=p-nobody",
        f"DiagnosticReport?patient={ANN}&date=ge2026-11-17",
        f"Observation?_id={ANN}.hr.{at(0)},{ANN}.hr.{at(3600)},{ANN}.hr.5",
        f"Provenance?target=Observation/{ANN}.hr.{at(0)},DiagnosticReport/{ANN}.day.{at(0)}",
    ],
)
def test_a_total_is_how_many_match_on_all_pages(fhir: TestClient, project: Project, query: str) -> None:
    project([*a_day(), *a_day(BOB), rhythm(5000, label="VT"), rates(200_000, None, beats=NO_BEATS, good=0.0)])
    whole = len(walk(fhir, f"/fhir/{query}&_count=200"))
    for total in ("accurate", "estimate"):
        for bundle in pages(fhir, f"/fhir/{query}&_total={total}&_count=30"):
            assert bundle["total"] == whole
    assert "total" not in fhir.get(f"/fhir/{query}&_total=none").json()
    for counted in ("_summary=count", "_count=0", "_summary=count&_total=none"):
        bundle = fhir.get(f"/fhir/{query}&{counted}").json()
        assert (bundle["type"], bundle["total"], bundle.get("entry")) == ("searchset", whole, None)
        assert [link["relation"] for link in bundle["link"]] == ["self"]


@sqlite
def test_a_total_is_included_by_default_where_it_costs_nothing(fhir: TestClient, project: Project) -> None:
    project([*a_day(), *a_day(BOB)])
    assert fhir.get("/fhir/Patient?_count=1").json()["total"] == 2
    assert fhir.get("/fhir/Device?_count=1").json()["total"] == 2
    assert fhir.get(f"/fhir/Observation?_id={ANN}.hr.{at(0)}").json()["total"] == 1
    assert "total" not in fhir.get("/fhir/Observation").json()
    summary = fhir.get("/fhir/Patient?_summary=text").json()
    assert "_summary" in of_mode(summary, "outcome")[0]["issue"][0]["diagnostics"]
    assert len(ids(fhir.get("/fhir/Patient?_summary=false").json())) == 2


@sqlite
def test_what_is_too_much_to_count_is_not_counted(
    fhir: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "TOTAL_DAYS_SUMMED", 3)
    project([*a_day(), rates(20 * 86400)])
    bundle = fhir.get("/fhir/Observation?_total=accurate&_count=3").json()
    assert "total" not in bundle
    assert len(of_mode(bundle, "match")) == 3
    assert of_mode(bundle, "outcome")[0]["issue"][0]["code"] == "too-costly"
    refused = fhir.get("/fhir/Observation?_summary=count")
    assert refused.status_code == 400
    assert "restrict patients or dates" in issue(refused)[1]
    assert fhir.get("/fhir/Observation?_summary=count&date=2026-11-16").json()["total"] == 39
    assert fhir.get("/fhir/DiagnosticReport?_summary=count").json()["total"] == 2


# -------------------------------------------------------------------------------- what comes along


def test_what_is_referred_to_comes_along_once_a_page(fhir: TestClient, project: Project) -> None:
    project([*a_day(), *a_day(BOB)])
    for bundle in pages(
        fhir, "/fhir/Observation?_include=Observation:subject&_include=Observation:device&_count=5"
    ):
        matches, brought = of_mode(bundle, "match"), names(of_mode(bundle, "include"))
        referred = {each[name]["reference"] for each in matches for name in ("subject", "device")}
        assert len(matches) <= 5
        assert sorted(brought) == sorted(referred)
    report = fhir.get(
        f"/fhir/DiagnosticReport?patient={ANN}&_include=DiagnosticReport:result&_total=accurate"
    ).json()
    (match,) = of_mode(report, "match")
    assert report["total"] == 1
    results = [each["reference"] for each in match["result"]]
    assert sorted(names(of_mode(report, "include"))) == sorted(results)
    assert len(results) > 30
    of_mode_and_place = {each["fullUrl"].partition("/fhir/")[2]: each for each in report["entry"]}
    assert set(of_mode_and_place) == {*results, f"DiagnosticReport/{match['id']}"}


@sqlite
def test_included_resources_are_those_that_are_read(fhir: TestClient, project: Project) -> None:
    project(a_day())
    bundle = fhir.get("/fhir/Provenance?_include=*").json()
    brought = of_mode(bundle, "include")
    assert {each["resourceType"] for each in brought} == {"Observation", "DiagnosticReport", "Device"}
    for each in brought:
        assert fhir.get(f"/fhir/{each['resourceType']}/{each['id']}").json() == each
    some = fhir.get("/fhir/Provenance?_include=Provenance:target:DiagnosticReport").json()
    assert names(of_mode(some, "include")) == [f"DiagnosticReport/{ANN}.day.{at(0)}"]


@sqlite
def test_provenances_come_along_with_what_they_are_about(
    fhir: TestClient, client: TestClient, project: Project
) -> None:
    project([*a_day(), rhythm(4000, label="VT")])
    client.post(f"/strips/{ANN}.{at(635)}/review", json={"verdict": "confirmed"})

    def makers(query: str) -> set[str]:
        bundle = fhir.get(f"/fhir/{query}&_revinclude=Provenance:target").json()
        found = names(of_mode(bundle, "include"))
        assert len(found) == len(set(found))
        return {each.removeprefix(f"Provenance/{ANN}.") for each in found}

    assert makers("Observation?code=131328") == {f"made-hour.{at(0)}", f"review.{at(635)}"}
    assert makers("Observation?code=8867-4") == {f"made-hour.{at(0)}", f"made-hour.{at(3600)}"}
    assert makers("DiagnosticReport?") == {f"made-day.{at(0)}"}
    going_on = f"{ANN}.rhy-VT.{at(4000)}"
    assert makers(f"Observation?_id={going_on}") == set()
    assert ids(fhir.get(f"/fhir/Provenance?target=Observation/{going_on}").json()) == []


@sqlite
def test_a_page_ends_early_for_what_comes_along(
    fhir: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(include, "INCLUDED_A_PAGE", 40)
    project([rates(3600 * hour + 10) for hour in range(24 * 5)])
    found = []
    for bundle in pages(fhir, "/fhir/DiagnosticReport?_include=DiagnosticReport:result&_sort=date"):
        (match,) = of_mode(bundle, "match")
        assert len(of_mode(bundle, "include")) == len(match["result"]) == 49
        found.append(match["id"])
    assert found == [f"{ANN}.day.{at(86400 * day)}" for day in range(5)]


@sqlite
def test_all_that_the_server_states_is_answered(fhir: TestClient, project: Project) -> None:
    project(a_day())
    rest = fhir.get("/fhir/metadata").json()["rest"][0]
    assert {each["name"] for each in rest["searchParam"]} == {"_count", "_total", "_sort", "_summary"}
    stated = {each["type"]: each for each in rest["resource"]}
    assert stated["Observation"]["searchInclude"] == [
        "Observation:subject",
        "Observation:patient",
        "Observation:device",
    ]
    assert stated["DiagnosticReport"]["searchRevInclude"] == ["Provenance:target"]
    for type_, each in stated.items():
        for name, parameter in (("searchInclude", "_include"), ("searchRevInclude", "_revinclude")):
            for value in each.get(name, []):
                bundle = fhir.get(f"/fhir/{type_}?{parameter}={value}").raise_for_status().json()
                assert of_mode(bundle, "include"), value
        for sort in SORTS[type_][1:]:
            assert sort in each["documentation"]
            assert fhir.get(f"/fhir/{type_}?_sort={sort}").status_code == 200


@sqlite
def test_a_device_that_arrives_moves_no_other(fhir: TestClient, project: Project, engine: Engine) -> None:
    def node(name: str) -> ReceivedEvent:
        return received("finding", 9, node=name, finding="gap", lead=None, text="")

    project([node("bed-5"), node("bed-6"), node("bed_7")])
    found: list[str] = []
    for bundle in pages(fhir, "/fhir/Device?_count=1"):
        found += ids(bundle)
        project([node("bed-1")])
    assert len(found) == len(set(found)) >= 4
    assert found[0] == "model.v1"
    assert found == sorted(found)
