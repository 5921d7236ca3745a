"""The health of a node: what it reports of its losses, on its port and in its events."""

from __future__ import annotations

import json
from pathlib import Path

import urllib3
from typer.testing import CliRunner

from common.config.node import (
    OutboxSettings,
    TelemetrySettings,
)
from common.edge.commands import app as node_commands
from common.errors import ReadingError
from tests.integration.nodes import COUNT, facts, health_of, kept, pending, run_through
from tests.waiting import wait_for


def test_a_node_that_loses_nothing_is_healthy(make_node, tmp_path: Path) -> None:
    node = make_node()
    wait_for(lambda: node.processing.handled >= COUNT, "all readings")
    good, about = node.health.healthz()
    assert (good, about["problems"]) == (True, [])
    assert node.stop() == 0
    reported = health_of(kept(tmp_path / "data"))
    assert (reported["ok"], reported["problems"]) == (True, [])
    assert not (tmp_path / "data" / "losses.json").exists()


def test_events_given_up_for_the_disk_budget_are_a_problem_also_after_a_restart(
    make_node, tmp_path: Path
) -> None:
    outbox = OutboxSettings(budget_bytes=30_000)
    node = make_node(outbox=outbox)
    wait_for(lambda: node.processing.handled >= COUNT and not node.health.healthz()[0], "what is lost shows")
    (problem,) = node.health.healthz()[1]["problems"]
    assert "events were lost" in problem
    assert node.stop() == 0
    again = make_node(outbox=outbox)
    good, about = again.health.healthz()
    assert not good
    assert "events were lost" in about["problems"][0]
    assert again.stop() == 0
    reported = health_of(kept(tmp_path / "data"))
    assert reported["ok"] is False
    assert "events were lost" in reported["problems"][0]


def test_events_lost_in_a_damaged_outbox_are_a_problem(make_node, tmp_path: Path) -> None:
    run_through(make_node())
    file = tmp_path / "data" / "outbox.sqlite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)
    node = make_node()
    wait_for(lambda: not node.health.healthz()[0], "what is lost shows")
    assert "lost" in node.health.healthz()[1]["problems"][0]


def test_reports_that_are_dropped_are_a_problem(make_node, tmp_path: Path) -> None:
    node = make_node()
    wait_for(lambda: node.processing.handled >= COUNT, "all readings")
    node.models.adoption.reports.dropped += 3
    wait_for(lambda: not node.health.healthz()[0], "it shows")
    assert "3 reports" in node.health.healthz()[1]["problems"][0]
    assert node.stop() == 0
    reported = [
        fact for fact in facts(kept(tmp_path / "data"), "edgeloop.source") if fact["problem"] == "notices"
    ]
    assert reported[0]["count"] == 3


def test_readings_that_a_source_has_lost_are_a_problem_and_replaced_frames_are_not(
    make_node, tmp_path: Path
) -> None:
    node = make_node()
    node.queue.dropped += 5  # As the queue of a live source counts what a newer frame replaces.
    wait_for(lambda: node.processing.platform.problems.count("replaced") == 5, "the count shows")
    good, about = node.health.healthz()
    assert (good, about["dropped"]) == (True, 5)
    node.queue.put(ReadingError("the strap's buffer ran over", kind="lost", count=12))
    wait_for(lambda: not node.health.healthz()[0], "what is lost shows")
    assert "at least 12 readings" in node.health.healthz()[1]["problems"][0]
    assert node.stop() == 0
    reported = {fact["problem"]: fact["count"] for fact in facts(kept(tmp_path / "data"), "edgeloop.source")}
    assert reported == {"replaced": 5, "lost": 12}


def test_health_is_reported_again_and_again(make_node, tmp_path: Path) -> None:
    node = make_node(telemetry=TelemetrySettings(health_interval_s=0.05))

    def all_reported() -> bool:
        reported = facts(pending(node), "edgeloop.node.health")
        return len(reported) >= 3 and reported[-1]["readings"] == COUNT

    wait_for(all_reported, "three of them, the last about all readings")
    run_through(node)
    last = facts(kept(tmp_path / "data"), "edgeloop.node.health")[-1]
    assert last["readings"] == COUNT
    assert last["bytes_raw"] == COUNT * 4 * 8
    assert last["rss_bytes"] > 10**6
    assert last["confirmed"] is True
    assert last["version"] == "starter-1"


def test_metrics_and_healthz_answer_on_loopback(make_node, tmp_path: Path) -> None:
    node = make_node()
    wait_for(lambda: node.processing.handled >= COUNT, "all readings")
    port = int((tmp_path / "data" / "telemetry.port").read_text("ascii"))
    text = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics").data.decode()
    assert f"edgeloop_readings_total {float(COUNT)}" in text
    assert f"edgeloop_outbox_events {float(node.outbox.events)}" in text
    assert 'edgeloop_model{slot="a",step="confirmed",version="starter-1"} 1.0' in text
    answer = urllib3.request("GET", f"http://127.0.0.1:{port}/healthz")
    assert answer.status == 200
    assert answer.json()["readings"] == COUNT
    node.outbox.acked(1)
    answer = urllib3.request("GET", f"http://127.0.0.1:{port}/healthz").json()
    assert (answer["outbox_events"], answer["acked_seq"]) == (node.outbox.last_seq - 1, 1)
    shown = CliRunner().invoke(node_commands, ["events", "--data", str(tmp_path / "data"), "--json"]).stdout
    delivered = [json.loads(line)["delivered"] for line in shown.splitlines()]
    assert delivered == [True, *[False] * (node.outbox.last_seq - 1)]
    assert node.stop() == 0
    assert not (tmp_path / "data" / "telemetry.port").exists()
