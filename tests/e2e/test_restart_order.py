"""Nodes and cloud start, stop and restart in any order, and every decision arrives."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from apps.demo.world.processes import wait_until
from apps.demo.world.world import CloudSite, EdgeNode
from tests.e2e.conftest import DRAIN_S, DRAINING_NODE
from tests.e2e.truth import check_streams, outbox_rows, stored_count, stored_events
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e]
READINGS = 600
SOURCE = f"virtual:tally?seed=5&count={READINGS}&rate_hz=200"
EVENTS = READINGS + READINGS // 10 + READINGS // 50


def await_all(cloud: CloudSite, node: EdgeNode, count: int = EVENTS) -> None:
    wait_until(
        lambda: stored_count(cloud, "tally.") >= count,
        what=f"{count} events in the cloud",
        timeout_s=PATIENCE_S,
        failed=node.child.exit_report,
    )


def kept(node: EdgeNode) -> int:
    """Events that the node has committed to its outbox so far and still keeps."""
    try:
        return outbox_rows(node)
    except sqlite3.OperationalError:
        return 0


def check_all_there(cloud: CloudSite, node: EdgeNode) -> None:
    with cloud.client() as client:
        events = stored_events(client, node.name)
    check_streams(events)
    assert sum(event.type.startswith("tally.") for event in events) == EVENTS
    counts = [event.data["count"] for event in events if event.type == "tally.count"]
    assert sorted(counts) == list(range(1, READINGS + 1))


@pytest.fixture
def cloud(make_cloud) -> CloudSite:
    cloud = make_cloud()
    cloud.start()
    return cloud


@pytest.fixture
def node(make_node, cloud: CloudSite) -> EdgeNode:
    node = make_node("node-1")
    node.enrol(cloud, "site-1")
    return node


def test_a_node_that_starts_before_its_cloud_delivers_once_it_is_there(cloud: CloudSite, node: EdgeNode):
    cloud.stop()
    node.start(SOURCE)
    wait_until(
        lambda: kept(node) > 100, what="the node keeps", timeout_s=PATIENCE_S, failed=node.child.exit_report
    )
    cloud.start()
    await_all(cloud, node)
    check_all_there(cloud, node)


def test_a_node_goes_on_while_its_cloud_is_restarted(cloud: CloudSite, node: EdgeNode):
    node.start(SOURCE)
    await_all(cloud, node, 100)
    assert cloud.stop() == 0, cloud.child.exit_report()
    cloud.start()
    await_all(cloud, node)
    check_all_there(cloud, node)


def test_a_node_that_is_restarted_goes_on_where_it_was(cloud: CloudSite, node: EdgeNode):
    for _ in range(3):
        node.start(SOURCE)
        before = stored_count(cloud, "tally.count")
        await_all(cloud, node, min(EVENTS, before + 100))
        assert node.stop() == 0, node.child.exit_report()
    node.start(SOURCE)
    await_all(cloud, node)
    check_all_there(cloud, node)


def test_a_node_that_is_stopped_drains_to_the_cloud(cloud: CloudSite, make_node):
    node: EdgeNode = make_node("node-1", settings=DRAINING_NODE)
    node.enrol(cloud, "site-1")
    node.start(SOURCE)
    await_all(cloud, node, 100)
    assert node.stop(DRAIN_S + 60.0) == 0, node.child.exit_report()
    with closing(sqlite3.connect(f"file:{node.data / 'outbox.sqlite'}?mode=ro", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)


def test_a_node_that_stops_while_its_cloud_is_gone_keeps_what_it_has(cloud: CloudSite, node: EdgeNode):
    assert cloud.stop() == 0, cloud.child.exit_report()
    node.start(SOURCE)
    wait_until(
        lambda: kept(node) > 100, what="the node keeps", timeout_s=PATIENCE_S, failed=node.child.exit_report
    )
    assert node.stop() == 0, node.child.exit_report()
    assert kept(node) > 100
    cloud.start()
    node.start(SOURCE)
    await_all(cloud, node)
    check_all_there(cloud, node)


def test_what_was_killed_leaves_nothing_in_the_way(cloud: CloudSite, node: EdgeNode):
    node.start(SOURCE)
    await_all(cloud, node, 50)
    cloud.child.kill()
    node.child.kill()
    node.start(SOURCE)
    cloud.start()
    await_all(cloud, node)
    check_all_there(cloud, node)
