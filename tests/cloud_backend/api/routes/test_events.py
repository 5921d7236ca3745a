"""Routes of events, alerts and the quarantine: each once, in order, filtered."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Quarantined, StoredEvent, Stream
from common.messages import Priority
from tests.cloud_backend.api.requests import all_items


@pytest.fixture(scope="module")
def events(cloud: Cloud) -> int:
    """120 events of a node in two epochs; every 10th is an alarm."""
    with Session(cloud.engine) as session:
        for epoch in ("e1", "e2"):
            stream = Stream(site="plant", node="ev", epoch=epoch, high_water_mark=60, created_ns=1)
            session.add(stream)
            session.flush()
            assert stream.id is not None
            session.add_all(
                StoredEvent(
                    stream_id=stream.id,
                    seq=seq,
                    type="learner.value" if seq % 2 else "learner.other",
                    subject="m",
                    time_ns=1000 + seq,
                    received_ns=2000,
                    priority=int(Priority.ALARM if seq % 10 == 0 else Priority.TELEMETRY),
                    body=f'{{"n":{seq}}}',
                )
                for seq in range(1, 61)
            )
        session.commit()
    return 120


def places(items: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(item["epoch"], item["seq"]) for item in items]


def test_events_of_a_node_come_once_and_in_order(admin: TestClient, events: int) -> None:
    items = all_items(admin, "/v1/nodes/ev/events", limit=7)
    assert places(items) == [(epoch, seq) for epoch in ("e1", "e2") for seq in range(1, 61)]
    assert items[4]["data"] == {"n": 5}
    assert (items[4]["site"], items[4]["priority"]) == ("plant", "telemetry")
    newest = all_items(admin, "/v1/nodes/ev/events", limit=50, order="newest")
    assert places(newest) == list(reversed(places(items)))
    assert all_items(admin, "/v1/nodes/absent/events") == []


def test_events_are_filtered(admin: TestClient, events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [(epoch, seq) for epoch in ("e1", "e2") for seq in range(1, 61) if seq % 2]
    path = "/v1/nodes/ev/events"
    assert places(all_items(admin, path, type="learner.value", limit=11)) == wanted
    alarms = all_items(admin, path, priority="alarm", limit=500)
    assert [item["seq"] for item in alarms] == [10, 20, 30, 40, 50, 60] * 2
    monkeypatch.setattr("cloud_backend.api.routes.events.SCAN_ROWS", 7)
    assert places(all_items(admin, path, type="learner.value", limit=11)) == wanted
    assert places(all_items(admin, path, type="learner.value", order="newest")) == wanted[::-1]
    first = admin.get(path, params={"type": "absent"}).json()
    assert first["items"] == []
    assert first["next"]
    assert all_items(admin, path, type="absent") == []
    assert len(all_items(admin, "/v1/events", type="learner.value")) >= len(wanted)


def test_alerts_are_the_alarms_newest_first(admin: TestClient, events: int) -> None:
    items = [item for item in all_items(admin, "/v1/alerts", limit=5) if item["node"] == "ev"]
    assert len(items) == 12
    assert [item["time_ns"] for item in items] == sorted((i["time_ns"] for i in items), reverse=True)
    assert {item["priority"] for item in items} == {"alarm"}


def test_alerts_use_their_index(cloud: Cloud) -> None:
    with cloud.engine.connect() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT * FROM event JOIN stream ON stream.id = event.stream_id "
            "WHERE event.priority = 3 AND (time_ns, stream_id, seq) < (9, 9, 9) "
            "ORDER BY time_ns DESC, stream_id DESC, seq DESC LIMIT 10"
        ).all()
    assert "event_alerts" in str(plan)


def test_quarantine_shows_the_start_of_what_was_refused(admin: TestClient, cloud: Cloud) -> None:
    with Session(cloud.engine) as session:
        session.add(
            Quarantined(
                site="plant", node="ev", digest="d1", reason="poisoned", body=b"\xff{" * 600, received_ns=5
            )
        )
        session.commit()
    item = all_items(admin, "/v1/quarantine")[0]
    assert (item["reason"], item["size_bytes"], len(item["head"])) == ("poisoned", 1200, 500)
