"""Status of each node of a rollout, for the pages and commands. No I/O, no clock of its own. Rules:

- A node belongs to the first wave that reaches it, by the nodes' own arithmetic (`common.deployment`).
- Its state follows from the newest step that it reported about the rollout's version. A refusal that does
  not stay (`cloud_backend.ota.waves.TRANSIENT_REASONS`) is ``retrying``.
- A refusal or reversal by an operator's request on the node is ``withdrawn``.
- Where the rollout was reverted, a node that had switched and runs another version now is ``reverted``.
- A node that was not seen since its wave began, or cannot check for updates, is ``pending`` after the
  deadline (`cloud_backend.ota.waves`).
- What decides is counted over the nodes that the present wave has reached, as `decide` counts it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cloud_backend.ota.waves import OPERATOR, TRANSIENT_REASONS, Member, NodeReport, Outcome, outcomes
from common.deployment import position_of


class State(StrEnum):
    """State of a node in a rollout; the order is that of a list with trouble first."""

    REVERTED = "reverted"
    REFUSED = "refused"
    RETRYING = "retrying"
    SOAKING = "soaking"
    SHADOW = "shadow"
    DOWNLOADING = "downloading"
    WAITING = "waiting"
    PENDING = "pending"
    WITHDRAWN = "withdrawn"
    CONFIRMED = "confirmed"


_STATES: Mapping[str, State] = {
    "offered": State.DOWNLOADING,
    "downloaded": State.DOWNLOADING,
    "verified": State.DOWNLOADING,
    "golden": State.SHADOW,
    "shadow": State.SOAKING,
    "switched": State.SOAKING,
    "confirmed": State.CONFIRMED,
    "reverted": State.REVERTED,
    "refused": State.REFUSED,
}
_ORDER = {state: number for number, state in enumerate(State)}
_SWITCHED = (State.SOAKING, State.CONFIRMED)


@dataclass(frozen=True, slots=True)
class ReachedNode:
    """A node that the rollout reaches; ``version`` is its live model.

    ``problem`` is the reason why it cannot check for updates, empty where it can.
    """

    node: str
    site: str
    virtual: bool
    version: str
    enrolled_ns: int
    last_seen_ns: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LastStep:
    """The newest step that a node reported about the rollout's version."""

    node: str
    step: str
    reason: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """A rollout: its version, its waves as shares, its present wave, and the rules that judge it."""

    id: str
    version: str
    state: str
    waves: Sequence[float]
    wave: int
    began_ns: int
    """Begin of the present wave, or of the cloud if that was later."""
    deadline_s: float
    failure_share: float


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Status of one node; ``wave`` counts from 0, ``outcome`` is None before the begin of its wave."""

    node: str
    site: str
    virtual: bool
    version: str
    wave: int
    state: State
    outcome: Outcome | None
    step: str
    reason: str
    time_ns: int
    problem: str = ""


def node_statuses(
    rollout: RolloutStatus,
    reached: Iterable[ReachedNode],
    last: Iterable[LastStep],
    reports: Iterable[NodeReport],
    now_ns: int,
) -> list[NodeStatus]:
    """Every node of the rollout, trouble first. ``reports`` are those of `outcomes`."""
    nodes = list(reached)
    waves = {node.node: _wave_of(node.node, rollout) for node in nodes}
    members = [
        member_of(node.node, max(rollout.began_ns, node.enrolled_ns), node.last_seen_ns, node.problem)
        for node in nodes
        if waves[node.node] <= rollout.wave
    ]
    found = outcomes(members, reports, now_ns, rollout.deadline_s)
    steps = {step.node: step for step in last}
    all_ = [
        _status_of(rollout, node, waves[node.node], steps.get(node.node), found.get(node.node))
        for node in nodes
    ]
    silent = Outcome.SILENT
    return sorted(all_, key=lambda each: (each.outcome != silent, _ORDER[each.state], each.wave, each.node))


def member_of(node: str, since_ns: int, last_seen_ns: int, problem: str) -> Member:
    """A node of a wave; its deadline runs from ``since_ns``."""
    return Member(node, since_ns, reachable=last_seen_ns >= since_ns and not problem)


def failures_to_revert(rollout: RolloutStatus, nodes: int) -> int:
    """Number of failed or silent nodes of ``nodes`` that reverts the rollout; at least one."""
    return max(1, math.ceil(rollout.failure_share * nodes - 1e-9))


def states(nodes: Iterable[NodeStatus]) -> dict[str, int]:
    """Number of nodes by state; states without nodes are left out."""
    return dict(Counter(str(each.state) for each in nodes))


def _wave_of(node: str, rollout: RolloutStatus) -> int:
    position = position_of(node, rollout.id)
    return next(number for number, share in enumerate(rollout.waves) if position < share)


def _status_of(
    rollout: RolloutStatus, node: ReachedNode, wave: int, last: LastStep | None, outcome: Outcome | None
) -> NodeStatus:
    state = _STATES.get(last.step, State.WAITING) if last is not None else State.WAITING
    if last is not None and state is State.REFUSED and last.reason in TRANSIENT_REASONS:
        state = State.RETRYING
    if last is not None and state in (State.REFUSED, State.REVERTED) and last.reason == OPERATOR:
        state = State.WITHDRAWN
    if rollout.state == "reverted" and state in _SWITCHED and node.version != rollout.version:
        state = State.REVERTED
    if outcome is Outcome.PENDING:
        state = State.PENDING
    return NodeStatus(
        node.node,
        node.site,
        node.virtual,
        node.version,
        wave,
        state,
        outcome,
        last.step if last is not None else "",
        last.reason if last is not None else "",
        last.time_ns if last is not None else 0,
        node.problem,
    )
