"""Counts in the cloud: local days and hours, late data, incomplete minutes, zones, people, heat."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select
from starlette.testclient import TestClient

from apps.retail.cloud.stores import Stores
from common.app.cloud import CloudContext
from common.errors import ConfigError
from tests.apps.retail.cloud.serving import APP, Project, SetClock, client_of
from tests.apps.retail.cloud.serving import project as project_into
from tests.apps.retail.received import begun, crossed, health, heat, local_ns, minute, zone_minute

SETTINGS = {"stores": {"berlin": {"title": "Berlin 1", "time_zone": "Europe/Berlin", "max_people": 20}}}
MINUTE_NS = 60 * 10**9


@pytest.fixture
def clock() -> SetClock:
    return SetClock(local_ns("2026-11-01 12:00"))


@pytest.fixture
def client(engine: Engine, clock: SetClock) -> Iterator[TestClient]:
    with client_of(engine, SETTINGS, clock) as client:
        yield client


@pytest.fixture
def project(engine: Engine) -> Project:
    return partial(project_into, engine)


def hours(client: TestClient, day: str) -> dict[str, int]:
    """Visits by the local begin of each hour that has some."""
    items = client.get(f"/stores/berlin/visits?day={day}&by=hour").json()["items"]
    return {item["local"]: item["entered"] for item in items if item["entered"]}


def test_a_minute_lands_in_the_hour_of_the_stores_time_zone(client: TestClient, project: Project) -> None:
    at_ns = local_ns("2026-07-14 00:10")
    project([begun(1, at_ns), minute(2, at_ns, 3), minute(3, at_ns + MINUTE_NS, 2, 1)])
    assert hours(client, "2026-07-14") == {"2026-07-14T00:00:00+02:00": 5}
    assert hours(client, "2026-07-13") == {}
    (whole,) = client.get("/stores/berlin/visits?day=2026-07-14&by=day").json()["items"]
    assert (whole["entered"], whole["left"]) == (5, 1)


def test_a_day_of_23_hours_has_no_second_hour(client: TestClient, project: Project) -> None:
    project(
        [
            begun(1, local_ns("2026-03-29 01:30")),
            minute(2, local_ns("2026-03-29 01:30"), 1),
            minute(3, local_ns("2026-03-29 03:10"), 2),
            minute(4, local_ns("2026-03-29 23:59"), 4),
        ]
    )
    items = client.get("/stores/berlin/visits?day=2026-03-29&by=hour").json()["items"]
    assert len(items) == 23
    assert hours(client, "2026-03-29") == {
        "2026-03-29T01:00:00+01:00": 1,
        "2026-03-29T03:00:00+02:00": 2,
        "2026-03-29T23:00:00+02:00": 4,
    }


def test_a_day_of_25_hours_has_the_second_hour_twice(client: TestClient, project: Project) -> None:
    project(
        [
            begun(1, local_ns("2026-10-25 02:10")),
            minute(2, local_ns("2026-10-25 02:10", fold=0), 1),
            minute(3, local_ns("2026-10-25 02:10", fold=1), 2),
        ]
    )
    items = client.get("/stores/berlin/visits?day=2026-10-25&by=hour").json()["items"]
    assert len(items) == 25
    assert hours(client, "2026-10-25") == {"2026-10-25T02:00:00+02:00": 1, "2026-10-25T02:00:00+01:00": 2}


def test_days_of_zones_with_odd_offsets_are_whole() -> None:
    stores = Stores(
        {
            "stores": {
                "kathmandu": {"time_zone": "Asia/Kathmandu"},
                "lord": {"time_zone": "Australia/Lord_Howe"},
            }
        }
    )
    assert len(list(stores.hours("kathmandu", date(2026, 7, 14)))) == 24
    parts = list(stores.parts("lord", date(2026, 4, 5), 15 * MINUTE_NS))
    assert len(parts) == 98
    assert all(a.end_ns == b.begin_ns for a, b in itertools.pairwise(parts))


def test_data_three_days_late_and_out_of_order_land_in_their_hours(
    client: TestClient, project: Project
) -> None:
    begin_ns = local_ns("2026-07-11 09:00")
    events = [begun(1, begin_ns)] + [
        minute(2 + index, begin_ns + index * MINUTE_NS, index % 3) for index in range(180)
    ]
    project([begun(1000, local_ns("2026-07-14 12:00")), minute(1001, local_ns("2026-07-14 12:00"), 7)])
    random.Random(3).shuffle(events)
    for first in range(0, len(events), 17):
        project(events[first : first + 17])
    project(events[:50])
    assert hours(client, "2026-07-11") == {
        f"2026-07-11T{hour:02}:00:00+02:00": sum(
            index % 3 for index in range((hour - 9) * 60, (hour - 8) * 60)
        )
        for hour in (9, 10, 11)
    }
    assert hours(client, "2026-07-14") == {"2026-07-14T12:00:00+02:00": 7}


def test_parts_of_a_minute_from_two_instances_of_a_node_add_up(client: TestClient, project: Project) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(
        [
            begun(1, at_ns),
            minute(2, at_ns, 3, complete=False),
            minute(2, at_ns, 2, complete=False, epoch="e2"),
        ]
    )
    assert hours(client, "2026-07-14") == {"2026-07-14T09:00:00+02:00": 5}
    answer = client.get("/stores/berlin/minutes?camera=door&line=door&day=2026-07-14").json()
    assert answer["items"] == [
        {"minute_ns": at_ns, "entered": 5, "left": 0, "returned": 0, "groups": None, "complete": False}
    ]


def test_cameras_of_one_name_on_two_nodes_of_a_store_both_count(
    client: TestClient, project: Project, clock: SetClock
) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    clock.now_ns = at_ns + MINUTE_NS
    own = [begun(1, at_ns), minute(2, at_ns, 3, 1), crossed(3, at_ns + 1, 1)]
    other = [msgspec.structs.replace(each, node="node-2", epoch="e2") for each in own]
    project([*own, *other])
    day = client.get("/stores/berlin/day?day=2026-07-14").json()
    assert (day["store"]["visits"], sum(area["people"] for area in day["areas"])) == (6, 2)


def test_a_corrected_clock_moves_no_count_into_a_second_row(client: TestClient, project: Project) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project([begun(1, at_ns), minute(2, at_ns + 3_200_000_000, 3)])
    answer = client.get("/stores/berlin/minutes?camera=door&line=door&day=2026-07-14").json()
    assert [item["minute_ns"] for item in answer["items"]] == [at_ns]


def test_lines_inside_of_the_store_are_no_visits(client: TestClient, project: Project) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project([begun(1, at_ns), minute(2, at_ns, 3), minute(3, at_ns, 9, line="aisle", entrance=False)])
    day = client.get("/stores/berlin/day?day=2026-07-14").json()
    assert day["store"]["entered"] == 3
    assert [(line["line"], line["entered"]) for line in day["lines"]] == [("aisle", 9), ("door", 3)]


def test_minutes_that_are_missing_or_incomplete_show_in_the_share(
    client: TestClient, project: Project
) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(
        [begun(1, at_ns)]
        + [minute(2 + index, at_ns + index * MINUTE_NS, 1, complete=index < 30) for index in range(45)]
    )
    items = client.get("/stores/berlin/visits?day=2026-07-14&by=hour").json()["items"]
    shares = {item["local"][11:13]: item["complete_share"] for item in items}
    assert (shares["09"], shares["10"]) == (0.5, 0.0)


def test_a_store_shows_its_people_cameras_and_troubles(
    client: TestClient, project: Project, clock: SetClock
) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    clock.now_ns = at_ns + MINUTE_NS
    project(
        [
            begun(1, at_ns),
            *(crossed(seq, at_ns + seq, seq) for seq in (1, 2, 3, 4)),
            crossed(5, at_ns + 5, 3, "out"),
            health(6, at_ns + 6, "moved"),
        ]
    )
    (store,) = client.get("/stores").json()["items"]
    assert (store["title"], store["people"], store["max_people"]) == ("Berlin 1", 3, 20)
    assert (store["cameras"], store["troubled"]) == (1, 1)
    project([health(7, at_ns + 7), crossed(4, at_ns + 4, 4)])
    (store,) = client.get("/stores").json()["items"]
    assert (store["people"], store["troubled"]) == (3, 0)


def test_zones_have_their_dwell_and_queue(client: TestClient, project: Project) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(
        [
            begun(1, at_ns),
            zone_minute(2, at_ns),
            zone_minute(3, at_ns + MINUTE_NS, people_s=30.0, max_people=1, visits=0, dwell_s=0.0,
                        dwell_classes=[]),
            zone_minute(4, at_ns + 20 * MINUTE_NS, visits=1, dwell_s=25.0, queue_s=120.0, max_queue=4,
                        waited=1, wait_s=20.0, longest_wait_s=33.0),
        ]
    )  # fmt: skip
    (zone,) = client.get("/stores/berlin/day?day=2026-07-14").json()["zones"]
    assert zone["mean_people"] == pytest.approx(210 / 180)
    assert (zone["max_people"], zone["visits"], zone["mean_dwell_s"]) == (3, 3, 25.0)
    assert zone["dwell_classes"][1] == 2
    assert (zone["max_queue"], zone["mean_wait_s"], zone["longest_wait_s"]) == (4, 20.0, 33.0)


def test_a_heat_map_is_the_sum_of_a_day(client: TestClient, project: Project) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(
        [begun(1, at_ns), heat(2, at_ns, at_ns + 1, {0: 15, 4: 20}), heat(3, at_ns + 1, at_ns + 2, {4: 10})]
    )
    answer = client.get("/stores/berlin/heat?camera=door&day=2026-07-14").json()
    assert answer["seconds"] == [[1.5, 0.0, 0.0], [0.0, 3.0, 0.0]]
    assert client.get("/stores/berlin/heat?camera=door&day=2026-07-15").json() is None


def test_an_unknown_store_is_not_found_and_a_wrong_day_refused(client: TestClient) -> None:
    assert client.get("/stores/nowhere/day").status_code == 404
    assert client.get("/stores/berlin/day?day=2026-02-30").status_code == 422


def test_an_unknown_time_zone_is_a_clear_error_at_the_start() -> None:
    settings = {"stores": {"berlin": {"time_zone": "Europe/Berlyn"}}}
    context = CloudContext(lambda: None, settings, lambda: 0, lambda *_: None)  # type: ignore[arg-type, return-value]  none is called
    with pytest.raises(ConfigError, match=r"berlin.time_zone.*Europe/Berlyn"):
        APP.periodic_tasks(context)


def test_projecting_again_in_other_batches_changes_nothing(engine: Engine, project: Project) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    events = [begun(1, at_ns), crossed(2, at_ns, 1), health(3, at_ns, "black"), health(4, at_ns + 1)]
    events += [minute(5 + index, at_ns + index * MINUTE_NS, index) for index in range(20)]
    events += [zone_minute(30 + index, at_ns + index * MINUTE_NS) for index in range(20)]

    def rows() -> list[Any]:
        with Session(engine) as session:
            return [row.model_dump() for table in APP.tables() for row in session.exec(select(table)).all()]

    project(events)
    whole = rows()
    for first in range(0, len(events), 3):
        project(events[first : first + 3])
    assert rows() == whole
