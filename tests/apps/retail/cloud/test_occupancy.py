"""People in a store: a count that begins again each night, and the alarm of its limit."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlmodel import Session, SQLModel, col, create_engine, delete, select

from apps.retail.cloud.occupancy import StoreLimits, areas_of, people_in
from apps.retail.cloud.stores import Stores
from apps.retail.cloud.tables import Area, AreaQuarter, StoreLimit
from cloud_backend.ingest.app_tables import rebuild
from cloud_backend.store.tables import StoredEvent
from common.app.cloud import ReceivedEvent
from tests.apps.retail.cloud.serving import APP, SetClock, context_of, project
from tests.apps.retail.received import crossed, local_ns

SETTINGS = {"stores": {"berlin": {"time_zone": "Europe/Berlin", "max_people": 2}}}
STORES = Stores(SETTINGS)
SECOND_NS = 10**9


def walk(times_ns: Sequence[int], directions: Sequence[str], begin: int = 0) -> list[ReceivedEvent]:
    """Crossings with the count of the edge, which is never negative."""
    people, found = begin, []
    for seq, (time_ns, direction) in enumerate(zip(times_ns, directions, strict=True), start=1):
        people = max(0, people + (1 if direction == "in" else -1))
        found.append(crossed(seq, time_ns, people, direction))
    return found


def inside(engine: Engine, text: str) -> int:
    with Session(engine) as session:
        return people_in(session, STORES, "berlin", local_ns(text))


def test_the_count_begins_again_at_night_in_the_stores_time(engine: Engine) -> None:
    evening, morning = local_ns("2026-07-14 19:00"), local_ns("2026-07-15 09:00")
    project(
        engine, walk([evening + i for i in range(3)] + [morning, morning + 1], ["in"] * 3 + ["in", "out"])
    )
    assert inside(engine, "2026-07-15 03:59") == 3
    assert inside(engine, "2026-07-15 04:00") == 0
    assert inside(engine, "2026-07-15 12:00") == 0
    project(engine, [crossed(9, morning + 2, 4)])
    assert inside(engine, "2026-07-15 12:00") == 1


def test_a_day_of_23_hours_has_its_reset_too(engine: Engine) -> None:
    project(engine, walk([local_ns("2026-03-29 01:59")], ["in"]))
    stores = Stores({"stores": {"berlin": {"time_zone": "Europe/Berlin", "reset_at": "02:30"}}})
    with Session(engine) as session:
        before = people_in(session, stores, "berlin", local_ns("2026-03-29 01:59") + 1)
        after = people_in(session, stores, "berlin", local_ns("2026-03-29 03:30"))
    assert (before, after) == (1, 0)


def test_people_of_all_entrances_add_up(engine: Engine) -> None:
    at_ns = local_ns("2026-07-14 09:00")
    project(engine, [crossed(1, at_ns, 1), crossed(2, at_ns, 1, camera="yard")])
    assert inside(engine, "2026-07-14 10:00") == 2
    with Session(engine) as session:
        areas = areas_of(session, STORES, "berlin", at_ns)
    assert [(area.camera, area.people) for area in areas] == [("door", 1), ("yard", 1)]


@settings(max_examples=30)
@given(
    steps=st.lists(st.tuples(st.integers(0, 50), st.sampled_from(["in", "out"])), max_size=60),
    begin=st.integers(0, 3),
    reset_quarter=st.integers(0, 8),
    order=st.randoms(use_true_random=False),
)
def test_it_is_a_count_from_the_reset_that_never_falls_below_zero(
    steps: list[tuple[int, str]], begin: int, reset_quarter: int, order: Random
) -> None:
    base_ns = local_ns("2026-07-14 02:00")
    times_ns, at_ns = [], base_ns
    for minutes, _ in steps:
        at_ns += minutes * 20 * SECOND_NS + 1
        times_ns.append(at_ns)
    events = walk(times_ns, [direction for _, direction in steps], begin)
    reset_ns = base_ns + reset_quarter * 900 * SECOND_NS
    expected = 0
    for time_ns, (_, direction) in zip(times_ns, steps, strict=True):
        if time_ns >= reset_ns:
            expected = max(0, expected + (1 if direction == "in" else -1))
    minute = 120 + reset_quarter * 15
    stores = Stores(
        {
            "stores": {
                "berlin": {"time_zone": "Europe/Berlin", "reset_at": f"{minute // 60:02}:{minute % 60:02}"}
            }
        }
    )
    shuffled = list(events)
    order.shuffle(shuffled)
    assert _people(shuffled, stores, base_ns) == expected


_ENGINE = create_engine("sqlite://")


def _people(events: Sequence[ReceivedEvent], stores: Stores, base_ns: int) -> int:
    SQLModel.metadata.create_all(_ENGINE, tables=[t.__table__ for t in APP.tables()])  # type: ignore[attr-defined]  SQLModel does not declare it
    with Session(_ENGINE) as session:
        session.exec(delete(AreaQuarter))
        session.exec(delete(Area))
        APP.project(session, events)
        return people_in(session, stores, "berlin", base_ns + 22 * 3600 * SECOND_NS)


def alarms(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return list(session.exec(select(col(StoredEvent.type)).order_by(col(StoredEvent.seq))))


def test_more_people_than_the_limit_raise_one_alarm_which_ends_after_ten_seconds(engine: Engine) -> None:
    clock = SetClock(local_ns("2026-07-14 09:00"))
    limits = StoreLimits(context_of(engine, SETTINGS, clock), STORES)
    project(engine, walk([clock.now_ns + i for i in range(3)], ["in"] * 3))
    assert (limits.check(), limits.check()) == (1, 0)
    assert alarms(engine) == ["retail.store_limit_exceeded"]
    again = StoreLimits(context_of(engine, SETTINGS, clock), STORES)
    assert again.check() == 0, "a new start raises no second alarm"
    project(engine, [crossed(4, clock.now_ns + SECOND_NS, 2, "out")])
    counts = []
    for _ in range(12):
        counts.append(limits.check())
        clock.now_ns += SECOND_NS
    assert counts == [0] * 10 + [1, 0]
    assert alarms(engine) == ["retail.store_limit_exceeded", "retail.store_limit_kept"]


def test_an_open_alarm_is_known_after_the_tables_were_rebuilt(engine: Engine) -> None:
    clock = SetClock(local_ns("2026-07-14 09:00"))
    project(engine, walk([clock.now_ns + i for i in range(3)], ["in"] * 3))
    StoreLimits(context_of(engine, SETTINGS, clock), STORES).check()
    rebuild(engine, "retail", APP)
    with Session(engine) as session:
        row = session.get(StoreLimit, "berlin")
        assert row is not None
        assert (row.exceeded, row.people, row.limit) == (True, 3, 2)


def test_a_node_cannot_set_the_state_of_a_store(engine: Engine) -> None:
    clock = SetClock(local_ns("2026-07-14 09:00"))
    project(engine, walk([clock.now_ns + i for i in range(3)], ["in"] * 3))
    StoreLimits(context_of(engine, SETTINGS, clock), STORES).check()
    forged = ReceivedEvent(
        site="berlin", node="node-1", epoch="e1", seq=99, type="retail.store_limit_kept", subject="berlin",
        time_ns=clock.now_ns + 1, priority=crossed(1, 0, 1).priority, body=b'{"people":0,"limit":2}',
    )  # fmt: skip
    project(engine, [forged])
    with Session(engine) as session:
        row = session.get(StoreLimit, "berlin")
        assert row is not None
        assert row.exceeded
