"""A doubtful or corrected time is marked wherever it is shown: record, report, routes, pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select
from starlette.testclient import TestClient

from apps.ecg.cloud.projection import EcgCloud
from apps.ecg.cloud.tables import RaisedAlarm
from apps.ecg.pages import day_rows
from apps.ecg.pages.reviews import queue_row
from cloud_backend.ingest.app_tables import prepare
from cloud_backend.ingest.commit import Committer
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.received import read_batch
from common.app.cloud import ReceivedEvent
from common.config.cloud import IngestSettings
from common.messages import Event, encode_batch, encode_event
from common.time_notes import doubt_of, time_note, time_statement
from tests.apps.ecg.cloud.fhir.clients import all_pages
from tests.apps.ecg.cloud.report.test_report import text_of
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, DAY, EPOCH_NS, a_day, alarm, at, hrv, rates, rhythm, strip
from tests.cloud_backend.ingest.nodes import enrol

DOUBTFUL = ("corrected", "unknown", "unsynchronised")


def of_quality(events: Sequence[ReceivedEvent], quality: str) -> list[ReceivedEvent]:
    return [msgspec.structs.replace(event, time_quality=quality) for event in events]


def statements(resource: dict[str, Any]) -> list[str]:
    return [note["text"] for note in resource.get("note", ())]


@pytest.mark.parametrize("quality", DOUBTFUL)
def test_every_observation_and_the_report_of_a_day_carry_a_note(
    fhir: TestClient,
    project: Project,
    quality: str,
) -> None:
    project(of_quality(a_day(), quality))
    ids = all_pages(fhir, f"/fhir/Observation?patient={ANN}&_count=200")
    kinds = {id_.split(".")[1] for id_ in ids}
    assert kinds == {"hr", "hrv", "pr", "qrs", "qt", "qtcb", "qtcf", "ectopy", "rhy-AF", "afb", "strip"}
    for kind in sorted(kinds):
        id_ = next(id_ for id_ in ids if id_.split(".")[1] == kind)
        read = fhir.get(f"/fhir/Observation/{id_}").json()
        assert time_statement(quality) in statements(read), kind
    report = fhir.get(f"/fhir/DiagnosticReport/{ANN}.day.{at(0)}").json()
    assert time_statement(quality) in report["conclusion"]


@pytest.mark.parametrize("quality", ["", "recorded"])
def test_times_that_nothing_speaks_against_have_no_note(
    fhir: TestClient,
    project: Project,
    quality: str,
) -> None:
    project(of_quality(a_day(), quality))
    for id_ in all_pages(fhir, f"/fhir/Observation?patient={ANN}&_count=200"):
        if ".strip." not in id_:
            assert statements(fhir.get(f"/fhir/Observation/{id_}").json()) == []


def test_an_hour_and_an_episode_are_as_doubtful_as_the_worst_of_them(
    fhir: TestClient,
    project: Project,
) -> None:
    project([*of_quality([rates(10)], "corrected"), rates(20), rhythm(10)])
    project([*of_quality([rates(30)], "unknown"), rates(40), *of_quality([rhythm(10, 50)], "unknown")])
    project([*of_quality([rates(50)], "corrected"), rates(3700)])
    for id_, quality in (
        (f"hr.{at(0)}", "unknown"),
        (f"rhy-AF.{at(10)}", "unknown"),
        (f"hr.{at(3600)}", ""),
        (f"afb.{at(0)}", "unknown"),
    ):
        read = fhir.get(f"/fhir/Observation/{ANN}.{id_}").json()
        assert statements(read) == ([time_statement(quality)] if quality else []), id_


@pytest.mark.parametrize("quality", DOUBTFUL)
def test_the_report_and_the_pages_show_it_beside_the_times(
    client: TestClient, project: Project, quality: str
) -> None:
    project(of_quality(a_day(), quality))
    note = time_note(quality)
    text = text_of(client.get(f"/patients/{ANN}/days/{DAY}/report.pdf").content)
    assert time_statement(quality) in text
    assert text.count(f"({note})") >= 5
    day = client.get(f"/patients/{ANN}/days/{DAY}").json()
    (shown,) = client.get(f"/patients/{ANN}/strips").json()["items"]
    rows = [
        day_rows.alarm_row(day["alarms"][0], [])["raised"],
        day_rows.episode_row(day["episodes"][0])["began"],
        day_rows.interval_row(day["intervals"][0])["hour"],
        *(row["at"] for row in day_rows.signal_rows(day["quality"], day["findings"])),
        day_rows.tiles(client.get(f"/patients/{ANN}").json(), day)["Signal"][1],
        queue_row(shown)["began"],
    ]
    assert len(rows) == 7
    assert all(row.endswith(f"({note})") for row in rows), rows


def test_the_worst_of_several_doubts_is_the_last_by_name() -> None:
    assert [doubt_of(quality) for quality in ("", "recorded", *DOUBTFUL)] == ["", "", *DOUBTFUL]
    assert list(DOUBTFUL) == sorted(DOUBTFUL)


def test_what_a_wrong_clock_stamped_is_found_where_it_was(engine: Engine, fhir: TestClient) -> None:
    """From the node's batch to the record: findings of a clock in 2034 are those of today, and marked."""
    app, error_ns, now_ns = EcgCloud(), 8 * 365 * 86_400 * 10**9, at(700)
    prepare(engine, {"ecg": app})
    enrol(engine, "bed-1", site="ward")
    ingest = Committer(engine, Projections({"ecg": app}), IngestSettings())
    reported = [rates(0), rhythm(10, 60), alarm(20), strip(25), alarm(20, "ended", when=90)]
    late_ns = [0, 0, 0, 0, 3 * 10**9]
    for seq, (event, delay_ns) in enumerate(zip(reported, late_ns, strict=True), 1):
        data = {
            key: value + error_ns if key.endswith("_ns") and value is not None else value
            for key, value in event.data.items()
        }
        sent = Event(event.type, event.subject, event.time_ns + error_ns, event.priority, data)
        body = encode_event(sent, source="/ward/bed-1", epoch="e1", seq=seq)
        batch = encode_batch(
            [body], source="/ward/bed-1", epoch="e1", first=seq, last=seq, sent_ns=now_ns + error_ns, oldest=1
        )
        ingest.commit([read_batch("ward", "bed-1", batch, now_ns + delay_ns)])
    for id_ in (f"hr.{EPOCH_NS}", f"rhy-AF.{at(10)}", f"strip.{at(25)}"):
        answer = fhir.get(f"/fhir/Observation/{ANN}.{id_}")
        assert answer.status_code == 200, id_
        assert time_statement("corrected") in statements(answer.json())
    with Session(engine) as session:
        (row,) = session.exec(select(RaisedAlarm)).all()
        assert (row.raised_ns, row.ended_ns, row.state) == (at(20), at(90), "ended")


def test_variability_in_fibrillation_is_withheld_by_its_id_too(fhir: TestClient, project: Project) -> None:
    project([hrv(0), rates(290), hrv(300), rates(590, rhythm="AF"), hrv(600)])
    read = {
        began: fhir.get(f"/fhir/Observation/{ANN}.hrv.{at(began)}").status_code for began in (0, 300, 600)
    }
    assert read == {0: 200, 300: 404, 600: 200}
    listed = all_pages(fhir, f"/fhir/Observation?patient={ANN}&code=80404-7")
    assert sorted(listed) == [f"{ANN}.hrv.{at(0)}", f"{ANN}.hrv.{at(600)}"]
    by_id = fhir.get(f"/fhir/Observation?_id={ANN}.hrv.{at(300)}").json()
    assert by_id["total"] == 0
