"""Looking for deployments: what is fetched, what is refused, what it costs, when it is done."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.bundle import MANIFEST, seal
from common.deployment import DEPLOYMENT_LIMIT_BYTES, Constraint, Deployment, Wave
from common.edge.delivery.outbox import Outbox
from common.edge.update.bundle_download import RESERVE_BYTES
from common.edge.update.update_client import REPEAT_S
from tests.builders import make_bundle
from tests.updates import APP, QUICK, NodeKit, UpdateSite
from tests.waiting import PATIENCE_S, wait_for


def publish(site: UpdateSite, **facts: Any) -> None:
    site.serial += 1
    document = Deployment(**{"app": APP, "serial": site.serial, "rollout": f"r-{site.serial}", **facts})
    site.repository.publish(APP, None, document)


def refusal(node: NodeKit) -> str:
    (event,) = node.reports("refused")
    assert node.version() == "starter-1"
    return str(event["reason"])


def test_before_the_first_rollout_there_is_nothing_to_do(node):
    assert node.look() == []
    assert node.update_client.refusals == {}


def test_an_empty_base_version_is_the_starter(node, site):
    publish(site)
    assert node.look() == []
    assert node.version() == "starter-1"
    assert node.slots.state.seen_serial == 1


def test_a_node_outside_of_the_waves_runs_the_base_version(node, site):
    site.publish("v1")
    elsewhere = Wave("v2", 1.0, Constraint(sites=["elsewhere"]))
    site.serial += 1
    document = Deployment(
        app=APP, serial=site.serial, rollout="r", base_version="v1", waves=[elsewhere], soak_s=1.0
    )
    site.repository.publish(APP, site.bundle("v2"), document)
    node.look()
    node.feed(20)
    assert node.version() == "v1"


def test_a_check_without_news_is_two_small_requests(node, site):
    site.publish("v2")
    node.look()
    node.feed(20)
    site.server.requests.clear()
    node.look()
    assert site.server.requests == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_files_that_are_there_already_are_not_fetched_again(node, site):
    site.publish("v2", bundle=site.bundle("v2"))
    node.look()
    node.feed(20)
    site.server.requests.clear()
    publish(site, base_version="v2", waves=[Wave("v2", 1.0)], soak_s=1.0)
    node.look()
    assert not [path for path in site.server.requests if "bundles" in path]


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_a_download_cut_in_one_check_continues_in_the_next(node, site, name):
    site.publish("v2")
    site.server.answers[name] = lambda request, content: site.server.send(
        request, content, cut=max(1, len(content) // 3) if "Range" not in request.headers else 0
    )
    node.look()
    assert node.reports("refused") == []
    assert node.version() == "starter-1"
    ranges: list[str | None] = []

    def honest(request: Any, content: bytes) -> None:
        ranges.append(request.headers.get("Range"))
        site.server.send(request, content)

    site.server.answers[name] = honest
    again = NodeKit(node.folder, site)
    again.look()
    again.feed(20)
    assert again.version() == "v2"
    assert [bool(each) for each in ranges] == [True]


def test_a_bundle_that_nobody_signed_is_missing(node, site):
    site.publish("v2")
    role = site.repository.metadata_set.role(APP).signed
    role.targets = {path: t for path, t in role.targets.items() if not path.endswith(MANIFEST)}
    site.repository.metadata_set.write(APP)
    node.look()
    assert refusal(node) == "missing"


def test_a_file_that_the_server_lacks_is_missing(node, site):
    site.publish("v2")
    shutil.rmtree(site.repository.targets / APP / "bundles" / "v2")
    node.look()
    assert refusal(node) == "missing"


def test_a_manifest_from_the_future_is_final(node, site):
    bundle = site.bundle("v2")
    future = seal(bundle.path, msgspec.structs.replace(bundle.manifest, files={}))
    content = (future.path / MANIFEST).read_bytes().replace(b'"app"', b'"format": 9, "app"', 1)
    site.publish("v2", bundle=future)
    target = site.repository.target_files.add(f"{APP}/bundles/v2/{MANIFEST}", content)
    site.repository.metadata_set.role(APP).signed.targets[target.path] = target
    site.repository.metadata_set.write(APP)
    node.look()
    assert refusal(node) == "incompatible"
    assert node.slots.state.is_refused("v2", 1)


def test_a_bundle_that_is_another_version_is_refused(node, site):
    site.publish("v2")
    other = make_bundle(site.folder / "v3", version="v3", app=APP)
    for name in other.files():
        target = site.repository.target_files.add(
            f"{APP}/bundles/v2/{name}", (other.path / name).read_bytes()
        )
        site.repository.metadata_set.role(APP).signed.targets[target.path] = target
    site.repository.metadata_set.write(APP)
    node.look()
    assert refusal(node) == "mixed"


def test_a_model_that_cannot_be_loaded_is_refused(node, site):
    folder = site.bundle("v2").path
    (folder / "model.onnx").write_bytes(b"no model at all")
    broken = seal(folder, msgspec.structs.replace(site.bundle("v3").manifest, version="v2", files={}))
    site.publish("v2", bundle=broken)
    node.look()
    assert refusal(node) == "load_failed"


def test_a_document_that_is_too_large_is_not_fetched(node, site):
    publish(site, settings={"filler": "x" * DEPLOYMENT_LIMIT_BYTES})
    node.look()
    assert refusal(node) == "too_large"
    assert not [path for path in site.server.requests if path.startswith("targets")]


def test_a_version_that_leaves_its_folder_is_malformed(node, site):
    publish(site)
    document = msgspec.json.encode(Deployment(app=APP, serial=9, rollout="r", base_version="../../etc"))
    target = site.repository.target_files.add(f"{APP}/deployment.json", document)
    site.repository.metadata_set.role(APP).signed.targets = {target.path: target}
    site.repository.metadata_set.write(APP)
    node.look()
    assert refusal(node) == "malformed"


def test_a_full_disk_is_reported(node, site, monkeypatch):
    site.publish("v2")
    usage = shutil.disk_usage(site.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    node.look()
    assert refusal(node) == "no_space"
    assert node.update_client.facts()["problem"] == "no_space"
    monkeypatch.undo()
    node.look()
    assert node.update_client.facts()["problem"] == ""
    node.feed(20)
    assert node.version() == "v2"


def free_space(monkeypatch: pytest.MonkeyPatch, folder: Path, free_bytes: int) -> None:
    """A disk with ``free_bytes`` free now, less what is written into ``folder`` from now on."""
    usage = shutil.disk_usage(folder)
    before = size_of(folder)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage._replace(free=free_bytes - size_of(folder) + before)
    )


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("version", ["v2", "starter-1"])
def test_space_that_events_may_need_is_not_taken(tmp_path, site, monkeypatch, version):
    mebibyte = 1024 * 1024
    outbox = Outbox(tmp_path / "outbox.sqlite", "/here/node-1", 100 * mebibyte, time.time_ns)
    node = NodeKit(tmp_path / "node", site, reserve_bytes=lambda: outbox.room_bytes)
    if version == "starter-1":
        site.publish("v1")
        node.look()
        node.feed(20)
        assert node.version() == "v1"
        publish(site)  # without a version: the starter
    else:
        site.publish(version)
    slots = node.folder / "slots"
    before = size_of(slots)
    free_space(monkeypatch, node.folder, outbox.room_bytes + RESERVE_BYTES)
    node.look()
    assert node.reports("refused")[-1]["reason"] == "no_space"
    assert node.update_client.facts()["problem"] == "no_space"
    assert "outbox.budget_bytes" in node.update_client.facts()["detail"]
    assert size_of(slots) - before < 20_000, "at most the manifest"
    free_space(monkeypatch, node.folder, outbox.room_bytes + RESERVE_BYTES + mebibyte)
    node.look()
    node.feed(20)
    assert node.version() == version
    outbox.close()


def test_space_is_checked_before_every_file(node, site, monkeypatch):
    site.publish("v2")
    free_space(monkeypatch, node.folder, RESERVE_BYTES + 10_000_000)

    def fill(request: Any, content: bytes) -> None:
        free_space(monkeypatch, node.folder, RESERVE_BYTES)
        site.server.send(request, content)

    site.server.answers["golden.npz"] = fill
    node.look()
    assert refusal(node) == "no_space"
    assert not [path for path in site.server.requests if path.endswith("model.onnx")]


def test_a_document_that_vanished_is_reported(node, site):
    publish(site)
    node.look()
    role = site.repository.metadata_set.role(APP).signed
    role.targets = {}
    site.repository.metadata_set.write(APP)
    node.look()
    assert refusal(node) == "missing"


def test_damaged_local_metadata_is_fetched_again(node, site):
    site.publish("v2")
    node.look()
    node.feed(20)
    for path in (node.folder / "tuf").rglob("*.json"):
        path.write_bytes(b"\0" * 100)
    (node.folder / "tuf" / "metadata" / "tmpabc").write_bytes(b"left by a crash")
    site.publish("v3")
    again = NodeKit(node.folder, site)
    again.look()
    again.feed(20)
    assert again.version() == "v3"
    assert not (node.folder / "tuf" / "metadata" / "tmpabc").exists()


def test_the_same_refusal_is_reported_again_after_an_hour(node, site, monkeypatch):
    site.publish("v2")
    shutil.rmtree(site.repository.targets / APP / "bundles" / "v2")
    for _ in range(3):
        node.look()
    assert len(node.reports("refused")) == 1
    later = time.monotonic() + REPEAT_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    node.look()
    assert len(node.reports("refused")) == 2


def test_the_thread_checks_at_once_on_request_and_stops_at_once(tmp_path, site):
    slow = msgspec.structs.replace(QUICK, poll_interval_s=3600.0)
    node = NodeKit(tmp_path / "node", site, settings=slow)
    stop, check_now = threading.Event(), threading.Event()
    thread = threading.Thread(target=node.update_client.run, args=(stop, check_now))
    thread.start()
    try:
        wait_for(lambda: "metadata/timestamp.json" in site.server.requests, "a first check")
        site.publish("v2")
        check_now.set()
        wait_for(lambda: node.adoption.busy, "a trial")
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    node.feed(20)
    assert node.version() == "v2"
