"""Rollouts over a real store, registry and repository; at the end, with real nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from apps.demo.story.bad_models import spoil
from cloud_backend.ota.rollouts import Rollouts
from cloud_backend.ota.waves import Outcome
from cloud_backend.registry.registry import Registry
from cloud_backend.store.engine import open_store, sqlite_url
from cloud_backend.store.tables import Adoption, AppState, Node, RolloutRow
from common.config.cloud import RolloutSettings
from common.deployment import Constraint, Deployment, Wave, version_for
from common.errors import EdgeloopError, RolloutError
from tests.builders import make_app
from tests.updates import APP, NodeKit, StillClock, UpdateSite

SOAK_S = 10.0
SETTINGS = RolloutSettings(soak_s=SOAK_S, silence_s=100.0, failure_share=0.1)


class Yard:
    """A cloud as far as rollouts go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = StillClock()
        self.engine: Engine = open_store(sqlite_url(folder / "cloud.sqlite"))
        self.site = UpdateSite(folder / "site")
        app = make_app(self.site.starter.path)
        self.registry = Registry(self.engine, str(folder / "models"), apps={APP: app}, clock=self.clock)
        self.hints: list[str] = []
        self.sequence = 0
        self.rollouts = self.restarted()

    def restarted(self) -> Rollouts:
        def hint(site: str, node: str, look: str) -> None:
            assert (site, look) == ("here", "deployment")
            self.hints.append(node)

        return Rollouts(self.engine, self.site.repository, self.registry, SETTINGS, hint, self.clock)

    def close(self) -> None:
        self.site.server.close()
        self.engine.dispose()

    def add_nodes(self, *names: str, **facts: Any) -> None:
        with Session(self.engine) as session:
            for name in names:
                known = {"site": "here", "app": APP, "profile": "cpu", "last_seen_ns": self.clock()}
                session.add(Node(name=name, **{**known, **facts}))
            session.commit()

    def see(self, *names: str, **facts: Any) -> None:
        """Nodes report, with these facts about them."""
        with Session(self.engine) as session:
            for name in names:
                node = session.get_one(Node, name)
                node.sqlmodel_update({"last_seen_ns": self.clock(), **facts})
                session.add(node)
            session.commit()

    def add_model(self, version: str, state: str = "approved", **traits: Any) -> str:
        self.registry.add(self.site.bundle(version, **traits).path, state=state)
        return version

    def report(self, rollout: str, node: str, step: str, *, reason: str = "", version: str = "v2") -> None:
        self.sequence += 1
        with Session(self.engine) as session:
            row = Adoption(
                stream_id=1,
                seq=self.sequence,
                node=node,
                app=APP,
                version=version,
                step=step,
                ok=step not in ("reverted", "refused"),
                reason=reason,
                rollout=rollout,
                time_ns=self.clock(),
                received_ns=self.clock(),
            )
            session.add(row)
            session.commit()

    def row(self, rollout: str) -> RolloutRow:
        with Session(self.engine, expire_on_commit=False) as session:
            row = session.get(RolloutRow, rollout)
            assert row is not None
            return row

    def document(self) -> Deployment:
        document = self.site.repository.deployment(APP)
        assert document is not None
        return document

    def inside(self, rollout: str) -> list[str]:
        return sorted(self.rollouts.progress(rollout).outcomes)

    def finish(self, rollout: str, version: str = "v2") -> None:
        """Let every node of every wave confirm."""
        for _ in self.row(rollout).waves:
            for node in self.inside(rollout):
                self.report(rollout, node, "confirmed", version=version)
            self.rollouts.tick()
        assert self.row(rollout).state == "done"


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path)
    yield yard
    yard.close()


def test_waves_follow_each_other_and_end_in_production(yard):
    yard.add_nodes("a", "b", "c")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.34, 1.0])
    assert yard.document().waves == [Wave("v2", 0.34)]
    (canary,) = yard.inside(rollout)
    assert set(yard.hints) == {"a", "b", "c"}
    yard.rollouts.tick()
    assert yard.row(rollout).wave == 0
    yard.report(rollout, canary, "switched")
    yard.rollouts.tick()
    assert yard.row(rollout).wave == 0
    yard.report(rollout, canary, "confirmed")
    yard.rollouts.tick()
    assert (yard.row(rollout).wave, yard.document().waves) == (1, [Wave("v2", 1.0)])
    assert yard.inside(rollout) == ["a", "b", "c"]
    for node in "abc":
        yard.report(rollout, node, "confirmed")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"
    assert (yard.document().base_version, yard.document().waves) == ("v2", [])
    assert yard.registry.production_version(APP) == "v2"
    assert yard.document().serial == 3 == yard.row(rollout).serial


def test_a_failed_canary_reverts_before_the_second_wave(yard):
    yard.add_nodes("a", "b", "c")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.34, 1.0])
    (canary,) = yard.inside(rollout)
    yard.hints.clear()
    yard.report(rollout, canary, "reverted", reason="failures")
    yard.rollouts.tick()
    row = yard.row(rollout)
    assert (row.state, row.wave) == ("reverted", 0)
    assert canary in row.reason
    document = yard.document()
    assert (document.base_version, document.waves, document.withdrawn) == ("", [], ["v2"])
    assert yard.registry.row(APP, "v2").state == "refused"
    assert set(yard.hints) == {"a", "b", "c"}


def test_silence_has_a_deadline(yard):
    yard.add_nodes("a", "b", "c")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.34, 1.0])
    yard.clock.forward(SOAK_S + 99)
    yard.see("a", "b", "c")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "running"
    yard.clock.forward(2)
    yard.rollouts.tick()
    assert yard.row(rollout).state == "reverted"
    assert "silent" in yard.row(rollout).reason


def test_nodes_that_were_switched_off_before_a_rollout_do_not_fail_it(yard):
    yard.add_nodes("a", "b", "c", last_seen_ns=yard.clock() - int(3600e9))
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.clock.forward(1.0)
    yard.see("a")
    yard.report(rollout, "a", "confirmed")
    yard.clock.forward(SOAK_S + 101)
    assert yard.rollouts.progress(rollout).count(Outcome.PENDING) == 2
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"
    assert yard.registry.production_version(APP) == "v2"


def test_a_rollout_to_nodes_that_are_all_away_waits_and_refuses_nothing(yard):
    yard.add_nodes("a", "b", last_seen_ns=yard.clock() - int(3600e9))
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.clock.forward(10 * SOAK_S + 1000)
    yard.rollouts.tick()
    assert yard.row(rollout).state == "running"
    assert yard.registry.row(APP, "v2").state == "approved"
    yard.see("a", "b")
    for node in "ab":
        yard.report(rollout, node, "confirmed")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"


def test_a_node_that_cannot_check_for_updates_says_nothing_about_the_version(yard):
    yard.add_nodes("a", "b")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.clock.forward(1.0)
    yard.see("a", "b", update_problem="rollback")
    yard.clock.forward(SOAK_S + 101)
    yard.rollouts.tick()
    assert yard.row(rollout).state == "running"
    assert yard.rollouts.progress(rollout).count(Outcome.PENDING) == 2


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


def test_a_retired_node_is_in_no_rollout(yard):
    yard.add_nodes("a", "b")
    yard.add_nodes("gone", retired_ns=yard.clock())
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    assert yard.inside(rollout) == ["a", "b"]
    yard.see("b", retired_ns=yard.clock())
    assert yard.inside(rollout) == ["a"]
    assert set(yard.hints) == {"a", "b"}


def test_a_node_that_runs_the_version_counts_where_its_report_was_lost(yard):
    yard.add_nodes("a", "b")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.see("a", version="v2", rollout=rollout, confirmed=True)
    yard.see("b", version="v2", rollout="another", confirmed=True)
    assert yard.rollouts.progress(rollout).outcomes == {"a": Outcome.ADOPTED, "b": Outcome.WAITING}
    yard.report(rollout, "a", "reverted", reason="failures")
    assert yard.rollouts.progress(rollout).outcomes["a"] is Outcome.FAILED


def test_the_clouds_own_downtime_is_nobodys_silence(yard):
    yard.add_nodes("a")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.clock.forward(100_000)
    again = yard.restarted()
    again.tick()
    assert yard.row(rollout).state == "running"


def test_a_reversal_after_confirmation_takes_the_count_back(yard):
    yard.add_nodes("a", "b")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.report(rollout, "a", "confirmed")
    assert yard.rollouts.progress(rollout).count(Outcome.ADOPTED) == 1
    yard.report(rollout, "a", "reverted", reason="crash_loop")
    assert yard.rollouts.progress(rollout).count(Outcome.ADOPTED) == 0
    yard.rollouts.tick()
    assert yard.row(rollout).state == "reverted"


def test_reports_about_another_rollout_or_version_do_not_count(yard):
    yard.add_nodes("a")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    yard.report("another", "a", "confirmed")
    yard.report(rollout, "a", "confirmed", version="v1")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "running"


def test_a_halted_rollout_stands_still_and_can_be_reverted(yard):
    yard.add_nodes("a", "b", "c")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.34, 1.0])
    yard.rollouts.halt(rollout, "lunch")
    (canary,) = yard.inside(rollout)
    yard.report(rollout, canary, "confirmed")
    yard.rollouts.tick()
    assert (yard.row(rollout).state, yard.row(rollout).wave) == ("halted", 0)
    assert yard.document().waves == [Wave("v2", 0.34)]
    with pytest.raises(RolloutError):
        yard.rollouts.halt(rollout)
    yard.rollouts.revert(rollout, "enough")
    assert yard.document().waves == []
    with pytest.raises(RolloutError):
        yard.rollouts.revert(rollout)


def test_a_finished_rollout_can_be_taken_back(yard):
    yard.add_nodes("a")
    done = []
    for version in ("v2", "v3"):
        done.append(yard.rollouts.start(APP, yard.add_model(version), [1.0]))
        yard.finish(done[-1], version)
    with pytest.raises(RolloutError, match="another rollout came after"):
        yard.rollouts.revert(done[0])
    yard.rollouts.revert(done[1])
    assert (yard.document().base_version, yard.document().withdrawn) == ("v2", ["v3"])
    assert yard.registry.production_version(APP) == "v2"
    assert "v2" in yard.site.repository.versions(APP)


def test_what_cannot_be_started_is_said(yard):
    yard.add_nodes("a")
    yard.add_model("candidate", "candidate")
    yard.add_model("v2")
    for version, waves, said in (
        ("candidate", [1.0], "only an approved"),
        ("v2", [1.0, 0.5], "growing"),
        ("v2", [0.5], "the last one 1"),
        ("v2", [], "growing"),
    ):
        with pytest.raises(RolloutError, match=said):
            yard.rollouts.start(APP, version, waves)
    with pytest.raises(EdgeloopError, match="no model 'v9'"):
        yard.rollouts.start(APP, "v9")
    with pytest.raises(EdgeloopError):
        yard.rollouts.start("nobody", "v2")
    first = yard.rollouts.start(APP, "v2")
    yard.add_model("v3")
    with pytest.raises(RolloutError, match=first):
        yard.rollouts.start(APP, "v3")
    assert yard.document().rollout == first


def test_a_constraint_binds_a_rollout_and_leaves_production_alone(yard):
    yard.add_nodes("a", "b")
    yard.add_nodes("c", profile="jetson")
    rollout = yard.rollouts.start(
        APP, yard.add_model("v2"), [1.0], constraint=Constraint(profiles=["jetson"])
    )
    assert yard.inside(rollout) == ["c"]
    yard.report(rollout, "c", "confirmed")
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"
    assert yard.registry.production_version(APP) == ""
    standing = Wave("v2", 1.0, Constraint(profiles=["jetson"]))
    assert yard.document().waves == [standing]
    second = yard.rollouts.start(APP, yard.add_model("v3"), [1.0])
    assert yard.document().waves == [Wave("v3", 1.0), standing]
    yard.finish(second, "v3")
    assert (yard.document().base_version, yard.document().waves) == ("v3", [])


def test_an_app_without_nodes_does_not_stall(yard):
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.1, 1.0])
    yard.rollouts.tick()
    yard.rollouts.tick()
    assert yard.row(rollout).state == "done"


def test_nodes_unheard_of_for_long_do_not_count(yard):
    yard.add_nodes("gone", last_seen_ns=yard.clock() - int(8 * 86400e9))
    yard.add_nodes("here")
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [1.0])
    assert yard.inside(rollout) == ["here"]


def test_a_small_first_wave_has_a_node_in_it(yard):
    yard.add_nodes(*(f"n{i}" for i in range(5)))
    rollout = yard.rollouts.start(APP, yard.add_model("v2"), [0.01, 1.0])
    assert len(yard.inside(rollout)) == 1


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


# --------------------------------------------------------------------------------------- real nodes


class Fleet:
    """Three real nodes whose reports go into the store."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.nodes = {
            name: NodeKit(yard.folder / name, yard.site, node=name, clock=yard.clock)
            for name in ("a", "b", "c")
        }
        yard.add_nodes(*self.nodes)

    def live(self, rounds: int = 1) -> None:
        """Look, sense, report, decide."""
        for _ in range(rounds):
            for name, node in self.nodes.items():
                node.look()
                node.feed(4)
                for event in node.events:
                    facts = {"reason": event["reason"], "version": event["version"]}
                    self.yard.report(event["rollout"], name, event["step"], **facts)
                node.events.clear()
            self.yard.rollouts.tick()

    def versions(self) -> set[str]:
        return {node.version() for node in self.nodes.values()}


def test_real_nodes_adopt_in_two_waves_and_turn_again(yard):
    fleet = Fleet(yard)
    for version in ("v2", "v3"):
        rollout = yard.rollouts.start(APP, yard.add_model(version), [0.34, 1.0])
        waves: set[int] = set()
        for _ in range(30):
            waves.add(yard.row(rollout).wave)
            fleet.live()
        assert waves == {0, 1}
        assert yard.row(rollout).state == "done"
        assert fleet.versions() == {version}


def test_a_model_that_is_wrong_on_its_golden_cases_does_not_reach_the_registry(yard):
    bad = spoil(yard.site.bundle("good"), "wrong", "v2", yard.folder / "bad")
    with pytest.raises(EdgeloopError):
        yard.registry.add(bad.path, state="approved")


@pytest.mark.parametrize("fault", ["nan", "slow", "stale"])
def test_a_bad_model_is_reverted_on_the_canary_with_no_person(yard, fault):
    fleet = Fleet(yard)
    bad = spoil(yard.site.bundle("good"), fault, "v2", yard.folder / "bad")
    yard.registry.add(bad.path, state="approved")
    rollout = yard.rollouts.start(APP, "v2", [0.34, 1.0], soak_s=100.0)
    (canary,) = yard.inside(rollout)
    for _ in range(30):
        fleet.live()
        assert yard.row(rollout).wave == 0
    assert yard.row(rollout).state == "reverted"
    assert canary in yard.row(rollout).reason
    assert fleet.versions() == {"starter-1"}
    others = [node for name, node in fleet.nodes.items() if name != canary]
    assert all(node.slots.state.refused == [] for node in others)
    assert all(
        version_for(yard.document(), node.update_client._traits) == "" for node in fleet.nodes.values()
    )
