"""One node floods the cloud: a real node keeps its throughput, and the flooder is throttled.

The measure is a ratio within one run, of events a second, so that a slow machine changes both sides alike.
The flooder is a process with an enrolment of its own that sends what costs the cloud the most, as fast as it
can.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from apps.demo.world.processes import wait_until
from apps.demo.world.world import CloudSite, EdgeNode
from tests.e2e.truth import stored_count
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]
RATE_HZ = 50
WINDOW_EVENTS = 600
"""Decisions of the victim over which its rate is measured."""
WINDOWS = 3
"""Windows beside the flood, of which one must do: other work of the machine comes and goes, it stays."""
FLOODER = Path(__file__).with_name("flooder.py")


def rate_per_s(cloud: CloudSite, node: EdgeNode) -> float:
    """Decisions of the victim a second that the cloud commits, over `WINDOW_EVENTS`."""
    first, began_s = stored_count(cloud, "tally."), time.monotonic()
    wait_until(
        lambda: stored_count(cloud, "tally.") >= first + WINDOW_EVENTS,
        what="the victim's decisions",
        timeout_s=PATIENCE_S,
        failed=lambda: node.child.exit_report() or cloud.child.exit_report(),
    )
    return (stored_count(cloud, "tally.") - first) / (time.monotonic() - began_s)


def memory_bytes(cloud: CloudSite) -> int:
    """Resident memory of the cloud's process."""
    pages = int(Path(f"/proc/{cloud.child.pid}/statm").read_text("ascii").split()[1])
    return pages * 4096


@pytest.mark.parametrize("kind", ["poison", "large", "noise"])
def test_a_victim_keeps_its_rate_while_another_floods(make_cloud, make_node, kind: str) -> None:
    cloud: CloudSite = make_cloud()
    cloud.start()
    victim, flooder = make_node("victim"), make_node("flooder")
    victim.enrol(cloud, "plant")
    flooder.enrol(cloud, "plant")
    victim.start(f"virtual:tally?seed=1&count=1000000&rate_hz={RATE_HZ}")
    wait_until(lambda: stored_count(cloud, "tally.") > 50, what="the first decisions", timeout_s=PATIENCE_S)
    alone = rate_per_s(cloud, victim)
    before = memory_bytes(cloud)
    enrolment = str(flooder.folder / "enrolment.json")
    with subprocess.Popen(
        [sys.executable, str(FLOODER), enrolment, kind], stdout=subprocess.PIPE, text=True
    ) as flood:
        assert flood.stdout is not None
        try:
            assert flood.stdout.readline() == "flooding\n"
            rates = [rate_per_s(cloud, victim)]
            while max(rates) <= 0.9 * alone and len(rates) < WINDOWS:
                rates.append(rate_per_s(cloud, victim))
            grown = memory_bytes(cloud) - before
        finally:
            flood.kill()
    beside = max(rates)
    print(f"{kind}: {alone:.1f} events/s alone, {beside:.1f} beside the flood, {grown / 2**20:.0f} MiB more")
    assert beside > 0.9 * alone
    assert grown < 1024 * 1024 * 1024
    with cloud.client() as client:
        wait_until(
            lambda: (
                {problem["kind"] for problem in client.get("/v1/nodes/flooder")["problems"]}
                & {"limited", "unprojected", "refused"}
            ),
            what="a problem of the flooder, which is stored now and then",
            timeout_s=PATIENCE_S,
        )
        assert client.get("/v1/nodes/victim")["problems"] == []
