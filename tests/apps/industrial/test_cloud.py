"""The cloud's side: machines by horizon, curves and work orders, the same on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlmodel import Session, SQLModel, create_engine, select

from apps.industrial.cloud import IndustrialCloud, Machine, RulPoint, WorkOrder, outcome_of
from common.app import Label, ReceivedEvent
from common.messages import Priority

APP = IndustrialCloud()


@pytest.fixture(params=["sqlite", "postgresql"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    url = "sqlite://" if request.param == "sqlite" else request.getfixturevalue("postgres").url()
    engine = create_engine(url)
    tables = [table.__table__ for table in APP.tables()]
    SQLModel.metadata.create_all(engine, tables=tables)
    with Session(engine) as session:
        yield session
        session.rollback()
    SQLModel.metadata.drop_all(engine, tables=tables)
    engine.dispose()


def received(seq: int, type: str = "rul", machine: str = "engine-1", **data: Any) -> ReceivedEvent:
    return ReceivedEvent(
        site="plant",
        node="node-1",
        epoch="e1",
        seq=seq,
        type=f"industrial.{type}",
        subject=machine,
        time_ns=seq * 10**9,
        priority=Priority.TELEMETRY,
        body=msgspec.json.encode({"version": "v1", **data}),
    )


def rul(seq: int, cycle: int, rul_cycles: float, machine: str = "engine-1", run: int = 0) -> ReceivedEvent:
    values = {"rul_cycles": rul_cycles, "lower_cycles": rul_cycles - 5, "upper_cycles": rul_cycles + 5}
    return received(seq, machine=machine, run=run, cycle=cycle, novelty=0.4, **values)


def test_a_machine_shows_its_latest_cycle_and_its_whole_curve(session: Session) -> None:
    APP.project(session, [rul(1, 1, 120), rul(2, 2, 119), rul(3, 1, 90, machine="engine-2")])
    APP.project(session, [rul(4, 3, 118)])
    machine = session.get(Machine, "engine-1")
    assert machine is not None
    assert (machine.cycle, machine.rul_cycles, machine.site, machine.node) == (3, 118, "plant", "node-1")
    curve = session.exec(
        select(RulPoint).where(RulPoint.machine == "engine-1").order_by(RulPoint.cycle)
    ).all()
    assert [point.rul_cycles for point in curve] == [120, 119, 118]


def test_projecting_again_changes_nothing(session: Session) -> None:
    events = [
        rul(1, 1, 40), received(2, "maintenance_due", sensors=["Ps30", "phi"]), rul(3, 2, 30),
        received(4, "maintenance_cleared"), rul(5, 3, 29),
    ]  # fmt: skip

    def state() -> list[Any]:
        session.expire_all()
        return [
            row.model_dump() for table in (Machine, RulPoint) for row in session.exec(select(table)).all()
        ]

    APP.project(session, events)
    once = state()
    APP.project(session, events)
    assert state() == once
    assert len(once) == 4


def test_an_alarm_stands_with_its_reasons_until_it_is_cleared(session: Session) -> None:
    APP.project(session, [rul(1, 1, 40), received(2, "maintenance_due", sensors=["Ps30", "phi"])])
    machine = session.get(Machine, "engine-1")
    assert machine is not None
    assert (machine.due, machine.explanation) == (True, "Ps30,phi")
    APP.project(session, [rul(3, 2, 39)])
    session.refresh(machine)
    assert machine.due
    APP.project(session, [received(4, "maintenance_cleared")])
    session.refresh(machine)
    assert (machine.due, machine.explanation) == (False, "")


def label(kind: str, **body: Any) -> Label:
    return Label("industrial", "engine-1", "engine-1/run-0", kind, body, "work-order", 1)


def test_a_failure_tells_how_wrong_the_edge_had_been(session: Session) -> None:
    APP.project(session, [rul(c, c, r) for c, r in ((1, 103), (2, 101), (3, 97))] + [rul(9, 1, 7, run=1)])
    found = outcome_of(session, label("failure", cycle=100))
    assert (found.points, found.end_cycle, found.versions) == (3, 100, ["v1"])
    assert found.rmse_cycles == pytest.approx(((4**2 + 3**2 + 0**2) / 3) ** 0.5)


def test_error_is_measured_against_the_capped_life(session: Session) -> None:
    APP.project(session, [rul(1, 1, 125), rul(2, 2, 125)])
    assert outcome_of(session, label("failure", cycle=300)).rmse_cycles == 0


def test_an_inspection_counts_with_what_was_left(session: Session) -> None:
    APP.project(session, [rul(1, 10, 50)])
    found = outcome_of(session, label("inspection", cycle=20, remaining_cycles=40))
    assert (found.end_cycle, found.rmse_cycles) == (60, 0)


def test_a_run_that_no_node_watched_has_no_error(session: Session) -> None:
    found = outcome_of(session, label("failure", cycle=20))
    assert (found.points, found.rmse_cycles) == (0, None)


@pytest.mark.parametrize(
    "change", [{"machine": ""}, {"run": -1}, {"kind": "wish"}, {"cycle": 0}, {"remaining_cycles": -1}]
)
def test_a_work_order_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    good = {"machine": "engine-1", "run": 0, "kind": "failure", "cycle": 200}
    WorkOrder(**good)
    with pytest.raises(ValueError, match=next(iter(change))):
        WorkOrder(**good | change)
