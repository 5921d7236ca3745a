"""The cloud's side of the industrial app: machines by horizon, RUL curves, work orders, live error.

A machine is known by its asset identity (the event's ``subject``), which is unique in the fleet; a *run*
is its life between two overhauls. Projections are one row a cycle (`RulPoint`) and one a machine
(`Machine`); both are filled with conflict-tolerant inserts, so projecting again changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Field as Column
from sqlmodel import Session, SQLModel

from apps.industrial.features import RUL_CAP_CYCLES
from common.app import Label, ReceivedEvent

APP = "industrial"


class RulPoint(SQLModel, table=True):
    """What the edge said about one cycle of one run."""

    __tablename__ = "industrial_rul"
    __table_args__ = {"sqlite_with_rowid": False}
    machine: str = Column(primary_key=True)
    run: int = Column(primary_key=True)
    cycle: int = Column(primary_key=True)
    rul_cycles: float
    lower_cycles: float
    upper_cycles: float
    novelty: float
    version: str
    time_ns: int = Column(sa_type=sa.BigInteger)


class Machine(SQLModel, table=True):
    """The latest state of one machine."""

    __tablename__ = "industrial_machine"
    __table_args__ = (sa.Index("industrial_machine_horizon", "lower_cycles", "machine"),)
    machine: str = Column(primary_key=True)
    site: str
    node: str
    run: int
    cycle: int
    rul_cycles: float
    lower_cycles: float
    upper_cycles: float
    novelty: float
    version: str
    due: bool = False
    """Whether the maintenance alarm stands."""
    explanation: str = ""
    """Sensors behind the standing alarm, strongest first."""
    time_ns: int = Column(sa_type=sa.BigInteger)


class WorkOrder(BaseModel):
    """A closed work order: what turned out to be true about one run of a machine.

    ``failure``: the machine failed at ``cycle``. ``inspection``: at ``cycle`` it was found to have
    ``remaining_cycles`` left.
    """

    machine: str = Field(min_length=1, max_length=200)
    run: int = Field(ge=0)
    kind: str = Field(pattern="^(failure|inspection)$")
    cycle: int = Field(ge=1, le=100_000)
    remaining_cycles: int = Field(default=0, ge=0, le=100_000)
    note: str = Field(default="", max_length=2000)


class MachinePublic(BaseModel):
    """A machine as the API shows it."""

    machine: str
    site: str
    node: str
    run: int
    cycle: int
    rul_cycles: float
    lower_cycles: float
    upper_cycles: float
    novelty: float
    version: str
    due: bool
    explanation: list[str]
    time_ns: int


class Outcome(BaseModel):
    """A closed run beside what the edge had said while it lasted."""

    machine: str
    run: int
    kind: str
    end_cycle: int
    points: int
    rmse_cycles: float | None
    versions: list[str]
    created_ns: int


class IndustrialCloud:
    """`common.app.CloudApp` of the industrial app."""

    schema_version = 1

    def tables(self) -> Sequence[type[SQLModel]]:
        return (RulPoint, Machine)

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        points: list[dict[str, Any]] = []
        machines: dict[str, dict[str, Any]] = {}
        alarms: list[ReceivedEvent] = []
        for event in events:
            if event.type == "industrial.rul":
                point = _point(event)
                points.append(point)
                machines[event.subject] = point | {"site": event.site, "node": event.node}
            elif event.type in ("industrial.maintenance_due", "industrial.maintenance_cleared"):
                alarms.append(event)
        if points:
            connection = session.connection()
            connection.execute(_insert(session, RulPoint).on_conflict_do_nothing(), points)
            insert = _insert(session, Machine)
            newer = {
                name: insert.excluded[name] for name in next(iter(machines.values())) if name != "machine"
            }
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["machine"], set_=newer, where=insert.excluded.time_ns >= Machine.time_ns
                ),
                list(machines.values()),
            )
        for event in alarms:
            data = event.data
            due = event.type == "industrial.maintenance_due"
            session.execute(
                sa.update(Machine)
                .where(Machine.machine == event.subject)  # type: ignore[arg-type]
                .values(due=due, explanation=",".join(data.get("sensors", [])) if due else "")
            )

    def router(self, deps: Any) -> APIRouter:
        return _router(deps)


class _Rul(msgspec.Struct, frozen=True):
    """Data of ``industrial.rul``."""

    run: int
    cycle: int
    rul_cycles: float
    lower_cycles: float
    upper_cycles: float
    novelty: float
    version: str


_decode_rul = msgspec.json.Decoder(_Rul).decode


def _point(event: ReceivedEvent) -> dict[str, Any]:
    rul = _decode_rul(event.body)
    return {
        "machine": event.subject,
        "run": rul.run,
        "cycle": rul.cycle,
        "rul_cycles": rul.rul_cycles,
        "lower_cycles": rul.lower_cycles,
        "upper_cycles": rul.upper_cycles,
        "novelty": rul.novelty,
        "version": rul.version,
        "time_ns": event.time_ns,
    }


def _insert(session: Session, table: type[SQLModel]) -> Any:
    dialect = session.get_bind().dialect.name
    return (postgresql if dialect == "postgresql" else sqlite).insert(table.__table__)  # type: ignore[attr-defined]


def _public(machine: Machine) -> MachinePublic:
    fields = machine.model_dump()
    return MachinePublic(**fields | {"explanation": [s for s in machine.explanation.split(",") if s]})


def outcome_of(session: Session, label: Label) -> Outcome:
    """Error of the edge's predictions over a closed run, RUL capped as in training."""
    run = int(label.group.rpartition("/run-")[2])
    end = int(label.body["cycle"]) + int(label.body.get("remaining_cycles", 0))
    remaining = sa.case((end - RulPoint.cycle > RUL_CAP_CYCLES, RUL_CAP_CYCLES), else_=end - RulPoint.cycle)
    of_run = (RulPoint.machine == label.subject, RulPoint.run == run, RulPoint.cycle <= end)
    error = remaining - RulPoint.rul_cycles
    count, mean_square = session.execute(
        sa.select(sa.func.count(), sa.func.avg(error * error)).where(*of_run)
    ).one()
    versions = session.scalars(sa.select(RulPoint.version).where(*of_run).distinct()).all()
    return Outcome(
        machine=label.subject,
        run=run,
        kind=label.kind,
        end_cycle=end,
        points=count,
        rmse_cycles=float(mean_square) ** 0.5 if count else None,
        versions=sorted(versions),
        created_ns=label.created_ns,
    )


def _router(deps: Any) -> APIRouter:
    router = APIRouter(tags=["industrial"])

    @router.get("/machines")
    def machines_by_horizon(
        session: Session = deps.session,
        limit: int = Query(50, ge=1, le=500),
        cursor: str | None = Query(None, max_length=300),
    ) -> dict[str, Any]:
        """Machines, the one with the least certain remaining life first."""
        query = sa.select(Machine).order_by(Machine.lower_cycles, Machine.machine).limit(limit + 1)  # type: ignore[arg-type]
        if cursor:
            lower, machine = _parse_cursor(cursor)
            query = query.where(sa.tuple_(Machine.lower_cycles, Machine.machine) > sa.tuple_(lower, machine))  # type: ignore[arg-type]
        rows = session.scalars(query).all()
        following = (
            f"{rows[limit - 1].lower_cycles!r}|{rows[limit - 1].machine}" if len(rows) > limit else None
        )
        return {"items": [_public(row) for row in rows[:limit]], "next": following}

    @router.get("/machines/{machine}")
    def one_machine(machine: str, session: Session = deps.session) -> MachinePublic:
        """The latest state of one machine."""
        row = session.get(Machine, machine)
        if row is None:
            raise HTTPException(404, f"no machine {machine!r} has reported yet")
        return _public(row)

    @router.get("/machines/{machine}/runs/{run}")
    def rul_curve(
        machine: str,
        run: int,
        session: Session = deps.session,
        after_cycle: int = Query(0, ge=0),
        limit: int = Query(500, ge=1, le=500),
    ) -> list[RulPoint]:
        """RUL with its interval over one run, cycle by cycle."""
        query = (
            sa.select(RulPoint)
            .where(RulPoint.machine == machine, RulPoint.run == run, RulPoint.cycle > after_cycle)  # type: ignore[arg-type]
            .order_by(RulPoint.cycle)  # type: ignore[arg-type]
            .limit(limit)
        )
        return list(session.scalars(query))

    @router.post("/work-orders", status_code=201, dependencies=[deps.admin])
    def close_work_order(order: WorkOrder, session: Session = deps.session) -> Outcome:
        """Take a closed work order as the label of a run, and tell how good the edge had been on it."""
        label = Label(
            app=APP,
            subject=order.machine,
            group=f"{order.machine}/run-{order.run}",
            kind=order.kind,
            body={"cycle": order.cycle, "remaining_cycles": order.remaining_cycles, "note": order.note},
            source="work-order",
            created_ns=time.time_ns(),
        )
        deps.add_label(session, label)
        session.commit()
        return outcome_of(session, label)

    return router


def _parse_cursor(cursor: str) -> tuple[float, str]:
    lower, _, machine = cursor.partition("|")
    try:
        return float(lower), machine
    except ValueError:
        raise HTTPException(422, f"{cursor[:50]!r} is not a cursor of this list") from None
