"""A node with a broker and an update repository."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud_backend.access.tokens import CLOUD_USER, hash_password
from common.app.spec import AppSpec
from common.config.node import (
    Enrolment,
    NodeSettings,
    UplinkSettings,
)
from common.edge.node import Node
from common.messages import Hint, SettingsChange, Status, decode, encode, topics
from tests.brokers import MqttClient, make_broker
from tests.cloud_backend.ingest.nodes import seal_of, wire_key_of
from tests.integration.nodes import COUNT, SOURCE, facts, kept, of_the_app, pending
from tests.updates import UpdateSite
from tests.waiting import wait_for

TO = topics("plant", "node-1")


@pytest.fixture
def enrolment(tmp_path: Path) -> Iterator[Enrolment]:
    """Of a node with a broker and an update repository, behind which no cloud acknowledges anything."""
    users = {user: hash_password("pw") for user in (CLOUD_USER, "plant/node-1")}
    site = UpdateSite(tmp_path / "cloud")
    broker = make_broker("iotcore", tmp_path / "broker", lambda: users)
    broker.start()
    yield Enrolment(
        "node-1",
        "plant",
        site.server.url,
        "127.0.0.1",
        broker.port,
        "pw",
        "t",
        site.repository.root(),
        wire_key_of(),
    )
    broker.stop()
    site.server.close()


@pytest.mark.slow
def test_a_stopping_node_waits_for_the_cloud_for_the_time_of_its_settings(
    tmp_path: Path, spec: AppSpec, enrolment: Enrolment
) -> None:
    drain_timeout_s = UplinkSettings().drain_timeout_s + 4.0
    settings = NodeSettings(
        app=spec.name,
        source=SOURCE,
        data=str(tmp_path / "data"),
        speed=0.0,
        profile="cpu",
        uplink=UplinkSettings(drain_timeout_s=drain_timeout_s),
    )
    node = Node(settings, enrolment, spec)
    node.start()
    try:
        wait_for(lambda: node.cloud.uplink is not None and node.cloud.uplink.connected, "a connection")
        wait_for(lambda: node.processing.handled >= COUNT, "all readings")
    finally:
        began_s = time.monotonic()
        code = node.stop()
    assert code == 0
    assert time.monotonic() - began_s >= drain_timeout_s
    assert len(of_the_app(kept(tmp_path / "data"))) >= COUNT


def slow_source(tmp_path: Path, spec: AppSpec) -> NodeSettings:
    """Settings of a node whose source goes on while the cloud sends hints."""
    return NodeSettings(
        app=spec.name,
        source=f"{SOURCE}&rate_hz=100",
        data=str(tmp_path / "data"),
        speed=1.0,
        profile="cpu",
        uplink=UplinkSettings(drain_timeout_s=0.1),
    )


@contextmanager
def connected(
    settings: NodeSettings, enrolment: Enrolment, spec: AppSpec
) -> Generator[tuple[Node, MqttClient, str]]:
    """A running node, the cloud's side of its broker, and the node's session."""
    node = Node(settings, enrolment, spec)
    node.start()
    try:
        wait_for(lambda: node.cloud.uplink is not None and node.cloud.uplink.connected, "a connection")
        with MqttClient(enrolment.mqtt_port, CLOUD_USER, "pw") as cloud:
            cloud.subscribe(TO.status)
            cloud.wait(lambda: bool(cloud.received))
            yield node, cloud, decode(seal_of().open(*cloud.received[0]), Status).session
    finally:
        node.stop()


def test_a_hint_over_the_broker_makes_the_node_prove_its_model(
    tmp_path: Path, spec: AppSpec, enrolment: Enrolment
) -> None:
    with connected(slow_source(tmp_path, spec), enrolment, spec) as (node, cloud, session):
        for number, action in enumerate(("dance", "golden"), 1):
            hint = Hint(action, session=session, number=number)
            cloud.publish(TO.hint, seal_of().close(TO.hint, encode(hint)))
        (proof,) = wait_for(lambda: facts(pending(node), "edgeloop.golden"), "the proof")
    assert (proof["passed"], proof["version"]) == (True, "starter-1")


def test_a_change_of_settings_over_the_broker_holds_after_a_restart(
    tmp_path: Path, spec: AppSpec, enrolment: Enrolment
) -> None:
    settings = slow_source(tmp_path, spec)
    with connected(settings, enrolment, spec) as (node, cloud, session):
        forged = Hint("settings", session=session, number=1, change=SettingsChange(9, {}))
        cloud.publish(TO.hint, bytes(32) + encode(forged))
        change = SettingsChange(3, {"alarm_above": 1e6})
        hint = Hint("settings", session=session, number=2, change=change)
        cloud.publish(TO.hint, seal_of().close(TO.hint, encode(hint)))
        (answer,) = wait_for(lambda: facts(pending(node), "edgeloop.settings"), "the answer")
    assert (answer["version"], answer["outcome"]) == (3, "applied")
    again = Node(settings, enrolment, spec)
    assert again.models.app_settings.settings({}).alarm_above == 1e6
    again.start()
    assert again.stop() == 0
