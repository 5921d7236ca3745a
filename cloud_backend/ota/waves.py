"""Rules of a wave: its members, their outcomes, and the next action. No I/O, no clock of its own.

Rules of `decide`:

- A node has *adopted* when it reported ``confirmed`` for the rollout's version; nothing less counts, and
  a later ``reverted`` or ``refused`` takes it back (as a later ``confirmed`` repairs a failure).
- A node that has reported neither within ``soak_s + silence_s`` after its wave began (or after it came to
  know of the rollout: enrolled later, or the cloud was down) is *silent* and counts as failed, if it was
  seen after its wave began. One that was not seen, or that cannot check for updates, is *pending*: it is no
  evidence about the version, and adopts it when it is back.
- Refusals that an attacker on a node's network can cause do not count at once: the node retries, and the
  deadline judges it.
- A node that an operator took back from the version is *withdrawn*: that is a decision about the node, so
  it counts as neither adopted nor failed, nor among those of which failures are a share.
- When failed nodes are at least one and at least ``failure_share`` of the wave, the rollout is reverted.
- The next wave begins when every node of this one has adopted, failed, been withdrawn or is pending. A wave
  without nodes passes; one whose nodes were all withdrawn or are pending does not: there is no evidence for
  the version.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from common.deployment import Deployment, NodeTraits, position_of, version_for

SALT_ATTEMPTS = 500
TRANSIENT_REASONS = frozenset(
    {
        "unsigned",
        "key_compromise",
        "rollback",
        "frozen",
        "mixed",
        "altered",
        "endless",
        "slow",
        "missing",
        "malformed",
        "unreachable",
        "no_space",
        "superseded",
        "recalled",
    }
)
"""Reasons of refusals after which the node retries."""
OPERATOR = "operator"
"""Reason of a refusal or reversal by an operator's request on the node."""


class Outcome(StrEnum):
    """Outcome of one node of a wave."""

    WAITING = "waiting"
    ADOPTED = "adopted"
    FAILED = "failed"
    SILENT = "silent"
    PENDING = "pending"
    WITHDRAWN = "withdrawn"


class Action(StrEnum):
    """Next action of a rollout."""

    WAIT = "wait"
    ADVANCE = "advance"
    FINISH = "finish"
    REVERT = "revert"


@dataclass(frozen=True, slots=True)
class Member:
    """A node of a wave; its deadline runs from ``since_ns``.

    ``reachable`` is False for a node that was not seen since then, or that cannot check for updates.
    """

    node: str
    since_ns: int
    reachable: bool = True


@dataclass(frozen=True, slots=True)
class NodeReport:
    """An ``edgeloop.adoption`` event of a node about the rollout's version, in the order of arrival."""

    node: str
    step: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WaveRules:
    """Progress of a rollout, and the settings that judge it."""

    wave: int
    waves: int
    soak_s: float
    silence_s: float
    failure_share: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The next action, with the outcome of each node and the reason as text."""

    action: Action
    outcomes: dict[str, Outcome]
    reason: str = ""

    def count(self, outcome: Outcome) -> int:
        return sum(found == outcome for found in self.outcomes.values())


def outcomes(
    members: Iterable[Member], reports: Iterable[NodeReport], now_ns: int, deadline_s: float
) -> dict[str, Outcome]:
    """The outcome of each member: by its last report, or by the lack of one."""
    reported: dict[str, Outcome] = {}
    for report in reports:
        if report.step == "confirmed":
            reported[report.node] = Outcome.ADOPTED
        elif report.step in ("reverted", "refused") and report.reason == OPERATOR:
            reported[report.node] = Outcome.WITHDRAWN
        elif report.step == "reverted" or (
            report.step == "refused" and report.reason not in TRANSIENT_REASONS
        ):
            reported[report.node] = Outcome.FAILED
    return {
        member.node: reported.get(
            member.node,
            _without_report(member, now_ns, deadline_s),
        )
        for member in members
    }


def _without_report(member: Member, now_ns: int, deadline_s: float) -> Outcome:
    if now_ns - member.since_ns < deadline_s * 1e9:
        return Outcome.WAITING
    return Outcome.SILENT if member.reachable else Outcome.PENDING


def decide(
    rules: WaveRules, members: Sequence[Member], reports: Iterable[NodeReport], now_ns: int
) -> Decision:
    """The next action of the rollout, by the rules above."""
    found = outcomes(members, reports, now_ns, rules.soak_s + rules.silence_s)
    counts = Counter(found.values())
    failed = counts[Outcome.FAILED] + counts[Outcome.SILENT]
    judged = len(found) - counts[Outcome.WITHDRAWN] - counts[Outcome.PENDING]
    if failed and failed >= rules.failure_share * judged:
        bad = sorted(node for node, outcome in found.items() if outcome in (Outcome.FAILED, Outcome.SILENT))
        named = ", ".join(f"{node} {found[node]}" for node in bad[:5]) + (" ..." if len(bad) > 5 else "")
        reason = f"{failed} of {judged} nodes of wave {rules.wave + 1} failed: {named}"
        return Decision(Action.REVERT, found, reason)
    if counts[Outcome.WAITING]:
        return Decision(Action.WAIT, found)
    if found and not judged:
        away = f", {counts[Outcome.PENDING]} of them pending" if counts[Outcome.PENDING] else ""
        reason = f"no node of wave {rules.wave + 1} is evidence for the version{away}"
        return Decision(Action.WAIT, found, reason)
    return Decision(Action.FINISH if rules.wave + 1 >= rules.waves else Action.ADVANCE, found)


def nodes_of(
    deployment: Deployment, version: str, rollout: str, traits: Iterable[NodeTraits]
) -> list[NodeTraits]:
    """The nodes that run ``version`` because of a wave of ``rollout``, by the nodes' own arithmetic."""
    if deployment.rollout != rollout or all(wave.version != version for wave in deployment.waves):
        return []
    return [each for each in traits if version_for(deployment, each) == version]


def choose_rollout(fresh: Callable[[], str], share: float, nodes: Collection[str]) -> tuple[str, float]:
    """An identity for a rollout, and the share of its first wave, such that this wave is not empty.

    The identity salts the hash that places nodes. Some are tried, and the one whose first wave is
    nearest to ``share`` of ``nodes`` (at least one) is taken. If none has a node in it (a tiny share of a
    few nodes), the share is widened to hold the first one.
    """
    if not nodes:
        return fresh(), share
    wanted = max(1, round(share * len(nodes)))
    best, best_count = "", 0
    for _ in range(SALT_ATTEMPTS):
        name = fresh()
        count = sum(position_of(node, name) < share for node in nodes)
        if count and (not best_count or abs(count - wanted) < abs(best_count - wanted)):
            best, best_count = name, count
        if best_count == wanted:
            break
    if best:
        return best, share
    name = fresh()
    lowest = min(position_of(node, name) for node in nodes)
    return name, math.nextafter(lowest, 1.0)
