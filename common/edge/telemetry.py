"""Telemetry of a node: Prometheus metrics and ``/healthz`` on loopback.

The registry is the node's own, so two nodes in one process (tests) do not mix. The HTTP server is one
thread; it answers ``GET /metrics`` and ``GET /healthz`` and nothing else. Its port is written to
``telemetry.port`` in the data folder.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from common import durable
from common.errors import ConfigError

PORT_FILE = "telemetry.port"
STOP_INTERVAL_S = 0.1
"""Longest wait of a closing server for its loop."""
Healthz = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Whether the node does its work, and the facts behind that."""


def query_node(folder: Path) -> tuple[bool, dict[str, Any]]:
    """Query ``/healthz`` of the node in ``folder``: whether it is healthy, and the facts behind that.

    Raises `ConfigError` if none runs.
    """
    try:
        port = int((folder / PORT_FILE).read_text("ascii"))
        with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/healthz")
            facts: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, ValueError, HTTPException) as error:
        raise ConfigError(f"no node runs in {folder}: {error}") from error
    return bool(facts.pop("ok", False)), facts


class NodeMetrics:
    """The metrics of one node."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refresh: Callable[[], None] = lambda: None
        """Updates the metrics that are not counted as they happen; called before each answer."""
        r = self.registry
        self.readings = Counter("edgeloop_readings", "Readings processed", registry=r)
        self.unusable = Counter("edgeloop_readings_unusable", "Readings that were refused", registry=r)
        self.dropped = Counter(
            "edgeloop_readings_dropped", "Readings of a live source that a newer one replaced", registry=r
        )
        self.events = Counter("edgeloop_events", "Events kept in the outbox", ["priority"], registry=r)
        self.given_up = Counter(
            "edgeloop_events_given_up", "Events that the disk budget cost", ["priority"], registry=r
        )
        self.failures = Counter(
            "edgeloop_inference_failures", "Readings on which the model failed", registry=r
        )
        self.processing = Histogram(
            "edgeloop_processing_seconds", "Time from taking a reading to its decision",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2), registry=r,
        )  # fmt: skip
        self.refusals = Counter("edgeloop_updates_refused", "Updates refused", ["reason"], registry=r)
        self.outbox_events = Gauge("edgeloop_outbox_events", "Events that wait for the cloud", registry=r)
        self.outbox_bytes = Gauge("edgeloop_outbox_bytes", "Bytes that wait for the cloud", registry=r)
        self.connected = Gauge("edgeloop_connected", "1 while the broker takes messages", registry=r)
        self.drift = Gauge("edgeloop_drift", "1 while the readings are unlike training", registry=r)
        self.sent_bytes = Counter("edgeloop_sent_bytes", "Bytes sent to the cloud", ["kind"], registry=r)
        self.model = Gauge("edgeloop_model", "1 for the live model", ["version", "slot", "step"], registry=r)


class TelemetryServer(ThreadingHTTPServer):
    """``/metrics`` and ``/healthz`` over HTTP, from when it is made until `close`."""

    daemon_threads = True

    def __init__(self, metrics: NodeMetrics, healthz: Healthz, host: str, port: int, folder: Path) -> None:
        self.metrics = metrics
        self.healthz = healthz
        super().__init__((host, port), _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(STOP_INTERVAL_S,), name="telemetry", daemon=True
        )
        self._thread.start()
        durable.write(folder / PORT_FILE, f"{self.port}\n".encode())

    @property
    def port(self) -> int:
        return self.server_address[1]

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: TelemetryServer  # type: ignore[assignment]  the only server that uses this handler
    timeout = 5

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self.server.metrics.refresh()
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.metrics.registry))
        elif self.path == "/healthz":
            good, facts = self.server.healthz()
            body = json.dumps({"ok": good, **facts}).encode()
            self._answer(200 if good else 503, "application/json", body)
        else:
            self._answer(404, "text/plain", b"this node answers /metrics and /healthz\n")

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: a scraper comes every few seconds."""
