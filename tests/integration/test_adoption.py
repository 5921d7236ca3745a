"""Adoption on a running node: shadow, switch and soak, with real models."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from common.app.edge import EdgeContext, Reading
from common.app.events import fields_of
from common.bundle import Bundle
from common.edge.update.adoption import INFERENCE_TYPE
from common.errors import ReadingError
from common.messages import Event, Priority
from common.model.inference import OnnxModel, load_model
from tests.builders import SumsEdge, SumsSettings, make_reading
from tests.updates import PROFILE, QUICK, SOAK, NodeKit, adopt


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
    assert node.steps() == ["offered", "downloaded", "verified", "golden", "shadow", "switched", "confirmed"]
    for event in node.events:
        assert (event["version"], event["from_version"]) == ("v2", "starter-1")
        assert (event["serial"], event["rollout"], event["ok"]) == (1, "r-1", True)


def test_the_candidate_reports_nothing_in_shadow(node, site):
    site.publish("v2")
    node.look()
    for event in node.feed(QUICK.shadow_readings - 1):
        assert fields_of(event)["version"] == "starter-1"


def test_no_reading_is_skipped_or_doubled_by_a_switch(node, site):
    results = node.feed(3)
    site.publish("v2")
    node.look()
    results += node.feed(20)
    counts = [fields_of(e)["count"] for e in results if isinstance(e, Event) and e.type == "sums.value"]
    assert counts == list(range(1, 24))


class LatchedEdge(SumsEdge):
    """Reports ``sums.latched`` once, when the sum first is above the limit."""

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
    def create(self, bundle: Bundle, changes: Any) -> tuple[SumsEdge, OnnxModel]:
        model = load_model(bundle, PROFILE)
        return LatchedEdge(EdgeContext(SumsSettings(), model)), model


def test_an_alarm_that_the_candidate_raised_in_shadow_is_reported_after_the_switch(tmp_path, site):
    node = LatchedNode(tmp_path / "node", site)
    site.publish("v2", bundle=site.bundle("v2", gain=1.2), soak_s=float(SOAK))
    node.look()
    results = node.feed(20, values=lambda position: [0.4, 0.4, 0.4, 0.1])
    latched = [e for e in results if isinstance(e, Event) and e.type == "sums.latched"]
    assert [fields_of(event)["version"] for event in latched] == ["v2"]


def test_an_alarm_that_a_reverted_model_raised_is_not_raised_again(tmp_path, site):
    node = LatchedNode(tmp_path / "node", site)
    adopt(node, site, "v2", bundle=site.bundle("v2", sour=2.0, gain=1.2))
    results = node.feed(3, values=lambda position: [0.4, 0.4, 0.4, 0.1])
    results += node.feed(5, values=lambda position: [2.5, -2.5, 0, 0])
    results += node.feed(5, values=lambda position: [0.8, 0.8, 0.4, 0.1])
    assert node.reports("reverted")
    latched = [e for e in results if isinstance(e, Event) and e.type == "sums.latched"]
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
    node.feed(QUICK.min_soak_readings)
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


def test_an_unusable_reading_is_raised_and_counts_for_nothing(node, site):
    adopt(node, site, "v2")
    before = node.adoption.health()
    for _ in range(20):
        with pytest.raises(ReadingError):
            node.adoption.process(make_reading(1, values=[np.nan, 0, 0, 0]), node.clock())
    assert node.adoption.health() == before


def test_failures_of_the_confirmed_model_are_reported_ever_more_rarely(tmp_path, site):
    node = NodeKit(tmp_path / "node", site)
    adopt(node, site, "v2", bundle=site.bundle("v2", sour=2.0, gain=1.0))
    node.feed(SOAK + 5)
    assert node.adoption.health().confirmed
    results = node.feed(100, scale=50.0)
    reported = [fields_of(e)["count"] for e in results if isinstance(e, Event) and e.type == INFERENCE_TYPE]
    assert reported == [1, 2, 4, 8, 16, 32, 64]
    assert node.adoption.health().failures == 100


def test_outputs_and_manifest_of_the_live_model_are_there_for_drift_detection(node):
    assert node.adoption.outputs is None
    node.feed(1)
    assert set(node.adoption.outputs or {}) == {"y", "novelty"}
    assert node.adoption.manifest.version == "starter-1"
