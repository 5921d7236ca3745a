"""Included resources: what a page refers to, and provenances of its resources."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from apps.ecg.cloud.fhir import include
from tests.apps.ecg.cloud.fhir.clients import ids, sqlite
from tests.apps.ecg.cloud.fhir.results import SORTS, names, of_mode, pages
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB, a_day, at, rates, rhythm


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
