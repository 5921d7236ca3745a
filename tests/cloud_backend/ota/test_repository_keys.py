"""Keys of the update repository: thresholds, rotation, loss."""

from __future__ import annotations

import stat

import pytest

from cloud_backend.ota.repository import Repository
from common.errors import RegistryError
from tests.cloud_backend.ota.repositories import DAY_S, bundle, deployment, root_keys, verify
from tests.updates import APP


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


def test_the_keys_of_targets_are_rotated(tmp_path):
    repository = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    pinned = repository.root()
    repository.rotate("targets")
    repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
    verify(repository, tmp_path, pinned)
    again = Repository(tmp_path / "tuf", tmp_path / "secrets", (APP,))
    again.rotate("targets")
    verify(again, tmp_path, pinned)


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


def test_a_lost_key_is_an_error(open_repository, tmp_path):
    repository = open_repository()
    (tmp_path / "secrets" / "tuf" / "sums-1.pem").unlink()
    with pytest.raises(RegistryError, match="private key of the role sums is missing"):
        repository.publish(APP, bundle(tmp_path), deployment(1, "v1"))
