"""Alerts, their acknowledgement, and the newest events of the fleet."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session
from starlette.testclient import TestClient

from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.tables import Adoption, Node, StoredEvent, Stream
from common.messages import Priority
from tests.cloud_backend.api.requests import all_items
from tests.cloud_backend.conftest import either_database as database

__all__ = ["database"]

KINDS = [
    ("pumps.leak", Priority.ALARM, '{"n":1}'),
    ("pumps.value", Priority.TELEMETRY, '{"n":2}'),
    ("edgeloop.drift", Priority.EVENT, '{"state":"drift"}'),
    ("edgeloop.drift", Priority.EVENT, '{"state":"clear"}'),
    ("edgeloop.adoption", Priority.EVENT, '{"step":"refused"}'),
    ("edgeloop.adoption", Priority.EVENT, '{"step":"confirmed"}'),
    ("edgeloop.adoption", Priority.EVENT, '{"step":"reverted"}'),
    ("pumps.cleared", Priority.EVENT, '{"n":8}'),
]
"""Of each node, events 1 to 8; 5 failed, 6 went well, 7 was asked for by a person."""


@pytest.fixture(scope="module")
def nodes(cloud: Cloud) -> list[str]:
    """Three nodes; what they sent arrived in turns, each event 10 ns after the one before."""
    names = ["al-0", "al-1", "al-2"]
    with Session(cloud.engine) as session:
        for number, name in enumerate(names):
            session.add(Node(name=name, site="plant", app="pumps" if number else "valves"))
            stream = Stream(site="plant", node=name, epoch="e1", high_water_mark=8, created_ns=1)
            session.add(stream)
            session.flush()
            assert stream.id is not None
            for seq, (kind, priority, body) in enumerate(KINDS, 1):
                when = 1000 + 30 * seq + 10 * number
                session.add(
                    StoredEvent(
                        stream_id=stream.id,
                        seq=seq,
                        type=kind,
                        subject="m",
                        time_ns=when,
                        received_ns=when + 5000,
                        priority=int(priority),
                        body=body,
                    )
                )
            for seq, ok, reason in [(5, False, "golden"), (6, True, ""), (7, False, "operator")]:
                session.add(
                    Adoption(
                        stream_id=stream.id,
                        seq=seq,
                        node=name,
                        app="pumps",
                        version="v",
                        step="refused",
                        ok=ok,
                        reason=reason,
                        time_ns=1,
                        received_ns=1,
                    )
                )
        session.commit()
    return names


def places(items: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(item["node"], item["seq"]) for item in items]


def test_alerts_are_alarms_drift_and_models_that_failed_newest_first(admin: TestClient, nodes) -> None:
    expected = [(name, seq) for seq in (5, 3, 1) for name in reversed(nodes)]
    for limit in (1, 4, 500):
        assert places(all_items(admin, "/v1/alerts", limit=limit)) == expected
    assert places(all_items(admin, "/v1/alerts", priority="alarm")) == expected[-3:]
    assert places(all_items(admin, "/v1/alerts", priority="event")) == expected[:-3]
    assert admin.get("/v1/alerts?state=lost").status_code == 422


def test_a_page_of_alerts_looks_at_so_many_rows(
    admin: TestClient, nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = places(all_items(admin, "/v1/alerts"))
    monkeypatch.setattr("cloud_backend.api.routes.alerts.SCAN_ROWS", 2)
    first = admin.get("/v1/alerts").json()
    assert (first["items"], bool(first["next"])) == ([], True)
    assert places(all_items(admin, "/v1/alerts", limit=2)) == expected


def test_the_first_acknowledgement_stays(admin: TestClient, nodes, cloud: Cloud) -> None:
    before = admin.get("/v1/fleet").json()["open_alarms"]
    first = admin.post("/v1/alerts/al-1/e1/1/acknowledge", json={"note": "on my way"})
    assert first.status_code == 200, first.text
    acknowledgement = first.json()["acknowledged"]
    assert (acknowledgement["by"], acknowledgement["note"]) == ("admin", "on my way")
    assert 0 < acknowledgement["at_ns"] <= cloud.clock()
    again = admin.post("/v1/alerts/al-1/e1/1/acknowledge", json={"note": "me too"}).json()
    assert again["acknowledged"] == acknowledgement
    assert admin.get("/v1/fleet").json()["open_alarms"] == before - 1
    acknowledged = all_items(admin, "/v1/alerts", state="acknowledged")
    assert [(item["node"], item["acknowledged"]) for item in acknowledged] == [("al-1", acknowledgement)]
    still_open = all_items(admin, "/v1/alerts", state="open", limit=3)
    assert len(still_open) == 8
    assert {item["acknowledged"] for item in still_open} == {None}


@pytest.mark.parametrize(
    "place", ["al-1/e1/2", "al-1/e1/4", "al-1/e1/6", "al-1/e2/1", "absent/e1/1", "al-1/e1/99"]
)
def test_what_is_no_alert_cannot_be_acknowledged(admin: TestClient, nodes, place: str) -> None:
    assert admin.post(f"/v1/alerts/{place}/acknowledge", json={}).status_code == 404


def test_a_wrong_acknowledgement_is_refused(admin: TestClient, node: TestClient, nodes) -> None:
    path = "/v1/alerts/al-2/e1/1/acknowledge"
    assert admin.post(path, json={"note": "x" * 501}).status_code == 422
    assert admin.post(path, json={"by": "somebody else"}).status_code == 422
    assert admin.post("/v1/alerts/al-2/e1/0/acknowledge", json={}).status_code == 422
    assert node.post(path, json={}).status_code == 403


# ----------------------------------------------------------------------------------------------- newest


def recent(admin: TestClient, **query: Any) -> list[tuple[str, int]]:
    answer = admin.get("/v1/events/newest", params=query)
    assert answer.status_code == 200, answer.text
    return places(answer.json()["items"])


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
def test_the_newest_events_of_the_fleet(admin: TestClient, nodes, limit: int) -> None:
    everything = [(name, seq) for seq in range(8, 0, -1) for name in reversed(nodes)]
    assert recent(admin, limit=limit) == everything[:limit]
    assert recent(admin, limit=limit, min_priority="telemetry") == everything[:limit]
    notable = [place for place in everything if place[1] != 2]
    assert recent(admin, limit=limit, min_priority="event") == notable[:limit]
    alarms = [place for place in everything if place[1] == 1]
    assert recent(admin, limit=limit, min_priority="alarm") == alarms[:limit]


def test_the_newest_events_of_the_nodes_of_an_app(admin: TestClient, nodes) -> None:
    for least in ("sample", "event"):
        found = recent(admin, app="pumps", min_priority=least)
        assert {name for name, _ in found} == {"al-1", "al-2"}
        assert recent(admin, app="absent", min_priority=least) == []


def test_the_newest_events_are_few(admin: TestClient, node: TestClient) -> None:
    assert admin.get("/v1/events/newest?limit=201").status_code == 422
    assert node.get("/v1/events/newest").status_code == 403


def test_a_node_has_a_timeline_without_telemetry(admin: TestClient, nodes) -> None:
    items = all_items(admin, "/v1/nodes/al-0/events", min_priority="event", order="newest", limit=3)
    assert [item["seq"] for item in items] == [8, 7, 6, 5, 4, 3, 1]
    items = all_items(admin, "/v1/nodes/al-0/events", min_priority="alarm")
    assert [item["seq"] for item in items] == [1]
