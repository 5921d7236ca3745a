"""Work orders: the outcome of a run, beside what the edge predicted during it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, Field
from sqlmodel import Session, col

from apps.industrial.cloud.tables import RulPoint
from apps.industrial.domain import RUL_CAP_CYCLES
from common.app.training import Label

APP = "industrial"
KINDS = ("failure", "inspection")


class WorkOrder(BaseModel):
    """A closed work order: the outcome of one run of a machine.

    ``failure``: the machine failed at ``cycle``. ``inspection``: at ``cycle`` it was found to have
    ``remaining_cycles`` left.
    """

    machine: str = Field(min_length=1, max_length=200)
    run: int = Field(ge=0)
    kind: str = Field(pattern="^(failure|inspection)$")
    cycle: int = Field(ge=1, le=100_000)
    remaining_cycles: int = Field(default=0, ge=0, le=100_000)
    note: str = Field(default="", max_length=2000)


class Outcome(BaseModel):
    """A closed run with the error of the edge's predictions.

    ``rmse_cycles`` is the error over the run, ``bias_cycles`` its mean (above 0: predictions too high), over
    the ``points`` with a remaining life. Both are None without any.
    """

    machine: str
    run: int
    kind: str
    cycle: int
    remaining_cycles: int
    end_cycle: int
    note: str
    source: str
    points: int
    withheld: int
    """Cycles with an unknown remaining life."""
    rmse_cycles: float | None
    bias_cycles: float | None
    versions: list[str]
    created_ns: int


def group_of(machine: str, run: int) -> str:
    """The group of a run's samples and labels."""
    return f"{machine}/run-{run}"


def label_of(order: WorkOrder) -> Label:
    """A work order as the label of its run."""
    return Label(
        app=APP,
        subject=order.machine,
        group=group_of(order.machine, order.run),
        kind=order.kind,
        body={"cycle": order.cycle, "remaining_cycles": order.remaining_cycles, "note": order.note},
        source="work-order",
        created_ns=time.time_ns(),
    )


def is_work_order(label: Label) -> bool:
    """Whether a label is the outcome of a run; any label can be stored through the API."""
    return (
        label.kind in KINDS
        and label.group.rpartition("/run-")[2].isdecimal()
        and _whole(label.body, "cycle") is not None
        and _whole(label.body, "remaining_cycles", 0) is not None
    )


def outcome_of(session: Session, label: Label) -> Outcome:
    """Error of the edge's predictions over a closed run, RUL capped as in training."""
    run = int(label.group.rpartition("/run-")[2])
    cycle, left = int(label.body["cycle"]), int(label.body.get("remaining_cycles", 0))
    end = cycle + left
    point = col(RulPoint.cycle)
    remaining = sa.case((end - point > RUL_CAP_CYCLES, RUL_CAP_CYCLES), else_=end - point)
    of_run = (col(RulPoint.machine) == label.subject, col(RulPoint.run) == run, point <= end)
    rul = col(RulPoint.rul_cycles)
    error = rul - remaining
    count, cycles, mean_square, mean = session.execute(
        sa.select(
            sa.func.count(rul),
            sa.func.count(),
            sa.func.avg(error * error),
            sa.func.avg(error),
        ).where(*of_run)
    ).one()
    versions = session.scalars(sa.select(col(RulPoint.version)).where(*of_run).distinct()).all()
    return Outcome(
        machine=label.subject,
        run=run,
        kind=label.kind,
        cycle=cycle,
        remaining_cycles=left,
        end_cycle=end,
        note=str(label.body.get("note", "")),
        source=label.source,
        points=count,
        withheld=cycles - count,
        rmse_cycles=float(mean_square) ** 0.5 if count else None,
        bias_cycles=float(mean) if count else None,
        versions=sorted(versions),
        created_ns=label.created_ns,
    )


def _whole(body: Mapping[str, Any], name: str, default: int | None = None) -> int | None:
    value = body.get(name, default)
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
