"""Stores compared, all cameras, queues of a day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from tests.apps.retail.cloud.serving import SetClock, client_of, project
from tests.apps.retail.received import begun, health, local_ns, minute, zone_minute

SETTINGS: dict[str, Any] = {"stores": {"berlin": {"title": "Berlin 1", "time_zone": "Europe/Berlin"}}}
MINUTE_NS = 60 * 10**9


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with client_of(engine, SETTINGS, SetClock(local_ns("2026-07-15 12:00"))) as client:
        yield client


def test_stores_are_compared_over_whole_days_with_as_many_before(engine: Engine, client: TestClient) -> None:
    project(
        engine,
        [
            begun(1, local_ns("2026-07-01 09:00")),
            minute(2, local_ns("2026-07-07 23:59"), 8),
            minute(3, local_ns("2026-07-08 00:00"), 6),
            minute(4, local_ns("2026-07-15 09:00"), 100),
            begun(5, local_ns("2026-07-15 09:00"), site="new"),
        ],
    )
    items = {item["site"]: item for item in client.get("/compare?days=7").json()["items"]}
    assert (items["berlin"]["visits"], items["berlin"]["visits_before"]) == (6, 8)
    assert (items["berlin"]["change_percent"], items["berlin"]["conversion"]) == (-25.0, None)
    assert (items["new"]["visits"], items["new"]["change_percent"]) == (0, None)
    page = client.get("/compare?limit=1").json()
    assert [page["next"], client.get(f"/compare?limit=1&cursor={page['next']}").json()["next"]] == [
        "berlin",
        None,
    ]


def test_cameras_in_trouble_are_first(engine: Engine, client: TestClient) -> None:
    at_ns = local_ns("2026-07-15 09:00")
    project(
        engine,
        [
            begun(1, at_ns, camera="a"),
            begun(2, at_ns),
            health(3, at_ns, "moved"),
            begun(4, at_ns, camera="z"),
        ],
    )
    first = client.get("/cameras?limit=2").json()
    assert [each["camera"] for each in first["items"]] == ["door", "a"]
    assert (first["total"], first["troubled"], first["next"]) == (3, 1, 2)
    assert [each["camera"] for each in client.get("/cameras?limit=2&cursor=2").json()["items"]] == ["z"]
    project(engine, [health(5, at_ns + 1)])
    assert client.get("/cameras").json()["troubled"] == 0


def test_queues_are_by_quarter_of_an_hour_in_local_time(engine: Engine, client: TestClient) -> None:
    at_ns = local_ns("2026-07-15 09:00")
    project(
        engine,
        [
            begun(1, at_ns),
            zone_minute(
                2,
                at_ns + 20 * MINUTE_NS,
                queue_s=120.0,
                max_queue=4,
                waited=2,
                wait_s=50.0,
                longest_wait_s=33.0,
            ),
            zone_minute(3, at_ns),
        ],
    )
    (zone,) = client.get("/stores/berlin/queues").json()["zones"]
    first, second = zone["quarters"]
    assert (first["local"], first["max_queue"], first["mean_wait_s"]) == (
        "2026-07-15T09:00:00+02:00",
        0,
        None,
    )
    assert (second["local"][11:16], second["mean_queue"], second["mean_wait_s"]) == ("09:15", 2.0, 25.0)
