"""Attacks on connections at each broker: connected clients stay connected, later ones are admitted.

The attacker is a process with valid credentials of its own. Rates are compared within one run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.demo.world.processes import wait_until
from apps.demo.world.world import CloudSite, EdgeNode
from cloud_backend.runtime.connections import raise_file_limit
from tests.e2e.test_flood import RATE_HZ, rate_per_s
from tests.e2e.truth import stored_count
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
ATTACKER = Path(__file__).with_name("broker_attacker.py")
SOURCE = f"virtual:tally?seed=1&count=1000000&rate_hz={RATE_HZ}"


@contextmanager
def attack(attacker: EdgeNode, kind: str) -> Generator[str]:
    """Run the attack; yields its first line of output."""
    command = [sys.executable, str(ATTACKER), str(attacker.folder / "enrolment.json"), kind, "victim"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            greeting = process.stdout.readline()
            assert greeting.startswith("attacking"), greeting
            yield greeting
            assert process.poll() is None
        finally:
            process.kill()


def connections_of(node: EdgeNode) -> int:
    return node.child.log.read_text("utf-8").count("connected to 127.0.0.1")


def await_decisions(cloud: CloudSite, node: EdgeNode, count: int) -> None:
    wait_until(
        lambda: stored_count(cloud, "tally.") > count,
        what=f"decisions of {node.name}",
        timeout_s=PATIENCE_S,
        failed=lambda: node.child.exit_report() or cloud.child.exit_report(),
    )


def test_a_nodes_connection_cannot_be_taken_over(make_cloud, make_node) -> None:
    cloud: CloudSite = make_cloud()
    cloud.start()
    victim, attacker = make_node("victim"), make_node("attacker")
    victim.enrol(cloud, "plant")
    attacker.enrol(cloud, "plant")
    victim.start(SOURCE)
    await_decisions(cloud, victim, 50)
    alone = rate_per_s(cloud, victim)
    before = connections_of(victim)
    assert before >= 1
    with attack(attacker, "takeover") as greeting:
        beside = rate_per_s(cloud, victim)
    print(f"{greeting.strip()}: {alone:.1f} events/s alone, {beside:.1f} during the attack")
    assert beside > 0.9 * alone
    assert connections_of(victim) == before, "it was never disconnected"
    with cloud.client() as client:
        assert client.get("/v1/nodes/victim")["problems"] == []


def test_idle_connections_keep_no_node_out(make_cloud, make_node) -> None:
    raise_file_limit()
    cloud: CloudSite = make_cloud()
    cloud.start()
    victim, late, attacker = make_node("victim"), make_node("late"), make_node("attacker")
    for node in (victim, late, attacker):
        node.enrol(cloud, "plant")
    victim.start(SOURCE)
    await_decisions(cloud, victim, 50)
    alone = rate_per_s(cloud, victim)
    before = connections_of(victim)
    with attack(attacker, "idle"):
        beside = rate_per_s(cloud, victim)
        late.start(f"virtual:tally?seed=2&count=100&rate_hz={RATE_HZ}")

        def late_is_there() -> bool:
            with cloud.client() as client:
                return len(client.items("/v1/nodes/late/events", type="tally.count")) == 100

        wait_until(
            late_is_there, what="all of the late node", timeout_s=PATIENCE_S, failed=late.child.exit_report
        )
    assert beside > 0.9 * alone
    assert connections_of(victim) == before
