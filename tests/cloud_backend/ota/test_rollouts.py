"""Rollouts over a real store, registry and repository: waves, failures, silence, constraints."""

from __future__ import annotations

import pytest

from cloud_backend.ota.waves import Outcome
from common.deployment import Constraint, Wave
from common.errors import EdgeloopError, RolloutError
from tests.cloud_backend.ota.yard import SOAK_S
from tests.updates import APP


def test_waves_follow_each_other_and_end_in_production(yard):
    yard.add_nodes("a", "b", "c")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.34, 1.0])
    assert yard.document().waves == [Wave("v2", 0.34)]
    (canary,) = yard.inside(rollout)
    assert set(yard.hints) == {"a", "b", "c"}
    yard.rollouts.tick()
    assert yard.row(rollout).wave == 0
    yard.report(rollout, canary, "switched")
    yard.rollouts.tick()
    assert yard.row(rollout).wave == 0
    yard.report(rollout, canary, "confirmed")
    yard.rollouts.tick()
    assert (yard.row(rollout).wave, yard.document().waves) == (1, [Wave("v2", 1.0)])
    assert yard.inside(rollout) == ["a", "b", "c"]
    for node in "abc":
        yard.report(rollout, node, "confirmed")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"
    assert (yard.document().base_version, yard.document().waves) == ("v2", [])
    assert yard.registry.production_version(APP) == "v2"
    assert yard.document().serial == 3 == yard.row(rollout).serial


def test_a_failed_canary_reverts_before_the_second_wave(yard):
    yard.add_nodes("a", "b", "c")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.34, 1.0])
    (canary,) = yard.inside(rollout)
    yard.hints.clear()
    yard.report(rollout, canary, "reverted", reason="failures")
    yard.rollouts.tick()
    row = yard.row(rollout)
    assert (row.state, row.wave) == ("reverted", 0)
    assert canary in row.reason
    document = yard.document()
    assert (document.base_version, document.waves, document.withdrawn) == ("", [], ["v2"])
    assert yard.registry.row(APP, "v2").state == "refused"
    assert set(yard.hints) == {"a", "b", "c"}


def test_silence_has_a_deadline(yard):
    yard.add_nodes("a", "b", "c")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.34, 1.0])
    yard.clock.forward(SOAK_S + 99)
    yard.see("a", "b", "c")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "running"
    yard.clock.forward(2)
    yard.rollouts.tick()
    assert yard.row(rollout).state == "reverted"
    assert "silent" in yard.row(rollout).reason


def test_nodes_that_were_switched_off_before_a_rollout_do_not_fail_it(yard):
    yard.add_nodes("a", "b", "c", last_seen_ns=yard.clock() - int(3600e9))
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.clock.forward(1.0)
    yard.see("a")
    yard.report(rollout, "a", "confirmed")
    yard.clock.forward(SOAK_S + 101)
    assert yard.rollouts.progress(rollout).count(Outcome.PENDING) == 2
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"
    assert yard.registry.production_version(APP) == "v2"


def test_a_rollout_to_nodes_that_are_all_away_waits_and_refuses_nothing(yard):
    yard.add_nodes("a", "b", last_seen_ns=yard.clock() - int(3600e9))
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.clock.forward(10 * SOAK_S + 1000)
    yard.rollouts.tick()
    assert yard.row(rollout).state == "running"
    assert yard.registry.row(APP, "v2").state == "approved"
    yard.see("a", "b")
    for node in "ab":
        yard.report(rollout, node, "confirmed")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"


def test_a_node_that_cannot_check_for_updates_does_not_count_for_or_against_the_version(yard):
    yard.add_nodes("a", "b")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.clock.forward(1.0)
    yard.see("a", "b", update_problem="rollback")
    yard.clock.forward(SOAK_S + 101)
    yard.rollouts.tick()
    assert yard.row(rollout).state == "running"
    assert yard.rollouts.progress(rollout).count(Outcome.PENDING) == 2


def test_a_retired_node_is_in_no_rollout(yard):
    yard.add_nodes("a", "b")
    yard.add_nodes("gone", retired_ns=yard.clock())
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    assert yard.inside(rollout) == ["a", "b"]
    yard.see("b", retired_ns=yard.clock())
    assert yard.inside(rollout) == ["a"]
    assert set(yard.hints) == {"a", "b"}


def test_a_node_that_runs_the_version_counts_where_its_report_was_lost(yard):
    yard.add_nodes("a", "b")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.see("a", version="v2", rollout=rollout, confirmed=True)
    yard.see("b", version="v2", rollout="another", confirmed=True)
    assert yard.rollouts.progress(rollout).outcomes == {"a": Outcome.ADOPTED, "b": Outcome.WAITING}
    yard.report(rollout, "a", "reverted", reason="failures")
    assert yard.rollouts.progress(rollout).outcomes["a"] is Outcome.FAILED


def test_the_clouds_own_downtime_is_nobodys_silence(yard):
    yard.add_nodes("a")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.clock.forward(100_000)
    again = yard.restarted()
    again.tick()
    assert yard.row(rollout).state == "running"


def test_a_reversal_after_confirmation_takes_the_count_back(yard):
    yard.add_nodes("a", "b")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.report(rollout, "a", "confirmed")
    assert yard.rollouts.progress(rollout).count(Outcome.ADOPTED) == 1
    yard.report(rollout, "a", "reverted", reason="crash_loop")
    assert yard.rollouts.progress(rollout).count(Outcome.ADOPTED) == 0
    yard.rollouts.tick()
    assert yard.row(rollout).state == "reverted"


def test_reports_about_another_rollout_or_version_do_not_count(yard):
    yard.add_nodes("a")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.report("another", "a", "confirmed")
    yard.report(rollout, "a", "confirmed", version="v1")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "running"


def test_a_halted_rollout_stands_still_and_can_be_reverted(yard):
    yard.add_nodes("a", "b", "c")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.34, 1.0])
    yard.rollouts.halt(rollout, "lunch")
    (canary,) = yard.inside(rollout)
    yard.report(rollout, canary, "confirmed")
    yard.rollouts.tick()
    assert (yard.row(rollout).state, yard.row(rollout).wave) == ("halted", 0)
    assert yard.document().waves == [Wave("v2", 0.34)]
    with pytest.raises(RolloutError):
        yard.rollouts.halt(rollout)
    yard.rollouts.revert(rollout, "enough")
    assert yard.document().waves == []
    with pytest.raises(RolloutError):
        yard.rollouts.revert(rollout)


def test_a_finished_rollout_can_be_taken_back(yard):
    yard.add_nodes("a")
    done = []
    for version in ("v2", "v3"):
        done.append(yard.rollouts.start(APP, yard.add_model(version), [1.0]))
        yard.finish(done[-1], version)
    with pytest.raises(RolloutError, match="another rollout came after"):
        yard.rollouts.revert(done[0])
    yard.rollouts.revert(done[1])
    assert (yard.document().base_version, yard.document().withdrawn) == ("v2", ["v3"])
    assert yard.registry.production_version(APP) == "v2"
    assert "v2" in yard.site.repository.versions(APP)


def test_a_rollout_that_cannot_start_names_the_reason(yard):
    yard.add_nodes("a")
    yard.add_model("candidate", "candidate")
    yard.add_model("v2")
    for version, waves, reason in (
        ("candidate", [1.0], "only an approved"),
        ("v2", [1.0, 0.5], "growing"),
        ("v2", [0.5], "the last one 1"),
        ("v2", [], "growing"),
    ):
        with pytest.raises(RolloutError, match=reason):
            yard.rollouts.start(APP, version, waves)
    with pytest.raises(EdgeloopError, match="no model 'v9'"):
        yard.rollouts.start(APP, "v9")
    with pytest.raises(EdgeloopError):
        yard.rollouts.start("nobody", "v2")
    first = yard.rollouts.start(APP, "v2")
    yard.add_model("v3")
    with pytest.raises(RolloutError, match=first):
        yard.rollouts.start(APP, "v3")
    assert yard.document().rollout == first


def test_a_constraint_binds_a_rollout_and_leaves_production_alone(yard):
    yard.add_nodes("a", "b")
    yard.add_nodes("c", profile="jetson")
    rollout = yard.rollouts.start(
        APP, yard.add_model("v2"), [1.0], constraint=Constraint(profiles=["jetson"])
    )
    assert yard.inside(rollout) == ["c"]
    yard.report(rollout, "c", "confirmed")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"
    assert yard.registry.production_version(APP) == ""
    standing = Wave("v2", 1.0, Constraint(profiles=["jetson"]))
    assert yard.document().waves == [standing]
    second = yard.rollouts.start(APP, yard.add_model("v3"), [1.0])
    assert yard.document().waves == [Wave("v3", 1.0), standing]
    yard.finish(second, "v3")
    assert (yard.document().base_version, yard.document().waves) == ("v3", [])


def test_an_app_without_nodes_does_not_stall(yard):
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.1, 1.0])
    yard.rollouts.tick()
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"


def test_nodes_silent_for_long_do_not_count(yard):
    yard.add_nodes("gone", last_seen_ns=yard.clock() - int(8 * 86400e9))
    yard.add_nodes("here")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    assert yard.inside(rollout) == ["here"]


def test_a_small_first_wave_has_a_node_in_it(yard):
    yard.add_nodes(*(f"n{i}" for i in range(5)))
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.01, 1.0])
    assert len(yard.inside(rollout)) == 1
