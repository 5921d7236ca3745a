"""The cloud's side of the industrial app: machines by horizon, RUL curves, work orders, live error.

A machine is known by its asset identity (the event's ``subject``), which is unique in the fleet; a *run*
is its life between two overhauls. Projections (`apps.industrial.cloud.tables`) are filled with
conflict-tolerant inserts, so projecting again changes nothing. The routes are in
`apps.industrial.cloud.routes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter
from sqlmodel import Session, SQLModel, col

from apps.industrial.cloud.routes import make_router
from apps.industrial.cloud.tables import UNKNOWN_RANK, Machine, MaintenanceAlarm, RulPoint
from apps.industrial.events import (
    EVENTS,
    MaintenanceCleared,
    MaintenanceDue,
    Rul,
    SensorFaultBegan,
    SensorFaultEnded,
)
from common.app.cloud import ReceivedEvent, RouteDeps
from common.app.events import EventData
from common.app.projection import insert_into

WORD_LIMIT, TEXT_LIMIT = 40, 300
"""Maximum length of a stored word and of a stored sentence, in characters."""
FAULTS_LIMIT = 48
"""Maximum number of stored sensor faults of a machine."""


class IndustrialCloud:
    """`common.app.cloud.CloudApp` of the industrial app."""

    schema_version = 4

    def tables(self) -> Sequence[type[SQLModel]]:
        return (RulPoint, Machine, MaintenanceAlarm)

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        points: list[dict[str, Any]] = []
        machines: dict[str, dict[str, Any]] = {}
        others: list[tuple[ReceivedEvent, EventData]] = []
        for event in events:
            data = EVENTS.decode(event)
            if isinstance(data, Rul):
                point = _point(event, data)
                points.append(point)
                machines[event.subject] = point | {
                    "site": event.site,
                    "node": event.node,
                    "rank": UNKNOWN_RANK if data.lower_cycles is None else data.lower_cycles,
                    "reason": data.reason[:TEXT_LIMIT],
                }
            elif data is not None:
                others.append((event, data))
        if points:
            connection = session.connection()
            connection.execute(insert_into(session, RulPoint).on_conflict_do_nothing(), points)
            insert = insert_into(session, Machine)
            newer = {
                name: insert.excluded[name] for name in next(iter(machines.values())) if name != "machine"
            }
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["machine"], set_=newer, where=insert.excluded.time_ns >= Machine.time_ns
                ),
                list(machines.values()),
            )
        for event, data in others:
            match data:
                case MaintenanceDue():
                    _raise_alarm(session, event, data)
                case MaintenanceCleared():
                    _clear_alarm(session, event, data)
                case SensorFaultBegan():
                    _begin_fault(session, event, data)
                case SensorFaultEnded():
                    _end_fault(session, event, data)
                case _:  # kept, without a table
                    pass

    def router(self, deps: RouteDeps) -> APIRouter:
        return make_router(deps)


def _point(event: ReceivedEvent, rul: Rul) -> dict[str, Any]:
    """The row of a cycle."""
    return {
        "machine": event.subject,
        "run": rul.run,
        "cycle": rul.cycle,
        "rul_cycles": rul.rul_cycles,
        "lower_cycles": rul.lower_cycles,
        "upper_cycles": rul.upper_cycles,
        "novelty": rul.novelty,
        "withheld": rul.withheld[:WORD_LIMIT],
        "version": rul.version,
        "time_ns": event.time_ns,
        "time_quality": event.time_quality,
    }


def _raise_alarm(session: Session, event: ReceivedEvent, due: MaintenanceDue) -> None:
    alarm = {
        "machine": event.subject,
        "run": due.run,
        "cycle": due.cycle,
        "horizon_cycles": due.horizon_cycles,
        "sensors": dict(zip(due.sensors, due.sensor_cycles, strict=True)),
        "version": due.version,
        "time_ns": event.time_ns,
        "time_quality": event.time_quality,
    }
    session.execute(insert_into(session, MaintenanceAlarm).values(**alarm).on_conflict_do_nothing())
    session.execute(
        sa.update(Machine)
        .where(col(Machine.machine) == event.subject)
        .values(due=True, explanation=",".join(due.sensors), horizon_cycles=due.horizon_cycles)
    )


def _clear_alarm(session: Session, event: ReceivedEvent, cleared: MaintenanceCleared) -> None:
    raised = MaintenanceAlarm
    session.execute(
        sa.update(raised)
        .where(col(raised.machine) == event.subject, col(raised.run) == cleared.run)
        .where(col(raised.cycle) <= cleared.cycle, col(raised.cleared_cycle).is_(None))
        .values(cleared_cycle=cleared.cycle, reason=cleared.reason)
    )
    session.execute(
        sa.update(Machine).where(col(Machine.machine) == event.subject).values(due=False, explanation="")
    )


def _begin_fault(session: Session, event: ReceivedEvent, fault: SensorFaultBegan) -> None:
    faults = _faults(session, event.subject)
    if len(faults) < FAULTS_LIMIT:
        _set_faults(session, event.subject, faults | {fault.sensor[:WORD_LIMIT]: fault.text[:TEXT_LIMIT]})


def _end_fault(session: Session, event: ReceivedEvent, ended: SensorFaultEnded) -> None:
    faults = _faults(session, event.subject)
    faults.pop(ended.sensor[:WORD_LIMIT], None)
    _set_faults(session, event.subject, faults)


def _faults(session: Session, machine: str) -> dict[str, str]:
    found = session.execute(
        sa.select(col(Machine.sensor_faults)).where(col(Machine.machine) == machine)
    ).scalar()
    return dict(found or {})


def _set_faults(session: Session, machine: str, faults: dict[str, str]) -> None:
    session.execute(sa.update(Machine).where(col(Machine.machine) == machine).values(sensor_faults=faults))
