"""Operation of a fleet: restore of its cloud, retirement and replacement of nodes, keys."""

from __future__ import annotations

import getpass
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud_backend.ota.repository import Repository
from common.config.node import Enrolment
from common.deployment import SERIAL_LIMIT, Deployment
from tests.e2e.operations.fleets import APP, command, until
from tests.updates import FileServer
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2 * PATIENCE_S)]


def test_a_cloud_restored_from_a_backup_goes_on_with_its_fleet(fleet, add_node, tmp_path):
    names = ["node-1", "node-2"]
    nodes = [add_node(name) for name in names]
    fleet.finish(fleet.start("v2"))
    command("keys", "rotate", "root", "--data", str(fleet.cloud.folder))
    backup = command("cloud", "backup", "--data", str(fleet.cloud.folder), "--out", str(tmp_path / "b.tar"))
    assert backup["database"] == "sqlite"
    at_backup = {name: fleet.stored(name, type="tally.count") for name in names}
    with fleet.cloud.client() as client:
        client.post("/v1/keys/timestamp/rotate")
    late = fleet.start("v3")
    fleet.finish(late)
    seen = {name: fleet.node(name)["health"]["updates"] for name in names}
    until(lambda: all(fleet.stored(n, type="tally.count") > at_backup[n] + 50 for n in names), "more events")

    assert fleet.cloud.stop() == 0, fleet.cloud.child.exit_report()
    folder = str(fleet.cloud.folder)
    refused = command("cloud", "restore", str(tmp_path / "b.tar"), "--data", folder, status=1)
    assert "not empty" in refused["error"]
    restored = command("cloud", "restore", str(tmp_path / "b.tar"), "--data", folder, "--force")
    assert restored["created_ns"] == backup["created_ns"]
    assert Path(restored["kept"]).is_dir()
    fleet.cloud.start()

    def is_back(name: str) -> bool:
        node = fleet.node(name)
        updates = node["health"].get("updates", {})
        return not node["update_problem"] and updates.get("metadata", 0) > seen[name]["metadata"]

    until(lambda: all(is_back(name) for name in names), "the nodes trust the restored cloud")
    with fleet.cloud.client() as client:
        gone = [model["version"] for model in client.items(f"/v1/apps/{APP}/models")]
    assert "v3" not in gone, "the backup was taken before"
    fleet.finish(fleet.start("v4"))
    for name in names:
        node = fleet.node(name)
        assert (node["version"], node["update_problem"]) == ("v4", "")
        assert node["health"]["updates"]["serial"] > seen[name]["serial"]

    def accounted(name: str) -> bool:
        with fleet.cloud.client() as client:
            events = client.items(f"/v1/nodes/{name}/events")
        gaps = [e for e in events if e["type"] == "edgeloop.gap" and e["data"]["reason"] == "lost_by_cloud"]
        return bool(gaps) and events[-1]["seq"] > gaps[-1]["data"]["through"]

    until(lambda: all(accounted(name) for name in names), "what the restored cloud lacks is written down")
    lines = fleet.ask("/v1/audit-trail", limit=500)["items"]
    (line,) = [line for line in lines if line["action"] == "restore the cloud"]
    assert (line["actor"], line["address"]) == (f"os:{getpass.getuser()}", "offline")
    assert all(node.alive for node in nodes)


def test_a_cloud_put_back_without_the_command_reports_it_and_catches_up(fleet, add_node, tmp_path):
    add_node("node-1")
    fleet.finish(fleet.start("v2"))
    assert fleet.cloud.stop() == 0, fleet.cloud.child.exit_report()
    copy = tmp_path / "copy"
    shutil.copytree(fleet.cloud.folder, copy, ignore=shutil.ignore_patterns("lock", "cloud.json", "broker"))
    fleet.cloud.start()
    fleet.finish(fleet.start("v3"))
    until(lambda: fleet.node("node-1")["version"] == "v3", "the node runs v3")
    assert fleet.cloud.stop() == 0, fleet.cloud.child.exit_report()
    shutil.rmtree(fleet.cloud.folder)
    shutil.move(copy, fleet.cloud.folder)
    fleet.cloud.start()
    fleet.finish(fleet.start("v4"))
    until(lambda: not fleet.node("node-1")["update_problem"], "the node checks for updates")
    assert fleet.node("node-1")["version"] == "v4"
    log = fleet.cloud.child.log.read_text("utf-8")
    assert "nodes have newer update metadata than this cloud" in log


def test_nodes_that_are_retired_or_away_leave_a_rollout_to_the_others(fleet, add_node, tmp_path):
    healthy, away, retired = add_node("healthy"), add_node("away"), add_node("retired")
    away.child.kill()
    until(lambda: fleet.node("away")["state"] == "offline", "the cloud knows that a node is away")
    folder = str(fleet.cloud.folder)
    command("fleet", "retire", "retired", "--data", folder)
    assert fleet.ask("/v1/fleet")["nodes"] == 2
    before = fleet.stored("retired")
    assert before > 0
    rollout = fleet.start("v2")
    until(lambda: fleet.progress(rollout)["states"].get("confirmed") == 1, "the healthy node confirms")
    progress = fleet.progress(rollout)
    assert {node["node"] for node in progress["nodes"]} == {"healthy", "away"}
    assert progress["decision"]["failed"] == progress["decision"]["silent"] == 0
    assert fleet.rollout(rollout)["state"] == "running"
    assert fleet.node("retired")["version"] != "v2"
    assert fleet.stored("retired") == before, "nothing is taken from a retired node, and its history stays"

    out = tmp_path / "replacement.json"
    command("fleet", "replace", "away", "--name", "newcomer", "--out", str(out), "--data", folder)
    assert fleet.node("away")["replaced_by"] == "newcomer"
    fleet.finish(rollout)
    enrolment = msgspec.json.decode(out.read_bytes(), type=Enrolment)
    assert (enrolment.node, enrolment.site) == ("newcomer", "plant")
    assert healthy.alive
    assert retired.alive


def test_nodes_take_updates_again_after_a_stolen_app_key_was_rotated(fleet, add_node, tmp_path):
    """Whoever has the app's and the online keys makes a node see the highest serial; then come new keys."""
    node = add_node("node-1")
    fleet.finish(fleet.start("v2"))
    seen = fleet.node("node-1")["health"]["updates"]["serial"]
    stolen = tmp_path / "stolen"
    shutil.copytree(fleet.cloud.folder / "tuf", stolen / "tuf")
    shutil.copytree(fleet.cloud.folder / "secrets", stolen / "secrets")
    theirs = Repository(stolen / "tuf", stolen / "secrets", [])
    server = FileServer(stolen / "tuf")
    honest = node.http.target

    def updates() -> dict[str, Any]:
        return fleet.node("node-1")["health"]["updates"]

    try:
        node.http.target = server.address
        theirs.publish(APP, None, Deployment(app=APP, serial=2**63 - 1, rollout="evil", base_version="v2"))
        until(lambda: updates()["problem"] == "malformed", "the node refuses a serial above the limit")
        assert updates()["serial"] < 100
        theirs.publish(APP, None, Deployment(app=APP, serial=SERIAL_LIMIT, rollout="evil", base_version="v2"))
        until(lambda: updates()["serial"] == SERIAL_LIMIT, "the node has seen the highest serial")
    finally:
        node.http.target = honest
        server.close()
    rollout = fleet.start("v3")
    assert fleet.node("node-1")["version"] == "v2"
    command("keys", "rotate", APP, "--data", str(fleet.cloud.folder))
    until(lambda: fleet.node("node-1")["version"] == "v3", "the node runs v3")
    fleet.finish(rollout)
    until(lambda: not fleet.node("node-1")["update_problem"], "the node checks for updates")
    assert seen < updates()["serial"] < SERIAL_LIMIT
    assert node.alive
