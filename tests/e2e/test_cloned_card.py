"""Two devices with one identity, over each broker: no decision of either is lost, and both sides report it.

Once as a copy of a running node's whole folder (a cloned card: the same epoch and sequence numbers for
different events), and once as two new folders with the same enrolment.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from apps.demo.world.processes import wait_until
from apps.demo.world.world import CloudSite, EdgeNode
from tests.e2e.truth import stored_count, stored_events
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
READINGS = 1500
RATE_HZ = 100


def source(seed: int, count: int = READINGS) -> str:
    return f"virtual:tally?seed={seed}&count={count}&rate_hz={RATE_HZ}"


def positions(cloud: CloudSite, name: str) -> dict[str, Counter[int]]:
    """Number of decisions in the cloud for each reading, by the device that made them."""
    found: dict[str, Counter[int]] = {"tally-1": Counter(), "tally-2": Counter()}
    with cloud.client() as client:
        for event in stored_events(client, name):
            if event.type == "tally.count":
                found[event.subject][event.data["position"]] += 1
    return found


def await_decisions(cloud: CloudSite, *nodes: EdgeNode) -> None:
    def all_there() -> bool:
        database = cloud.folder / "cloud.sqlite"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=PATIENCE_S)) as connection:
            (count,) = connection.execute(
                "SELECT count(DISTINCT subject || body) FROM event WHERE type = 'tally.count'"
            ).fetchone()
        return count >= 2 * READINGS

    wait_until(
        all_there,
        what="all decisions of both devices are in the cloud",
        timeout_s=PATIENCE_S,
        failed=lambda: nodes[0].child.exit_report() or nodes[1].child.exit_report(),
    )


def problems_of(cloud: CloudSite, name: str) -> set[str]:
    with cloud.client() as client:
        return {problem["kind"] for problem in client.get(f"/v1/nodes/{name}")["problems"]}


def is_alarm_raised(cloud: CloudSite) -> bool:
    with cloud.client() as client:
        return any(
            alert["type"] == "edgeloop.uplink" and alert["data"]["problem"] == "identity_shared"
            for alert in client.pages("/v1/alerts", limit=100)
        )


def twin_of(node: EdgeNode, make_node) -> EdgeNode:
    """Another device with this one's enrolment."""
    twin = make_node("twin")
    shutil.copy2(node.folder / "enrolment.json", twin.folder / "enrolment.json")
    return twin


@pytest.fixture
def cloud(make_cloud) -> CloudSite:
    cloud = make_cloud()
    cloud.start()
    return cloud


def test_a_copied_data_folder_loses_nothing_and_is_reported(make_node, cloud: CloudSite) -> None:
    node = make_node("node-1")
    node.enrol(cloud, "plant")
    node.start(source(1))
    wait_until(lambda: stored_count(cloud, "tally.") > 50, what="the first decisions", timeout_s=PATIENCE_S)
    node.child.kill()
    node.child.reap()
    twin = twin_of(node, make_node)
    shutil.copytree(node.data, twin.data)
    node.start(source(1))
    twin.start(source(2))
    await_decisions(cloud, node, twin)
    wait_until(
        lambda: {"forked", "identity_shared"} & problems_of(cloud, "node-1"),
        what="the cloud reports the clone",
        timeout_s=PATIENCE_S,
    )
    wait_until(lambda: is_alarm_raised(cloud), what="an alarm of the node", timeout_s=PATIENCE_S)
    found = positions(cloud, "node-1")
    assert found["tally-1"] == found["tally-2"] == Counter(range(1, READINGS + 1)), "none lost, none twice"
    with cloud.client() as client:
        events = [event for event in stored_events(client, "node-1") if event.type == "tally.count"]
    assert len({event.epoch for event in events}) in (2, 3), (
        "each device leaves the copied epoch at most once"
    )


def test_one_enrolment_in_two_folders_loses_nothing_and_is_reported(make_node, cloud: CloudSite) -> None:
    node = make_node("node-1")
    node.enrol(cloud, "plant")
    twin = twin_of(node, make_node)
    node.start(source(1))
    twin.start(source(2))
    await_decisions(cloud, node, twin)
    wait_until(
        lambda: "identity_shared" in problems_of(cloud, "node-1"),
        what="the cloud reports the clone",
        timeout_s=PATIENCE_S,
    )
    wait_until(lambda: is_alarm_raised(cloud), what="an alarm of a node", timeout_s=PATIENCE_S)
    found = positions(cloud, "node-1")
    for counts in found.values():
        assert counts == Counter(range(1, READINGS + 1))
