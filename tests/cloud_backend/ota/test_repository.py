"""The update repository: always a consistent set, renewed by itself, bounded."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tuf.api.metadata import Metadata

from cloud_backend.ota.metadata_set import KEPT_VERSIONS
from cloud_backend.ota.repository import Repository
from common.connection import Address, Connection
from common.deployment import Deployment, bundle_target, deployment_target
from common.errors import BundleError, RegistryError
from tests.builders import make_bundle
from tests.cloud_backend.ota.repositories import DAY_S, bundle, deployment, verify, version_of
from tests.updates import APP


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


def test_target_paths_are_the_contracts_ones(open_repository, tmp_path):
    repository = open_repository()
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    names = set(repository.metadata_set.role(APP).signed.targets)
    assert deployment_target(APP) in names
    assert bundle_target(APP, "v1", "manifest.json") in names
