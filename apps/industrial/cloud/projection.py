"""The cloud's side of the industrial app: machines by horizon, RUL curves, work orders, live error.

A machine is known by its asset identity (the event's ``subject``), which is unique in the fleet; a *run*
is its life between two overhauls. Projections (`apps.industrial.cloud.tables`) are filled with
conflict-tolerant inserts, so projecting again changes nothing. The routes are in
`apps.industrial.cloud.routes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter
from sqlmodel import Session, SQLModel

from apps.industrial.cloud.routes import make_router
from apps.industrial.cloud.tables import UNKNOWN_RANK, Machine, MaintenanceAlarm, RulPoint, insert_into
from common.app.cloud import ReceivedEvent

WORD_LIMIT, TEXT_LIMIT = 40, 300
"""Most characters of a word and of a sentence that are kept."""
FAULTS_LIMIT = 48
"""Most sensor faults of a machine that are kept."""


class IndustrialCloud:
    """`common.app.cloud.CloudApp` of the industrial app."""

    schema_version = 4

    def tables(self) -> Sequence[type[SQLModel]]:
        return (RulPoint, Machine, MaintenanceAlarm)

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        points: list[dict[str, Any]] = []
        machines: dict[str, dict[str, Any]] = {}
        others: list[ReceivedEvent] = []
        for event in events:
            if event.type == "industrial.rul":
                point, reason = _point(event)
                points.append(point)
                machines[event.subject] = point | {
                    "site": event.site,
                    "node": event.node,
                    "rank": UNKNOWN_RANK if point["lower_cycles"] is None else point["lower_cycles"],
                    "reason": reason,
                }
            elif event.type in _PROJECTED:
                others.append(event)
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
        for event in others:
            _PROJECTED[event.type](session, event)

    def router(self, deps: Any) -> APIRouter:
        return make_router(deps)


class _Rul(msgspec.Struct, frozen=True):
    """Data of ``industrial.rul``."""

    run: int
    cycle: int
    rul_cycles: float | None
    lower_cycles: float | None
    upper_cycles: float | None
    novelty: float
    version: str
    withheld: str = ""
    reason: str = ""


class _Due(msgspec.Struct, frozen=True):
    """Data of ``industrial.maintenance_due``."""

    run: int
    cycle: int
    horizon_cycles: float
    sensors: list[str]
    sensor_cycles: list[float]
    version: str


class _Cleared(msgspec.Struct, frozen=True):
    """Data of ``industrial.maintenance_cleared``."""

    run: int
    cycle: int
    reason: str = ""


class _SensorFault(msgspec.Struct, frozen=True):
    """Data of ``industrial.sensor_fault`` and ``industrial.sensor_fault_ended``."""

    sensor: str
    text: str = ""


_decode_rul = msgspec.json.Decoder(_Rul).decode


def _point(event: ReceivedEvent) -> tuple[dict[str, Any], str]:
    """The row of a cycle, and why its RUL is withheld."""
    rul = _decode_rul(event.body)
    point = {
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
    return point, rul.reason[:TEXT_LIMIT]


def _raise_alarm(session: Session, event: ReceivedEvent) -> None:
    due = msgspec.json.decode(event.body, type=_Due)
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
        .where(Machine.machine == event.subject)  # type: ignore[arg-type]
        .values(due=True, explanation=",".join(due.sensors), horizon_cycles=due.horizon_cycles)
    )


def _clear_alarm(session: Session, event: ReceivedEvent) -> None:
    cleared = msgspec.json.decode(event.body, type=_Cleared)
    raised = MaintenanceAlarm
    session.execute(
        sa.update(raised)
        .where(raised.machine == event.subject, raised.run == cleared.run, raised.cycle <= cleared.cycle)  # type: ignore[arg-type]
        .where(raised.cleared_cycle.is_(None))  # type: ignore[union-attr]
        .values(cleared_cycle=cleared.cycle, reason=cleared.reason)
    )
    session.execute(
        sa.update(Machine)
        .where(Machine.machine == event.subject)  # type: ignore[arg-type]
        .values(due=False, explanation="")
    )


def _begin_fault(session: Session, event: ReceivedEvent) -> None:
    fault = msgspec.json.decode(event.body, type=_SensorFault)
    faults = _faults(session, event.subject)
    if len(faults) < FAULTS_LIMIT:
        _set_faults(session, event.subject, faults | {fault.sensor[:WORD_LIMIT]: fault.text[:TEXT_LIMIT]})


def _end_fault(session: Session, event: ReceivedEvent) -> None:
    ended = msgspec.json.decode(event.body, type=_SensorFault)
    faults = _faults(session, event.subject)
    faults.pop(ended.sensor[:WORD_LIMIT], None)
    _set_faults(session, event.subject, faults)


def _faults(session: Session, machine: str) -> dict[str, str]:
    found = session.execute(sa.select(Machine.sensor_faults).where(Machine.machine == machine)).scalar()  # type: ignore[call-overload]
    return dict(found or {})


def _set_faults(session: Session, machine: str, faults: dict[str, str]) -> None:
    session.execute(sa.update(Machine).where(Machine.machine == machine).values(sensor_faults=faults))  # type: ignore[arg-type]


_PROJECTED: dict[str, Callable[[Session, ReceivedEvent], None]] = {
    "industrial.maintenance_due": _raise_alarm,
    "industrial.maintenance_cleared": _clear_alarm,
    "industrial.sensor_fault": _begin_fault,
    "industrial.sensor_fault_ended": _end_fault,
}
