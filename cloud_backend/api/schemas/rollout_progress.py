"""Progress of a rollout: the queries, and the public form."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from pydantic import BaseModel, Field
from sqlalchemy import func, or_, select
from sqlmodel import Session, col

from cloud_backend.ota.node_status import (
    LastStep,
    NodeStatus,
    ReachedNode,
    RolloutStatus,
    failures_to_revert,
    node_statuses,
    states,
)
from cloud_backend.ota.rollout_rows import reports_of
from cloud_backend.ota.waves import Outcome
from cloud_backend.store.tables import Adoption, Node, RolloutRow
from common.config.cloud import RolloutSettings
from common.deployment import Constraint, NodeTraits, matches

NODES_LIMIT = 200
"""Maximum number of listed nodes; all are counted."""


class WaveProgress(BaseModel):
    """A wave: the nodes that it adds to those of earlier waves."""

    number: int = Field(description="1 is the first")
    share: float = Field(description="cumulative share of the nodes at its end")
    state: str = Field(description="waiting, running, done or stopped")
    nodes: int
    states: dict[str, int] = Field(description="number of its nodes by state")


class DecisionCounts(BaseModel):
    """Counts that decide the current wave, over all nodes of the waves so far."""

    nodes: int
    adopted: int
    failed: int
    silent: int
    waiting: int
    pending: int = Field(
        description="not seen since their wave began, or unable to check for updates; not counted"
    )
    withdrawn: int = Field(description="taken back by an operator; not counted")
    failures_to_revert: int = Field(description="number of failed or silent nodes that reverts the rollout")
    deadline_ns: int = Field(description="time after which a node without answer counts as silent")


class RolloutNode(BaseModel):
    """State of one node; ``version`` is the one that it runs."""

    node: str
    site: str
    virtual: bool
    version: str
    wave: int
    state: str
    outcome: str | None
    step: str
    reason: str
    time_ns: int
    problem: str = Field(description="why the node cannot check for updates; empty if it can")

    @classmethod
    def of(cls, found: NodeStatus) -> RolloutNode:
        return cls(
            node=found.node,
            site=found.site,
            virtual=found.virtual,
            version=found.version,
            wave=found.wave + 1,
            state=found.state,
            outcome=found.outcome,
            step=found.step,
            reason=found.reason,
            time_ns=found.time_ns,
            problem=found.problem,
        )


class ProgressPublic(BaseModel):
    """Progress of a rollout by wave and by node."""

    id: str
    app: str
    version: str
    state: str
    waves: list[WaveProgress]
    states: dict[str, int] = Field(description="number of nodes by state, over all waves")
    problems: dict[str, int] = Field(description="number of nodes that cannot check for updates, by reason")
    decision: DecisionCounts | None = Field(description="null after the end of the rollout")
    nodes_total: int
    nodes: list[RolloutNode] = Field(description="at most 200, failed nodes first")


def progress_of(
    session: Session, row: RolloutRow, settings: RolloutSettings, started_ns: int, now_ns: int
) -> ProgressPublic:
    """Read the progress of a rollout; ``started_ns`` is the start of this cloud."""
    rollout = RolloutStatus(
        id=row.id,
        version=row.version,
        state=row.state,
        waves=row.waves,
        wave=row.wave,
        began_ns=max(row.wave_started_ns, started_ns),
        deadline_s=row.soak_s + settings.silence_s,
        failure_share=settings.failure_share,
    )
    found = node_statuses(
        rollout,
        _reached(session, row, settings),
        _last_steps(session, row),
        reports_of(session, row),
        now_ns if row.ended_ns is None else row.ended_ns,
    )
    return ProgressPublic(
        id=row.id,
        app=row.app,
        version=row.version,
        state=row.state,
        waves=[_wave(rollout, number, found) for number in range(len(row.waves))],
        states=states(found),
        problems=dict(Counter(each.problem for each in found if each.problem)),
        decision=_decision_counts(rollout, found) if row.ended_ns is None else None,
        nodes_total=len(found),
        nodes=[RolloutNode.of(each) for each in found[:NODES_LIMIT]],
    )


def _wave(rollout: RolloutStatus, number: int, found: list[NodeStatus]) -> WaveProgress:
    own = [each for each in found if each.wave == number]
    if number > rollout.wave:
        state = "waiting" if rollout.state == "running" else "stopped"
    elif number < rollout.wave or rollout.state == "done":
        state = "done"
    else:
        state = "running" if rollout.state == "running" else "stopped"
    return WaveProgress(
        number=number + 1, share=rollout.waves[number], state=state, nodes=len(own), states=states(own)
    )


def _decision_counts(rollout: RolloutStatus, found: list[NodeStatus]) -> DecisionCounts:
    outcomes = Counter(each.outcome for each in found if each.outcome is not None)
    nodes = sum(outcomes.values())
    return DecisionCounts(
        nodes=nodes,
        adopted=outcomes[Outcome.ADOPTED],
        failed=outcomes[Outcome.FAILED],
        silent=outcomes[Outcome.SILENT],
        waiting=outcomes[Outcome.WAITING],
        pending=outcomes[Outcome.PENDING],
        withdrawn=outcomes[Outcome.WITHDRAWN],
        failures_to_revert=failures_to_revert(
            rollout, nodes - outcomes[Outcome.WITHDRAWN] - outcomes[Outcome.PENDING]
        ),
        deadline_ns=rollout.began_ns + int(rollout.deadline_s * 1e9),
    )


def _reached(session: Session, row: RolloutRow, settings: RolloutSettings) -> list[ReachedNode]:
    """The nodes of the rollout: seen around its time, or with a report of it.

    Nodes that were retired before the end of the rollout are excluded.
    """
    oldest_ns = row.created_ns - int(settings.max_absence_s * 1e9)
    reported = select(col(Adoption.node)).where(col(Adoption.rollout) == row.id)
    query: Any = select(
        col(Node.name),
        col(Node.site),
        col(Node.profile),
        col(Node.tags),
        col(Node.virtual),
        col(Node.version),
        col(Node.enrolled_ns),
        col(Node.last_seen_ns),
        col(Node.update_problem),
    ).where(
        col(Node.app) == row.app,
        or_(col(Node.last_seen_ns) >= oldest_ns, col(Node.name).in_(reported)),
    )
    if row.ended_ns is None:
        query = query.where(col(Node.retired_ns) == 0)
    else:
        query = query.where(col(Node.enrolled_ns) <= row.ended_ns)
        query = query.where(or_(col(Node.retired_ns) == 0, col(Node.retired_ns) > row.ended_ns))
    bound = msgspec.convert(row.constraint, Constraint)
    return [
        ReachedNode(
            name, site, virtual, version, enrolled_ns, seen_ns, problem if row.ended_ns is None else ""
        )
        for name, site, profile, tags, virtual, version, enrolled_ns, seen_ns, problem in session.execute(
            query
        )
        if matches(bound, NodeTraits(name, site, profile, tuple(tags)))
    ]


def _last_steps(session: Session, row: RolloutRow) -> list[LastStep]:
    rank = func.row_number().over(
        partition_by=col(Adoption.node),
        order_by=(
            col(Adoption.received_ns).desc(),
            col(Adoption.stream_id).desc(),
            col(Adoption.seq).desc(),
        ),
    )
    ranked = (
        select(
            col(Adoption.node),
            col(Adoption.step),
            col(Adoption.reason),
            col(Adoption.time_ns),
            rank.label("rank"),
        )
        .where(col(Adoption.rollout) == row.id, col(Adoption.version) == row.version)
        .subquery()
    )
    query = select(ranked.c.node, ranked.c.step, ranked.c.reason, ranked.c.time_ns).where(ranked.c.rank == 1)
    return [LastStep(*found) for found in session.execute(query)]
