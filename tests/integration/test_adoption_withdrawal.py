"""A deployment that is superseded, taken back or withdrawn while a model is adopted."""

from __future__ import annotations

import msgspec

from tests.builders import make_bundle
from tests.updates import QUICK, SOAK, NodeKit, adopt


def test_a_superseded_candidate_is_dropped(node, site):
    site.publish("v2")
    node.look()
    node.feed(2)
    site.publish("v3")
    node.look()
    node.feed(1)
    node.look()
    node.feed(QUICK.shadow_readings + SOAK)
    assert node.version() == "v3"
    assert [e["version"] for e in node.reports("switched")] == ["v3"]


def test_a_rollout_taken_back_in_the_soak_reverts_at_once(node, site):
    adopt(node, site, "v2", soak_s=1000.0)
    site.serial += 1
    from common.deployment import Deployment

    back = Deployment(app="sums", serial=site.serial, rollout="r-1", withdrawn=["v2"])
    site.repository.publish("sums", None, back)
    node.look()
    assert node.version() == "starter-1"
    assert node.reports("reverted")[-1]["reason"] == "recalled"


def test_a_withdrawn_model_is_left_without_asking_it(node, site):
    """The live model is known to be bad: what replaces it need not agree with it."""
    patient = msgspec.structs.replace(QUICK, max_disagreement=1e9)
    node = NodeKit(node.folder, site, settings=patient)
    adopt(node, site, "v2", bundle=make_bundle(site.scratch(), version="v2", gain=-2.0))
    node.feed(SOAK + 5)
    assert node.version() == "v2"
    strict = node.restarted()
    site.publish("v1", withdrawn=["v2"])
    strict.look()
    strict.feed(SOAK + 5)
    assert strict.version() == "v1"
    assert strict.adoption.health().confirmed


def test_going_back_to_the_starter(node, site):
    adopt(node, site, "v2")
    node.feed(SOAK + 5)
    site.serial += 1
    from common.deployment import Deployment

    site.repository.publish(
        "sums", None, Deployment(app="sums", serial=site.serial, rollout="r-9", soak_s=1.0)
    )
    node.look()
    node.feed(SOAK + 5)
    assert node.version() == "starter-1"
    assert node.slots.state.content.starter
