"""Searches by code, patient, date, identifier and reference; and their links."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.apps.ecg.cloud.fhir.clients import all_pages, ids, issue, sqlite
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB, a_day, at, hrv, intervals, rates, rhythm


def test_a_search_by_code_and_patient(fhir: TestClient, project: Project) -> None:
    project([*a_day(), rates(10, 90, patient=BOB)])

    def found(query: str) -> set[str]:
        return {each.split(".")[1] for each in ids(fhir.get(f"/fhir/Observation?{query}").json())}

    assert found("code=http://loinc.org|8867-4") == {"hr"}
    assert found("code=8636-3") == {"qtcb", "qtcf"}
    assert found("code=http://loinc.org|76634-5,http://loinc.org|80404-7") == {"qtcf", "hrv"}
    assert found("code=urn:oid:2.16.840.1.113883.6.24|131328") == {"strip"}
    assert found("code=http://snomed.info/sct|8867-4") == set()
    assert found(f"subject=Patient/{BOB}") == {"hr", "ectopy", "afb"}
    assert found(f"patient={ANN}&code=8884-9") == {"rhy-AF"}
    assert found("patient=p-nobody") == set()


@pytest.mark.parametrize(
    ("query", "begins"),
    [
        ("date=2026-11-16", [0, 1, 2]),
        ("date=ge2026-11-16T01:00:00Z", [1, 2, 25, 48]),
        ("date=gt2026-11-16T01:59:59Z", [2, 25, 48]),
        ("date=lt2026-11-16T01:00:00Z", [0]),
        ("date=le2026-11-16T01:00:00Z", [0, 1]),
        ("date=sa2026-11-17T01:00:00Z", [48]),
        ("date=eb2026-11-16T02:00:00Z", [0, 1]),
        ("date=ge2026-11-16T01:00:00Z&date=lt2026-11-16T03:00:00%2B01:00", [1]),
        ("date=2026", [0, 1, 2, 25, 48]),
        ("date=gt2026-11-18", []),
        ("date=ge2026-11-17&date=le2026-11-17", [25]),
        ("date=ge2026-11-16T02:00:00.000000000000Z&date=lt2026-11-17", [2]),
        ("date=ge2026-11-16T03:00:00+01:00&date=lt2026-11-17", [2]),
        ("date=2026-11", [0, 1, 2, 25, 48]),
        ("date=le9999", [0, 1, 2, 25, 48]),
        ("date=lt9999-12", [0, 1, 2, 25, 48]),
        ("date=ge9999", []),
        ("date=ge0001", [0, 1, 2, 25, 48]),
        ("date=lt1000-01-01", []),
        ("date=ap2026", [0, 1, 2, 25, 48]),
        ("date=ap1990", []),
    ],
)
@sqlite
def test_a_search_by_date_goes_by_spans_of_time(
    fhir: TestClient, project: Project, query: str, begins: list[int]
) -> None:
    project([rates(3600 * hour + 10) for hour in (0, 1, 2, 25, 48)])
    found = ids(fhir.get(f"/fhir/Observation?code=8867-4&{query}").json())
    assert sorted(found) == sorted(f"{ANN}.hr.{at(3600 * hour)}" for hour in begins)


@sqlite
def test_an_episode_is_found_by_the_time_in_which_it_lasts(fhir: TestClient, project: Project) -> None:
    project([rhythm(100, 90_000), rhythm(95_000, label="VT"), hrv(300), intervals(60)])

    def found(query: str) -> list[str]:
        return [id_.split(".")[1] for id_ in ids(fhir.get(f"/fhir/Observation?code=8884-9&{query}").json())]

    assert found("date=ge2026-11-17") == ["rhy-VT", "rhy-AF"]
    assert found("date=ge2026-11-17T01:00:00Z&date=le2026-11-17T01:30:00Z") == []
    assert found("date=ge2027") == ["rhy-VT"]
    assert found("date=2026-11") == ["rhy-AF"]
    going_on = fhir.get(f"/fhir/Observation/{ANN}.rhy-VT.{at(95_000)}").json()
    assert (going_on["status"], "end" in going_on["effectivePeriod"]) == ("preliminary", False)


@sqlite
def test_search_by_id_and_by_post(fhir: TestClient, project: Project) -> None:
    project(a_day())
    wanted = f"{ANN}.hr.{at(0)},{ANN}.pr.{at(3600)},{ANN}.hr.5,nonsense"
    assert set(ids(fhir.get(f"/fhir/Observation?_id={wanted}").json())) == {
        f"{ANN}.hr.{at(0)}",
        f"{ANN}.pr.{at(3600)}",
    }
    assert ids(fhir.get(f"/fhir/Observation?_id={wanted}&code=8625-6").json()) == [f"{ANN}.pr.{at(3600)}"]
    form = {"identifier": f"urn:edgeloop:ecg|{ANN}"}
    assert ids(fhir.post("/fhir/Patient/_search", data=form).json()) == [ANN]
    assert ids(fhir.get("/fhir/Device?identifier=node:ward/bed-1").json()) == ["node.bed-1"]
    assert fhir.post("/fhir/Patient/_search", json={}).status_code == 415


SYSTEM = "urn:edgeloop:ecg"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (f"identifier={SYSTEM}|{ANN}", [ANN]),
        (f"identifier={SYSTEM}%7C{ANN}", [ANN]),
        (f"identifier={ANN}", [ANN]),
        (f"identifier={SYSTEM}|", [ANN, BOB]),
        (f"identifier={SYSTEM}|&_id={BOB}", [BOB]),
        (f"identifier={SYSTEM}|&identifier={BOB}", [BOB]),
        (f"identifier={SYSTEM}|{BOB},{ANN}", [ANN, BOB]),
        (f"identifier=http://other|,{BOB}", [BOB]),
        ("identifier=http://other|", []),
        (f"identifier=http://other|{ANN}", []),
        (f"identifier=|{ANN}", []),
        (f"identifier={SYSTEM}\\|{ANN}", []),
        (f"_id={ANN},{BOB}", [ANN, BOB]),
        (f"_id={ANN}\\,{BOB}", []),
        (f"_id={ANN},,", [ANN]),
    ],
)
@sqlite
def test_a_search_by_identifier(fhir: TestClient, project: Project, query: str, found: list[str]) -> None:
    project([rates(10), rates(10, patient=BOB)])
    assert sorted(all_pages(fhir, f"/fhir/Patient?{query}&_count=1")) == sorted(found)


@sqlite
def test_an_identifier_of_a_device_is_not_its_id(fhir: TestClient, project: Project) -> None:
    project([rates(10)])
    assert ids(fhir.get(f"/fhir/Device?identifier={SYSTEM}|node:ward/bed-1").json()) == ["node.bed-1"]
    assert len(ids(fhir.get(f"/fhir/Device?identifier={SYSTEM}|").json())) == 2
    assert ids(fhir.get("/fhir/Device?_id=node:ward/bed-1").json()) == []
    assert ids(fhir.get("/fhir/Device?identifier=node.bed-1").json()) == []


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        (f"patient={ANN}", True),
        (f"subject=Patient/{ANN}", True),
        (f"subject:Patient={ANN}", True),
        (f"patient:Patient=Patient/{ANN}", True),
        (f"patient=http://testserver/fhir/Patient/{ANN}", True),
        (f"patient=HTTP://TestServer:80/fhir/Patient/{ANN}", True),
        (f"patient=http://other.example/fhir/Patient/{ANN}", False),
        (f"patient=http://testserver/other/Patient/{ANN}", False),
        (f"patient=https://testserver/fhir/Patient/{ANN}", False),
        (f"patient=urn:uuid:{ANN}", False),
        (f"patient=http://other.example/fhir/Patient/{ANN},{ANN}", True),
        (f"patient={ANN}&subject=http://other.example/fhir/Patient/{ANN}", False),
    ],
)
@sqlite
def test_a_reference_to_another_server_matches_nothing(
    fhir: TestClient, project: Project, query: str, is_found: bool
) -> None:
    project([rates(10)])
    for type_ in ("Observation", "DiagnosticReport", "Provenance"):
        if type_ == "Provenance" and "subject" in query:
            continue
        for more in ("", "&_total=accurate", "&_summary=count"):
            bundle = fhir.get(f"/fhir/{type_}?{query}{more}").raise_for_status().json()
            assert bool(bundle["total"] if "count" in more else ids(bundle)) is is_found


@sqlite
def test_a_target_on_another_server_is_about_nothing_here(fhir: TestClient, project: Project) -> None:
    project([rates(10)])
    place = f"Observation/{ANN}.hr.{at(0)}"
    for base, count in (("", 1), ("http://testserver/fhir/", 1), ("http://other.example/fhir/", 0)):
        assert len(ids(fhir.get(f"/fhir/Provenance?target={base}{place}").json())) == count


@sqlite
def test_links_escape_what_must_be_escaped(fhir: TestClient, project: Project) -> None:
    project(a_day())
    bundle = fhir.get("/fhir/Observation?code=http://loinc.org|8867-4&_count=1").json()
    links = {link["relation"]: link["url"] for link in bundle["link"]}
    assert set(links) == {"self", "next"}
    for url in links.values():
        assert "|" not in url
        assert "code=http://loinc.org%7C8867-4" in url
    assert len(all_pages(fhir, "/fhir/Observation?code=http://loinc.org|8867-4&_count=1")) == 2


@sqlite
def test_an_unknown_parameter_is_reported_or_refused_as_the_client_prefers(
    fhir: TestClient, project: Project
) -> None:
    project([rates(10)])
    lenient = fhir.get("/fhir/Patient?colour=blue&_id=" + ANN).json()
    assert ids(lenient) == [ANN]
    outcome = lenient["entry"][-1]
    assert (outcome["search"]["mode"], outcome["resource"]["issue"][0]["severity"]) == ("outcome", "warning")
    assert "colour" in outcome["resource"]["issue"][0]["diagnostics"]
    assert "colour" not in lenient["link"][0]["url"]
    strict = fhir.get("/fhir/Patient?colour=blue", headers={"Prefer": "handling=strict"})
    assert strict.status_code == 400
    assert "colour" in issue(strict)[1]


@pytest.mark.parametrize(
    "query",
    [
        "Observation?date=yesterday",
        "Observation?date=2026-13-01",
        "Observation?date=2026-11-31",
        "Observation?date=ne2026-11-16",
        "Observation?date=2026-11-16,2026-11-17",
        "Observation?_count=-1",
        "Observation?_count=many",
        "Observation?_count=1&_count=2",
        "Observation?_page=xx",
        "Observation?code:in=http://x",
        "Observation?patient=Group/1",
        "Observation?patient=../etc",
        "Observation?patient.name=Ann",
        "Observation?subject:Patient.identifier=x",
        "Observation?subject:Device=x",
        "Patient?_has:Observation:patient:code=1",
        "Patient?identifier=|",
        "Patient?identifier=a|b|c",
        "Observation?code=|",
        "Observation?date=2026-11-16T08",
        "Observation?date=2026-11-16T24:00:00Z",
        "Observation?date=2026-11-16T08:00:00%2B25:00",
    ],
)
@sqlite
def test_a_value_that_cannot_be_read_is_refused(fhir: TestClient, query: str) -> None:
    answer = fhir.get(f"/fhir/{query}")
    assert answer.status_code == 400
    assert issue(answer)[0] == "invalid"
