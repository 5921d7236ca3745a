"""Status of nodes in a rollout: wave, state, and the facts that decide."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_backend.ota.node_status import (
    LastStep,
    NodeStatus,
    ReachedNode,
    RolloutStatus,
    State,
    failures_to_revert,
    node_statuses,
    states,
)
from cloud_backend.ota.waves import Action, Member, NodeReport, Outcome, WaveRules, decide
from common.deployment import position_of

SECOND = 1_000_000_000
SILENT_AFTER_S = 100.0


def rollout(**changes: Any) -> RolloutStatus:
    known: dict[str, Any] = {
        "id": "v2-1",
        "version": "v2",
        "state": "running",
        "waves": (0.5, 1.0),
        "wave": 0,
        "began_ns": 0,
        "deadline_s": SILENT_AFTER_S,
        "failure_share": 0.1,
    }
    return RolloutStatus(**(known | changes))


def reached(*names: str, version: str = "v1") -> list[ReachedNode]:
    return [ReachedNode(name, "here", False, version, 0) for name in names]


def look(
    plan: RolloutStatus, nodes: list[ReachedNode], steps: dict[str, tuple[str, str]], now_s: float = 1.0
) -> dict[str, NodeStatus]:
    last = [LastStep(node, step, reason, 7) for node, (step, reason) in steps.items()]
    reports = [NodeReport(node, step, reason) for node, (step, reason) in steps.items()]
    found = node_statuses(plan, nodes, last, reports, int(now_s * SECOND))
    return {each.node: each for each in found}


def names_of_waves(plan: RolloutStatus, count: int = 40) -> list[list[str]]:
    """Names of nodes by the wave that they belong to."""
    waves: list[list[str]] = [[] for _ in plan.waves]
    for number in range(count):
        name = f"n{number}"
        waves[0 if position_of(name, plan.id) < plan.waves[0] else 1].append(name)
    return waves


@pytest.mark.parametrize(
    ("step", "reason", "state"),
    [
        ("offered", "", State.DOWNLOADING),
        ("verified", "", State.DOWNLOADING),
        ("golden", "", State.SHADOW),
        ("shadow", "", State.SOAKING),
        ("switched", "", State.SOAKING),
        ("confirmed", "", State.CONFIRMED),
        ("refused", "golden", State.REFUSED),
        ("refused", "unreachable", State.RETRYING),
        ("reverted", "failures", State.REVERTED),
        ("reverted", "operator", State.WITHDRAWN),
        ("refused", "operator", State.WITHDRAWN),
        ("of a newer edgeloop", "", State.WAITING),
    ],
)
def test_the_newest_step_gives_the_state(step: str, reason: str, state: State) -> None:
    found = look(rollout(), reached("n1"), {"n1": (step, reason)})["n1"]
    assert (found.state, found.step, found.reason, found.time_ns) == (state, step, reason, 7)


def test_a_node_belongs_to_the_first_wave_that_reaches_it() -> None:
    plan = rollout()
    first, second = names_of_waves(plan)
    found = look(plan, reached(*first, *second), {})
    assert {name for name, each in found.items() if each.wave == 0} == set(first)
    assert all(found[name].outcome is Outcome.WAITING for name in first)
    assert all(found[name].outcome is None for name in second)


def test_silence_counts_in_waves_that_have_begun() -> None:
    plan = rollout(wave=1)
    first, second = names_of_waves(plan)
    found = look(plan, reached(*first, *second), {first[0]: ("confirmed", "")}, now_s=SILENT_AFTER_S + 1)
    assert found[first[0]].outcome is Outcome.ADOPTED
    assert found[second[0]].outcome is Outcome.SILENT
    assert found[second[0]].state is State.WAITING


def test_trouble_comes_first() -> None:
    plan = rollout(waves=(1.0,))
    steps = {
        "a": ("confirmed", ""),
        "b": ("golden", ""),
        "c": ("refused", "latency"),
        "d": ("reverted", "failures"),
    }
    assert list(look(plan, reached("a", "b", "c", "d", "e"), steps)) == ["d", "c", "b", "e", "a"]
    assert list(look(plan, reached("a", "b", "c", "d", "e"), steps, now_s=500))[:2] == ["b", "e"]


def test_a_node_that_was_sent_back_is_reverted() -> None:
    plan = rollout(state="reverted", waves=(1.0,))
    steps = {"a": ("confirmed", ""), "b": ("confirmed", ""), "c": ("golden", "")}
    nodes = reached("a", "c") + reached("b", version="v2")
    found = look(plan, nodes, steps)
    assert [found[name].state for name in "abc"] == [State.REVERTED, State.CONFIRMED, State.SHADOW]
    assert states(found.values()) == {"reverted": 1, "confirmed": 1, "shadow": 1}


@given(
    nodes=st.integers(1, 200),
    share=st.floats(0.001, 1.0),
    failed=st.integers(0, 200),
)
def test_the_count_that_reverts_is_the_one_that_decides(nodes: int, share: float, failed: int) -> None:
    failed = min(failed, nodes)
    members = [Member(f"n{number}", 0) for number in range(nodes)]
    reports = [NodeReport(f"n{number}", "refused", "golden") for number in range(failed)]
    decision = decide(WaveRules(0, 2, 1.0, 1.0, share), members, reports, 0)
    min_failures = failures_to_revert(rollout(failure_share=share), nodes)
    assert (decision.action is Action.REVERT) == (failed >= min_failures)
