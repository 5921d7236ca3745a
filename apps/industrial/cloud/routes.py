"""The industrial app's routes, below ``/v1/apps/industrial``: machines, their runs, and work orders.

Each list goes by a key and gives ``next``, the cursor of what follows, or null. A machine's name may hold
slashes; the longer routes come first, so a name that ends like one of them is taken for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel
from sqlmodel import Session, col

from apps.industrial.app import IndustrialSettings
from apps.industrial.cloud.tables import UNKNOWN_RANK, Machine, MaintenanceAlarm, RulPoint
from apps.industrial.cloud.work_orders import (
    APP,
    KINDS,
    Outcome,
    WorkOrder,
    group_of,
    is_work_order,
    label_of,
    outcome_of,
)
from common.app.cloud import RouteDeps

ALARMS_LIMIT = 20
"""Maximum number of alarms of one run."""
_DEFAULT_HORIZON_CYCLES = IndustrialSettings().maintenance_horizon_cycles
_LARGEST = 2**31 - 1


class MachinePublic(BaseModel):
    """A machine as the API shows it.

    ``horizon_cycles`` is the maintenance horizon in its newest alarm; before the first, the app's default
    (``horizon_is_default``), because the settings of a node are unknown here. For an unknown remaining life,
    ``rul_cycles`` and its bounds are null, ``withheld`` is the reason in a word and ``reason`` in a sentence.
    ``sensor_faults`` describes faults by sensor.
    """

    machine: str
    site: str
    node: str
    run: int
    cycle: int
    rul_cycles: float | None
    lower_cycles: float | None
    upper_cycles: float | None
    novelty: float
    withheld: str
    reason: str
    sensor_faults: dict[str, str]
    version: str
    due: bool
    explanation: list[str]
    horizon_cycles: float
    horizon_is_default: bool
    time_ns: int
    time_quality: str


class MachinePage(BaseModel):
    """Some machines, and the cursor of those that follow."""

    items: list[MachinePublic]
    next: str | None


class Summary(BaseModel):
    """All machines in numbers; ``lowest_rul`` has the lowest certain RUL of them."""

    machines: int
    due: int
    novel: int
    """Machines whose last cycle is unlike what the model knows (novelty above 1)."""
    unknown: int
    """Machines whose remaining life is not known."""
    faulty: int
    """Machines with a sensor fault."""
    lowest_rul: MachinePublic | None


class AlarmPublic(BaseModel):
    """A maintenance alarm: ``sensors`` with the remaining life that each takes off, and its end."""

    cycle: int
    horizon_cycles: float
    sensors: dict[str, float]
    version: str
    cleared_cycle: int | None
    reason: str
    time_ns: int
    time_quality: str


class RunPublic(BaseModel):
    """A run of a machine as far as a node monitored it, with the model ``versions`` in order of name."""

    run: int
    first_cycle: int
    last_cycle: int
    points: int
    versions: list[str]
    started_ns: int
    ended_ns: int
    alarms: list[AlarmPublic]


class RunPage(BaseModel):
    """Some runs, newest first, and the cursor of those before."""

    items: list[RunPublic]
    next: int | None


class OutcomePage(BaseModel):
    """Some work orders, newest first, and the cursor of those before."""

    items: list[Outcome]
    next: int | None


def make_router(deps: RouteDeps) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["industrial"])

    @router.get("/summary")
    def summary(session: Session = deps.session) -> Summary:
        """All machines in numbers."""
        return summary_of(session)

    @router.get("/machines")
    def machines_by_horizon(
        session: Session = deps.session,
        limit: int = Query(50, ge=1, le=500),
        cursor: str | None = Query(None, max_length=300),
    ) -> MachinePage:
        """Machines of unknown remaining life, then the one with the least certain first."""
        query = sa.select(Machine).order_by(col(Machine.rank), col(Machine.machine)).limit(limit + 1)
        if cursor:
            rank, machine = _parse_cursor(cursor)
            key = sa.tuple_(col(Machine.rank), col(Machine.machine))
            query = query.where(key > sa.tuple_(rank, machine))
        rows = session.scalars(query).all()
        following = f"{rows[limit - 1].rank!r}|{rows[limit - 1].machine}" if len(rows) > limit else None
        return MachinePage(items=[_public(row) for row in rows[:limit]], next=following)

    @router.get("/machines/{machine:path}/runs/{run}")
    def rul_curve(
        machine: str,
        session: Session = deps.session,
        run: int = Path(ge=0, le=_LARGEST),
        after_cycle: int = Query(0, ge=0, le=_LARGEST),
        limit: int = Query(500, ge=1, le=500),
        newest: bool = Query(False, description="of more than `limit` cycles give the last, not the first"),
    ) -> list[RulPoint]:
        """RUL with its interval over one run, in order of the cycles."""
        query = (
            sa.select(RulPoint)
            .where(col(RulPoint.machine) == machine, col(RulPoint.run) == run)
            .where(col(RulPoint.cycle) > after_cycle)
            .order_by(col(RulPoint.cycle).desc() if newest else col(RulPoint.cycle))
            .limit(limit)
        )
        rows = list(session.scalars(query))
        return rows[::-1] if newest else rows

    @router.get("/machines/{machine:path}/runs")
    def runs_of_machine(
        machine: str,
        session: Session = deps.session,
        limit: int = Query(20, ge=1, le=100),
        cursor: int | None = Query(None, ge=0, le=_LARGEST, description="`next` of the page before"),
    ) -> RunPage:
        """Runs of a machine, newest first, each with its alarms."""
        return runs_of(session, machine, limit, cursor)

    @router.get("/machines/{machine:path}")
    def one_machine(machine: str, session: Session = deps.session) -> MachinePublic:
        """The latest state of one machine."""
        row = session.get(Machine, machine)
        if row is None:
            raise HTTPException(404, f"no machine {machine!r} has reported yet")
        return _public(row)

    @router.get("/work-orders")
    def work_orders(
        session: Session = deps.session,
        machine: str | None = Query(None, max_length=200),
        run: int | None = Query(None, ge=0, le=_LARGEST, description="only with `machine`"),
        limit: int = Query(20, ge=1, le=100),
        cursor: int | None = Query(None, ge=0, le=2**53, description="`next` of the page before"),
    ) -> OutcomePage:
        """Closed work orders, newest first, each with the error of the edge's predictions."""
        group = None if machine is None or run is None else group_of(machine, run)
        found = deps.labels(
            session, APP, subject=machine, group=group, kinds=KINDS, before=cursor, limit=limit + 1
        )
        shown = [label for _, label in found[:limit] if is_work_order(label)]
        following = found[limit - 1][0] if len(found) > limit else None
        return OutcomePage(items=[outcome_of(session, label) for label in shown], next=following)

    @router.post("/work-orders", status_code=201, dependencies=[deps.admin])
    def close_work_order(order: WorkOrder, session: Session = deps.session) -> Outcome:
        """Store a closed work order as the label of a run; returns the error of the edge's predictions."""
        label = label_of(order)
        deps.add_label(session, label)
        session.commit()
        return outcome_of(session, label)

    return router


def summary_of(session: Session) -> Summary:
    """All machines in numbers."""
    counted = sa.select(
        sa.func.count(),
        sa.func.count().filter(col(Machine.due)),
        sa.func.count().filter(col(Machine.novelty) > 1.0),
        sa.func.count().filter(col(Machine.rank) == UNKNOWN_RANK),
        sa.func.count().filter(sa.cast(col(Machine.sensor_faults), sa.String) != "{}"),
    ).select_from(Machine)
    machines, due, novel, unknown, faulty = session.execute(counted).one()
    lowest = session.scalars(
        sa.select(Machine)
        .where(col(Machine.rank) != UNKNOWN_RANK)
        .order_by(col(Machine.rank), col(Machine.machine))
        .limit(1)
    ).first()
    return Summary(
        machines=machines,
        due=due,
        novel=novel,
        unknown=unknown,
        faulty=faulty,
        lowest_rul=_public(lowest) if lowest else None,
    )


def runs_of(session: Session, machine: str, limit: int, before: int | None) -> RunPage:
    """Runs of a machine below the number ``before``, newest first."""
    run, cycle = col(RulPoint.run), col(RulPoint.cycle)
    query = (
        sa.select(
            run,
            sa.func.min(cycle),
            sa.func.max(cycle),
            sa.func.count(),
            sa.func.min(col(RulPoint.time_ns)),
            sa.func.max(col(RulPoint.time_ns)),
        )
        .where(col(RulPoint.machine) == machine)
        .group_by(run)
        .order_by(run.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(run < before)
    rows = session.execute(query).all()
    shown = rows[:limit]
    if not shown:
        return RunPage(items=[], next=None)
    versions = _versions(session, machine, shown[-1][0], shown[0][0])
    alarms = _alarms(session, machine, shown[-1][0], shown[0][0])
    items = [
        RunPublic(
            run=row[0],
            first_cycle=row[1],
            last_cycle=row[2],
            points=row[3],
            started_ns=row[4],
            ended_ns=row[5],
            versions=versions[row[0]],
            alarms=alarms[row[0]][:ALARMS_LIMIT],
        )
        for row in shown
    ]
    return RunPage(items=items, next=shown[-1][0] if len(rows) > limit else None)


def _versions(session: Session, machine: str, first: int, last: int) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    query = sa.select(col(RulPoint.run), col(RulPoint.version)).where(
        col(RulPoint.machine) == machine, col(RulPoint.run) >= first, col(RulPoint.run) <= last
    )
    for run, version in session.execute(query.distinct()):
        found[run].append(version)
    return defaultdict(list, {run: sorted(versions) for run, versions in found.items()})


def _alarms(session: Session, machine: str, first: int, last: int) -> dict[int, list[AlarmPublic]]:
    found: dict[int, list[AlarmPublic]] = defaultdict(list)
    raised = MaintenanceAlarm
    query = (
        sa.select(raised)
        .where(col(raised.machine) == machine, col(raised.run) >= first, col(raised.run) <= last)
        .order_by(col(raised.run).desc(), col(raised.cycle).desc())
        .limit(ALARMS_LIMIT * (last - first + 1))
    )
    rows: Sequence[MaintenanceAlarm] = session.scalars(query).all()
    for row in rows:
        found[row.run].append(AlarmPublic(**row.model_dump(exclude={"machine", "run"})))
    return found


def _public(machine: Machine) -> MachinePublic:
    fields = machine.model_dump(exclude={"rank"})
    fields["explanation"] = [name for name in machine.explanation.split(",") if name]
    is_default = machine.horizon_cycles is None
    if is_default:
        fields["horizon_cycles"] = _DEFAULT_HORIZON_CYCLES
    return MachinePublic(**fields, horizon_is_default=is_default)


def _parse_cursor(cursor: str) -> tuple[float, str]:
    rank, _, machine = cursor.partition("|")
    try:
        return float(rank), machine
    except ValueError:
        raise HTTPException(422, f"{cursor[:50]!r} is not a cursor of this list") from None
