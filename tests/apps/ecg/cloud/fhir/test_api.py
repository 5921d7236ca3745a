"""The FHIR API as a client of the standard sees it: read, pages, formats, errors, access."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from apps.ecg.cloud.fhir import api as fhir_api
from tests.apps.ecg.cloud.fhir.clients import all_pages, issue, make_api, sqlite
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB, a_day, at, rates, rhythm, strip


def test_resources_of_a_day_are_read_by_what_a_search_found(fhir: TestClient, project: Project) -> None:
    project(a_day())
    seen = set()
    for type_ in ("Patient", "Device", "Observation", "DiagnosticReport", "Provenance"):
        for entry in fhir.get(f"/fhir/{type_}?_count=200").json()["entry"]:
            answer = fhir.get(urlsplit(entry["fullUrl"]).path)
            assert answer.headers["content-type"].startswith("application/fhir+json")
            assert answer.json() == entry["resource"]
            seen.add(entry["resource"]["id"].replace(ANN, ""))
    assert {f".hr.{at(0)}", f".rhy-AF.{at(600)}", f".strip.{at(635)}", f".day.{at(0)}"} < seen
    assert {"", "node.bed-1", "model.v1", f".made-hour.{at(3600)}", f".made-day.{at(0)}"} < seen


@pytest.mark.slow
def test_pages_hold_everything_once_in_order(fhir: TestClient, project: Project) -> None:
    project([*a_day(), *a_day(BOB), rhythm(700, 720, "VT"), rhythm(700, 730, "tachycardia")])
    whole = all_pages(fhir, "/fhir/Observation?_count=200")
    assert len(whole) == len(set(whole)) == 2 * 39 + 2
    for count in (1, 7):
        assert all_pages(fhir, f"/fhir/Observation?_count={count}") == whole
    of_ann = [id_ for id_ in whole if id_.startswith(ANN)]
    begins = [int(id_.rpartition(".")[2]) for id_ in of_ann]
    assert begins == sorted(begins, reverse=True)
    assert all_pages(fhir, f"/fhir/Observation?patient=Patient/{ANN}&_count=9") == of_ann


@sqlite
def test_a_strip_is_sampled_data_and_changes_with_its_review(
    fhir: TestClient, client: TestClient, project: Project
) -> None:
    project([strip(100, leads=("II", "MLII"))])
    place = f"/fhir/Observation/{ANN}.strip.{at(100)}"
    found = fhir.get(place).json()
    signal = found["component"][0]["valueSampledData"]
    assert (signal["period"], signal["factor"], signal["origin"]["code"]) == (4, 0.005, "mV")
    assert len(signal["data"].split()) == 2500
    assert signal["data"].split()[7] == "E"
    assert found["component"][0]["code"]["coding"][0]["code"] == "131330"
    assert "coding" not in found["component"][1]["code"]
    assert (found["status"], found["component"][3]["valueCodeableConcept"]["text"]) == (
        "preliminary",
        "Atrial fibrillation",
    )
    assert fhir.get(f"/fhir/Provenance?target=Observation/{ANN}.strip.{at(100)}").json().get("entry") is None
    client.post(f"/strips/{ANN}.{at(100)}/review", json={"verdict": "corrected", "rhythm": "sinus"})
    after = fhir.get(place).json()
    assert (after["status"], after["component"][3]["valueCodeableConcept"]["text"]) == (
        "corrected",
        "Sinus rhythm",
    )
    made = fhir.get(f"/fhir/Provenance?target=Observation/{ANN}.strip.{at(100)}").json()
    assert [entry["resource"]["agent"][0]["who"] for entry in made["entry"]] == [{"display": "Dr Ada"}]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/fhir+json", 200),
        ("application/fhir+json; fhirVersion=4.0", 200),
        ('application/fhir+json;charset=utf-8;fhirVersion="4.0"', 200),
        ("application/fhir+json; fhirVersion=3.0", 406),
        ("application/fhir+json;FHIRVERSION=5.0", 406),
        ("application/fhir+json; fhirVersion=3.0, application/fhir+json; fhirVersion=4.0; q=0.5", 200),
        ("application/fhir+json; q=0", 406),
        ("application/fhir+xml, */*;q=0.1", 200),
        ("text/html", 406),
    ],
)
@sqlite
def test_only_json_of_r4_is_spoken(fhir: TestClient, accept: str, status: int) -> None:
    for path in ("/fhir/metadata", "/fhir/Patient"):
        answer = fhir.get(path, headers={"Accept": accept})
        assert answer.status_code == status
        if status == 406:
            assert issue(answer)[0] == "not-supported"
        by_format = fhir.get(path, params={"_format": accept}, headers={"Accept": "text/html"})
        assert by_format.status_code == status


@sqlite
def test_a_form_is_read_in_the_encoding_that_it_names(fhir: TestClient, project: Project) -> None:
    project([rates(10)])
    kind = "application/x-www-form-urlencoded"
    for charset, status in (("UTF-8", 200), ('"utf-8"', 200), ("utf-16", 415)):
        headers = {"Content-Type": f"{kind}; charset={charset}"}
        answer = fhir.post("/fhir/Patient/_search", content=f"_id={ANN}", headers=headers)
        assert answer.status_code == status


@sqlite
def test_head_is_get_without_a_body(engine: Engine, fhir: TestClient, project: Project) -> None:
    project([rates(10)])
    for path in ("/fhir/metadata", "/fhir/Patient", f"/fhir/Patient/{ANN}", "/fhir/Patient/nobody"):
        answer, whole = fhir.head(path), fhir.get(path)
        assert (answer.status_code, answer.content) == (whole.status_code, b"")
        assert answer.headers["content-type"] == whole.headers["content-type"]


@sqlite
def test_what_the_server_can_do_is_public_only_by_a_setting(engine: Engine, project: Project) -> None:
    project([rates(10)])
    for setting, status in ((False, 401), (True, 200)):
        with TestClient(make_api(engine, fhir_public_metadata=setting)) as stranger:
            assert stranger.get("/fhir/metadata").status_code == status
            assert stranger.head("/fhir/metadata").status_code == status
            for method, path in (
                ("POST", "/fhir/metadata"),
                ("GET", "/fhir/metadata/"),
                ("GET", "/fhir/Patient"),
                ("GET", "/fhir/Patient/metadata"),
                ("GET", "/fhir//metadata"),
            ):
                answer = stranger.request(method, path)
                assert (answer.status_code, issue(answer)[0]) == (401, "login")


@sqlite
def test_every_error_is_an_operation_outcome(engine: Engine, fhir: TestClient, project: Project) -> None:
    project([rates(10)])
    for path in (
        "/fhir/Observation/nonsense",
        f"/fhir/Observation/{ANN}.hr.5",
        f"/fhir/Patient/{BOB}",
        f"/fhir/Patient/{ANN}.hr.{at(0)}",
        f"/fhir/DiagnosticReport/{ANN}.hr.{at(0)}",
        f"/fhir/Observation/{ANN}.hr.{2**63 - 1}",
        "/fhir/Medication",
        "/fhir/Observation/a/b/c",
    ):
        answer = fhir.get(path)
        assert (answer.status_code, issue(answer)[0]) == (404, "not-found"), path
    assert issue(fhir.delete(f"/fhir/Patient/{ANN}"))[0] == "not-supported"
    refused = fhir.get("/fhir/Patient", headers={"Accept": "application/fhir+xml"})
    assert (refused.status_code, issue(refused)[0]) == (406, "not-supported")
    assert fhir.get("/fhir/Patient?_format=json").status_code == 200
    with TestClient(make_api(engine), raise_server_exceptions=False) as stranger:
        for path in ("/fhir/Patient", "/fhir/metadata", "/fhir/nonsense"):
            answer = stranger.get(path)
            assert (answer.status_code, issue(answer)[0]) == (401, "login")
            assert "Bearer" in answer.headers["www-authenticate"]
        node = stranger.get("/fhir/Patient", headers={"Authorization": "Bearer node"})
        assert (node.status_code, issue(node)[0]) == (403, "forbidden")
        elsewhere = stranger.get("/v1/nodes")
        assert elsewhere.headers["content-type"].startswith("application/problem+json")


@sqlite
def test_the_capability_statement_lists_what_the_server_supports(fhir: TestClient) -> None:
    stated = fhir.get("/fhir/metadata").json()
    assert (stated["resourceType"], stated["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    types = {each["type"]: each for each in stated["rest"][0]["resource"]}
    assert set(types) == {"Patient", "Device", "Observation", "DiagnosticReport", "Provenance"}
    for type_, each in types.items():
        for parameter in each["searchParam"]:
            answer = fhir.get(
                f"/fhir/{type_}?{parameter['name']}=2026", headers={"Prefer": "handling=strict"}
            )
            assert answer.status_code == 200, parameter


@sqlite
def test_without_the_library_the_error_names_what_to_install(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fhir_api, "is_installed", lambda: False)
    with TestClient(make_api(engine), headers={"Authorization": "Bearer right"}) as client:
        answer = client.get("/fhir/Patient")
    assert answer.status_code == 501
    assert "pip install" in issue(answer)[1]
