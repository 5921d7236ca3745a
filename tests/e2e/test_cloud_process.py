"""The cloud as a process: starts, reports it, drains, and comes back the same after SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from cloud_backend.broker.choice import find_mosquitto
from cloud_backend.commands import cloud as app
from cloud_backend.store.engine import open_store, sqlite_url
from common.messages import Ack, decode, topics
from common.sealing import Seal
from tests.brokers import MqttClient
from tests.cloud_backend.ingest.nodes import SITE, SimulatedNode, stored
from tests.e2e.cloud_process import CloudProcess, up
from tests.waiting import PATIENCE_S, eventually

__all__ = ["up"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
TOPICS = topics(SITE, "node-1")


def test_a_cloud_starts_takes_events_and_drains(up: Callable[..., CloudProcess]) -> None:
    cloud = up()
    file = cloud.wait_ready()
    assert file.pid == cloud.process.pid
    assert file.broker_kind == ("mosquitto" if find_mosquitto() else "iotcore")
    assert cloud.get("/healthz", token="").status == 200
    assert cloud.get("/v1/status", token="").status == 401
    assert cloud.get("/v1/status").json()["broker"]["kind"] == file.broker_kind
    enrolment = cloud.enrol()
    assert enrolment["mqtt_port"] == file.mqtt_port
    with MqttClient(file.mqtt_port, f"{SITE}/node-1", enrolment["mqtt_password"]) as uplink:
        uplink.subscribe(TOPICS.ack)
        seal = Seal.of(enrolment["wire_key"])
        batch = SimulatedNode().batch(1, 100, sent_ns=time.time_ns())
        uplink.publish(TOPICS.up, seal.close(TOPICS.up, batch))
        uplink.wait(lambda: bool(uplink.received))
    assert decode(seal.open(*uplink.received[0]), Ack) == Ack("e1", 100)
    assert cloud.end() == 0
    assert not (cloud.folder / "cloud.json").exists()
    assert not psutil.pid_exists(file.broker_pid)
    engine = open_store(sqlite_url(cloud.folder / "cloud.sqlite"))
    assert len(stored(engine)) == 100
    engine.dispose()
    token = (cloud.folder / "secrets" / "admin-token").read_text().strip()
    assert token not in cloud.errors()


@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"])
def test_a_killed_cloud_comes_back_on_its_ports_with_its_nodes(
    up: Callable[..., CloudProcess], broker: str
) -> None:
    if broker == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    cloud = up("--broker", broker)
    before = cloud.wait_ready()
    password = cloud.enrol()["mqtt_password"]
    cloud.process.kill()
    cloud.process.wait(PATIENCE_S)
    again = up("--broker", broker)
    after = again.wait_ready()
    assert (after.http_url, after.mqtt_port) == (before.http_url, before.mqtt_port)
    assert after.broker_pid != before.broker_pid
    assert eventually(lambda: not psutil.pid_exists(before.broker_pid))
    with MqttClient(after.mqtt_port, f"{SITE}/node-1", password) as uplink:
        assert not uplink.refused
    assert again.end() == 0


def test_its_state_is_shown_by_a_command_beside_it(up: Callable[..., CloudProcess]) -> None:
    cloud = up()
    cloud.wait_ready()
    shown = CliRunner().invoke(app, ["status", "--data", str(cloud.folder), "--json"], catch_exceptions=False)
    assert json.loads(shown.stdout)["broker"]["alive"] is True
    assert cloud.end() == 0


def test_a_killed_broker_is_started_again(up: Callable[..., CloudProcess]) -> None:
    cloud = up()
    before = cloud.wait_ready()
    os.kill(before.broker_pid, signal.SIGKILL)
    assert eventually(lambda: cloud.file().broker_pid != before.broker_pid)
    assert cloud.file().mqtt_port == before.mqtt_port
    assert eventually(lambda: cloud.get("/v1/status").json()["broker"]["connected"])
    assert cloud.end() == 0


def test_a_folder_is_used_by_one_cloud_only(up: Callable[..., CloudProcess]) -> None:
    first = up()
    first.wait_ready()
    second = up()
    assert second.process.wait(PATIENCE_S) == 1
    assert "another cloud runs on" in second.errors()
    assert first.get("/healthz").status == 200


def test_a_port_in_use_is_named(up: Callable[..., CloudProcess]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        cloud = up(http=f"127.0.0.1:{other.getsockname()[1]}")
        assert cloud.process.wait(PATIENCE_S) == 1
        assert "the API cannot listen on" in cloud.errors()
        assert "Traceback" not in cloud.errors()


def test_a_database_that_is_not_there_is_named(up: Callable[..., CloudProcess], tmp_path: Path) -> None:
    settings = tmp_path / "cloud.toml"
    settings.write_text('database = "postgresql://edgeloop:hidden@127.0.0.1:1/edgeloop"\n')
    cloud = up("--config", str(settings))
    assert cloud.process.wait(PATIENCE_S) == 1
    assert "cannot be used" in cloud.errors()
    assert "hidden" not in cloud.errors()
    assert "Traceback" not in cloud.errors()


def test_a_signal_while_it_starts_ends_it_cleanly(up: Callable[..., CloudProcess]) -> None:
    cloud = up()
    assert eventually(lambda: (cloud.folder / "lock").exists())
    assert cloud.end() == 0, cloud.errors()
