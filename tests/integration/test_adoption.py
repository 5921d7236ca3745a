"""Adoption on a running node: shadow, switch, soak, reversal, with real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from apps.demo.story.bad_models import spoil
from common.app.edge import EdgeContext, Reading
from common.app.events import fields_of
from common.bundle import Bundle, DriftSpec
from common.edge.update.adoption import INFERENCE_TYPE
from common.errors import ReadingError
from common.messages import Event, Priority
from common.model.inference import OnnxModel, load_model
from tests.builders import SumsEdge, SumsSettings, make_bundle, make_reading
from tests.updates import PROFILE, QUICK, SOAK, NodeKit, UpdateSite, adopt


def steps(node: NodeKit) -> list[str]:
    return [event["step"] for event in node.events]


# ---------------------------------------------------------------------------------------- the good way


def test_a_good_model_goes_all_the_way(node, site):
    assert node.version() == "starter-1"
    adopt(node, site, "v2")
    assert node.version() == "v2"
    assert node.adoption.health().step == "soak"
    assert node.adoption.health().soak_ok
    node.feed(SOAK)
    health = node.adoption.health()
    assert (health.version, health.step, health.confirmed, health.failures) == ("v2", "confirmed", True, 0)
    assert 0 < health.latency_p50_ms <= health.latency_p99_ms
    assert steps(node) == ["offered", "downloaded", "verified", "golden", "shadow", "switched", "confirmed"]
    for event in node.events:
        assert (event["version"], event["from_version"]) == ("v2", "starter-1")
        assert (event["serial"], event["rollout"], event["ok"]) == (1, "r-1", True)


def test_the_candidate_says_nothing_in_shadow(node, site):
    site.publish("v2")
    node.look()
    for event in node.feed(QUICK.shadow_readings - 1):
        assert fields_of(event)["version"] == "starter-1"


def test_no_reading_is_skipped_or_doubled_by_a_switch(node, site):
    said = node.feed(3)
    site.publish("v2")
    node.look()
    said += node.feed(20)
    counts = [fields_of(e)["count"] for e in said if isinstance(e, Event) and e.type == "sums.value"]
    assert counts == list(range(1, 24))


class LatchedEdge(SumsEdge):
    """Says ``sums.latched`` once, when the sum first is above the limit."""

    def __init__(self, context: EdgeContext) -> None:
        super().__init__(context)
        self._latched = False

    def process(self, reading: Reading, now_ns: int) -> list[Any]:
        results: list[Any] = list(super().process(reading, now_ns))
        alarms = [event for event in results if event.type == "sums.high"]
        if alarms and not self._latched:
            self._latched = True
            results.append(msgspec.structs.replace(alarms[0], type="sums.latched"))
        return results

    def snapshot(self) -> dict[str, Any]:
        return {**super().snapshot(), "latched": self._latched}

    def restore(self, state: Any) -> None:
        super().restore(state)
        self._latched = state["latched"]


class LatchedNode(NodeKit):
    @staticmethod
    def create(bundle: Bundle, changes: Any) -> tuple[SumsEdge, OnnxModel]:
        model = load_model(bundle, PROFILE)
        return LatchedEdge(EdgeContext(SumsSettings(), model)), model


def test_an_alarm_that_the_candidate_raised_in_shadow_is_said_after_the_switch(tmp_path, site):
    node = LatchedNode(tmp_path / "node", site)
    site.publish("v2", bundle=site.bundle("v2", gain=1.2), soak_s=float(SOAK))
    node.look()
    said = node.feed(20, values=lambda position: [0.4, 0.4, 0.4, 0.1])
    latched = [e for e in said if isinstance(e, Event) and e.type == "sums.latched"]
    assert [fields_of(event)["version"] for event in latched] == ["v2"]


def test_an_alarm_that_a_reverted_model_raised_is_not_raised_again(tmp_path, site):
    node = LatchedNode(tmp_path / "node", site)
    adopt(node, site, "v2", bundle=site.bundle("v2", sour=2.0, gain=1.2))
    said = node.feed(3, values=lambda position: [0.4, 0.4, 0.4, 0.1])
    said += node.feed(5, values=lambda position: [2.5, -2.5, 0, 0])
    said += node.feed(5, values=lambda position: [0.8, 0.8, 0.4, 0.1])
    assert node.told("reverted")
    latched = [e for e in said if isinstance(e, Event) and e.type == "sums.latched"]
    assert [fields_of(event)["version"] for event in latched] == ["v2"]


def test_a_soak_needs_time_and_readings(node, site):
    adopt(node, site, "v2", soak_s=1000.0)
    node.feed(100)
    assert node.adoption.health().step == "soak"
    node.clock.forward(1000)
    node.feed(1)
    assert node.adoption.health().confirmed


def test_time_alone_confirms_nothing(node, site):
    adopt(node, site, "v2", soak_s=1.0)
    node.clock.forward(100)
    node.feed(1)
    assert node.adoption.health().step == "soak"
    node.feed(QUICK.soak_readings)
    assert node.adoption.health().confirmed


def test_a_slow_source_does_not_keep_a_candidate_in_shadow_for_ever(tmp_path, site):
    patient = msgspec.structs.replace(QUICK, shadow_readings=10_000, shadow_timeout_s=30.0)
    node = NodeKit(tmp_path / "node", site, settings=patient)
    site.publish("v2")
    node.look()
    node.feed(5)
    assert node.version() == "starter-1"
    node.clock.forward(31)
    node.feed(1)
    assert node.version() == "v2"


def test_settings_of_the_deployment_reach_the_app(node, site):
    adopt(node, site, "v2", settings={"alarm_above": -100.0})
    assert [event.priority for event in node.feed(1)] == [Priority.TELEMETRY, Priority.ALARM]
    node.feed(SOAK + 5)
    site.publish("v2", bundle=site.bundle("v2"), settings={"alarm_above": 100.0})
    node.look()
    assert [event.priority for event in node.feed(1)] == [Priority.TELEMETRY]
    assert [e.priority for e in node.restarted().feed(1)] == [Priority.TELEMETRY]


def test_settings_that_the_app_refuses_change_nothing(node, site):
    adopt(node, site, "v2")
    node.feed(SOAK + 5)
    site.publish("v2", bundle=site.bundle("v2"), settings={"alarm_above": "high"})
    node.look()
    assert node.version() == "v2"


def test_another_rollout_of_what_runs_is_confirmed_at_once(node, site):
    adopt(node, site, "v2")
    node.feed(SOAK + 5)
    node.events.clear()
    site.publish("v2", bundle=site.bundle("v2"), rollout="again")
    node.look()
    (event,) = node.events
    assert (event["step"], event["rollout"], event["reason"]) == ("confirmed", "again", "already")


# ------------------------------------------------------------------------------------- the ways back


def test_a_model_that_fails_in_shadow_never_becomes_live(node, site):
    site.publish("v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    node.look()
    node.feed(4, scale=5.0)
    node.feed(10)
    assert node.version() == "starter-1"
    (event,) = node.told("refused")
    assert event["reason"] == "failures"
    assert "switched" not in steps(node)


def test_nan_on_some_inputs_reverts_and_loses_no_reading(node, site):
    adopt(node, site, "v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    assert node.version() == "v2"
    said = node.feed(10, values=lambda position: [3.0 if position % 3 == 0 else 0.5, 0, 0, 0])
    assert node.version() == "starter-1"
    assert len([e for e in said if e.type == "sums.value"]) == 10
    (event,) = node.told("reverted")
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
    site.publish("v2", bundle=make_bundle(tmp(site), version="v2", gain=-2.0), soak_s=float(SOAK))
    node.look()
    node.feed(30)
    assert node.version() == "v1"
    assert node.events[-1]["reason"] == "disagreement"


def test_in_drift_a_model_need_not_agree_with_one_that_is_lost(node, site):
    novelty = DriftSpec(output="novelty", threshold=1.5, rate=0.01)
    adopt(node, site, "v1", bundle=site.bundle("v1", drift=novelty))
    node.feed(SOAK + 5)
    node.drifting = True
    adopt(node, site, "v2", bundle=make_bundle(tmp(site), version="v2", gain=-2.0))
    node.drifting = False
    node.feed(SOAK + 5)
    assert node.adoption.health().confirmed
    assert node.version() == "v2"
    assert "drifted" in node.told("confirmed")[-1]["detail"]


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
    site.publish("v2", bundle=make_bundle(tmp(site), version="v2", gain=-2.0), soak_s=float(SOAK))
    node.look()
    node.feed(40, scale=9.0)
    assert node.version() == "v2"
    assert "agreement not judged" in node.told("confirmed")[-1]["detail"]


def test_after_a_reversal_the_version_waits_for_a_newer_serial(node, site):
    adopt(node, site, "v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    node.feed(10, scale=5.0)
    assert node.told("reverted")
    node.events.clear()
    node.look()
    node.feed(10)
    assert node.events == []
    site.publish("v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    node.look()
    assert "golden" in steps(node)


def test_golden_cases_that_fail_are_final(node, site):
    bad = spoil(site.bundle("good"), "wrong", "v2", site.folder / "wrong")
    site.publish("v2", bundle=bad)
    node.look()
    assert node.told("refused")[-1]["reason"] == "golden"
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
    (event,) = again.told("reverted")
    assert event["reason"] == "crash_loop"


def test_a_model_that_cannot_be_loaded_in_its_soak_is_reverted_at_the_start(node, site, monkeypatch):
    adopt(node, site, "v2")
    create = NodeKit.create

    def failing(bundle, changes):
        if bundle.version == "v2":
            raise RuntimeError("no such provider")
        return create(bundle, changes)

    monkeypatch.setattr(NodeKit, "create", staticmethod(failing))
    again = node.restarted()
    assert again.version() == "starter-1"
    assert again.told("reverted")[-1]["reason"] == "load_failed"


def test_steps_survive_a_crash_before_they_are_in_the_outbox(node, site):
    site.publish("v2", soak_s=float(SOAK))
    node.look()
    node.feed(QUICK.shadow_readings - 1)
    for position in range(3):  # One group of readings; the process dies before it is committed.
        node.adoption.process(make_reading(node.position + 1 + position), node.clock())
    again = node.restarted()
    again.feed(1)
    assert "switched" in steps(again)


def test_steps_are_told_once(node, site):
    adopt(node, site, "v2")
    node.feed(SOAK + 10)
    assert len(steps(node)) == len(set(steps(node)))


# ------------------------------------------------------------------------------- the cloud changes its mind


def test_a_superseded_candidate_is_dropped(node, site):
    site.publish("v2")
    node.look()
    node.feed(2)
    site.publish("v3")
    node.look()
    node.feed(1)
    node.look()
    node.feed(QUICK.shadow_readings + SOAK)
    assert node.version() == "v3"
    assert [e["version"] for e in node.told("switched")] == ["v3"]


def test_a_rollout_taken_back_in_the_soak_reverts_at_once(node, site):
    adopt(node, site, "v2", soak_s=1000.0)
    site.serial += 1
    from common.deployment import Deployment

    back = Deployment(app="sums", serial=site.serial, rollout="r-1", withdrawn=["v2"])
    site.repository.publish("sums", None, back)
    node.look()
    assert node.version() == "starter-1"
    assert node.told("reverted")[-1]["reason"] == "recalled"


def test_a_withdrawn_model_is_left_without_asking_it(node, site):
    """The live model is known to be bad: what replaces it need not agree with it."""
    patient = msgspec.structs.replace(QUICK, disagreement_limit=1e9)
    node = NodeKit(node.folder, site, settings=patient)
    adopt(node, site, "v2", bundle=make_bundle(tmp(site), version="v2", gain=-2.0))
    node.feed(SOAK + 5)
    assert node.version() == "v2"
    strict = node.restarted()
    site.publish("v1", withdrawn=["v2"])
    strict.look()
    strict.feed(SOAK + 5)
    assert strict.version() == "v1"
    assert strict.adoption.health().confirmed


def test_going_back_to_the_starter(node, site):
    adopt(node, site, "v2")
    node.feed(SOAK + 5)
    site.serial += 1
    from common.deployment import Deployment

    site.repository.publish(
        "sums", None, Deployment(app="sums", serial=site.serial, rollout="r-9", soak_s=1.0)
    )
    node.look()
    node.feed(SOAK + 5)
    assert node.version() == "starter-1"
    assert node.slots.state.content.starter


# ------------------------------------------------------------------------------------------- readings


def test_an_unusable_reading_is_raised_and_counts_for_nothing(node, site):
    adopt(node, site, "v2")
    before = node.adoption.health()
    for _ in range(20):
        with pytest.raises(ReadingError):
            node.adoption.process(make_reading(1, values=[np.nan, 0, 0, 0]), node.clock())
    assert node.adoption.health() == before


def test_failures_of_the_confirmed_model_are_told_ever_more_rarely(tmp_path, site):
    node = NodeKit(tmp_path / "node", site)
    adopt(node, site, "v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    node.feed(SOAK + 5)
    assert node.adoption.health().confirmed
    said = node.feed(100, scale=50.0)
    told = [fields_of(e)["count"] for e in said if isinstance(e, Event) and e.type == INFERENCE_TYPE]
    assert told == [1, 2, 4, 8, 16, 32, 64]
    assert node.adoption.health().failures == 100


def test_outputs_and_manifest_of_the_live_model_are_there_for_drift_detection(node):
    assert node.adoption.outputs is None
    node.feed(1)
    assert set(node.adoption.outputs or {}) == {"y", "novelty"}
    assert node.adoption.manifest.version == "starter-1"


def tmp(site: UpdateSite) -> Path:
    return site.folder / f"extra-{site.serial}"
