"""Every broker passes the same contract; Mosquitto's access rules besides."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cloud_backend.access.tokens import CLOUD_USER, hash_password
from cloud_backend.broker import child
from cloud_backend.broker.broker import Broker
from cloud_backend.broker.child import LOG_LIMIT_BYTES, free_port
from cloud_backend.broker.choice import open_broker
from cloud_backend.broker.mosquitto import MosquittoBroker
from common.config.cloud import MqttSettings
from common.errors import BrokerError, ConfigError
from common.messages import BATCH_LIMIT_BYTES, topics
from tests.brokers import KINDS, MqttClient, make_broker
from tests.waiting import eventually

ONE, TWO, ELSEWHERE = topics("plant", "node-1"), topics("plant", "node-2"), topics("elsewhere", "node-1")


def users() -> dict[str, str]:
    return {name: hash_password(f"{name}-password") for name in (CLOUD_USER, "plant/node-1", "plant/node-2")}


def client(broker: Broker, user: str = CLOUD_USER, password: str | None = None) -> MqttClient:
    return MqttClient(broker.port, user, f"{user}-password" if password is None else password)


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    broker = make_broker(request.param, tmp_path, users)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Broker]:
    broker = make_broker("mosquitto", tmp_path, users)
    broker.start()
    yield broker
    broker.stop()


def test_a_batch_of_the_largest_size_arrives_whole(broker: Broker) -> None:
    payload = os.urandom(BATCH_LIMIT_BYTES)
    with client(broker) as cloud, client(broker, "plant/node-1") as node:
        cloud.subscribe("edgeloop/v1/+/+/up")
        node.publish(ONE.up, payload)
        cloud.wait(lambda: bool(cloud.received))
    assert cloud.received == [(ONE.up, payload)]


def test_a_retained_status_is_given_to_who_comes_later(broker: Broker) -> None:
    with client(broker, "plant/node-1") as node:
        node.publish(ONE.status, b"online", retain=True)
        with client(broker) as cloud:
            cloud.subscribe("edgeloop/v1/+/+/status")
            cloud.wait(lambda: bool(cloud.received))
    assert cloud.received == [(ONE.status, b"online")]


def test_it_listens_on_loopback_only(broker: Broker) -> None:
    assert broker.pid is not None
    process = psutil.Process(broker.pid)
    listening = [c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", broker.port)]


def test_it_is_started_again_on_its_port_after_it_was_killed(broker: Broker) -> None:
    with client(broker) as cloud:
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        assert eventually(lambda: not broker.alive())
        broker.start()
        with client(broker) as late:
            late.subscribe(ONE.up)
            late.publish(ONE.up, b"again")
            late.wait(lambda: bool(late.received))
        assert cloud.received == []


def test_starting_twice_and_stopping_twice_is_harmless(broker: Broker) -> None:
    pid = broker.pid
    broker.start()
    assert broker.pid == pid
    broker.stop()
    broker.stop()
    assert not broker.alive()
    assert broker.pid is None


def test_a_port_that_another_program_has_is_named(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PORT_TIMEOUT_S", 0.1)
    broker.stop()
    with socket.socket() as other:
        other.bind(("127.0.0.1", broker.port))
        other.listen()
        with pytest.raises(BrokerError, match=f"port {broker.port} .* used by another program"):
            broker.start()


def test_its_log_is_bounded(broker: Broker, tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    with log.open("ab") as file:
        file.write(b"x" * (LOG_LIMIT_BYTES + 1))
    broker.tidy()
    assert log.stat().st_size <= LOG_LIMIT_BYTES // 2
    broker.tidy()


def test_a_node_that_is_added_while_it_runs_gets_in(broker: Broker) -> None:
    broker.add_node("plant", "node-3", "secret")

    def gets_in() -> bool:
        with client(broker, "plant/node-3", "secret") as node:
            return not node.refused

    assert eventually(gets_in)
    with client(broker, "plant/node-1") as still:
        assert not still.refused


def test_a_node_that_is_removed_while_connected_is_thrown_out(mosquitto: Broker) -> None:
    with client(mosquitto, "plant/node-2") as node:
        assert not node.refused
        mosquitto.remove_node("plant", "node-2")
        node.wait(lambda: bool(node.refused))
    with client(mosquitto, "plant/node-1") as still:
        assert not still.refused


PARENT = """
import sys, time
from pathlib import Path
from tests.brokers import make_broker
broker = make_broker(sys.argv[1], Path(sys.argv[2]), port=int(sys.argv[3]))
broker.start()
print("pid", broker.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child whose parent was killed")
@pytest.mark.parametrize("kind", KINDS)
def test_it_dies_with_its_parent_even_if_that_is_killed(kind: str, tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    make_broker(kind, tmp_path, port=port)  # skips where it is not installed
    command = [sys.executable, "-c", PARENT, kind, str(tmp_path), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = next(int(line.split()[1]) for line in parent.stdout if line.startswith("pid "))
        assert psutil.pid_exists(pid)
        parent.kill()
    assert eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")
    again = make_broker(kind, tmp_path, port=port)
    again.start()
    again.stop()


def test_only_a_stale_process_that_is_ours_is_ended(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "input()"]
    for recorded_time_is_right in (True, False):
        with subprocess.Popen(sleeper, stdin=subprocess.PIPE) as stale:
            fields = Path(f"/proc/{stale.pid}/stat").read_text().rpartition(")")[2].split()
            stamp = fields[19] if recorded_time_is_right else "12345"
            (tmp_path / "broker.pid").write_text(f"{stale.pid} {stamp}\n")
            broker = make_broker("iotcore", tmp_path)
            broker.start()
            assert (stale.poll() is not None) == recorded_time_is_right
            broker.stop()
            stale.kill()


def test_the_error_of_a_failed_start_is_the_end_of_the_log(tmp_path: Path) -> None:
    no_broker = sys.executable
    broker = MosquittoBroker(no_broker, tmp_path, "127.0.0.1", free_port("127.0.0.1"), users)
    with pytest.raises(BrokerError, match=r"broker.log: .*Error"):
        broker.start()
    assert not broker.alive()


# -------------------------------------------------------------------------------------- access rules


@pytest.mark.parametrize(
    ("user", "password"),
    [("plant/node-1", "wrong"), ("node-1", "node-1-password"), ("plant/node-9", "x"), ("", "")],
)
def test_who_has_no_password_does_not_get_in(mosquitto: Broker, user: str, password: str) -> None:
    with client(mosquitto, user, password) as stranger:
        assert "uthori" in stranger.refused


def test_a_node_reads_only_what_is_for_it(mosquitto: Broker) -> None:
    with client(mosquitto, "plant/node-1") as node, client(mosquitto) as cloud:
        node.subscribe("#", ELSEWHERE.ack, ONE.ack, ONE.hint, TWO.ack, TWO.hint, TWO.up, ONE.up)
        for topic in (TWO.ack, ELSEWHERE.ack, TWO.hint, TWO.up, ONE.up, ONE.ack, ONE.hint):
            cloud.publish(topic, b"x")
        node.wait(lambda: (ONE.hint, b"x") in node.received)
    assert {topic for topic, _ in node.received} == {ONE.ack, ONE.hint}


def test_a_node_writes_only_its_own_topics(mosquitto: Broker) -> None:
    with client(mosquitto, "plant/node-1") as node, client(mosquitto) as cloud:
        cloud.subscribe("edgeloop/v1/#")
        for topic in (
            TWO.up,
            TWO.status,
            ELSEWHERE.up,
            ONE.ack,
            TWO.ack,
            ONE.hint,
            "edgeloop/v1/x",
            ONE.status,
            ONE.up,
        ):
            node.publish(topic, b"x")
        cloud.wait(lambda: (ONE.up, b"x") in cloud.received)
    assert {topic for topic, _ in cloud.received} == {ONE.status, ONE.up}


def test_its_files_are_for_the_owner_only(mosquitto: Broker, tmp_path: Path) -> None:
    for name in ("passwords", "rules", "mosquitto.conf"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert "node-1-password" not in (tmp_path / "passwords").read_text()


# ------------------------------------------------------------------------------------------- settings


def test_an_unknown_kind_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="auto, mosquitto, iotcore, external"):
        open_broker(MqttSettings(broker="rabbit"), tmp_path, dict)


def test_iotcore_is_not_let_out_of_this_machine(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="loopback only"):
        open_broker(MqttSettings(broker="iotcore", host="0.0.0.0", port=0), tmp_path, dict)


def test_an_external_broker_is_neither_started_nor_stopped(tmp_path: Path) -> None:
    broker = open_broker(MqttSettings(broker="external", host="mqtt.example", port=8883), tmp_path, dict)
    broker.start()
    broker.add_node("plant", "node-1", "x")
    broker.stop()
    assert (broker.kind, broker.pid, broker.alive()) == ("external", None, True)
    with pytest.raises(ConfigError, match="port"):
        open_broker(MqttSettings(broker="external", port=0), tmp_path, dict)
