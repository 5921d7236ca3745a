"""Operator requests by hint: verification of the live model, and rollback."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest

from common.app.events import fields_of
from common.bundle import MANIFEST
from common.deployment import Deployment
from common.edge.update.operator_requests import GOLDEN_TYPE
from common.messages import Event, Hint
from tests.builders import make_bundle
from tests.updates import QUICK, SOAK, NodeKit, UpdateSite, adopt
from tests.waiting import wait_for


def confirm(node: NodeKit, site: UpdateSite, version: str, **changes: Any) -> None:
    adopt(node, site, version, **changes)
    node.feed(SOAK + 5)
    assert (node.slots.state.version, node.slots.state.step) == (version, "confirmed")


def request(node: NodeKit, action: str, version: str = "") -> list[Event]:
    """Submit a request and execute it; the events that are not about adoption."""
    node.update_client.requests.submit(Hint(action, version))
    node.update_client.requests.execute()
    return [each for each in node.feed(1) if isinstance(each, Event) and not each.type.startswith("sums.")]


# ----------------------------------------------------------------------------------------------- golden


def test_the_live_model_proves_itself_on_this_device(node, site) -> None:
    confirm(node, site, "v2")
    (event,) = request(node, "golden")
    assert (event.type, event.subject) == (GOLDEN_TYPE, "v2")
    assert fields_of(event)["passed"] is True
    shown = fields_of(event)
    assert (shown["version"], shown["cases"], shown["detail"]) == ("v2", 8, "")
    assert fields_of(event)["latency_ms"] > 0
    assert node.version() == "v2"
    assert node.update_client.requests.execute() is None
    assert request(node, "deployment") == []


def test_a_model_that_fails_its_golden_cases_is_reported(node, site) -> None:
    confirm(node, site, "v2")
    other = make_bundle(site.folder / "other", version="v2", gain=3.0)
    folder = node.slots.live().path
    os.replace(other.path / "golden.npz", folder / "golden.npz")
    (event,) = request(node, "golden")
    assert (fields_of(event)["passed"], fields_of(event)["version"]) == (False, "v2")
    assert "golden.npz" in fields_of(event)["detail"]
    assert node.version() == "v2"


# ----------------------------------------------------------------------------------------------- revert


def test_in_the_soak_the_previous_model_is_back_at_once(node, site) -> None:
    adopt(node, site, "v2", soak_s=1000.0)
    request(node, "revert", "v2")
    assert node.version() == "starter-1"
    (reported,) = node.reports("reverted")
    assert (reported["version"], reported["from_version"], reported["reason"]) == (
        "v2",
        "starter-1",
        "operator",
    )


def test_a_confirmed_model_gives_way_to_the_one_before(node, site) -> None:
    confirm(node, site, "v2", settings={"alarm_above": 50.0})
    confirm(node, site, "v3")
    request(node, "revert", "v3")
    assert node.version() == "v2"
    state = node.slots.state
    assert (state.step, state.content.settings) == ("confirmed", {"alarm_above": 50.0})
    (reported,) = node.reports("reverted")
    assert (reported["version"], reported["from_version"], reported["reason"]) == ("v3", "v2", "operator")
    assert node.whole() == "v2"
    assert node.restarted().version() == "v2"


def test_no_reading_is_skipped_or_doubled_by_going_back(node, site) -> None:
    results = node.feed(3)
    site.publish("v2", soak_s=float(SOAK))
    node.look()
    results += node.feed(30)
    node.update_client.requests.submit(Hint("revert"))
    node.update_client.requests.execute()
    results += node.feed(3)
    assert node.slots.state.version == "starter-1"
    counts = [fields_of(e)["count"] for e in results if isinstance(e, Event) and e.type == "sums.value"]
    assert counts == list(range(1, 37))


@pytest.mark.parametrize("when", ["soak", "confirmed", "shadow"])
def test_what_was_left_comes_again_with_a_newer_deployment_only(node, site, when: str) -> None:
    adopt(node, site, "v2", soak_s=float(SOAK if when == "confirmed" else 1000))
    if when == "shadow":
        site.publish("v3")
        node = NodeKit(site.folder / "fresh", site)
        node.look()
        node.feed(1)
    elif when == "confirmed":
        node.feed(SOAK + 5)
    left = "v3" if when == "shadow" else "v2"
    # Documents that the node has seen while it ran the model do not bring it back either.
    site.publish(left, bundle=site.bundle(left), rollout=f"r-{site.serial}")
    node.look()
    request(node, "revert")
    assert node.version() == "starter-1"
    node.events.clear()
    for _ in range(3):
        node.look()
        node.feed(QUICK.shadow_readings)
    assert (node.version(), node.events) == ("starter-1", [])
    site.publish(left, bundle=site.bundle(left))
    node.look()
    node.feed(QUICK.shadow_readings)
    assert node.version() == left


def test_a_candidate_in_shadow_is_dropped(node, site) -> None:
    site.publish("v2")
    node.look()
    node.feed(2)
    request(node, "revert", "v2")
    node.feed(20)
    assert node.version() == "starter-1"
    (reported,) = node.reports("refused")
    assert (reported["version"], reported["reason"]) == ("v2", "operator")
    assert not node.reports("switched")


def damage(node: NodeKit) -> None:
    (node.slots.idle_path() / "model.onnx").write_bytes(b"half")


def remove(node: NodeKit) -> None:
    (node.slots.idle_path() / MANIFEST).unlink()


@pytest.mark.parametrize("harm", [damage, remove])
def test_where_the_other_slot_is_not_whole_the_starter_runs(node, site, harm) -> None:
    confirm(node, site, "v2")
    confirm(node, site, "v3")
    harm(node)
    request(node, "revert")
    assert node.version() == "starter-1"
    assert node.slots.state.content.starter
    (reported,) = node.reports("reverted")
    assert (reported["version"], reported["from_version"], reported["reason"]) == (
        "v3",
        "starter-1",
        "operator",
    )
    assert node.restarted().version() == "starter-1"


def test_a_withdrawn_model_is_no_way_back(node, site) -> None:
    confirm(node, site, "v2")
    confirm(node, site, "v3")
    site.serial += 1
    document = Deployment(app="sums", serial=site.serial, rollout="r", base_version="v3", withdrawn=["v2"])
    site.repository.publish("sums", None, document)
    node.look()
    request(node, "revert")
    assert node.version() == "starter-1"


def test_a_model_that_replaced_a_withdrawn_one_does_not_give_way_to_it(node, site) -> None:
    confirm(node, site, "v2")
    confirm(node, site, "v3", withdrawn=["v2"])
    again = node.restarted()
    request(again, "revert")
    assert again.version() == "starter-1"


def test_a_reversal_that_was_done_is_not_done_again(node, site) -> None:
    confirm(node, site, "v2")
    confirm(node, site, "v3")
    for _ in range(3):
        request(node, "revert", "v3")
        assert node.version() == "v2"
    assert len(node.reports("reverted")) == 1


def test_from_the_starter_there_is_no_way_back(node, site) -> None:
    request(node, "revert")
    assert node.version() == "starter-1"
    (reported,) = node.reports("refused")
    assert (reported["reason"], reported["ok"]) == ("operator", False)
    assert "nothing to go back to" in reported["detail"]


def test_a_hint_names_no_model_to_run(node, site) -> None:
    """Whoever has the broker can choose among what was verified here, and nothing else."""
    confirm(node, site, "v2")
    planted = make_bundle(site.folder / "planted", version="planted", gain=9.0)
    for name in planted.files():
        os.replace(planted.path / name, node.slots.idle_path() / name)
    request(node, "revert", "planted")
    assert node.version() == "v2"
    request(node, "revert")
    assert node.version() == "starter-1"


def test_a_word_that_is_not_known_is_logged_and_ignored(node, site, caplog) -> None:
    assert node.update_client.requests.submit(Hint("dance")) is False
    assert "'dance'" in caplog.text
    assert request(node, "dance") == []
    assert node.events == []


def test_wishes_are_fulfilled_by_the_ota_thread(node, site) -> None:
    stop, check_now = threading.Event(), threading.Event()
    thread = threading.Thread(target=node.update_client.run, args=(stop, check_now))
    thread.start()
    try:
        assert node.update_client.requests.submit(Hint("golden"))
        check_now.set()
        reported = wait_for(lambda: [e for e in node.adoption.events() if e.type == GOLDEN_TYPE], "the proof")
    finally:
        stop.set()
        check_now.set()
        thread.join()
    assert fields_of(reported[0])["passed"]
    assert np.isfinite(fields_of(reported[0])["latency_ms"])
