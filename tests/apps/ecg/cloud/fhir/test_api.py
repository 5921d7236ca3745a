"""The FHIR API as a client of the standard sees it: read, search, pages, errors, access."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.testclient import TestClient

from apps.ecg.cloud.fhir import api as fhir_api
from apps.ecg.cloud.projection import EcgCloud
from cloud_backend.access.tokens import Principal
from cloud_backend.api import problem
from cloud_backend.api.auth.middleware import AuthMiddleware, BodyLimit
from cloud_backend.api.dependencies import AppDependencies
from cloud_backend.api.root_mounts import MountErrors, open_paths, root_mounts
from common.errors import AccessDenied
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB, a_day, at, hrv, intervals, rates, rhythm, strip

sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


class Doorkeeper:
    """Knows one token, and no sessions."""

    def principal(self, token: str) -> Principal:
        if token == "node":
            return Principal("node")
        if token != "right":
            raise AccessDenied("unknown")
        return Principal("admin", name="admin")

    def person(self, token: str) -> None:
        return None

    def is_signed_in(self, token: str) -> bool:
        return False


def make_api(engine: Engine, **settings: Any) -> FastAPI:
    api = FastAPI()
    api.state.cloud = SimpleNamespace(engine=engine)
    problem.install(api)
    mounts = root_mounts({"ecg": EcgCloud()}, AppDependencies({"ecg": settings}))
    for path, mount in mounts.items():
        api.include_router(mount.router, prefix=path, include_in_schema=False)
    api.add_middleware(BodyLimit, sample_limit_bytes=1)
    api.add_middleware(AuthMiddleware, access=Doorkeeper(), open_paths=open_paths(mounts))
    api.add_middleware(MountErrors, mounts=mounts)
    return api


@pytest.fixture
def fhir(engine: Engine) -> Iterator[TestClient]:
    headers = {"Authorization": "Bearer right"}
    with TestClient(make_api(engine), headers=headers, raise_server_exceptions=False) as client:
        yield client


def ids(bundle: dict[str, Any]) -> list[str]:
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset")
    matches = [each for each in bundle.get("entry", []) if each["search"]["mode"] == "match"]
    return [each["resource"]["id"] for each in matches]


def all_pages(fhir: TestClient, path: str) -> list[str]:
    found: list[str] = []
    for _ in range(200):
        bundle = fhir.get(path).raise_for_status().json()
        found += ids(bundle)
        links = {link["relation"]: link["url"] for link in bundle["link"]}
        if "next" not in links:
            return found
        parts = urlsplit(links["next"])
        path = f"{parts.path}?{parts.query}"
    raise AssertionError("the pages do not end")


def issue(answer: Any) -> tuple[str, str]:
    assert answer.headers["content-type"].startswith("application/fhir+json")
    body = answer.json()
    assert body["resourceType"] == "OperationOutcome"
    return body["issue"][0]["code"], body["issue"][0]["diagnostics"]


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
