"""Cost of deployment checks for the cloud, and the time of an adoption on one node."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec
import urllib3

from apps.demo.benchmarks.bench_site import INDUSTRIAL, BenchSite, cpu_s
from apps.demo.world.network import Rewrite
from apps.demo.world.processes import ShowError, wait_until
from apps.demo.world.stage import SOAK_S
from common import bundle as bundles
from common.app.spec import find_app
from common.bundle import Bundle, open_bundle

POLL_S = 60.0
SHADOW_READINGS = 20
ADOPTION_SPEED = 20.0
CONNECTIONS = 8
QUIET_S = 0.4
"""Silence after which a node's check is complete; far below the time between two checks."""
VERSION = "1.0.0-bench"

Request = tuple[str, dict[str, str]]
"""Path and headers of a GET request."""


@dataclass(frozen=True, slots=True)
class CheckCost:
    """Cost of many deployment checks without a new deployment."""

    nodes: int
    requests: int
    bytes_sent: int
    seconds: float
    cloud_cpu_s: float


@dataclass(frozen=True, slots=True)
class AdoptionTime:
    """Time from the request that starts a rollout to the node's reports of it."""

    switched_s: float
    confirmed_s: float
    settings: str


@dataclass(slots=True)
class HttpTap:
    """Records what a node sends over HTTP."""

    sent: bytearray = field(default_factory=bytearray)

    def connection(self) -> tuple[Rewrite, Rewrite]:
        return self._up, lambda chunk: chunk

    def _up(self, chunk: bytes) -> bytes:
        self.sent += chunk
        return chunk


def deployment_checks(site: BenchSite, nodes: int) -> CheckCost:
    """Cost of one check by each of ``nodes`` nodes without a new deployment.

    The requests of one real node are recorded and sent once for each node, over `CONNECTIONS` connections.
    """
    requests = _record_check(site)
    connections = urllib3.PoolManager(maxsize=CONNECTIONS, block=True)
    url = site.cloud.file.http_url

    def check(_node: int) -> int:
        """One check; bytes of its answers."""
        size = 0
        for path, headers in requests:
            answer = connections.request("GET", url + path, headers=headers, retries=False)
            if answer.status >= 500:
                raise ShowError(f"{path}: {answer.status}")
            head = sum(len(name) + len(value) + 4 for name, value in answer.headers.items()) + 19
            size += len(answer.data) + head
        return size

    used_s, started = cpu_s(site.cloud.child.pid), time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="check") as threads:
        bytes_sent = sum(threads.map(check, range(nodes)))
    seconds = time.perf_counter() - started
    used_s = cpu_s(site.cloud.child.pid) - used_s
    return CheckCost(nodes, nodes * len(requests), bytes_sent, seconds, used_s)


def adoption(site: BenchSite) -> AdoptionTime:
    """Time from the request that starts a rollout to ``switched`` and ``confirmed`` of one node."""
    node = site.make_node(
        {
            "ota": {"poll_interval_s": POLL_S, "shadow_readings": SHADOW_READINGS},
            "telemetry": {"health_interval_s": 1.0},
        }
    )
    node.start(site.turbofan(node), "--speed", str(ADOPTION_SPEED))
    site.wait_committed(node, 100)
    models = f"/v1/apps/{INDUSTRIAL}/models"
    body: dict[str, Any] = {"version": VERSION, "waves": [1.0], "constraint": {"nodes": [node.name]}}
    with site.cloud.client() as client:
        client.send_bundle(INDUSTRIAL, _starter_as(site, VERSION))
        client.post(models, {"version": VERSION})
        client.post(f"{models}/{VERSION}/promote", {"by": "bench", "reason": "the same model again"})
        started = time.perf_counter()
        client.post(f"/v1/apps/{INDUSTRIAL}/rollouts", body)

        def reached(step: str) -> float | None:
            events = client.items(f"/v1/nodes/{node.name}/events", type="edgeloop.adoption")
            found = any(e["data"]["step"] == step and e["data"]["version"] == VERSION for e in events)
            return time.perf_counter() - started if found else None

        switched_s = wait_until(lambda: reached("switched"), what="switched", timeout_s=90)
        confirmed_s = wait_until(lambda: reached("confirmed"), what="confirmed", timeout_s=90)
    assert switched_s is not None
    assert confirmed_s is not None
    node.stop()
    node.close()
    settings = (
        f"shadow of {SHADOW_READINGS} readings at {ADOPTION_SPEED:g} Hz, soak of {SOAK_S:g} s, triggered "
        f"by a hint (polling every {POLL_S:g} s)"
    )
    return AdoptionTime(switched_s, confirmed_s, settings)


def parse_requests(sent: bytes) -> list[Request]:
    """The GET requests in what a client sent."""
    found: list[Request] = []
    for head in sent.decode("latin-1").split("\r\n\r\n"):
        first, *lines = head.split("\r\n")
        method, _, rest = first.partition(" ")
        if method == "GET":
            headers = dict(line.split(": ", 1) for line in lines if ": " in line)
            headers.pop("Host", None)
            found.append((rest.partition(" ")[0], headers))
    return found


def _record_check(site: BenchSite) -> list[Request]:
    """Requests of a real node's check that finds no new deployment."""
    tap = HttpTap()
    node = site.make_node({"ota": {"poll_interval_s": 1.0}}, rewrite_http=tap.connection)
    node.start(site.turbofan(node))
    checks: list[list[Request]] = []
    for _ in range(3):  # The first checks fetch metadata; the third finds nothing new.
        checks.append(
            wait_until(lambda: _next_check(tap), what="a check", timeout_s=60, failed=node.child.exit_report)
        )
    node.stop()
    node.close()
    return checks[-1]


def _next_check(tap: HttpTap) -> list[Request]:
    tap.sent.clear()
    wait_until(lambda: b"timestamp.json" in tap.sent, what="a check begins", timeout_s=30)
    quiet = time.monotonic() + QUIET_S
    wait_until(lambda: time.monotonic() > quiet, what="the check ends", timeout_s=QUIET_S + 5)
    return parse_requests(bytes(tap.sent))


def _starter_as(site: BenchSite, version: str) -> Bundle:
    """The app's starter under another version."""
    starter = open_bundle(find_app(INDUSTRIAL).starter, app=INDUSTRIAL)
    folder = site.folder / "models" / version
    folder.mkdir(parents=True)
    for name in starter.manifest.files:
        (folder / name).write_bytes((starter.path / name).read_bytes())
    return bundles.seal(folder, msgspec.structs.replace(starter.manifest, version=version))
