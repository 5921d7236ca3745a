"""Rollouts to real nodes: two waves, and a bad model that ends at the canary."""

from __future__ import annotations

import pytest

from apps.demo.story.bad_models import spoil
from common.deployment import version_for
from common.errors import EdgeloopError
from tests.cloud_backend.ota.yard import Yard
from tests.updates import APP, NodeKit


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


@pytest.mark.slow
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
