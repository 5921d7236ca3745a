"""Versions and serials of rollouts: above what nodes have seen, after crashes and restores too."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session

from cloud_backend.store.tables import AppState
from common.deployment import Wave
from tests.updates import APP


def test_versions_and_serials_stay_above_what_nodes_have_seen(yard):
    yard.add_nodes("a", "b")
    yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    version, serial = yard.site.repository.version, yard.document().serial
    yard.see("a", metadata_version=version + 50, deployment_serial=serial + 7)
    yard.clock.forward(10)
    yard.rollouts.tick()
    assert yard.site.repository.version > version + 50
    assert yard.document().serial == serial + 8
    version = yard.site.repository.version
    yard.clock.forward(10)
    yard.rollouts.tick()
    assert yard.site.repository.version == version


@pytest.mark.parametrize("ahead", [0, 1, 2, 50])
def test_a_rotation_ends_above_what_nodes_have_seen(yard, ahead):
    """Metadata of a thief with the version that the rotation gets would be no news to the node."""
    yard.add_nodes("a")
    yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    seen = yard.site.repository.version + ahead
    yard.see("a", metadata_version=seen)
    yard.rollouts.rotate_keys(APP)
    assert yard.site.repository.version > seen


def test_a_node_that_reports_versions_that_cannot_be_is_not_believed(yard):
    yard.add_nodes("a")
    yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    version, serial = yard.site.repository.version, yard.document().serial
    yard.see("a", metadata_version=2**53, deployment_serial=2**53, root_version=10**6)
    yard.clock.forward(10)
    yard.rollouts.tick()
    assert (yard.site.repository.version, yard.document().serial) == (version, serial)


def test_after_a_restore_everything_is_raised_by_what_may_have_been_published(yard):
    yard.add_nodes("a")
    yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    version, serial = yard.site.repository.version, yard.document().serial
    backup_ns = yard.clock()
    yard.clock.forward(3600)
    yard.rollouts.raise_after_restore(backup_ns)
    yard.rollouts.tick()
    assert yard.site.repository.version > version + 3600
    assert yard.document().serial > serial + 3600


@pytest.mark.parametrize("moment", ["start", "advance", "revert"])
def test_a_crash_between_store_and_repository_is_put_right(yard, monkeypatch, moment):
    yard.add_nodes("a", "b", "c")
    yard.add_model("v2")
    rollout = "" if moment == "start" else yard.rollouts.start(APP, "v2", [0.34, 1.0])

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    if moment == "advance":
        yard.report(rollout, *yard.inside(rollout), "confirmed")
    act = {
        "start": lambda: yard.rollouts.start(APP, "v2", [0.34, 1.0]),
        "advance": yard.rollouts.tick,
        "revert": lambda: yard.rollouts.revert(rollout),
    }[moment]
    with monkeypatch.context() as patched:
        patched.setattr(yard.site.repository, "publish", crash)
        with pytest.raises(KeyboardInterrupt):
            act()
    yard.rollouts = yard.restarted()
    yard.rollouts.tick()
    waves = {"start": [Wave("v2", 0.34)], "advance": [Wave("v2", 1.0)], "revert": []}[moment]
    assert yard.document().waves == waves
    with Session(yard.engine) as session:
        state = session.get(AppState, APP)
        assert state is not None
        assert state.serial == yard.document().serial


def test_the_serial_only_grows_even_over_a_lost_store(yard):
    yard.add_nodes("a")
    yard.site.serial = 41
    yard.site.publish("v1")
    yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    assert yard.document().serial == 43


def test_nothing_is_published_twice(yard):
    yard.add_nodes("a")
    yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    serial = yard.document().serial
    yard.hints.clear()
    for _ in range(5):
        yard.rollouts.tick()
    assert yard.document().serial == serial
    assert yard.hints == []
