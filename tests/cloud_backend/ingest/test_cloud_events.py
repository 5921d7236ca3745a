"""Events of the cloud's own: stored once each, projected, projected again after a rebuild, alerts."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select

from apps.industrial.cloud.projection import IndustrialCloud
from apps.industrial.cloud.tables import MaintenanceAlarm
from apps.industrial.events import MaintenanceDue
from cloud_backend.api.newest_events import newest_notable, newest_of_streams
from cloud_backend.api.routes.alerts import open_alarms
from cloud_backend.ingest.app_tables import prepare_app, rebuild
from cloud_backend.ingest.cloud_events import record
from cloud_backend.store.tables import DailyCount, Node, NodeSubject, StoredEvent, Stream
from common.app.cloud import CLOUD_NODE
from common.app.events import make_event
from common.messages import NAME_PATTERN, Event, Priority

NAME = "industrial"


def due(run: int) -> Event:
    data = MaintenanceDue(
        run=run, cycle=7, rul_cycles=9.0, lower_cycles=5.0, upper_cycles=20.0, novelty=0.0,
        horizon_cycles=20.0, sensors=[], sensor_cycles=[], version="1",
    )  # fmt: skip
    return make_event(data, "m1", 1000 + run)


@pytest.fixture
def app(engine: Engine) -> IndustrialCloud:
    app = IndustrialCloud()
    prepare_app(engine, NAME, app, others={})
    return app


def runs(session: Session) -> list[int]:
    return sorted(session.exec(select(MaintenanceAlarm.run)))


def test_they_are_stored_and_projected_and_alarms_are_alerts(engine: Engine, app: IndustrialCloud) -> None:
    for events in ([due(1), due(2)], [], [due(3)]):
        with Session(engine) as session:
            record(session, NAME, app, "site", events, 5)
            session.commit()
    with Session(engine) as session:
        assert sorted(session.exec(select(StoredEvent.seq))) == [1, 2, 3]
        assert open_alarms(session) == 3
        assert runs(session) == [1, 2, 3]


def test_events_of_two_sites_have_different_identities(engine: Engine, app: IndustrialCloud) -> None:
    with Session(engine) as session:
        record(session, NAME, app, "north", [due(1)], 5)
        record(session, NAME, app, "south", [due(2)], 5)
        session.commit()
        found = session.exec(
            select(Stream.node, Stream.epoch, StoredEvent.seq).where(Stream.id == StoredEvent.stream_id)
        ).all()
    assert len(set(found)) == 2


def test_a_rebuild_projects_them_again(engine: Engine, app: IndustrialCloud) -> None:
    with Session(engine) as session:
        record(session, NAME, app, "site", [due(1)], 5)
        session.commit()
    assert rebuild(engine, NAME, app) == 1
    with Session(engine) as session:
        assert runs(session) == [1]


def test_nothing_is_kept_where_the_caller_does_not_commit(engine: Engine, app: IndustrialCloud) -> None:
    with Session(engine) as session:
        record(session, NAME, app, "site", [due(1)], 5)
    with Session(engine) as session:
        assert (runs(session), list(session.exec(select(StoredEvent.seq)))) == ([], [])


def test_they_are_among_the_newest_events_of_their_app_only(engine: Engine, app: IndustrialCloud) -> None:
    with Session(engine) as session:
        record(session, NAME, app, "site", [due(1)], 5)
        session.commit()
        for name, found in ((NAME, 1), ("other", 0)):
            assert len(newest_notable(session, 9, name, alarms_only=True)) == found
            assert len(newest_of_streams(session, 9, name, Priority.SAMPLE)) == found


def test_they_are_in_no_account_of_what_a_device_sent(engine: Engine, app: IndustrialCloud) -> None:
    with Session(engine) as session:
        record(session, NAME, app, "site", [due(1)], 5)
        session.commit()
        for table in (DailyCount, NodeSubject, Node):
            assert session.exec(select(table)).all() == []


def test_no_device_can_have_their_node_name() -> None:
    assert not NAME_PATTERN.fullmatch(CLOUD_NODE)
