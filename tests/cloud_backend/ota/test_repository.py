"""The update repository: always a consistent set, renewed by itself, bounded."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata

from cloud_backend.ota.metadata_set import KEPT_VERSIONS
from cloud_backend.ota.repository import Repository
from common import durable
from common.bundle import Bundle
from common.connection import Address, Connection
from common.deployment import Deployment, Wave, bundle_target, deployment_target
from common.edge.update.deployment_serials import Floors
from common.edge.update.fetcher import RepositoryFetcher
from common.edge.update.tuf_client import TrustedRepository
from common.errors import BundleError, RegistryError
from tests.builders import make_bundle
from tests.updates import APP, QUICK, FileServer, StillClock

DAY_S = 86400.0


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def open_repository(tmp_path: Path, clock: StillClock) -> Callable[..., Repository]:
    def run(*apps: str, timestamp_s: float = DAY_S) -> Repository:
        return Repository(tmp_path / "tuf", tmp_path / "secrets", apps or (APP,), timestamp_s, clock)

    return run


def bundle(tmp_path: Path, version: str = "v1", gain: float = 1.0) -> Bundle:
    return make_bundle(tmp_path / "bundles" / version, version=version, app=APP, gain=gain)


def deployment(serial: int, *versions: str, base: str = "") -> Deployment:
    waves = [Wave(version, 1.0) for version in versions]
    return Deployment(app=APP, serial=serial, rollout=f"r-{serial}", base_version=base, waves=waves)


def verify(repository: Repository, tmp_path: Path, root: dict[str, Any] | None = None) -> None:
    """A fresh client accepts all that is served."""
    server = FileServer(repository.metadata.parent)
    try:
        trusted = TrustedRepository(
            tmp_path / f"client-{server.url[-5:]}",
            root or repository.root(),
            f"{server.url}/tuf",
            RepositoryFetcher(QUICK),
            APP,
        )
        trusted.refresh(Floors())
        for app in repository.apps():
            for path in repository.metadata_set.role(app).signed.targets:
                target = trusted.target(path)
                assert target is not None
                trusted.fetch(target, tmp_path / "fetched")
                (tmp_path / "fetched").unlink()
    finally:
        server.close()


def version_of(repository: Repository, role: str) -> int:
    name = repository.metadata / f"{role}.json"
    if not name.exists():
        found = [int(p.name.partition(".")[0]) for p in repository.metadata.glob(f"*.{role}.json")]
        return max(found)
    return Metadata[Any].from_file(str(name)).signed.version


def test_keys_are_readable_by_the_owner_only(open_repository, tmp_path):
    open_repository()
    folder = tmp_path / "secrets" / "tuf"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    names = {path.stem for path in folder.iterdir()}
    expected = {"root-1", "root-2", "root-3", "targets-1", "targets-2", "snapshot-1", "timestamp-1", "sums-1"}
    assert names == expected


def test_thresholds_are_those_that_were_promised(open_repository):
    roles = open_repository().root()["signed"]["roles"]
    assert {name: (len(role["keyids"]), role["threshold"]) for name, role in roles.items()} == {
        "root": (3, 2),
        "targets": (2, 2),
        "snapshot": (1, 1),
        "timestamp": (1, 1),
    }


def test_a_client_accepts_what_was_published(open_repository, tmp_path):
    repository = open_repository()
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    verify(repository, tmp_path)
    assert repository.deployment(APP) == deployment(1, "v1")
    assert repository.versions(APP) == ["v1"]


def test_a_restart_changes_nothing(open_repository, tmp_path):
    before = open_repository()
    before.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    files = sorted((p.name, p.read_bytes()) for p in before.metadata.iterdir())
    after = open_repository()
    assert sorted((p.name, p.read_bytes()) for p in after.metadata.iterdir()) == files
    assert after.root() == before.root()
    assert after.deployment(APP) == deployment(1, "v1")


def test_an_app_can_be_added_later(open_repository, tmp_path):
    open_repository().publish(APP, bundle(tmp_path), deployment(1, "v1"))
    repository = open_repository(APP, "ecg")
    assert repository.apps() == ["ecg", APP]
    assert repository.deployment(APP) == deployment(1, "v1")
    verify(repository, tmp_path)


@pytest.mark.parametrize("name", ["root", "targets", "snapshot", "timestamp", "../x", "A", ""])
def test_an_app_cannot_have_a_reserved_or_malformed_name(open_repository, name):
    with pytest.raises(RegistryError):
        open_repository().add_app(name)


def test_what_is_not_for_the_app_or_not_there_is_refused_and_leaves_nothing(open_repository, tmp_path):
    repository = open_repository()
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    foreign = make_bundle(tmp_path / "foreign", version="v2", app="ecg")
    with pytest.raises(RegistryError):
        repository.publish(APP, None, deployment(2, "v2"))
    with pytest.raises(BundleError):
        repository.publish(APP, foreign, deployment(2, "v2"))
    with pytest.raises(RegistryError):
        repository.publish("nobody", None, deployment(2))
    with pytest.raises(RegistryError):
        repository.publish(APP, None, Deployment(app="ecg", serial=2, rollout="r"))
    assert repository.deployment(APP) == deployment(1, "v1")
    verify(repository, tmp_path)


def test_old_bundles_go_and_the_production_and_previous_ones_stay(open_repository, tmp_path):
    repository = open_repository()
    for serial in range(1, 12):
        version = f"v{serial}"
        keep = (f"v{serial - 1}",) if serial > 1 else ()
        made = bundle(tmp_path, version, gain=1 + serial / 100)
        repository.publish(APP, made, deployment(serial, version), keep=keep)
    assert repository.versions(APP) == ["v10", "v11"]
    folders = {path.name for path in (repository.targets / APP / "bundles").iterdir()}
    assert "v1" not in folders
    assert {"v10", "v11"} <= folders
    assert len(folders) <= 2 + KEPT_VERSIONS
    assert len(list(repository.metadata.glob(f"*.{APP}.json"))) <= KEPT_VERSIONS + 1
    verify(repository, tmp_path)


def test_the_timestamp_is_renewed_at_half_of_its_life(open_repository, clock):
    repository = open_repository()
    first = version_of(repository, "timestamp")
    clock.forward(DAY_S / 2 - 10)
    assert not repository.renew_if_due()
    clock.forward(20)
    assert repository.renew_if_due()
    assert version_of(repository, "timestamp") == first + 1
    assert not repository.renew_if_due()


def test_everything_is_renewed_over_the_years(open_repository, clock, tmp_path):
    repository = open_repository()
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    for _ in range(3 * 365):
        clock.forward(DAY_S)
        repository.renew_if_due()
    now = datetime.fromtimestamp(clock() / 1e9, UTC)
    for role in ("root", "targets", APP, "snapshot", "timestamp"):
        name = "timestamp.json" if role == "timestamp" else f"{version_of(repository, role)}.{role}.json"
        signed = Metadata[Any].from_file(str(repository.metadata / name)).signed
        assert signed.expires - now >= timedelta(hours=11), role
    roots = sorted(int(p.name.partition(".")[0]) for p in repository.metadata.glob("*.root.json"))
    assert roots == list(range(1, len(roots) + 1))
    assert len(roots) > 3
    assert repository.deployment(APP) == deployment(1, "v1")


def test_nodes_enrolled_long_ago_follow_every_new_root(tmp_path):
    repository = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    pinned = repository.root()
    repository.rotate("timestamp")
    repository.rotate("snapshot")
    repository.rotate(APP)
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    assert repository.root()["signed"]["version"] == 3
    verify(repository, tmp_path, pinned)
    again = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    again.publish(APP, bundle(tmp_path), deployment(2, "v1"))
    verify(again, tmp_path, pinned)


def test_a_repository_that_was_put_back_is_raised_above_what_its_nodes_have_seen(tmp_path):
    repository = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    pinned = repository.root()
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    shutil.copytree(tmp_path / "tuf", tmp_path / "earlier")
    for _ in range(5):
        repository.rotate("timestamp")
    seen, root = repository.version, repository.root_version
    shutil.rmtree(tmp_path / "tuf")
    shutil.move(tmp_path / "earlier", tmp_path / "tuf")
    again = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    assert again.version < seen
    again.raise_versions(seen, root)
    assert again.version > seen
    assert again.root_version == root
    verify(again, tmp_path, pinned)
    assert again.deployment(APP) == deployment(1, "v1")


def test_the_keys_of_targets_are_rotated(tmp_path):
    repository = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    pinned = repository.root()
    repository.rotate("targets")
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    verify(repository, tmp_path, pinned)
    again = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    again.rotate("targets")
    verify(again, tmp_path, pinned)


def root_keys(repository: Repository) -> set[str]:
    return set(repository.root()["signed"]["roles"]["root"]["keyids"])


def test_the_keys_of_the_root_are_rotated(open_repository, tmp_path):
    repository = open_repository()
    pinned, first = repository.root(), root_keys(repository)
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    for _ in range(2):
        before = root_keys(repository)
        repository.rotate("root")
        assert len(root_keys(repository)) == 3
        assert not root_keys(repository) & before
        verify(repository, tmp_path, pinned)
        repository = open_repository()
        repository.rotate("timestamp")
        verify(repository, tmp_path, pinned)
    assert not root_keys(repository) & first
    assert repository.deployment(APP) == deployment(1, "v1")


@pytest.mark.parametrize("number", range(5))
def test_a_rotation_of_the_root_that_crashes_at_any_file_can_be_done_again(
    open_repository, tmp_path, monkeypatch, number
):
    repository = open_repository()
    pinned, first = repository.root(), root_keys(repository)
    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", crashing_at(number))
        with suppress(Crash):
            repository.rotate("root")
    again = open_repository()
    verify(again, tmp_path, pinned)
    again.rotate("root")
    assert not root_keys(again) & first
    verify(again, tmp_path, pinned)


def test_a_root_without_its_private_keys_stays_until_they_are_back(open_repository, tmp_path, clock):
    repository = open_repository()
    pinned = repository.root()
    keys = sorted((tmp_path / "secrets" / "tuf").glob("root-*.pem"))
    kept = {path: path.read_bytes() for path in keys[:2]}
    for path in kept:
        path.unlink()
    with pytest.raises(RegistryError, match="restore them from a backup"):
        repository.rotate("root")
    with pytest.raises(RegistryError, match="restore them from a backup"):
        repository.rotate("timestamp")
    clock.forward(200 * DAY_S)
    again = open_repository()
    assert again.root() == pinned
    clock.forward(200 * DAY_S)
    with pytest.raises(RegistryError, match="restore them from a backup"):
        again.renew_if_due()
    for path, content in kept.items():
        path.write_bytes(content)
    again.renew_if_due()
    assert again.root_version == 2


def test_a_broker_that_moves_leaves_its_earlier_addresses_behind(tmp_path):
    repository = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    assert repository.connection() is None
    first, second, third = (Address("broker", port) for port in (1, 2, 3))
    for each in (first, first, second, third):
        repository.publish_connection(each.host, each.port)
    found = repository.connection()
    assert found is not None
    assert found == Connection(third, [first, second])
    assert found.follow(first) == found.follow(second) == third
    tunnel = Address("127.0.0.1", 9)
    assert found.follow(tunnel) == tunnel
    repository.publish_connection(first.host, first.port)
    again = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    assert again.connection() == Connection(first, [second, third])
    again.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    assert again.connection() == Connection(first, [second, third])
    verify(again, tmp_path)


class Crash(BaseException):
    """The process ends here."""


def crashing_at(number: int) -> Callable[..., None]:
    """`durable.write`, but the process ends before its n-th call."""
    from common.durable import write

    count = 0

    def run(path: Path, content: bytes, *, mode: int = 0o644) -> None:
        nonlocal count
        count += 1
        if count > number:
            raise Crash
        write(path, content, mode=mode)

    return run


@pytest.mark.parametrize("number", range(7))
def test_a_publication_that_crashes_at_any_file_is_as_if_it_had_not_begun(
    open_repository, tmp_path, monkeypatch, number
):
    repository = open_repository()
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    newer = bundle(tmp_path, "v2", gain=1.5)
    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", crashing_at(number))
        with pytest.raises(Crash):
            repository.publish(APP, newer, deployment(2, "v2"), keep=["v1"])
    verify(repository, tmp_path)
    again = open_repository()
    assert again.deployment(APP) == deployment(1, "v1")
    verify(again, tmp_path)
    again.publish(APP, newer, deployment(2, "v2"), keep=["v1"])
    verify(again, tmp_path)
    assert again.deployment(APP) == deployment(2, "v2")


@pytest.mark.parametrize("number", range(15))
def test_a_first_start_that_crashes_at_any_file_is_continued(open_repository, tmp_path, monkeypatch, number):
    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", crashing_at(number))
        with pytest.raises(Crash):
            open_repository()
    repository = open_repository()
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    verify(repository, tmp_path)


@pytest.mark.parametrize("number", range(3))
def test_a_rotation_that_crashes_at_any_file_is_finished(open_repository, tmp_path, monkeypatch, number):
    repository = open_repository()
    pinned = repository.root()
    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", crashing_at(number))
        with pytest.raises(Crash):
            repository.rotate("timestamp")
    again = open_repository()
    verify(again, tmp_path, pinned)


@pytest.mark.parametrize("name", ["timestamp.json", "*.snapshot.json", "*.sums.json", "*.targets.json", "*"])
def test_damaged_metadata_is_signed_again_above_what_nodes_have_seen(open_repository, tmp_path, name):
    repository = open_repository()
    pinned = repository.root()
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    before = {role: version_of(repository, role) for role in ("timestamp", "snapshot")}
    for path in repository.metadata.glob(name):
        if "root" not in path.name:
            path.write_bytes(b"damaged")
    again = open_repository()
    assert again.apps() == [APP]
    again.publish(APP, bundle(tmp_path), deployment(2, "v1"))
    verify(again, tmp_path, pinned)
    for role, version in before.items():
        assert version_of(again, role) > version


def test_a_damaged_root_is_said_and_not_replaced(open_repository):
    repository = open_repository()
    for path in repository.metadata.glob("*.root.json"):
        path.write_bytes(b"damaged")
    with pytest.raises(RegistryError, match="backup"):
        open_repository()


def test_a_lost_key_is_an_error(open_repository, tmp_path):
    repository = open_repository()
    (tmp_path / "secrets" / "tuf" / "sums-1.pem").unlink()
    with pytest.raises(RegistryError, match="private key of the role sums is missing"):
        repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))


def test_target_paths_are_the_contracts_ones(open_repository, tmp_path):
    repository = open_repository()
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    names = set(repository.metadata_set.role(APP).signed.targets)
    assert deployment_target(APP) in names
    assert bundle_target(APP, "v1", "manifest.json") in names
