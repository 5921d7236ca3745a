"""Resources of a node in real time: CPU, and bytes written to its disk."""

from __future__ import annotations

import time

from apps.demo.benchmarks.bench_site import BenchSite, cpu_s
from apps.demo.world.processes import ShowError, wait_until
from apps.demo.world.world import EdgeNode
from common.config.node import OutboxSettings
from common.edge.disk_wear import DAY_S, written_bytes

SOURCES = {"industrial": "virtual:turbofan?seed=1", "ecg": "virtual:patient?seed=1"}
READY_EVENTS = 3


def node_cpu_percent(site: BenchSite, seconds: float) -> float:
    """CPU of a node with one engine at 1 Hz, in percent of one core."""
    node = site.make_node({})
    node.start(site.turbofan(node))
    site.wait_committed(node, READY_EVENTS)
    used_s, started = cpu_s(node.child.pid), time.perf_counter()
    _wait(started + seconds, seconds)
    percent = 100 * (cpu_s(node.child.pid) - used_s) / (time.perf_counter() - started)
    node.stop()
    node.close()
    return percent


def bytes_written_per_day(site: BenchSite, seconds: float) -> dict[str, float]:
    """Bytes written to disk by the node's process, by app: one engine at 1 Hz, one patient at 360 Hz.

    Both nodes run in parallel in real time, connected to the cloud, with default settings; the count over
    ``seconds`` is extrapolated to a day.
    """
    settings = {"outbox": {"commit_interval_s": OutboxSettings().commit_interval_s}}
    nodes = {app: site.make_node(settings, app=app) for app in SOURCES}
    for app, node in nodes.items():
        node.start(SOURCES[app])
    for node in nodes.values():
        site.wait_committed(node, READY_EVENTS)
    started, before = time.perf_counter(), {app: _written(node) for app, node in nodes.items()}
    _wait(started + seconds, seconds)
    after, took_s = {app: _written(node) for app, node in nodes.items()}, time.perf_counter() - started
    for node in nodes.values():
        node.stop()
        node.close()
    return {app: (after[app] - before[app]) / took_s * DAY_S for app in nodes}


def _wait(until: float, seconds: float) -> None:
    wait_until(lambda: time.perf_counter() > until, what="the window", timeout_s=seconds + 10)


def _written(node: EdgeNode) -> int:
    written = written_bytes(node.child.pid)
    if written is None:
        raise ShowError("this system does not count the bytes written by a process")
    return written
