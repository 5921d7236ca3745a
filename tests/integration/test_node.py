"""A node keeps what it decides, goes on where it was, and lives with what goes wrong."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from common.app.spec import AppSpec
from common.bundle import DriftSpec
from common.clock import NodeClock, steady_ns
from common.config.node import (
    NodeSettings,
)
from common.edge.node import Node
from common.errors import ConfigError, SourceFormatError
from tests.builders import make_app, make_bundle
from tests.integration.nodes import COUNT, SOURCE, facts, kept, of_the_app, run_through
from tests.waiting import PATIENCE_S, wait_for


def test_a_node_without_a_cloud_keeps_what_it_decides(make_node, tmp_path: Path) -> None:
    run_through(make_node())
    events = kept(tmp_path / "data")
    values = facts(events, "sums.value")
    assert [value["position"] for value in values] == list(range(1, COUNT + 1))
    assert [value["count"] for value in values] == list(range(1, COUNT + 1))
    (started,) = facts(events, "edgeloop.node.started")
    assert started["version"] == "starter-1"
    assert started["virtual"] is True
    assert started["profile"] == "cpu"


def test_a_node_that_is_stopped_goes_on_behind_its_last_reading(make_node, tmp_path: Path, truth) -> None:
    for _ in range(3):
        node = make_node(f"{SOURCE}&rate_hz=500", speed=1.0)
        before = node.processing.handled
        wait_for(lambda n=node, b=before: n.processing.handled >= b + 60, "some readings")
        assert node.stop() == 0
    node = make_node(f"{SOURCE}&rate_hz=500", speed=1.0)
    wait_for(lambda: node.outbox.position() == COUNT, "the rest")
    assert node.stop() == 0
    assert of_the_app(kept(tmp_path / "data")) == truth


def test_malformed_rows_are_reported_with_their_line_and_the_rest_is_decided(
    make_node, tmp_path: Path
) -> None:
    path = tmp_path / "run.csv"
    rows = [
        "a,b,c,d",
        "0.1,0.2,0.3,0.4",
        "0.1,0.2,0.3",
        "0.1,zero,0.3,0.4",
        "nan,0.2,0.3,0.4",
        ",0.2,0.3,0.4",
        "0.1,0.2,0.3,0.4,0.5",
        "0.5,0.5,0.5,0.5",
    ]
    path.write_text("\n".join(rows) + "\n")
    node = make_node(f"csv:{path}")
    wait_for(lambda: node.processing.platform.problems.count("unusable") == 5, "five unusable rows")
    run_through(node, 7)
    events = kept(tmp_path / "data")
    assert [value["sum"] for value in facts(events, "sums.value")] == [1.0, 2.0]
    reported = [fact for fact in facts(events, "edgeloop.source") if fact["problem"] == "unusable"]
    assert "run.csv:3" in reported[0]["detail"]


def test_a_file_without_usable_header_keeps_the_node_from_starting(make_node, tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("1,2,3\n4,5,6\n")
    with pytest.raises(SourceFormatError, match="first row must name the columns"):
        make_node(f"csv:{tmp_path / 'run.csv'}")


def test_a_clock_that_jumps_back_is_reported_and_nothing_is_lost(make_node, tmp_path: Path) -> None:
    run_through(make_node(f"{SOURCE}&back_at=100"))
    events = kept(tmp_path / "data")
    assert len(facts(events, "sums.value")) == COUNT
    (reported,) = facts(events, "edgeloop.source")
    assert reported["problem"] == "clock"
    assert "reading 100" in reported["detail"]


def test_a_source_that_fails_is_opened_again_behind_its_last_reading(
    make_node, tmp_path: Path, truth
) -> None:
    node = make_node(f"{SOURCE}&fail_at=100")
    wait_for(lambda: node.health.healthz()[1]["source_state"] == "failed", "the failure shows")
    good, about = node.health.healthz()
    assert not good
    assert "unplugged" in about["problems"][0]
    run_through(node)
    events = kept(tmp_path / "data")
    assert of_the_app(events) == truth
    assert facts(events, "edgeloop.source")[0]["problem"] == "source"


def test_drift_is_reported_when_it_begins_and_survives_a_restart(make_node, tmp_path: Path) -> None:
    make_bundle(tmp_path / "watched", drift=DriftSpec(output="novelty", threshold=1.0, rate=0.01))
    watched = make_app(tmp_path / "watched")
    source = f"{SOURCE}&strange_from=200"
    node = make_node(source, spec=watched, settings={"sample_every": 290, "score": 0.1})
    wait_for(lambda: node.processing.handled >= COUNT, "all readings")
    assert node.processing.decisions.drift.drifting
    assert node.stop() == 0
    (reported,) = facts(kept(tmp_path / "data"), "edgeloop.drift")
    assert reported["state"] == "drift"
    assert len(list((tmp_path / "data" / "samples").glob("*.npz"))) == 1, "drift makes a dull sample worth it"
    again = make_node(source, spec=watched)
    assert again.processing.decisions.drift.drifting
    assert again.stop() == 0
    assert len(facts(kept(tmp_path / "data"), "edgeloop.drift")) == 1


def test_a_recording_gives_the_same_events_again(make_node, tmp_path: Path, truth) -> None:
    run_through(make_node(record_to=tmp_path / "recording"))
    run_through(make_node(f"replay:{tmp_path / 'recording'}", data="again"))
    assert of_the_app(kept(tmp_path / "again")) == truth


def test_once_ends_when_the_source_does(make_node) -> None:
    node = make_node(once=True)
    assert node.ended.wait(PATIENCE_S)
    assert node.outbox.position() == COUNT
    assert node.stop() == 0


def test_two_nodes_do_not_share_a_folder(make_node) -> None:
    make_node()
    with pytest.raises(ConfigError, match="another node runs"):
        make_node()


def test_the_folder_of_another_app_is_refused(make_node, tmp_path: Path, spec: AppSpec) -> None:
    run_through(make_node())
    other = make_app(tmp_path / "other", name="other")
    with pytest.raises(ConfigError, match="holds a node of the app 'sums'"):
        make_node(spec=replace(other, name="other"))


def test_a_wrong_setting_of_the_app_is_named(make_node) -> None:
    with pytest.raises(ConfigError, match="did you mean alarm_above"):
        make_node(settings={"alarm_abve": 1.0})


def test_a_dead_thread_ends_the_node_with_a_failure(make_node, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node("virtual:sums?count=100000&rate_hz=100", speed=1.0)

    class Unsaveable(dict):
        """Content that no snapshot may have."""

    monkeypatch.setattr(node.models.adoption, "snapshot", lambda: {"bad": object()})
    assert node.ended.wait(PATIENCE_S)
    assert node.stop() == 1


def test_a_node_whose_clock_stood_in_2034_across_a_restart_of_the_machine_marks_its_times(
    spec: AppSpec, tmp_path: Path
) -> None:
    data = tmp_path / "data"

    def run(offset_ns: int) -> None:
        settings = NodeSettings(app=spec.name, source=SOURCE, data=str(data), speed=0.0, profile="cpu")
        node = Node(settings, None, spec, clock=NodeClock(lambda: offset_ns + steady_ns(), steady_ns))
        node.start()
        run_through(node, 0)
        anchor = msgspec.json.decode((data / "clock.json").read_bytes())
        (data / "clock.json").write_bytes(msgspec.json.encode({**anchor, "boot": "an earlier one"}))

    def qualities() -> list[str]:
        return [event.timequality for event in kept(data) if event.type == "edgeloop.node.started"]

    now_ns = time.time_ns()
    run(2_040_000_000 * 10**9)
    assert qualities() == ["unsynchronised"]
    run(now_ns)
    assert qualities() == ["unknown", ""]
    run(now_ns - 100 * 86400 * 10**9)
    assert qualities() == ["unknown", "unknown", "unsynchronised"]
