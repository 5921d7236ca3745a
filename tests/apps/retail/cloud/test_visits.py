"""Visits by part of a day: opening hours, expected entrances, and sums that agree on every day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlmodel import Session, SQLModel, create_engine, delete
from starlette.testclient import TestClient

from apps.retail.cloud.counts import visits_by
from apps.retail.cloud.stores import HOUR_NS, QUARTER_NS, Stores
from apps.retail.cloud.tables import LineMinute, LineQuarter
from apps.retail.events import EVENTS
from common.errors import MessageError
from tests.apps.retail.cloud.serving import APP, SetClock, client_of, project
from tests.apps.retail.received import begun, local_ns, minute

MINUTE_NS = 60 * 10**9
SETTINGS: dict[str, Any] = {
    "stores": {
        "berlin": {
            "time_zone": "Europe/Berlin",
            "opening": {"tue": ["09:00-10:00"]},
            "entrances": ["door/door", "yard/gate"],
        },
        "unnamed": {"time_zone": "Europe/Berlin"},
    }
}


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with client_of(engine, SETTINGS, SetClock(local_ns("2026-07-20 12:00"))) as client:
        yield client


def day_of(client: TestClient, site: str = "berlin", day: str = "2026-07-14") -> dict[str, Any]:
    (item,) = client.get(f"/stores/{site}/visits?day={day}&by=day").json()["items"]
    return item


def test_visits_outside_of_the_opening_hours_are_counted_apart(engine: Engine, client: TestClient) -> None:
    early, at_ns = local_ns("2026-07-14 08:59"), local_ns("2026-07-14 09:00")
    project(engine, [minute(1, early, 2), minute(2, at_ns, 3), minute(3, at_ns + 60 * MINUTE_NS, 4)])
    assert (day_of(client)["entered"], day_of(client)["outside"]) == (9, 6)


def test_an_entrance_that_never_reports_makes_the_count_incomplete(
    engine: Engine, client: TestClient
) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(engine, [minute(1 + i, at_ns + i * MINUTE_NS, 1) for i in range(60)])
    assert day_of(client)["complete_share"] == 0.5
    project(
        engine, [minute(100 + i, at_ns + i * MINUTE_NS, 1, line="gate", camera="yard") for i in range(60)]
    )
    assert day_of(client)["complete_share"] == 1.0


def test_an_entrance_that_is_silent_since_yesterday_is_still_expected(
    engine: Engine, client: TestClient
) -> None:
    first, second = local_ns("2026-07-14 00:00"), local_ns("2026-07-15 00:00")
    events = [minute(1 + i, first + i * MINUTE_NS, 0, site="unnamed") for i in range(1440)]
    events += [minute(2001 + i, second + i * MINUTE_NS, 0, site="unnamed") for i in range(1440)]
    events += [minute(5001 + i, first + i * MINUTE_NS, 0, camera="yard", site="unnamed") for i in range(1440)]
    project(engine, events)
    assert day_of(client, "unnamed")["complete_share"] == 1.0
    assert day_of(client, "unnamed", "2026-07-15")["complete_share"] == 0.5


def test_a_closed_day_has_no_share(engine: Engine, client: TestClient) -> None:
    project(engine, [minute(1, local_ns("2026-07-15 12:00"), 1)])
    assert (day_of(client, day="2026-07-15")["complete_share"], day_of(client)["complete_share"]) == (None, 0)


def test_the_running_minutes_are_not_missed(engine: Engine) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(engine, [minute(1 + i, at_ns + i * MINUTE_NS, 1, camera=c, line=n) for i in range(10)
                     for c, n in (("door", "door"), ("yard", "gate"))])  # fmt: skip
    with client_of(engine, SETTINGS, SetClock(at_ns + 12 * MINUTE_NS)) as client:
        assert day_of(client)["complete_share"] == 1.0


def test_people_who_come_back_are_no_visits(engine: Engine, client: TestClient) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    early = minute(1, at_ns - MINUTE_NS, 4, returned=1)
    project(engine, [begun(9, at_ns), early, minute(2, at_ns, 6, returned=2)])
    day = day_of(client)
    assert (day["entered"], day["returned"], day["visits"], day["outside"]) == (10, 3, 7, 3)
    store = client.get("/stores/berlin/day?day=2026-07-14").json()["store"]
    assert (store["returned"], store["visits"], store["left"]) == (3, 7, 0)


def test_groups_are_added_up_and_unknown_unless_all_entrances_count_them(
    engine: Engine, client: TestClient
) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    minutes = [minute(1, at_ns, 3, groups=1), minute(2, at_ns, 2, groups=2, epoch="e2")]
    project(engine, [begun(9, at_ns), *minutes, minute(3, at_ns + 20 * MINUTE_NS, 4, groups=2)])
    assert day_of(client)["groups"] == 5
    found = client.get("/stores/berlin/minutes?camera=door&line=door&day=2026-07-14").json()["items"]
    assert [(each["entered"], each["groups"]) for each in found] == [(5, 3), (4, 2)]
    project(engine, [minute(4, at_ns, 1, camera="yard", line="gate")])
    whole = client.get("/stores/berlin/day?day=2026-07-14").json()
    assert (whole["store"]["visits"], whole["store"]["groups"]) == (10, None)
    assert [(each["line"], each["groups"]) for each in whole["lines"]] == [("door", 5), ("gate", None)]
    project(engine, [minute(5, at_ns, 1, epoch="e3")])
    assert (
        client.get("/stores/berlin/minutes?camera=door&line=door&day=2026-07-14").json()["items"][0]["groups"]
        is None
    ), "a part of the minute was counted without groups"


@pytest.mark.parametrize("field", ["groups", "returned"])
def test_a_minute_with_more_groups_than_people_is_no_event(field: str) -> None:
    event = minute(1, MINUTE_NS, 3, returned=3, groups=3)
    assert EVENTS.decode(event) is not None
    wrong = event.body.replace(f'"{field}":3'.encode(), f'"{field}":4'.encode())
    with pytest.raises(MessageError, match="3 entered"):
        EVENTS.decode(msgspec.structs.replace(event, body=wrong))


_ENGINE = create_engine("sqlite://")
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")


@settings(max_examples=40)
@given(
    zone=st.sampled_from(ZONES),
    first=st.dates(date(2026, 1, 1), date(2026, 12, 25)) | st.sampled_from([date(2026, 3, 28)]),
    minutes=st.lists(
        st.tuples(st.integers(0, 3 * 1440 + 100), st.integers(0, 9), st.sampled_from(["door", "yard"])),
        max_size=40,
        unique_by=lambda each: (each[0], each[2]),
    ),
    batch=st.integers(1, 40),
    order=st.randoms(use_true_random=False),
)
def test_quarters_hours_and_days_have_the_same_sum_on_any_day(
    zone: str, first: date, minutes: Sequence[tuple[int, int, str]], batch: int, order: Any
) -> None:
    stores = Stores({"stores": {"berlin": {"time_zone": zone, "opening": {"sun": ["09:00-18:00"]}}}})
    begin_ns = stores.day("berlin", first).begin_ns
    events = [
        minute(seq, begin_ns + at * MINUTE_NS, entered, camera=camera)
        for seq, (at, entered, camera) in enumerate(minutes, start=1)
    ]
    order.shuffle(events)
    SQLModel.metadata.create_all(_ENGINE, tables=[t.__table__ for t in APP.tables()])  # type: ignore[attr-defined]  SQLModel does not declare it
    with Session(_ENGINE) as session:
        session.exec(delete(LineMinute))
        session.exec(delete(LineQuarter))
        for begin in range(0, len(events), batch):
            APP.project(session, events[begin : begin + batch])
        days = [first + timedelta(days=at) for at in range(3)]
        expected = dict.fromkeys(days, 0)
        closed = dict.fromkeys(days, 0)
        for at, entered, _ in minutes:
            local = datetime.fromtimestamp(begin_ns // 10**9 + at * 60, ZoneInfo(zone))
            if local.date() in expected:
                expected[local.date()] += entered
                if not (local.weekday() == 6 and 9 <= local.hour < 18):
                    closed[local.date()] += entered
        for day in days:
            for buckets in (
                [stores.day("berlin", day)],
                list(stores.parts("berlin", day, HOUR_NS)),
                list(stores.parts("berlin", day, QUARTER_NS)),
            ):
                found = visits_by(session, stores, "berlin", buckets, begin_ns)
                assert sum(each.entered for each in found) == expected[day]
                assert sum(each.outside for each in found) == closed[day]
