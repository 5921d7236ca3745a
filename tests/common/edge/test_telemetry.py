"""A node serves its metrics and its health, on loopback only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from common.edge.telemetry import PORT_FILE, NodeMetrics, TelemetryServer


class Node:
    def __init__(self, folder: Path) -> None:
        self.metrics = NodeMetrics()
        self.good = True
        self.server = TelemetryServer(
            self.metrics, lambda: (self.good, {"version": "v1"}), "127.0.0.1", 0, folder
        )

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request("GET", f"http://127.0.0.1:{self.server.port}{path}", retries=False)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.server.close()


def test_metrics_are_prometheus_text(node: Node) -> None:
    node.metrics.events.labels("alarm").inc(3)
    answer = node.get("/metrics")
    assert answer.status == 200
    assert 'edgeloop_events_total{priority="alarm"} 3.0' in answer.data.decode()


def test_health_follows_the_node(node: Node) -> None:
    answer = node.get("/healthz")
    assert (answer.status, json.loads(answer.data)) == (200, {"ok": True, "version": "v1"})
    node.good = False
    assert node.get("/healthz").status == 503


def test_the_port_is_reported_in_the_data_folder(node: Node, tmp_path: Path) -> None:
    assert int((tmp_path / PORT_FILE).read_text()) == node.server.port


def test_nothing_else_is_served(node: Node) -> None:
    assert node.get("/../../etc/passwd").status == 404
    assert node.get("/").status == 404


def test_two_nodes_in_one_process_do_not_mix(node: Node) -> None:
    NodeMetrics().readings.inc()
    assert "edgeloop_readings_total 0.0" in node.get("/metrics").data.decode()
