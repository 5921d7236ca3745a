"""No event is lost or duplicated, whatever process is killed.

Four nodes decide on 20,000 readings while node, cloud and broker are killed with SIGKILL in a random
order, the broker's state is wiped, the cloud's disk is full for a while, acks are dropped and batches
are duplicated in transit. Finally the cloud has every event exactly once and in order, compared with a
replay of each node's source through the app. ``EDGELOOP_SEED`` repeats a run's schedule.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from apps.demo.world.processes import wait_until
from apps.demo.world.snapshot import metrics
from apps.demo.world.world import CloudSite, EdgeNode
from tests.e2e.conftest import DRAIN_S, DRAINING_NODE, FAST_CLOUD
from tests.e2e.mangler import Mangler
from tests.e2e.truth import (
    check_streams,
    committed_position,
    expected_events,
    outbox_rows,
    stored_count,
    stored_events,
)
from tests.waiting import PATIENCE_S

NODES = 4
READINGS = 5000
"""Minimum readings of each node; the nodes run until the last kill."""
RATE_HZ = 55.0
SOURCE_READINGS = 100_000
KILLS_OF_EACH = 10
WIPES = 2
DISK_FULL_S = 3.0
CAUGHT_UP_EVENTS = 500
"""A connected node that keeps fewer drains when it stops; of any other, a rest waits for its next start."""
STOPS = 5
"""Stops of a node until its outbox is empty: a connection may be lost during one."""
FULL_DISK_BYTES = 4096
"""No file of the cloud may be written past this size: less than one transaction, or than its log."""
PATIENT_CLOUD = {**FAST_CLOUD, "ingest": {"clock_tolerance_s": PATIENCE_S}}
"""Batches that a busy machine delivers late are no sign of a wrong clock: no time is corrected."""

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@dataclass
class Havoc:
    """Disturbances of the site; each recovers afterwards."""

    cloud: CloudSite
    nodes: list[EdgeNode]
    chance: random.Random
    start_node: Callable[[int], None]
    done: dict[str, int] = field(default_factory=dict)

    def kill_node(self) -> None:
        number = self.chance.randrange(len(self.nodes))
        self.nodes[number].child.kill()
        self.start_node(number)

    def kill_cloud(self) -> None:
        self.cloud.child.kill()
        self.cloud.start()

    def kill_broker(self) -> None:
        old = self.cloud.file.broker_pid
        os.kill(old, signal.SIGKILL)
        wait_until(
            lambda: self.cloud.file.broker_pid != old,
            what="the cloud starts its broker again",
            timeout_s=PATIENCE_S,
            failed=self.cloud.child.exit_report,
        )
        self.cloud.await_ready()

    def wipe_broker(self) -> None:
        """Kill the cloud with its broker, and lose all that the broker had kept."""
        os.kill(self.cloud.file.broker_pid, signal.SIGKILL)
        self.cloud.child.kill()
        self.cloud.child.reap()
        shutil.rmtree(self.cloud.folder / "broker", ignore_errors=True)
        self.cloud.start()

    def fill_disk(self) -> None:
        """For a while no file of the cloud takes a byte, its log included (EFBIG from the kernel)."""
        pid = self.cloud.child.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_DISK_BYTES, resource.RLIM_INFINITY))
        stuck = stored_count(self.cloud, "tally.")
        ends = time.monotonic() + DISK_FULL_S
        wait_until(lambda: time.monotonic() > ends, what="the disk was full", timeout_s=DISK_FULL_S + 5)
        assert self.cloud.alive, self.cloud.child.exit_report()
        self.grown_while_full = stored_count(self.cloud, "tally.") - stuck
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    grown_while_full: int = 0

    def do(self, verb: str) -> None:
        getattr(self, verb)()
        self.done[verb] = self.done.get(verb, 0) + 1


def is_caught_up(node: EdgeNode) -> bool:
    return bool(metrics(node).get("edgeloop_connected")) and outbox_rows(node) < CAUGHT_UP_EVENTS


def test_every_event_arrives_once_and_in_order_whatever_dies(make_cloud, make_node, broker: str, seed: int):
    began = time.monotonic()
    chance = random.Random(seed)
    mangler = Mangler(seed, drop_ack=0.1, double_up=0.1)
    cloud: CloudSite = make_cloud(PATIENT_CLOUD)
    cloud.start()
    assert cloud.file.broker_kind == broker
    nodes = [make_node(f"node-{number}", settings=DRAINING_NODE) for number in range(NODES)]

    def start_node(number: int) -> None:
        nodes[number].start(f"virtual:tally?seed={seed + number}&count={SOURCE_READINGS}&rate_hz={RATE_HZ}")

    for number, node in enumerate(nodes):
        node.enrol(cloud, f"site-{number % 2}", mangler.connection)
        start_node(number)

    havoc = Havoc(cloud, nodes, chance, start_node)
    schedule = ["kill_node", "kill_cloud", "kill_broker"] * KILLS_OF_EACH
    schedule += ["wipe_broker"] * WIPES + ["fill_disk"]
    chance.shuffle(schedule)
    wait_until(lambda: stored_count(cloud, "tally.") > 0, what="the first events", timeout_s=PATIENCE_S)
    for verb in schedule:
        pause = time.monotonic() + chance.uniform(0.2, 1.5)
        wait_until(lambda pause=pause: time.monotonic() > pause, what="a pause", timeout_s=PATIENCE_S)
        havoc.do(verb)
    mangler.enabled = False
    for node in nodes:
        wait_until(
            lambda node=node: committed_position(node) >= READINGS,
            what=f"{READINGS} readings of {node.name}",
            timeout_s=PATIENCE_S,
            failed=node.child.exit_report,
        )
    for node in nodes:
        wait_until(
            lambda node=node: is_caught_up(node),
            what=f"{node.name} has caught up",
            timeout_s=PATIENCE_S,
            failed=node.child.exit_report,
        )
    for number, node in enumerate(nodes):
        for _ in range(STOPS):
            assert node.stop(DRAIN_S + 60.0) == 0, node.child.exit_report()
            if not outbox_rows(node):
                break
            start_node(number)
            wait_until(
                lambda node=node: is_caught_up(node),
                what=f"{node.name} has caught up again",
                timeout_s=PATIENCE_S,
                failed=node.child.exit_report,
            )
        assert outbox_rows(node) == 0, f"{node.name} had caught up, and yet did not drain when it stopped"
    readings = [committed_position(node) for node in nodes]
    expected = [list(expected_events(seed + number, count)) for number, count in enumerate(readings)]
    total = sum(map(len, expected))

    print(f"broker {broker}: {havoc.done}, {mangler.acks_dropped} acks dropped, ", end="")
    print(f"{mangler.batches_duplicated} duplicated, {havoc.grown_while_full} events while the disk was full")
    assert mangler.acks_dropped > 10
    assert mangler.batches_duplicated > 10
    lost = duplicated = 0
    with cloud.client() as client:
        for number, node in enumerate(nodes):
            events = stored_events(client, node.name)
            check_streams(events)
            assert len({event.epoch for event in events}) == 1
            got = [
                (event.type, event.subject, event.time_ns, event.priority, event.data)
                for event in sorted(events, key=lambda event: event.seq)
                if event.type.startswith("tally.")
            ]
            lost += max(0, len(expected[number]) - len(got))
            duplicated += max(0, len(got) - len(expected[number]))
            assert got == expected[number]
            print(f"{node.name}: {len(events)} events, {len(got)} of the app")
    print(f"{total} events in, {lost} lost, {duplicated} duplicated, {time.monotonic() - began:.0f} s")
    assert total >= 20_000
