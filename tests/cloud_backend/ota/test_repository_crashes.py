"""A crash at any file, and damaged metadata: the update repository stays consistent."""

from __future__ import annotations

from contextlib import suppress

import pytest

from common import durable
from common.errors import RegistryError
from tests.cloud_backend.ota.repositories import (
    Crash,
    bundle,
    crashing_at,
    deployment,
    root_keys,
    verify,
    version_of,
)
from tests.updates import APP


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


def test_a_damaged_root_is_reported_and_not_replaced(open_repository):
    repository = open_repository()
    for path in repository.metadata.glob("*.root.json"):
        path.write_bytes(b"damaged")
    with pytest.raises(RegistryError, match="backup"):
        open_repository()
