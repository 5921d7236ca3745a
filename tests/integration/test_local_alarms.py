"""Alarms reach the machine itself, each at least once at each output, and no output is in the way."""

from __future__ import annotations

import json
import logging
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud_backend.access.tokens import CLOUD_USER, hash_password
from cloud_backend.broker.broker import Broker
from common.config.node import LocalAlarmSettings, NodeSettings
from common.edge.delivery import local_alarms
from common.edge.delivery.alarm_outputs import outputs_of
from common.edge.delivery.history import History
from common.edge.delivery.local_alarms import LocalAlarms, Origin
from common.edge.delivery.outbox import Outbox
from common.edge.node import Node
from common.errors import ConfigError
from common.messages import Event, Priority
from tests.brokers import KINDS, MqttClient, make_broker
from tests.builders import FIRST_NS, make_app
from tests.waiting import wait_for

ENDS = ("sums.low",)


@pytest.fixture(autouse=True)
def retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_alarms, "RETRY_FIRST_S", 0.01)


class Siren(ThreadingHTTPServer):
    """A device on the local network that takes alarms by HTTP, and answers ``status``."""

    daemon_threads = True

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 204
        self.attempts = 0
        self.open = threading.Event()
        self.open.set()
        super().__init__(("127.0.0.1", 0), _Listener)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/alarm?token=secret"


class _Listener(BaseHTTPRequestHandler):
    server: Siren  # type: ignore[assignment]  the only server that uses this handler

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.attempts += 1
        self.server.open.wait(60)
        if self.server.status < 300:
            self.server.received.append(json.loads(body))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def siren() -> Iterator[Siren]:
    siren = Siren()
    yield siren
    siren.open.set()
    siren.shutdown()
    siren.server_close()


class Machine:
    """A node as local alarms see it: an outbox, a history, and the commits of a process thread."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = LocalAlarmSettings(**{"log": False, "timeout_s": 2.0, **settings})
        self.folder = folder
        self.outbox = Outbox(folder / "outbox.sqlite", "/local/n1", 10**7, lambda: FIRST_NS)
        self.history = History(folder, "/local/n1", 10**7, Priority.EVENT)
        self.reports: list[Event] = []
        self.alarms = LocalAlarms(
            outputs_of(self.settings),
            self.settings,
            Origin("n1", "local", "sums", True, ENDS),
            folder,
            lambda: FIRST_NS,
            self.reports.append,
        )

    def start(self) -> Machine:
        self.alarms.start(self.outbox.epoch, self.outbox.last_seq)
        return self

    def commit(self, number: int, type: str = "sums.high", *, notified: bool = True) -> None:
        priority = {"sums.high": Priority.ALARM, "sums.low": Priority.EVENT}.get(type, Priority.TELEMETRY)
        events = [
            Event("sums.value", "pump", FIRST_NS + number, Priority.TELEMETRY, {}),
            Event(type, "pump", FIRST_NS + number, priority, {"number": number, "text": f"pump {number}"}),
        ]
        last = self.outbox.commit(events)
        self.history.add(events, self.outbox.epoch, last)
        if notified:
            self.alarms.offer(events, self.outbox.epoch, last)

    def end(self) -> None:
        self.alarms.stop(10.0)
        self.outbox.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    machines: list[Machine] = []

    def make(**settings: Any) -> Machine:
        machines.append(Machine(tmp_path, **settings))
        return machines[-1]

    yield make
    for each in machines:
        each.alarms.stop(0.0)
        each.outbox.close()


def numbers(siren: Siren) -> list[int]:
    return [alarm["data"]["number"] for alarm in siren.received]


def test_a_webhook_is_posted_the_alarm_and_its_end(machine, siren: Siren) -> None:
    node = machine(webhook=siren.url).start()
    node.commit(1)
    node.commit(2, "sums.value")
    node.commit(3, "sums.low")
    wait_for(lambda: len(siren.received) == 2, "alarm and end")
    raised, ended = siren.received
    assert (raised["type"], raised["state"], raised["subject"]) == ("sums.high", "raised", "pump")
    assert (raised["text"], raised["priority"], raised["virtual"]) == ("pump 1", "alarm", True)
    assert raised["id"] == f"local/n1/{node.outbox.epoch}/2"
    assert raised["time"].endswith("Z")
    assert (ended["type"], ended["state"]) == ("sums.low", "ended")
    assert node.reports == []


def test_a_log_line_names_subject_and_text(machine, caplog: pytest.LogCaptureFixture) -> None:
    node = machine(log=True).start()
    node.commit(1)
    node.commit(2, "sums.low")
    wait_for(lambda: "alarm ended" in caplog.text, "both lines")
    lines = [record for record in caplog.records if record.name == "common.edge.delivery.alarm_outputs"]
    assert [record.levelno for record in lines] == [logging.WARNING] * 2
    assert lines[0].getMessage() == "virtual alarm raised: pump: sums.high: pump 1"


def test_a_program_gets_the_alarm_on_its_standard_input_without_a_shell(machine, tmp_path: Path) -> None:
    out = tmp_path / "got $(x) ;.json"
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    node = machine(command=[sys.executable, "-c", code, str(out)], timeout_s=60).start()
    node.commit(1)
    node.commit(2)
    wait_for(lambda: out.exists() and out.read_text().count("\n") == 2, "both alarms")
    assert [json.loads(line)["data"]["number"] for line in out.read_text().splitlines()] == [1, 2]


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    users = {CLOUD_USER: hash_password("right")}
    broker = make_broker(request.param, tmp_path / "broker", lambda: users)
    broker.start()
    yield broker
    broker.stop()


def at_the(broker: Broker, folder: Path, password: str) -> dict[str, Any]:
    """Settings for a topic of this broker."""
    file = folder / "password"
    file.write_text(password + "\n")
    return {
        "mqtt_host": "127.0.0.1",
        "mqtt_port": broker.port,
        "mqtt_topic": "edgeloop/v1/hall/alarms",
        "mqtt_user": CLOUD_USER,
        "mqtt_password_file": str(file),
        "timeout_s": 30,
    }


def test_a_topic_of_a_broker_nearby_gets_the_alarm(machine, broker: Broker, tmp_path: Path) -> None:
    node = machine(**at_the(broker, tmp_path, "right")).start()
    with MqttClient(broker.port, CLOUD_USER, "right") as plc:
        plc.subscribe("edgeloop/v1/hall/alarms")
        node.commit(1)
        node.commit(2)
        plc.wait(lambda: len(plc.received) == 2)
    assert [json.loads(payload)["data"]["number"] for _, payload in plc.received] == [1, 2]
    wait_for(lambda: node.alarms.waiting == 0, "both are acknowledged")
    assert node.alarms.problem == ""


def test_a_broker_that_refuses_the_password_is_named(machine, tmp_path: Path) -> None:
    users = {CLOUD_USER: hash_password("right")}
    broker = make_broker("mosquitto", tmp_path / "broker", lambda: users)
    broker.start()
    try:
        node = machine(**at_the(broker, tmp_path, "wrong")).start()
        node.commit(1)
        wait_for(lambda: f"127.0.0.1:{broker.port} refuses: " in node.alarms.problem, "the refusal")
        assert "wrong" not in node.alarms.problem
    finally:
        broker.stop()


def test_an_output_that_fails_is_tried_again_in_order_and_that_is_reported(machine, siren: Siren) -> None:
    siren.status = 500
    node = machine(webhook=siren.url).start()
    for number in range(1, 4):
        node.commit(number)
    wait_for(lambda: siren.attempts > 3, "attempts")
    assert node.alarms.waiting == 3
    assert node.alarms.problem == f"webhook: 127.0.0.1:{siren.server_address[1]} answers 500"
    assert node.reports[0].type == "edgeloop.local_alarm"
    assert "secret" not in str(node.reports[0].data)
    siren.status = 200
    wait_for(lambda: numbers(siren) == [1, 2, 3], "all of them")
    wait_for(lambda: node.alarms.waiting == 0, "none waits")
    assert node.alarms.problem == ""


def test_a_redirect_is_a_failure(machine, siren: Siren) -> None:
    siren.status = 307
    node = machine(webhook=siren.url).start()
    node.commit(1)
    wait_for(lambda: "answers 307" in node.alarms.problem, "it is refused")
    assert numbers(siren) == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"webhook": "http://127.0.0.1:1/x"}, "does not answer"),
        ({"command": ["/nowhere/siren"]}, "cannot be started"),
        ({"command": [sys.executable, "-c", "raise SystemExit(3)"], "timeout_s": 60}, "exited with 3"),
        ({"command": [sys.executable, "-c", "import time; time.sleep(999)"], "timeout_s": 0.1}, "was killed"),
        ({"mqtt_host": "127.0.0.1", "mqtt_port": 1}, "cannot be reached"),
    ],
)
def test_what_an_output_cannot_do_is_named(machine, settings: dict[str, Any], problem: str) -> None:
    node = machine(**settings).start()
    node.commit(1)
    wait_for(lambda: problem in node.alarms.problem, "the problem shows")
    wait_for(lambda: node.reports, "a report")
    assert node.alarms.waiting == 1


def test_a_slow_output_holds_up_neither_the_node_nor_another_output(
    machine, siren: Siren, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    siren.open.clear()
    node = machine(log=True, webhook=siren.url, timeout_s=60).start()
    began = time.monotonic()
    for number in range(1, 101):
        node.commit(number)
    assert time.monotonic() - began < 30
    wait_for(lambda: "pump 100" in caplog.text, "the log has all")
    assert siren.received == []
    siren.open.set()
    wait_for(lambda: len(siren.received) == 100, "the webhook too")


def test_a_full_queue_gives_up_the_oldest_and_reports_that(machine, siren: Siren) -> None:
    siren.open.clear()
    node = machine(webhook=siren.url, queue_alarms=5, timeout_s=60).start()
    node.commit(1)
    wait_for(lambda: siren.attempts == 1, "the first is being sent")
    for number in range(2, 12):
        node.commit(number)
    assert any(report.data["problem"] == "webhook given up" for report in node.reports)
    siren.open.set()
    wait_for(lambda: numbers(siren) == [1, 7, 8, 9, 10, 11], "the newest")


def test_an_alarm_is_given_up_after_its_time_and_that_is_reported(machine, siren: Siren) -> None:
    siren.status = 503
    node = machine(webhook=siren.url, retry_timeout_s=0.05).start()
    node.commit(1)
    wait_for(lambda: node.alarms.waiting == 0, "it is given up")
    assert any(report.data["problem"] == "webhook given up" for report in node.reports)


def test_what_was_not_sent_is_sent_by_the_next_process_and_what_was_is_not(machine, siren: Siren) -> None:
    node = machine(webhook=siren.url).start()
    node.commit(1)
    wait_for(lambda: numbers(siren) == [1], "the first")
    siren.status = 500
    node.commit(2)
    node.commit(3)
    wait_for(lambda: siren.attempts > 2, "attempts")
    node.alarms.stop(0.0)
    node.commit(4, notified=False)  # Kept, and then the process died.
    node.commit(5, "sums.low", notified=False)
    node.outbox.acked(node.outbox.last_seq)  # The cloud has them all: only the history still has them.
    node.outbox.close()
    siren.status = 204
    again = machine(webhook=siren.url).start()
    wait_for(lambda: numbers(siren) == [1, 2, 3, 4, 5], "the rest, in order")
    again.end()
    third = machine(webhook=siren.url).start()
    third.commit(6)
    wait_for(lambda: 6 in numbers(siren), "a new one")
    assert numbers(siren) == [1, 2, 3, 4, 5, 6]


def test_a_new_epoch_does_not_send_what_was_sent(machine, siren: Siren) -> None:
    node = machine(webhook=siren.url).start()
    node.commit(1)
    wait_for(lambda: numbers(siren) == [1], "the first")
    node.alarms.stop(10.0)
    node.outbox.begin_epoch()
    node.commit(2, notified=False)
    node.outbox.close()
    machine(webhook=siren.url).start()
    wait_for(lambda: 2 in numbers(siren), "the new one")
    assert numbers(siren) == [1, 2]


def test_an_output_that_is_new_is_not_sent_old_alarms(machine, siren: Siren) -> None:
    node = machine(log=True).start()
    node.commit(1)
    node.end()
    again = machine(log=True, webhook=siren.url).start()
    again.commit(2)
    wait_for(lambda: again.alarms.waiting == 0 and numbers(siren), "the new one")
    assert numbers(siren) == [2]


def test_a_damaged_place_is_reported_and_the_node_starts(
    machine, siren: Siren, tmp_path: Path, caplog
) -> None:
    (tmp_path / "local-alarms.json").write_bytes(b"{torn")
    node = machine(webhook=siren.url).start()
    assert "cannot be read" in caplog.text
    node.commit(1)
    wait_for(lambda: numbers(siren) == [1], "an alarm")
    node.end()
    assert stat.S_IMODE((tmp_path / "local-alarms.json").stat().st_mode) == 0o600


def test_a_password_file_that_is_missing_is_refused_at_the_start(tmp_path: Path) -> None:
    settings = LocalAlarmSettings(
        mqtt_host="127.0.0.1", mqtt_user="u", mqtt_password_file=str(tmp_path / "no")
    )
    with pytest.raises(ConfigError, match="mqtt_password_file"):
        outputs_of(settings)


def test_a_node_sends_its_alarms_and_reports_where_it_cannot(tmp_path: Path, siren: Siren) -> None:
    spec = make_app(tmp_path / "starter")
    settings = NodeSettings(
        app=spec.name,
        source="virtual:sums?count=200",
        data=str(tmp_path / "data"),
        speed=0.0,
        profile="cpu",
        settings={"alarm_above": 1.0},
        local_alarms=LocalAlarmSettings(webhook=siren.url, command=["/nowhere/siren"]),
    )
    node = Node(settings, None, spec)
    node.start()
    wait_for(lambda: node.processing.handled == 200, "the readings")
    kept = [row for row in node.outbox.pending(0, 10**6, 10**9) if b'"sums.high"' in row.body]
    wait_for(lambda: len(siren.received) == len(kept), "every alarm")
    good, facts = node.health.healthz()
    assert not good
    assert any("/nowhere/siren cannot be started" in problem for problem in facts["problems"])
    assert facts["local_alarms_waiting"] > 0
    bodies = [msgspec.json.decode(row.body) for row in kept]
    assert [alarm["time"] for alarm in siren.received] == [body["time"] for body in bodies]
    node.stop()
