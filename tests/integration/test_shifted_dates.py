"""Recordings whose dates were shifted, to years from 1678 to 2261, are found and shown as those of today."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, delete
from sqlmodel import Session
from starlette.testclient import TestClient

from apps.ecg import events
from apps.ecg.app import SPEC
from apps.ecg.cloud.fhir.export import _spans
from apps.ecg.cloud.projection import EcgCloud
from apps.ecg.cloud.queries import day_of
from apps.ecg.cloud.report.report import render
from apps.ecg.cloud.report.route import report_of
from common.config.node import NodeSettings
from common.edge.delivery.outbox import Outbox
from common.edge.node import Node
from common.errors import MessageError
from common.messages import decode_event, parse_time
from hardware.sensors import recording
from tests.apps.ecg import received
from tests.apps.ecg.cloud.fhir.clients import all_pages
from tests.apps.ecg.conftest import Project
from tests.apps.ecg.received import ANN, BOB

TODAY = received.EPOCH_NS
NOW_NS = TODAY + 10 * 86_400 * 10**9
SHIFTED = ["1678-01-01", "1899-04-28", "1969-12-31", "2191-04-28", "2261-12-30"]


def begin_of_day(day: str) -> int:
    return (
        (datetime.fromisoformat(day).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC))
        // timedelta(microseconds=1)
        * 1000
    )


def project_days(project: Project, monkeypatch: pytest.MonkeyPatch, epoch_ns: int) -> None:
    monkeypatch.setattr(received, "EPOCH_NS", epoch_ns)
    project([*received.a_day(), *received.a_day(BOB), received.hrv(86_100), received.rates(86_400 + 10)])


def unshifted(value: Any, epoch_ns: int) -> Any:
    """JSON with its times as if the recording had begun at 0."""
    if isinstance(value, dict):
        return {key: unshifted(each, epoch_ns) for key, each in value.items()}
    if isinstance(value, list):
        return [unshifted(each, epoch_ns) for each in value]
    if not isinstance(value, str):
        return value
    for day in (0, 1, 2):
        value = value.replace(day_of(epoch_ns + day * 86_400 * 10**9).isoformat(), f"day {day}")
    head, dot, last = value.rpartition(".")
    is_id = dot and (len(last) > 12 or (last == "0" and "p-" in head)) and last.lstrip("-").isdecimal()
    return f"{head}.{int(last) - epoch_ns}" if is_id else value


@pytest.mark.slow
@pytest.mark.parametrize("day", SHIFTED)
def test_fhir_finds_the_same_whatever_the_year(
    fhir: TestClient,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    engine: Engine,
    day: str,
) -> None:
    if engine.dialect.name != "sqlite" and day != SHIFTED[1]:
        pytest.skip("one year before 1970 on this database")
    seen: list[Any] = []
    for epoch_ns in (begin_of_day("2020-02-03"), begin_of_day(day)):
        with Session(engine) as session:
            for table in reversed(EcgCloud().tables()):
                session.execute(delete(table))
            session.commit()
        project_days(project, monkeypatch, epoch_ns)
        second = day_of(epoch_ns + 86_400 * 10**9).isoformat()
        searches = [
            "Observation?_count=200", "Observation?_count=9", "Observation?_sort=date&_count=9",
            "Observation?_sort=_id&_count=9", f"Observation?date={day_of(epoch_ns)}&_count=200",
            f"Observation?date=ge{second}", f"Observation?date=lt{second}&patient={ANN}&_count=200",
            f"DiagnosticReport?date={second}", f"Provenance?_count=5&patient={ANN}",
        ]  # fmt: skip
        found = [all_pages(fhir, f"/fhir/{search}") for search in searches]
        assert all(found)
        read = {id_: fhir.get(f"/fhir/Observation/{id_}").json() for id_ in found[0]}
        seen.append(
            {
                # What is sorted by id goes by its text, in which a minus sign comes first.
                "found": {k: sorted(unshifted(ids_, epoch_ns)) for k, ids_ in enumerate(found)},
                **{unshifted(id_, epoch_ns): unshifted(each, epoch_ns) for id_, each in read.items()},
            }
        )
    assert seen[0].keys() == seen[1].keys()
    assert [key for key in seen[0] if seen[0][key] != seen[1][key]] == []


@pytest.mark.parametrize("day", SHIFTED)
def test_pages_and_the_report_show_the_same_whatever_the_year(
    client: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch, engine: Engine, day: str
) -> None:
    if engine.dialect.name != "sqlite" and day != SHIFTED[1]:
        pytest.skip("one year before 1970 on this database")
    epoch_ns = begin_of_day(day)
    project_days(project, monkeypatch, epoch_ns)
    shown = client.get(f"/patients/{ANN}/days/{day}").json()
    assert (len(shown["hours"]), len(shown["hrv"]), len(shown["episodes"])) == (2, 23, 1)
    assert [hour["began_ns"] - epoch_ns for hour in shown["intervals"]] == [0, 3600 * 10**9]
    days = client.get(f"/patients/{ANN}/days").json()["items"]
    assert [item["day"] for item in days] == [day_of(epoch_ns + 86_400 * 10**9).isoformat(), day]
    patient = client.get(f"/patients/{ANN}").json()
    assert (patient["heart_rate_bpm"], patient["day"]) == (60, days[0]["day"])
    (strip,) = client.get(f"/patients/{ANN}/strips").json()["items"]
    assert client.get(f"/strips/{strip['id']}").json()["began_ns"] == strip["began_ns"]
    span = {"since_ns": epoch_ns, "until_ns": epoch_ns + 7200 * 10**9, "bucket_s": 600}
    points = client.get(f"/patients/{ANN}/trend", params=span).json()["points"]
    assert [point["at_ns"] - epoch_ns for point in points] == [600 * k * 10**9 for k in range(12)]
    with Session(engine) as session:
        report = report_of(session, ANN, day_of(epoch_ns), made_ns=NOW_NS, made_by="Dr Ada")
    assert render(report).startswith(b"%PDF")


@pytest.mark.parametrize("day", ["1899-04-28", "2191-04-28"])
def test_a_shifted_recording_goes_to_the_hospital_too(
    project: Project, monkeypatch: pytest.MonkeyPatch, engine: Engine, day: str
) -> None:
    project_days(project, monkeypatch, begin_of_day(day))
    with Session(engine) as session:
        assert len(_spans(session, 86_400, NOW_NS, NOW_NS, 100)) == 3


def test_sources_and_cloud_take_the_same_years() -> None:
    assert (recording.EARLIEST_NS, recording.LATEST_NS) == (events.EARLIEST_NS, events.LATEST_NS)
    with pytest.raises(MessageError, match="began_ns"):
        events.decode(received.hrv(0, began_ns=events.EARLIEST_NS - 1))


@pytest.mark.parametrize("date", ["28/04/1899", "28/04/2191"])
def test_a_node_gives_a_recording_its_own_times_and_finds_no_fault_with_its_clock(
    tmp_path: Path, date: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_DATA", str(tmp_path))
    (tmp_path / "p.hea").write_text(f"p 1 250 5000 17:47:00.123 {date}\np.dat 16 200/mV 16 0 0 0 0 II\n")
    np.zeros(5000, "<i2").tofile(tmp_path / "p.dat")
    data = tmp_path / "node"
    settings = NodeSettings(app="ecg", source="wfdb:p", data=str(data), speed=0.0, profile="cpu")
    node = Node(settings, None, SPEC, once=True)
    node.start()
    assert node.ended.wait(60)
    assert node.stop() == 0
    with closing(Outbox(data / "outbox.sqlite", "/local/x", 10**9, lambda: 0)) as outbox:
        events = [decode_event(row.body) for row in outbox.pending(0, 10**6, 10**9)]
    found = [event for event in events if event.type.startswith("ecg.")]
    begin_ns = begin_of_day("-".join(reversed(date.split("/"))))
    assert found
    assert all(0 <= parse_time(event.time) - begin_ns < 86_400 * 10**9 for event in found)
    assert {event.timequality for event in found} == {"recorded"}
    assert {event.timequality for event in events if event.subject == node.name} == {""}
    assert not [event for event in events if b"from now" in bytes(event.data)]
