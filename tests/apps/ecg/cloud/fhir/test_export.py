"""To the hospital: every hour and day until it is taken, each resource once, whatever goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from email.utils import formatdate
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select

from apps.ecg.cloud.fhir.export import WAIT_LIMIT_S, EcgCloudSettings, Export, export_tasks
from apps.ecg.cloud.projection import EcgCloud
from apps.ecg.cloud.tables import Pending
from cloud_backend.store.engine import read_only
from common.app.cloud import CloudContext
from common.errors import CloudError, ConfigError
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.hospital import Hospital
from tests.apps.ecg.received import ANN, BOB, a_day, at, rates, rhythm, strip

NEXT_WEEK_NS = at(7 * 86400)
sqlite = pytest.mark.parametrize("migrated_store", ["sqlite"], indirect=True)


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    hospital = Hospital()
    hospital.start()
    yield hospital
    hospital.stop()


@pytest.fixture
def new_export(engine: Engine, hospital: Hospital) -> Callable[..., Export]:
    """Gives a new exporter, as after a start of the cloud."""

    def make(
        now_ns: int = NEXT_WEEK_NS,
        token: str = "",
        clock: Callable[[], int] | None = None,
        **settings: Any,
    ) -> Export:
        def session(*, read_only: bool = False) -> Session:
            return Session(_read_only(engine) if read_only else engine)

        export_settings = EcgCloudSettings(fhir_export_url=hospital.url, fhir_export_timeout_s=5, **settings)
        return Export(session, clock or (lambda: now_ns), export_settings, token)

    return make


_read_only = read_only


def finish(new_export: Callable[..., Export], **options: Any) -> int:
    """Turns, each of a new exporter, until nothing is due; how many failed."""
    failed = 0
    while True:
        try:
            if not new_export(**options).turn():
                return failed
        except CloudError:
            failed += 1
            assert failed < 100


def test_a_day_is_in_the_record_with_all_that_belongs_to_it(
    project: Project, new_export: Callable[..., Export], hospital: Hospital
) -> None:
    project(a_day())
    assert finish(new_export, token="secret") == 0
    assert hospital.identifiers("Patient") == [ANN]
    assert hospital.identifiers("Device") == ["model:v1", "node:ward/bed-1"]
    kinds = [value.split(".")[1] for value in hospital.identifiers("Observation")]
    counted = {kind: kinds.count(kind) for kind in set(kinds)}
    hourly = dict.fromkeys(("hr", "ectopy", "pr", "qrs", "qt", "qtcb", "qtcf"), 2)
    assert counted == hourly | {"hrv": 22, "rhy-AF": 1, "strip": 1, "afb": 1}
    (report,) = hospital.of("DiagnosticReport")
    stored = {f"Observation/{id_}" for id_ in hospital.resources["Observation"]}
    assert {each["reference"] for each in report["result"]} == stored
    (patient,) = hospital.resources["Patient"]
    assert {each["subject"]["reference"] for each in hospital.of("Observation")} == {f"Patient/{patient}"}
    assert {each["authorization"] for each in hospital.requests} == {"Bearer secret"}
    targets = {
        target["reference"] for provenance in hospital.of("Provenance") for target in provenance["target"]
    }
    assert targets == stored | {f"DiagnosticReport/{id_}" for id_ in hospital.resources["DiagnosticReport"]}


@sqlite
def test_nothing_is_there_twice_whatever_is_lost_or_fails(
    project: Project, new_export: Callable[..., Export], hospital: Hospital
) -> None:
    faults = {1: "500", 2: "lost", 3: "lost", 5: "html", 7: "lost", 8: "500", 11: "lost"}
    hospital.fault = lambda number: faults.get(number, "")
    project([*a_day(), *a_day(BOB)])
    assert finish(new_export) == len(faults)
    values = hospital.identifiers("Observation")
    assert len(values) == len(set(values)) == 2 * 39
    assert hospital.identifiers("Patient") == [ANN, BOB]
    assert len(hospital.of("DiagnosticReport")) == 2
    once = {
        name: count for name, count in hospital.versions.items() if name.startswith(("Patient", "Device"))
    }
    assert set(once.values()) == {1}
    before = len(hospital.requests)
    assert finish(new_export) == 0
    assert len(hospital.requests) == before


@pytest.mark.parametrize(
    ("retry_after", "wait_s"),
    [
        ("120", 120),
        ("0", 0),
        ("999999999999999999999999", WAIT_LIMIT_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", WAIT_LIMIT_S),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("-5", 0),
        ("soon", 0),
        ("", 0),
    ],
)
@sqlite
def test_a_hospital_that_asks_for_patience_is_left_alone_for_so_long(
    project: Project, new_export: Callable[..., Export], hospital: Hospital, retry_after: str, wait_s: int
) -> None:
    project([rates(10)])
    now_ns = NEXT_WEEK_NS
    export = new_export(clock=lambda: now_ns)
    hospital.fault = lambda _number: f"wait {retry_after}"
    with pytest.raises(CloudError):
        export.turn()
    hospital.fault = lambda _number: ""
    if wait_s:
        now_ns += (wait_s - 1) * 10**9
        assert export.turn() == 0
        assert len(hospital.requests) == 1
        now_ns += 10**9
    assert export.turn() > 0


@sqlite
def test_a_date_to_wait_until_is_measured_from_the_answer_s_own(
    project: Project, new_export: Callable[..., Export], hospital: Hospital
) -> None:
    project([rates(10)])
    now_ns = NEXT_WEEK_NS
    export = new_export(clock=lambda: now_ns)
    later = formatdate(time.time() + 300, usegmt=True)
    hospital.fault = lambda _number: f"wait {later}"
    with pytest.raises(CloudError, match=r"Retry-After: (29|30)\d s"):
        export.turn()
    hospital.fault = lambda _number: ""
    now_ns += 250 * 10**9
    assert export.turn() == 0
    now_ns -= 3 * 86400 * 10**9  # the clock is set back: nobody waits for days
    assert export.turn() >= 0
    now_ns += (3 * 86400 + 60) * 10**9
    assert export.turn() > 0


@sqlite
def test_an_unreachable_hospital_gets_all_once_it_is_back(
    project: Project, new_export: Callable[..., Export], hospital: Hospital
) -> None:
    project(a_day())
    hospital.stop()
    with pytest.raises(CloudError, match="no response"):
        new_export().turn()
    hospital.start()
    assert finish(new_export) == 0
    assert len(hospital.of("Observation")) == 39


@sqlite
def test_a_crash_after_the_hospital_has_taken_it_sends_it_again_and_changes_nothing(
    project: Project,
    new_export: Callable[..., Export],
    hospital: Hospital,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(_span: object) -> None:
        raise KeyboardInterrupt

    project([rates(10), strip(20)])
    export = new_export()
    monkeypatch.setattr(export, "_mark", crash)
    with pytest.raises(KeyboardInterrupt):
        export.turn()
    before = hospital.identifiers("Observation")
    assert finish(new_export) == 0
    assert set(before) < set(hospital.identifiers("Observation"))
    assert len(hospital.of("Observation")) == len(set(hospital.identifiers("Observation")))


def test_what_changes_later_is_brought_up_to_date(
    project: Project, engine: Engine, new_export: Callable[..., Export], hospital: Hospital, client: Any
) -> None:
    project([rates(10, 60), strip(20), rhythm(5)])
    assert finish(new_export) == 0
    assert not any(".rhy-" in value for value in hospital.identifiers("Observation"))
    project([rates(20, 80), rhythm(5, 3000)])
    client.post(f"/strips/{ANN}.{at(20)}/review", json={"verdict": "corrected", "rhythm": "sinus"})
    assert finish(new_export) == 0
    found = {each["identifier"][0]["value"]: each for each in hospital.of("Observation")}
    assert len(found) == len(hospital.of("Observation"))
    assert found[f"{ANN}.hr.{at(0)}"]["valueQuantity"]["value"] == 70
    assert found[f"{ANN}.strip.{at(20)}"]["status"] == "corrected"
    assert found[f"{ANN}.rhy-AF.{at(5)}"]["valueCodeableConcept"]["text"] == "Atrial fibrillation"
    reviewers = [agent["who"].get("display") for each in hospital.of("Provenance") for agent in each["agent"]]
    assert "Dr Ada" in reviewers
    (report,) = hospital.of("DiagnosticReport")
    assert report["status"] == "final"


@sqlite
def test_what_the_hospital_refuses_waits_and_stops_no_other(
    project: Project, engine: Engine, new_export: Callable[..., Export], hospital: Hospital
) -> None:
    hospital.refuses = lambda resource: "unknown patient" if _of(resource, ANN) else ""
    project([*a_day(), *a_day(BOB)])
    assert finish(new_export) == 0
    assert hospital.identifiers("Patient") == [BOB]
    assert len(hospital.of("DiagnosticReport")) == 1
    with Session(engine) as session:
        refused = session.exec(select(Pending).where(Pending.refusals > 0)).all()
    assert {(row.patient, row.refusals, row.seconds) for row in refused} == {(ANN, 1, 3600)}
    assert "unknown patient" in refused[0].problem
    hospital.refuses = lambda _resource: ""
    assert finish(new_export, now_ns=NEXT_WEEK_NS + 2 * 3600 * 10**9) == 0
    assert hospital.identifiers("Patient") == [ANN, BOB]
    assert len(hospital.of("DiagnosticReport")) == 2


def _of(resource: dict[str, Any], patient: str) -> bool:
    return any(each["value"].startswith(patient) for each in resource.get("identifier", ()))


@sqlite
def test_an_hour_waits_until_it_is_over_and_a_day_until_its_hours_are_taken(
    project: Project, new_export: Callable[..., Export], hospital: Hospital
) -> None:
    project([rates(10), rates(3700)])
    settled = {"fhir_export_settle_s": 60}
    assert new_export(now_ns=at(3600 + 59), **settled).turn() == 0
    assert new_export(now_ns=at(3600 + 61), **settled).turn() == 1
    assert new_export(now_ns=at(86400 + 59), **settled).turn() == 1
    assert hospital.of("DiagnosticReport") == []
    assert new_export(now_ns=at(86400 + 61), **settled).turn() == 1
    assert len(hospital.of("DiagnosticReport")) == 1


def test_settings_that_would_give_the_token_away_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def context(**settings: str) -> CloudContext:
        return CloudContext(lambda **_: nullcontext(Session()), settings, lambda: 0, lambda *_: None)

    def tasks(url: str) -> Any:
        return export_tasks(context(fhir_export_url=url))

    assert EcgCloud().periodic_tasks(context()) == ()
    monkeypatch.setenv("FHIR_EXPORT_TOKEN", "secret")
    for url in ("http://ehr.example/fhir", "https://me:pw@ehr.example/fhir", "ftp://ehr.example", "ehr"):
        with pytest.raises(ConfigError) as refused:
            tasks(url)
        assert "secret" not in str(refused.value)
        assert "pw" not in str(refused.value)
    assert [task.name for task in tasks("https://ehr.example/fhir")] == ["fhir-export"]
    assert [task.name for task in tasks("http://127.0.0.1:9/fhir")] == ["fhir-export"]
    with pytest.raises(ConfigError, match="fhir_export_url"):
        export_tasks(context(fhir_url=""))
