"""A candidate that fails in shadow or soak is refused or reverted, also after a restart, with real models."""

from __future__ import annotations

from apps.demo.story.bad_models import spoil
from common.bundle import DriftSpec
from tests.builders import make_bundle, make_reading
from tests.updates import QUICK, SOAK, NodeKit, adopt


def test_a_model_that_fails_in_shadow_never_becomes_live(node, site):
    site.publish("v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    node.look()
    node.feed(4, scale=5.0)
    node.feed(10)
    assert node.version() == "starter-1"
    (event,) = node.reports("refused")
    assert event["reason"] == "failures"
    assert "switched" not in node.steps()


def test_nan_on_some_inputs_reverts_and_loses_no_reading(node, site):
    adopt(node, site, "v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    assert node.version() == "v2"
    results = node.feed(10, values=lambda position: [3.0 if position % 3 == 0 else 0.5, 0, 0, 0])
    assert node.version() == "starter-1"
    assert len([e for e in results if e.type == "sums.value"]) == 10
    (event,) = node.reports("reverted")
    assert (event["reason"], event["ok"], event["version"]) == ("failures", False, "v2")
    assert "NaN" in event["detail"]
    assert node.whole() == "starter-1"


def test_ten_times_slower_on_fresh_inputs_reverts(node, site, tmp_path):
    adopt(node, site, "v2", bundle=spoil(site.bundle("good"), "slow", "v2", tmp_path / "slow"))
    node.feed(30)
    assert node.version() == "starter-1"
    last = node.events[-1]
    assert last["step"] in ("refused", "reverted")
    assert last["reason"] == "latency"


def test_wrong_on_known_readings_reverts(node, site):
    novelty = DriftSpec(output="novelty", threshold=1.5, rate=0.01)
    adopt(node, site, "v1", bundle=site.bundle("v1", drift=novelty))
    node.feed(SOAK + 5)
    site.publish("v2", bundle=make_bundle(site.scratch(), version="v2", gain=-2.0), soak_s=float(SOAK))
    node.look()
    node.feed(30)
    assert node.version() == "v1"
    assert node.events[-1]["reason"] == "disagreement"


def test_in_drift_a_model_need_not_agree_with_one_that_is_lost(node, site):
    novelty = DriftSpec(output="novelty", threshold=1.5, rate=0.01)
    adopt(node, site, "v1", bundle=site.bundle("v1", drift=novelty))
    node.feed(SOAK + 5)
    node.drifting = True
    adopt(node, site, "v2", bundle=make_bundle(site.scratch(), version="v2", gain=-2.0))
    node.drifting = False
    node.feed(SOAK + 5)
    assert node.adoption.health().confirmed
    assert node.version() == "v2"
    assert "drifted" in node.reports("confirmed")[-1]["detail"]


def test_stale_outputs_revert(node, site, tmp_path):
    adopt(
        node, site, "v2", bundle=spoil(site.bundle("good"), "stale", "v2", tmp_path / "stale"), soak_s=100.0
    )
    node.feed(40)
    assert node.version() == "starter-1"
    assert node.events[-1]["reason"] in ("stuck", "disagreement")


def test_what_differs_only_where_the_previous_model_was_lost_is_kept(node, site):
    """The drifted readings are novel to the live model; the new one answers them quite differently."""
    novelty = DriftSpec(output="novelty", threshold=1.5, rate=0.01)
    adopt(node, site, "v1", bundle=site.bundle("v1", drift=novelty))
    node.feed(SOAK + 5)
    site.publish("v2", bundle=make_bundle(site.scratch(), version="v2", gain=-2.0), soak_s=float(SOAK))
    node.look()
    node.feed(40, scale=9.0)
    assert node.version() == "v2"
    assert "agreement not judged" in node.reports("confirmed")[-1]["detail"]


def test_after_a_reversal_the_version_waits_for_a_newer_serial(node, site):
    adopt(node, site, "v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    node.feed(10, scale=5.0)
    assert node.reports("reverted")
    node.events.clear()
    node.look()
    node.feed(10)
    assert node.events == []
    site.publish("v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    node.look()
    assert "golden" in node.steps()


def test_golden_cases_that_fail_are_final(node, site):
    bad = spoil(site.bundle("good"), "wrong", "v2", site.folder / "wrong")
    site.publish("v2", bundle=bad)
    node.look()
    assert node.reports("refused")[-1]["reason"] == "golden"
    node.events.clear()
    node.look()
    assert node.events == []
    assert node.version() == "starter-1"


def test_a_restart_in_the_soak_begins_it_again(node, site):
    adopt(node, site, "v2")
    node.feed(SOAK - 5)
    again = node.restarted()
    again.feed(5)
    assert again.adoption.health().step == "soak"
    again.feed(SOAK)
    assert again.adoption.health().confirmed


def test_the_previous_model_judges_after_a_restart_too(node, site):
    adopt(node, site, "v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    again = node.restarted()
    again.adoption.restore(node.adoption.snapshot())
    again.feed(10, scale=5.0)
    assert again.version() == "starter-1"


def test_a_crash_loop_is_reported_after_the_start_that_ends_it(node, site):
    adopt(node, site, "v2")
    again = node.restarted().restarted()
    again.feed(1)
    assert again.version() == "starter-1"
    (event,) = again.reports("reverted")
    assert event["reason"] == "crash_loop"


def test_a_model_that_cannot_be_loaded_in_its_soak_is_reverted_at_the_start(node, site, monkeypatch):
    adopt(node, site, "v2")
    create = NodeKit.create

    def failing(kit, bundle, changes):
        if bundle.version == "v2":
            raise RuntimeError("no such provider")
        return create(kit, bundle, changes)

    monkeypatch.setattr(NodeKit, "create", failing)
    again = node.restarted()
    assert again.version() == "starter-1"
    assert again.reports("reverted")[-1]["reason"] == "load_failed"


def test_steps_survive_a_crash_before_they_are_in_the_outbox(node, site):
    site.publish("v2", soak_s=float(SOAK))
    node.look()
    node.feed(QUICK.shadow_readings - 1)
    for position in range(3):  # One group of readings; the process dies before it is committed.
        node.adoption.process(make_reading(node.position + 1 + position), node.clock())
    again = node.restarted()
    again.feed(1)
    assert "switched" in again.steps()


def test_steps_are_reported_once(node, site):
    adopt(node, site, "v2")
    node.feed(SOAK + 10)
    assert len(node.steps()) == len(set(node.steps()))
