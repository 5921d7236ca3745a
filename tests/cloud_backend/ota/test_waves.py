"""The decisions about a wave: who counts, when it goes on, when it is taken back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_backend.ota.waves import (
    OPERATOR,
    TRANSIENT_REASONS,
    Action,
    Decision,
    Member,
    NodeReport,
    Outcome,
    WaveRules,
    choose_rollout,
    decide,
    nodes_of,
    outcomes,
)
from common.deployment import Constraint, Deployment, NodeTraits, Wave, position_of, version_for

S = 1_000_000_000
DEADLINE_S = 60 + 900
RULES = WaveRules(wave=0, waves=2, soak_s=60, silence_s=900, failure_share=0.1)


def members(*names: str, since_s: float = 0) -> list[Member]:
    return [Member(name, int(since_s * S)) for name in names]


def at(seconds: float, *reports: NodeReport, nodes: str = "abc", rules: WaveRules = RULES) -> Decision:
    return decide(rules, members(*nodes), reports, int(seconds * S))


def confirmed(node: str) -> NodeReport:
    return NodeReport(node, "confirmed")


def reverted(node: str) -> NodeReport:
    return NodeReport(node, "reverted", "failures")


def test_a_wave_waits_for_every_node():
    assert at(10, confirmed("a"), confirmed("b")).action is Action.WAIT


def test_the_next_wave_begins_when_all_have_confirmed():
    assert at(10, *map(confirmed, "abc")).action is Action.ADVANCE


def test_the_last_wave_finishes():
    last = WaveRules(1, 2, 60, 900, 0.1)
    assert at(10, *map(confirmed, "abc"), rules=last).action is Action.FINISH


@pytest.mark.parametrize("step", ["offered", "downloaded", "verified", "golden", "shadow", "switched"])
def test_nothing_less_than_confirmed_counts(step):
    decision = at(10, *(NodeReport(node, step) for node in "abc"))
    assert decision.action is Action.WAIT
    assert decision.count(Outcome.WAITING) == 3


def test_a_later_reversal_takes_the_count_back():
    decision = at(10, *map(confirmed, "abc"), reverted("b"))
    assert decision.outcomes["b"] is Outcome.FAILED
    assert decision.action is Action.REVERT
    assert decision.reason == "1 of 3 nodes of wave 1 failed: b failed"


def test_a_node_that_makes_it_in_the_end_has_adopted():
    decision = at(10, reverted("a"), confirmed("a"), nodes="a")
    assert decision.action is Action.ADVANCE


def test_silence_counts_as_failure_from_the_deadline_on():
    assert at(DEADLINE_S - 1, confirmed("a"), confirmed("b")).action is Action.WAIT
    decision = at(DEADLINE_S, confirmed("a"), confirmed("b"))
    assert decision.outcomes["c"] is Outcome.SILENT
    assert decision.action is Action.REVERT
    assert "c silent" in decision.reason


def test_a_node_that_came_late_has_its_own_deadline():
    late = [*members("a"), *members("b", since_s=500)]
    assert decide(RULES, late, [confirmed("a")], DEADLINE_S * S).action is Action.WAIT
    assert decide(RULES, late, [confirmed("a")], (DEADLINE_S + 500) * S).action is Action.REVERT


def test_failures_below_the_share_do_not_stop_a_wave():
    nodes = [f"n{i}" for i in range(20)]
    reports = [reverted("n0"), *(confirmed(node) for node in nodes[1:])]
    assert decide(RULES, members(*nodes), reports, S).action is Action.ADVANCE
    assert decide(RULES, members(*nodes), [reverted("n1"), *reports[:1]], S).action is Action.REVERT


def test_a_wave_is_reverted_before_all_have_reported():
    assert at(5, reverted("a")).action is Action.REVERT


@pytest.mark.parametrize("reason", sorted(TRANSIENT_REASONS))
def test_a_refusal_that_an_attacker_can_cause_does_not_stop_the_fleet(reason):
    decision = at(10, NodeReport("a", "refused", reason), nodes="a")
    assert decision.action is Action.WAIT


@pytest.mark.parametrize("reason", ["golden", "failures", "slow_in_shadow", "wrong_app", "crash_loop"])
def test_a_refusal_that_stands_is_a_failure(reason):
    assert at(10, NodeReport("a", "refused", reason), nodes="a").action is Action.REVERT


def withdrawn(node: str, step: str = "reverted") -> NodeReport:
    return NodeReport(node, step, OPERATOR)


@pytest.mark.parametrize("step", ["reverted", "refused"])
def test_a_node_that_an_operator_sent_back_counts_neither_way(step):
    decision = at(10, confirmed("a"), confirmed("b"), confirmed("c"), withdrawn("c", step))
    assert decision.outcomes["c"] is Outcome.WITHDRAWN
    assert decision.action is Action.ADVANCE
    assert at(10, confirmed("a"), withdrawn("c", step)).action is Action.WAIT
    assert at(DEADLINE_S, confirmed("a"), confirmed("b"), withdrawn("c", step)).action is Action.ADVANCE


def test_failures_are_a_share_of_those_that_were_not_sent_back():
    half = WaveRules(0, 2, 60, 900, 0.5)
    assert at(10, confirmed("a"), reverted("b"), confirmed("c"), rules=half).action is Action.ADVANCE
    decision = at(10, confirmed("a"), reverted("b"), withdrawn("c"), rules=half)
    assert decision.action is Action.REVERT
    assert decision.reason == "1 of 2 nodes of wave 1 failed: b failed"


def test_a_wave_that_was_sent_back_whole_waits_for_a_person():
    assert at(2 * DEADLINE_S, *map(withdrawn, "abc")).action is Action.WAIT


def away(*names: str) -> list[Member]:
    return [Member(name, 0, reachable=False) for name in names]


def test_a_node_that_was_not_seen_since_its_wave_began_is_pending_and_holds_nobody_up():
    nodes = [*members("a", "b"), *away("c")]
    both = [confirmed("a"), confirmed("b")]
    assert decide(RULES, nodes, both, (DEADLINE_S - 1) * S).action is Action.WAIT
    decision = decide(RULES, nodes, both, DEADLINE_S * S)
    assert decision.outcomes["c"] is Outcome.PENDING
    assert decision.action is Action.ADVANCE


def test_failures_are_a_share_of_those_that_are_not_pending():
    half = WaveRules(0, 2, 60, 900, 0.5)
    nodes = [*members("a", "b"), *away("c", "d", "e")]
    decision = decide(half, nodes, [confirmed("a"), reverted("b")], DEADLINE_S * S)
    assert decision.action is Action.REVERT
    assert decision.reason == "1 of 2 nodes of wave 1 failed: b failed"


def test_a_wave_that_is_pending_whole_waits_and_is_shown_as_waiting():
    decision = decide(RULES, away("a", "b"), [], 10 * DEADLINE_S * S)
    assert decision.action is Action.WAIT
    assert decision.reason == "no node of wave 1 is evidence for the version, 2 of them pending"


def test_a_report_counts_whether_or_not_the_node_was_seen_since():
    decision = decide(RULES, away("a"), [reverted("a")], DEADLINE_S * S)
    assert decision.action is Action.REVERT


def test_a_wave_without_nodes_passes():
    assert at(0, nodes="").action is Action.ADVANCE


# --------------------------------------------------------------------------------------- properties

names = st.sampled_from([f"n{i}" for i in range(8)])
steps = st.sampled_from(["offered", "switched", "confirmed", "reverted", "refused"])
reports = st.lists(
    st.builds(NodeReport, names, steps, st.sampled_from(["", "failures", "golden", "altered", OPERATOR])),
    max_size=40,
)
crowd = st.lists(st.builds(Member, names, st.integers(0, 3000 * S)), max_size=8, unique_by=lambda m: m.node)


def last_word(node: str, reports: list[NodeReport]) -> NodeReport | None:
    """The same rule, written otherwise: the newest report with a final state."""
    final: Iterator[NodeReport] = (
        r
        for r in reversed(reports)
        if r.node == node
        and (
            r.step in ("confirmed", "reverted") or (r.step == "refused" and r.reason not in TRANSIENT_REASONS)
        )
    )
    return next(final, None)


@given(crowd, reports, st.integers(0, 5000 * S))
def test_counts_are_never_wrong(members, reports, now_ns):
    found = outcomes(members, reports, now_ns, DEADLINE_S)
    assert set(found) == {member.node for member in members}
    for member in members:
        word = last_word(member.node, reports)
        if word is None:
            late = now_ns - member.since_ns >= DEADLINE_S * S
            assert found[member.node] is (Outcome.SILENT if late else Outcome.WAITING)
        else:
            assert (found[member.node] is Outcome.ADOPTED) == (word.step == "confirmed")


@given(crowd, reports, st.integers(0, 5000 * S), st.floats(0.01, 1.0))
def test_a_decision_follows_from_its_counts(members, reports, now_ns, share):
    decision = decide(WaveRules(0, 2, 60, 900, share), members, reports, now_ns)
    failed = decision.count(Outcome.FAILED) + decision.count(Outcome.SILENT)
    withdrawn = decision.count(Outcome.WITHDRAWN)
    too_many = failed >= 1 and failed / (len(members) - withdrawn) >= share
    assert (decision.action is Action.REVERT) == too_many
    if not too_many:
        nobody_speaks = 0 < withdrawn == len(members)
        assert (decision.action is Action.WAIT) == (decision.count(Outcome.WAITING) > 0 or nobody_speaks)


@given(crowd, reports, st.integers(0, 5000 * S))
def test_doubled_delivery_of_the_log_changes_nothing(members, reports, now_ns):
    once = decide(RULES, members, reports, now_ns)
    assert decide(RULES, members, [*reports, *reports], now_ns) == once


# ---------------------------------------------------------------------------------- who is in a wave


@given(st.integers(1, 60), st.floats(0.001, 1.0))
def test_the_first_wave_is_never_empty(count, share):
    nodes = [f"node-{i}" for i in range(count)]
    numbers = iter(range(10**9))
    identity, widened = choose_rollout(lambda: f"r-{next(numbers)}", share, nodes)
    assert share <= widened <= 1.0
    assert any(position_of(node, identity) < widened for node in nodes)


@pytest.mark.parametrize(("count", "share", "wanted"), [(3, 0.34, 1), (10, 0.3, 3), (4, 0.5, 2), (3, 1.0, 3)])
def test_the_first_wave_has_the_requested_share(count, share, wanted):
    nodes = [f"node-{i}" for i in range(count)]
    numbers = iter(range(10**9))
    identity, widened = choose_rollout(lambda: f"r-{next(numbers)}", share, nodes)
    assert sum(position_of(node, identity) < widened for node in nodes) == wanted


def test_without_nodes_any_identity_will_do():
    assert choose_rollout(lambda: "r-1", 0.2, []) == ("r-1", 0.2)


@given(st.lists(st.sampled_from(["x", "y"]), max_size=30), st.floats(0.01, 1.0))
def test_members_are_those_that_would_run_the_version_themselves(sites, share):
    traits = [NodeTraits(f"n{i}", site, "cpu") for i, site in enumerate(sites)]
    deployment = Deployment(
        app="sums", serial=1, rollout="r", waves=[Wave("v2", share, Constraint(sites=["x"]))]
    )
    inside = nodes_of(deployment, "v2", "r", traits)
    assert inside == [each for each in traits if version_for(deployment, each) == "v2"]
    assert all(each.site == "x" for each in inside)
