"""Files of a cloud and a node are readable by their owner only, independent of the umask."""

from __future__ import annotations

import os

import pytest

from apps.demo.world.processes import wait_until
from tests.builders import open_paths
from tests.e2e.truth import stored_count

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_no_file_of_a_running_cloud_and_node_is_open_to_others(make_cloud, make_node) -> None:
    before = os.umask(0o022)
    try:
        cloud, node = make_cloud(), make_node("node-1")
        cloud.start()
        node.enrol(cloud, "site-1")
        (node.data / "samples").mkdir(parents=True)  # as an earlier version made it
        (node.data / "outbox.sqlite").touch()
        node.start("virtual:tally?seed=5&count=200&rate_hz=200")
    finally:
        os.umask(before)
    wait_until(
        lambda: stored_count(cloud, "tally.") >= 200,
        what="200 events in the cloud",
        timeout_s=60,
        failed=node.child.exit_report,
    )
    assert open_paths(cloud.folder) == []
    assert open_paths(node.data) == []
    node.stop()
    cloud.stop()
    assert open_paths(cloud.folder) + open_paths(node.data) == []
