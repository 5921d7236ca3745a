"""Throughput of the loop with a node at full speed, compared with its limits (`apps.demo.benchmarks.limits`).

The loop is measured with the meter (`apps.demo.benchmarks.meter`), whose events cost next to nothing to
decide. The same loop with the industrial app is measured beside it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.demo.benchmarks.bench_site import INDUSTRIAL, SITE, BenchSite, cpu_s
from apps.demo.benchmarks.limits import broker_events_per_s, database_events_per_s, process_events_per_s
from apps.demo.benchmarks.meter import VALUES
from apps.demo.world.processes import ShowError, wait_until
from apps.demo.world.world import EdgeNode, Settings
from common.messages import decode_batch
from common.sealing import TAG_BYTES

AHEAD_READINGS = 500
"""Maximum lead of the meter over its committed events."""
PACE_S = 0.02
SAMPLED_BATCHES = 50
"""Batches of the loop that are received for their mean size."""
NODE_SETTINGS: Settings = {"telemetry": {"health_interval_s": 10.0}}


@dataclass(frozen=True, slots=True)
class Workload:
    """App of a node, its virtual source, and the events after which the node is warm."""

    app: str
    source: str
    warm_events: int


METER_WORKLOAD = Workload("apps.demo.benchmarks.meter:SPEC", "virtual:wave?name={name}&pace={pace}", 200_000)
INDUSTRIAL_WORKLOAD = Workload(INDUSTRIAL, "virtual:turbofan?seed={number}&name={name}", 2000)


@dataclass(frozen=True, slots=True)
class LoopRun:
    """One node at full speed for a window, from ``process`` to committed in the cloud."""

    events_per_s: float
    transaction_events: float
    node_cpu_percent: float
    cloud_cpu_percent: float
    payloads: list[bytes]
    """Batches as received from the broker."""

    @property
    def sizes(self) -> list[int]:
        """Events in each of ``payloads``."""
        return [len(decode_batch(payload[TAG_BYTES:]).events) for payload in self.payloads]


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the loop with the meter, its two limits, then the loop with the industrial app."""

    loop_events_per_s: float
    broker_events_per_s: float
    database_events_per_s: float
    batch_events: float
    transaction_events: float
    node_cpu_percent: float
    cloud_cpu_percent: float
    industrial_events_per_s: float
    process_events_per_s: float


def measure_round(site: BenchSite, window_s: float) -> Round:
    """Measure the loop for ``window_s``, then broker and database with its data, then the industrial app."""
    meter = measure_loop(site, METER_WORKLOAD, window_s)
    sizes = meter.sizes
    mean = sum(sizes) / len(sizes)
    typical = min(range(len(sizes)), key=lambda index: abs(sizes[index] - mean))
    broker = broker_events_per_s(site, meter.payloads[typical], sizes[typical])
    database = database_events_per_s(site, max(1, round(meter.transaction_events)))
    return Round(
        loop_events_per_s=meter.events_per_s,
        broker_events_per_s=broker,
        database_events_per_s=database,
        batch_events=mean,
        transaction_events=meter.transaction_events,
        node_cpu_percent=meter.node_cpu_percent,
        cloud_cpu_percent=meter.cloud_cpu_percent,
        industrial_events_per_s=measure_loop(site, INDUSTRIAL_WORKLOAD, window_s).events_per_s,
        process_events_per_s=process_events_per_s(site.nodes_made),
    )


def measure_loop(site: BenchSite, workload: Workload, window_s: float) -> LoopRun:
    """Measure one new node once it is warm. Raises `ShowError` if its outbox had to drop events."""
    node = site.make_node(NODE_SETTINGS, app=workload.app)
    pace = site.folder / f"{node.name}.pace"
    source = workload.source.format(number=site.nodes_made, name=node.name, pace=pace)
    with _pacing(site, node, pace):
        node.start(source, "--speed", "0")
        site.wait_committed(node, workload.warm_events)
        transactions, first, started = site.transactions(), site.committed(node), time.perf_counter()
        node_cpu_s, cloud_cpu_s = cpu_s(node.child.pid), cpu_s(site.cloud.child.pid)
        ends = started + window_s
        wait_until(lambda: time.perf_counter() > ends, what="the window", timeout_s=window_s + 10)
        last, seconds = site.committed(node), time.perf_counter() - started
        node_cpu_s = cpu_s(node.child.pid) - node_cpu_s
        cloud_cpu_s = cpu_s(site.cloud.child.pid) - cloud_cpu_s
        transactions = site.transactions() - transactions
        payloads = _sample_batches(site, node)
    node.child.kill()
    node.child.reap()
    node.close()
    if site.gaps(node):
        raise ShowError(f"{node.name} has dropped events during the measurement: its outbox was too small")
    return LoopRun(
        events_per_s=(last - first) / seconds,
        transaction_events=(last - first) / max(1, transactions),
        node_cpu_percent=100 * node_cpu_s / seconds,
        cloud_cpu_percent=100 * cloud_cpu_s / seconds,
        payloads=payloads,
    )


@contextmanager
def _pacing(site: BenchSite, node: EdgeNode, file: Path) -> Generator[None]:
    """Keep a node's source `AHEAD_READINGS` ahead of its committed events, by its pace file.

    A node drops events rather than block its source, and dropped events do not count as throughput.
    """
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(PACE_S):
            allow(site.committed(node) // VALUES + AHEAD_READINGS)

    def allow(position: int) -> None:
        new = file.with_suffix(".new")
        new.write_text(str(position), "ascii")
        new.replace(file)

    allow(AHEAD_READINGS)
    thread = threading.Thread(target=follow, name="pace")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _sample_batches(site: BenchSite, node: EdgeNode) -> list[bytes]:
    """The next `SAMPLED_BATCHES` batches of a node, received after the window so that they do not slow it."""
    batches: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def on_message(_client: Any, _user: Any, message: Any) -> None:
        batches.put(message.payload)

    with site.broker_client() as subscriber:
        subscriber.on_message = on_message
        subscriber.subscribe(f"edgeloop/v1/{SITE}/{node.name}/up", 0)
        try:
            return [batches.get(timeout=10) for _ in range(SAMPLED_BATCHES)]
        except queue.Empty:
            raise ShowError("no batches arrive at the broker") from None
