"""The cloud's side: machines, curves and alarms from events, the same on both databases."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from apps.industrial.cloud.projection import IndustrialCloud
from apps.industrial.cloud.routes import summary_of
from apps.industrial.cloud.tables import Machine, MaintenanceAlarm, RulPoint
from apps.industrial.events import RulWithheld, SensorFaultBegan, SensorFaultEnded
from tests.apps.industrial.received import cleared, due, received, rul, unknown

APP = IndustrialCloud()


def test_a_machine_shows_its_latest_cycle_and_its_whole_curve(session: Session) -> None:
    APP.project(session, [rul(1, 1, 120), rul(2, 2, 119), rul(3, 1, 90, machine="engine-2")])
    APP.project(session, [rul(4, 3, 118)])
    machine = session.get(Machine, "engine-1")
    assert machine is not None
    assert (machine.cycle, machine.rul_cycles, machine.site, machine.node) == (3, 118, "plant", "node-1")
    curve = session.exec(
        select(RulPoint).where(RulPoint.machine == "engine-1").order_by(col(RulPoint.cycle))
    ).all()
    assert [point.rul_cycles for point in curve] == [120, 119, 118]


def test_projecting_again_changes_nothing(session: Session) -> None:
    events = [rul(1, 1, 40), due(2, 1), rul(3, 2, 30), cleared(4, 2), rul(5, 3, 29), due(6, 3)]

    def state() -> list[Any]:
        session.expire_all()
        return [
            row.model_dump()
            for table in (Machine, RulPoint, MaintenanceAlarm)
            for row in session.exec(select(table)).all()
        ]

    APP.project(session, events)
    once = state()
    APP.project(session, events)
    assert state() == once
    assert len(once) == 6


def test_an_alarm_stands_with_its_reasons_until_it_is_cleared(session: Session) -> None:
    APP.project(session, [rul(1, 1, 40), due(2, 1)])
    machine = session.get(Machine, "engine-1")
    assert machine is not None
    assert (machine.due, machine.explanation, machine.horizon_cycles) == (True, "Ps30,phi", 25.0)
    APP.project(session, [rul(3, 2, 39)])
    session.refresh(machine)
    assert machine.due
    APP.project(session, [cleared(4, 2)])
    session.refresh(machine)
    assert (machine.due, machine.explanation, machine.horizon_cycles) == (False, "", 25.0)


def test_an_alarm_is_kept_with_where_it_was_raised_and_ended(session: Session) -> None:
    APP.project(session, [rul(1, 1, 40), due(2, 1), cleared(3, 9), due(4, 12), due(5, 3, run=1)])
    kept = session.exec(
        select(MaintenanceAlarm).order_by(col(MaintenanceAlarm.run), col(MaintenanceAlarm.cycle))
    ).all()
    assert [(a.run, a.cycle, a.cleared_cycle) for a in kept] == [(0, 1, 9), (0, 12, None), (1, 3, None)]
    assert list(kept[0].sensors.items()) == [("Ps30", 9.5), ("phi", 4.0)]


def test_what_is_not_known_has_no_numbers_and_comes_first(session: Session) -> None:
    APP.project(session, [rul(1, 1, 40), due(2, 1), unknown(3, 1, "engine-2")])
    found = session.exec(select(Machine).order_by(col(Machine.rank))).all()
    assert [(machine.machine, machine.rul_cycles, machine.withheld) for machine in found] == [
        ("engine-2", None, "novel"),
        ("engine-1", 40, ""),
    ]
    assert found[0].reason == "unlike anything"
    summary = summary_of(session)
    assert (summary.machines, summary.unknown, summary.faulty) == (2, 1, 0)
    assert summary.lowest_rul is not None
    assert summary.lowest_rul.machine == "engine-1"
    APP.project(session, [rul(4, 2, 30, machine="engine-2")])
    assert summary_of(session).unknown == 0


def test_an_alarm_stands_while_the_remaining_life_is_not_known(session: Session) -> None:
    why = RulWithheld(run=0, cycle=2, withheld="novel", reason="unlike anything", version="v1")
    APP.project(session, [rul(1, 1, 20), due(2, 1), unknown(3, 2), received(4, why)])
    machine = session.get(Machine, "engine-1")
    assert machine is not None
    assert (machine.rul_cycles, machine.due, machine.explanation) == (None, True, "Ps30,phi")
    (alarm,) = session.exec(select(MaintenanceAlarm)).all()
    assert alarm.cleared_cycle is None
    assert (summary_of(session).due, summary_of(session).unknown) == (1, 1)


def test_sensor_faults_stand_until_they_end(session: Session) -> None:
    fault = SensorFaultBegan(
        run=0, cycle=2, sensor="T24", why="range", value=0.0, since_cycle=2, text="T24 reads 0", version="v1"
    )
    APP.project(session, [rul(1, 1, 40), received(2, fault), rul(3, 2, 40)])
    machine = session.get(Machine, "engine-1")
    assert machine is not None
    assert machine.sensor_faults == {"T24": "T24 reads 0"}
    assert summary_of(session).faulty == 1
    ended = SensorFaultEnded(run=0, cycle=9, sensor="T24", why="range", since_cycle=2, version="v1")
    APP.project(session, [received(4, ended)])
    session.refresh(machine)
    assert machine.sensor_faults == {}
    assert summary_of(session).faulty == 0
