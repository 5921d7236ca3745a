"""The cloud's side: patients, hours, episodes, alarms and strips from events, the same on both databases."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from apps.ecg.cloud.projection import EcgCloud
from apps.ecg.cloud.tables import TABLES, Episode, Hour, Patient, Pending, RaisedAlarm, Strip
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.received import Projected
from common.app.cloud import ReceivedEvent
from common.errors import MessageError
from tests.apps.ecg.received import ANN, a_day, alarm, at, hrv, rates, received, rhythm, strip

APP = EcgCloud()


def state(session: Session) -> list[Any]:
    session.expire_all()
    return [row.model_dump() for table in TABLES for row in session.exec(select(table)).all()]


def test_projecting_again_changes_nothing(session: Session) -> None:
    events = a_day()
    APP.project(session, events)
    once = state(session)
    APP.project(session, events)
    APP.project(session, events[:100])
    assert state(session) == once
    assert len(once) > 800


def test_the_order_and_the_cut_of_batches_do_not_matter_to_hours(session: Session) -> None:
    events = [rates(10.0 * n, None if n == 9 else 50 + n % 30, good=0.9) for n in range(400)]
    random.Random(4).shuffle(events)
    for first in range(0, 400, 37):
        APP.project(session, events[first : first + 60])
    hours = session.exec(select(Hour).order_by(col(Hour.began_ns))).all()
    assert [hour.seconds for hour in hours] == pytest.approx([3600, 400])
    assert [hour.n for hour in hours] == [3600, 400]
    assert [(hour.min_bpm, hour.max_bpm) for hour in hours] == [(50, 79), (50, 79)]
    assert hours[0].rated_seconds == pytest.approx(3590)
    assert hours[0].good_seconds == pytest.approx(3240)


def test_a_patient_shows_the_newest_window_whatever_comes_late(session: Session) -> None:
    APP.project(session, [rates(50, 80, rhythm="AF"), rates(10, 60)])
    APP.project(session, [rates(30, 70), alarm(55, when=300)])
    patient = session.get(Patient, ANN)
    assert patient is not None
    assert (patient.heart_rate_bpm, patient.rhythm) == (80, "AF")
    assert (patient.first_ns, patient.rated_ns, patient.last_ns) == (at(10), at(60), at(300))


def test_an_episode_ends_once_and_does_not_begin_again(session: Session) -> None:
    APP.project(session, [rhythm(100)])
    going_on = session.exec(select(Episode)).one()
    assert going_on.ended_ns is None
    APP.project(session, [rhythm(100, 400, beats=500), rhythm(100)])
    session.refresh(going_on)
    assert (going_on.ended_ns, going_on.beats) == (at(400), 500)


def test_an_alarm_ends_although_the_clock_of_its_node_was_set_meanwhile(session: Session) -> None:
    years_s = 8 * 365 * 86_400.0
    alarms = [alarm(100), alarm(100 + years_s, "ended", when=160)]
    for _ in range(2):
        APP.project(session, alarms)
        session.expire_all()
        (row,) = session.exec(select(RaisedAlarm)).all()
        assert (row.raised_ns, row.ended_ns, row.state) == (at(100), at(160), "ended")


def test_an_alarm_goes_through_its_states_and_not_back(session: Session) -> None:
    APP.project(session, [alarm(100), alarm(100, "latched", when=160)])
    first = session.exec(select(RaisedAlarm)).one()
    assert (first.state, first.ended_ns) == ("latched", at(160))
    APP.project(session, [alarm(200), alarm(100, "latched", when=160), alarm(100)])
    session.refresh(first)
    assert (first.state, first.ended_ns) == ("ended", at(160))
    APP.project(session, [alarm(200, "reset", when=300)])
    second = session.get(RaisedAlarm, (ANN, "atrial_fibrillation", at(200)))
    assert second is not None
    assert (second.state, second.ended_ns) == ("reset", at(300))


def test_only_changed_spans_are_exported_again(session: Session) -> None:
    APP.project(session, [rates(10), rates(20)])
    APP.project(session, [rates(10), rates(20)])
    found = {row.seconds: row.revision for row in session.exec(select(Pending)).all()}
    assert found == {3600: 1, 86400: 1}
    APP.project(session, [rates(30)])
    session.expire_all()
    assert {row.revision for row in session.exec(select(Pending)).all()} == {2}


BAD = [
    received("rates", 5, began_ns=1),
    rates(5, patient="Jane Doe"),
    received("hrv", 5, **(msgspec.json.decode(hrv(0).body) | {"sdnn_ms": "wide"})),
    received("strip", 5, **(msgspec.json.decode(strip(0).body) | {"leads": ["II", "V1", "V2"]})),
    received("strip", 5, **(msgspec.json.decode(strip(0).body) | {"samples_b64": "no base64!"})),
    received("rhythm", 5, **(msgspec.json.decode(rhythm(100, 400).body) | {"ended_ns": at(50)})),
    received("rhythm", 5, **(msgspec.json.decode(rhythm(100, 400).body) | {"state": "began"})),
    received("rhythm", 5, **(msgspec.json.decode(rhythm(100, 400).body) | {"label": "AV block 2°"})),
    received("rates", 5, **(msgspec.json.decode(rates(0).body) | {"began_ns": 2**63 - 1})),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda event: event.type)
def test_malformed_data_is_refused_before_anything_is_written(session: Session, bad: ReceivedEvent) -> None:
    with pytest.raises(MessageError):
        APP.project(session, [rates(10), bad])
    assert state(session) == []


def test_malformed_data_of_one_event_does_not_stop_the_others(engine: Engine) -> None:
    events = [rates(10), *BAD, rates(20), strip(5)]
    projected = Projected(lambda _: "ecg")
    projected.by_app["ecg"] = events
    projected.origins["ecg"] = [(1, 0)] * len(events)
    with engine.begin() as connection:
        refused = Projections({"ecg": APP}).run(connection, projected)
    assert len(refused) == len(BAD)
    with Session(engine) as session:
        assert session.exec(select(Hour)).one().n == 20
        assert session.exec(select(Strip)).one().leads == ["II", "V1"]


def test_a_type_of_a_later_edge_is_left_alone(session: Session) -> None:
    APP.project(session, [received("morphology", 5, shape="new"), rates(10)])
    assert session.exec(select(Patient)).one().heart_rate_bpm == 60
