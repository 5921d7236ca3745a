"""The newest counts of a camera, and cameras from which nothing comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from apps.retail.cloud.counts import SILENT_NS
from apps.retail.events import CameraForgotten
from tests.apps.retail.cloud.serving import SetClock, client_of, project
from tests.apps.retail.received import begun, local_ns, minute, received, zone_minute

SETTINGS: dict[str, Any] = {"stores": {"berlin": {"title": "Berlin 1", "time_zone": "Europe/Berlin"}}}
NOON_NS = local_ns("2026-07-15 12:00")
MINUTE_NS = 60 * 10**9


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOON_NS + MINUTE_NS)


@pytest.fixture
def client(engine: Engine, clock: SetClock) -> Iterator[TestClient]:
    with client_of(engine, SETTINGS, clock) as client:
        yield client


def live(client: TestClient, camera: str = "door") -> dict[str, Any]:
    return client.get("/stores/berlin/live", params={"camera": camera}).json()


def test_a_line_has_the_sum_of_its_day_up_to_its_last_minute(engine: Engine, client: TestClient) -> None:
    project(
        engine,
        [
            begun(1, NOON_NS),
            minute(2, local_ns("2026-07-14 23:59"), 9),
            minute(3, local_ns("2026-07-15 00:00"), 2, 1),
            minute(4, NOON_NS, 3, 1),
            minute(5, NOON_NS, 5, camera="yard"),
        ],
    )
    now = live(client)
    (line,) = now["lines"]
    assert (line["entered"], line["left"], line["counted_to_ns"]) == (5, 2, NOON_NS + MINUTE_NS)
    assert (now["title"], now["day_begin_ns"]) == ("Berlin 1", local_ns("2026-07-15 00:00"))


def test_a_zone_has_its_last_minute(engine: Engine, client: TestClient) -> None:
    project(
        engine,
        [
            begun(1, NOON_NS),
            zone_minute(2, NOON_NS - MINUTE_NS, people_s=240.0),
            zone_minute(3, NOON_NS, people_s=90.0, queue_s=30.0, max_queue=2),
            zone_minute(4, NOON_NS - MINUTE_NS, zone="bar", people_s=0.0, observed_s=0.0),
        ],
    )
    zones = {each["zone"]: each for each in live(client)["zones"]}
    assert (zones["table"]["people"], zones["table"]["queue"]) == (1.5, 0.5)
    assert (zones["bar"]["people"], zones["bar"]["minute_ns"]) == (None, NOON_NS - MINUTE_NS)


def test_an_unknown_camera_is_named(client: TestClient) -> None:
    answer = client.get("/stores/berlin/live?camera=roof")
    assert answer.status_code == 404
    assert "'roof'" in answer.json()["detail"]


def test_a_camera_of_which_nothing_comes_is_silent_and_listed_before_the_others(
    engine: Engine, client: TestClient, clock: SetClock
) -> None:
    project(engine, [begun(1, NOON_NS), begun(2, NOON_NS + SILENT_NS, camera="yard")])
    clock.now_ns = NOON_NS + SILENT_NS + 1
    assert (live(client)["camera"]["silent"], live(client, "yard")["camera"]["silent"]) == (True, False)
    page = client.get("/cameras").json()
    assert [each["camera"] for each in page["items"]] == ["door", "yard"]
    assert (page["silent"], client.get("/stores").json()["items"][0]["silent"]) == (1, 1)


def test_a_forgotten_camera_is_not_silent(engine: Engine, client: TestClient, clock: SetClock) -> None:
    project(engine, [begun(1, NOON_NS), received(2, CameraForgotten(version="v1"), NOON_NS + 1)])
    clock.now_ns = NOON_NS + 10 * SILENT_NS
    camera = live(client)["camera"]
    assert (camera["forgotten"], camera["silent"]) == (True, False)
    assert client.get("/cameras").json()["silent"] == 0
