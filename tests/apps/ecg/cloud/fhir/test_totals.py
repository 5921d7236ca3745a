"""Totals of a search: how many match on all pages, where that costs little."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from apps.ecg.cloud.fhir import paging
from tests.apps.ecg.cloud.fhir.clients import ids, issue, sqlite
from tests.apps.ecg.cloud.fhir.results import NO_BEATS, of_mode, pages, walk
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB, a_day, at, rates, rhythm


@pytest.mark.slow
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
