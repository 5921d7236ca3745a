"""A node keeps what it decides, goes on where it was, and lives with what goes wrong."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
from typer.testing import CliRunner

from cloud_backend.access.tokens import CLOUD_USER, hash_password
from common.app.spec import AppSpec
from common.bundle import DriftSpec
from common.clock import NodeClock, steady_ns
from common.config.node import (
    CurationSettings,
    Enrolment,
    NodeSettings,
    OutboxSettings,
    TelemetrySettings,
    UplinkSettings,
)
from common.edge.commands import app as node_commands
from common.edge.delivery.outbox import Outbox
from common.edge.node import Node
from common.edge.processing.state import encode_state
from common.errors import ConfigError, ReadingError, SourceFormatError
from common.messages import Hint, Status, WireEvent, decode, decode_event, encode, topics
from tests.brokers import MqttClient, make_broker
from tests.builders import FIRST_NS, make_app, make_bundle
from tests.cloud_backend.ingest.nodes import seal_of, wire_key_of
from tests.updates import UpdateSite
from tests.waiting import PATIENCE_S, wait_for

COUNT = 300
SOURCE = f"virtual:sums?count={COUNT}"


@pytest.fixture
def spec(tmp_path: Path) -> AppSpec:
    return make_app(tmp_path / "starter")


@pytest.fixture
def make_node(tmp_path: Path, spec: AppSpec) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def make(source: str = SOURCE, *, spec: AppSpec = spec, data: str = "data", **settings: Any) -> Node:
        speed = settings.pop("speed", 0.0)
        record = settings.pop("record_to", None)
        once = settings.pop("once", False)
        node = Node(
            NodeSettings(
                app=spec.name,
                source=source,
                data=str(tmp_path / data),
                speed=speed,
                profile="cpu",
                **settings,
            ),
            None,
            spec,
            record_to=record,
            once=once,
        )
        nodes.append(node)
        node.start()
        return node

    yield make
    for node in nodes:
        if not node._stopping.is_set():
            node.stop()


def run_through(node: Node, readings: int = COUNT) -> None:
    wait_for(lambda: node.processing.handled >= readings or node.ended.is_set(), f"{readings} readings")
    assert node.stop() == 0


def kept(data: Path) -> list[WireEvent]:
    """What a stopped node has in its outbox."""
    with closing(Outbox(data / "outbox.sqlite", "/local/x", 10**9, lambda: FIRST_NS)) as outbox:
        return [decode_event(row.body) for row in outbox.pending(0, 10**6, 10**9)]


def facts(events: list[WireEvent], kind: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(event.data) for event in events if event.type == kind]


def of_the_app(events: list[WireEvent]) -> list[tuple[str, str, str, bytes]]:
    return [
        (event.type, event.subject, event.time, bytes(event.data))
        for event in events
        if event.type.startswith("sums.")
    ]


@pytest.fixture
def truth(tmp_path: Path, make_node: Callable[..., Node]) -> list[tuple[str, str, str, bytes]]:
    """What a node that nothing happens to decides."""
    run_through(make_node(data="truth"))
    return of_the_app(kept(tmp_path / "truth"))


def test_a_node_without_a_cloud_keeps_what_it_decides(make_node, tmp_path: Path) -> None:
    run_through(make_node())
    events = kept(tmp_path / "data")
    values = facts(events, "sums.value")
    assert [value["position"] for value in values] == list(range(1, COUNT + 1))
    assert [value["count"] for value in values] == list(range(1, COUNT + 1))
    (started,) = facts(events, "edgeloop.node.started")
    assert started["version"] == "starter-1"
    assert started["virtual"] is True
    assert started["profile"] == "cpu"


def test_a_node_that_is_stopped_goes_on_behind_its_last_reading(make_node, tmp_path: Path, truth) -> None:
    for _ in range(3):
        node = make_node(f"{SOURCE}&rate_hz=500", speed=1.0)
        before = node.processing.handled
        wait_for(lambda n=node, b=before: n.processing.handled >= b + 60, "some readings")
        assert node.stop() == 0
    node = make_node(f"{SOURCE}&rate_hz=500", speed=1.0)
    wait_for(lambda: node.outbox.position() == COUNT, "the rest")
    assert node.stop() == 0
    assert of_the_app(kept(tmp_path / "data")) == truth


def test_a_node_that_is_killed_goes_on_behind_its_last_reading(tmp_path: Path, truth) -> None:
    code = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from common.config.node import NodeSettings, OutboxSettings\n"
        "from common.edge.node import Node\n"
        "from tests.builders import make_app\n"
        "folder = Path(sys.argv[1])\n"
        f"settings = NodeSettings(app='sums', source='{SOURCE}&rate_hz=400', data=str(folder / 'data'),\n"
        "    outbox=OutboxSettings(commit_interval_s=0.1))\n"
        "Node(settings, None, make_app(folder / 'starter')).start()\n"
        "threading.Event().wait()\n"
    )

    def position() -> int:
        if not (tmp_path / "data" / "outbox.sqlite").exists():
            return 0
        with closing(sqlite3.connect(tmp_path / "data" / "outbox.sqlite")) as connection:
            return connection.execute("SELECT position FROM meta").fetchone()[0] or 0

    for _ in range(4):
        before = position()
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
        try:
            wait_for((tmp_path / "data" / "telemetry.port").exists, "the node is up")
            wait_for(lambda before=before: position() >= min(before + 1, COUNT), "a committed reading")
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        (tmp_path / "data" / "telemetry.port").unlink()
        assert position() >= min(before + 1, COUNT)
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        wait_for((tmp_path / "data" / "telemetry.port").exists, "the node is up")
        wait_for(lambda: position() == COUNT, "the rest")
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert of_the_app(kept(tmp_path / "data")) == truth


def _healthz(data: Path) -> dict[str, Any]:
    try:
        port = int((data / "telemetry.port").read_text("ascii"))
        answer = urllib3.request("GET", f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE_S, retries=False)
    except (OSError, ValueError, urllib3.exceptions.HTTPError):
        return {"readings": 0, "outbox_events": 0, "ok": None}
    return msgspec.json.decode(answer.data)


def _readings(data: Path) -> int:
    return _healthz(data)["readings"]


def test_malformed_rows_are_told_with_their_line_and_the_rest_is_decided(make_node, tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    rows = [
        "a,b,c,d",
        "0.1,0.2,0.3,0.4",
        "0.1,0.2,0.3",
        "0.1,zero,0.3,0.4",
        "nan,0.2,0.3,0.4",
        ",0.2,0.3,0.4",
        "0.1,0.2,0.3,0.4,0.5",
        "0.5,0.5,0.5,0.5",
    ]
    path.write_text("\n".join(rows) + "\n")
    node = make_node(f"csv:{path}")
    wait_for(lambda: node.processing.platform.problems.count("unusable") == 5, "five unusable rows")
    run_through(node, 7)
    events = kept(tmp_path / "data")
    assert [value["sum"] for value in facts(events, "sums.value")] == [1.0, 2.0]
    told = [fact for fact in facts(events, "edgeloop.source") if fact["problem"] == "unusable"]
    assert "run.csv:3" in told[0]["detail"]


def test_a_file_without_usable_header_keeps_the_node_from_starting(make_node, tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("1,2,3\n4,5,6\n")
    with pytest.raises(SourceFormatError, match="first row must name the columns"):
        make_node(f"csv:{tmp_path / 'run.csv'}")


def test_a_clock_that_jumps_back_is_told_and_nothing_is_lost(make_node, tmp_path: Path) -> None:
    run_through(make_node(f"{SOURCE}&back_at=100"))
    events = kept(tmp_path / "data")
    assert len(facts(events, "sums.value")) == COUNT
    (told,) = facts(events, "edgeloop.source")
    assert told["problem"] == "clock"
    assert "reading 100" in told["detail"]


def test_a_source_that_fails_is_opened_again_behind_its_last_reading(
    make_node, tmp_path: Path, truth
) -> None:
    node = make_node(f"{SOURCE}&fail_at=100")
    wait_for(lambda: node.health.healthz()[1]["source_state"] == "failed", "the failure shows")
    good, about = node.health.healthz()
    assert not good
    assert "unplugged" in about["problems"][0]
    run_through(node)
    events = kept(tmp_path / "data")
    assert of_the_app(events) == truth
    assert facts(events, "edgeloop.source")[0]["problem"] == "source"


def test_a_full_outbox_holds_the_node_up_and_loses_no_alarm(
    make_node, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = make_node(
        "virtual:sums?count=2000",
        outbox=OutboxSettings(budget_bytes=65536),
        settings={"alarm_above": 0.0},
    )
    wait_for(lambda: node.processing.stuck_since_s is not None, "the outbox is full")
    seen: dict[int, WireEvent] = {}

    def empty_it() -> bool:
        for row in node.outbox.pending(0, 1000, 10**9):
            event = decode_event(row.body)
            seen.setdefault(event.seq, event)
        node.outbox.acked(node.outbox.last_seq)
        return node.processing.handled >= 2000

    wait_for(empty_it, "all readings")
    assert node.stop() == 0
    empty = kept(tmp_path / "data")
    seen.update({event.seq: event for event in empty if event.seq not in seen})
    events = [seen[seq] for seq in sorted(seen)]
    positions = [fact["position"] for fact in facts(events, "sums.high")]
    sums = {fact["position"] for fact in facts(events, "sums.value") if fact["sum"] > 0}
    assert sums <= set(positions)
    assert positions == sorted(set(positions))
    assert len(positions) > 900
    assert "the outbox works again" in caplog.text


def test_a_node_stops_in_order_while_its_outbox_is_full(make_node, tmp_path: Path) -> None:
    settings = {"outbox": OutboxSettings(budget_bytes=65536), "settings": {"alarm_above": 0.0}}
    node = make_node("virtual:sums?count=2000", **settings)
    wait_for(lambda: node.processing.stuck_since_s is not None, "the outbox is full")
    position = node.outbox.position()
    assert node.stop() == 0
    again = make_node("virtual:sums?count=2000", **settings)
    assert again.outbox.position() == position


def health_of(events: list[WireEvent]) -> dict[str, Any]:
    return facts(events, "edgeloop.node.health")[-1]


def test_a_node_that_loses_nothing_is_healthy(make_node, tmp_path: Path) -> None:
    node = make_node()
    wait_for(lambda: node.processing.handled >= COUNT, "all readings")
    good, about = node.health.healthz()
    assert (good, about["problems"]) == (True, [])
    assert node.stop() == 0
    told = health_of(kept(tmp_path / "data"))
    assert (told["ok"], told["problems"]) == (True, [])
    assert not (tmp_path / "data" / "losses.json").exists()


def test_events_given_up_for_the_disk_budget_are_a_problem_also_after_a_restart(
    make_node, tmp_path: Path
) -> None:
    outbox = OutboxSettings(budget_bytes=30_000)
    node = make_node(outbox=outbox)
    wait_for(lambda: node.processing.handled >= COUNT and not node.health.healthz()[0], "what is lost shows")
    (problem,) = node.health.healthz()[1]["problems"]
    assert "events were lost" in problem
    assert node.stop() == 0
    again = make_node(outbox=outbox)
    good, about = again.health.healthz()
    assert not good
    assert "events were lost" in about["problems"][0]
    assert again.stop() == 0
    told = health_of(kept(tmp_path / "data"))
    assert told["ok"] is False
    assert "events were lost" in told["problems"][0]


def test_events_lost_in_a_damaged_outbox_are_a_problem(make_node, tmp_path: Path) -> None:
    run_through(make_node())
    file = tmp_path / "data" / "outbox.sqlite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)
    node = make_node()
    wait_for(lambda: not node.health.healthz()[0], "what is lost shows")
    assert "lost" in node.health.healthz()[1]["problems"][0]


def test_reports_that_are_dropped_are_a_problem(make_node, tmp_path: Path) -> None:
    node = make_node()
    wait_for(lambda: node.processing.handled >= COUNT, "all readings")
    node.models.adoption.reports.dropped += 3
    wait_for(lambda: not node.health.healthz()[0], "it shows")
    assert "3 reports" in node.health.healthz()[1]["problems"][0]
    assert node.stop() == 0
    told = [
        fact for fact in facts(kept(tmp_path / "data"), "edgeloop.source") if fact["problem"] == "notices"
    ]
    assert told[0]["count"] == 3


def test_readings_that_a_source_has_lost_are_a_problem_and_replaced_frames_are_not(
    make_node, tmp_path: Path
) -> None:
    node = make_node()
    node.queue.dropped += 5  # As the queue of a live source counts what a newer frame replaces.
    wait_for(lambda: node.processing.platform.problems.count("replaced") == 5, "the count shows")
    good, about = node.health.healthz()
    assert (good, about["dropped"]) == (True, 5)
    node.queue.put(ReadingError("the strap's buffer ran over", kind="lost", count=12))
    wait_for(lambda: not node.health.healthz()[0], "what is lost shows")
    assert "at least 12 readings" in node.health.healthz()[1]["problems"][0]
    assert node.stop() == 0
    told = {fact["problem"]: fact["count"] for fact in facts(kept(tmp_path / "data"), "edgeloop.source")}
    assert told == {"replaced": 5, "lost": 12}


def test_a_full_disk_holds_the_node_up_and_loses_nothing(tmp_path: Path, truth) -> None:
    code = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from common.config.node import NodeSettings\n"
        "from common.edge.node import Node\n"
        "from tests.builders import make_app\n"
        "folder = Path(sys.argv[1])\n"
        f"settings = NodeSettings(app='sums', source='{SOURCE}&rate_hz=200', data=str(folder / 'data'))\n"
        "Node(settings, None, make_app(folder / 'starter')).start()\n"
        "threading.Event().wait()\n"
    )
    data = tmp_path / "data"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _readings(data) > 20, "some readings")
        limit = (data / "outbox.sqlite-wal").stat().st_size
        before = resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        wait_for(lambda: _healthz(data)["ok"] is False, "it shows")
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, before)
        wait_for(lambda: _readings(data) >= COUNT and _healthz(data)["ok"], "the rest")
        wait_for(lambda: _healthz(data)["outbox_events"] > len(truth), "all is kept")
    finally:
        child.kill()
        child.wait()
    events = kept(data)
    assert of_the_app(events) == truth
    assert facts(events, "edgeloop.outbox")[0]["problem"] == "disk"


def test_an_oversized_sample_costs_itself_only(make_node, tmp_path: Path, truth) -> None:
    node = make_node(
        curation=CurationSettings(store_bytes=4000),
        settings={"sample_every": 50, "sample_values": 100_000},
    )
    run_through(node)
    events = kept(tmp_path / "data")
    assert of_the_app(events) == truth
    (told,) = [fact for fact in facts(events, "edgeloop.source") if fact["problem"] == "sample"]
    assert "is not kept" in told["detail"]
    assert not list((tmp_path / "data" / "samples").glob("*.npz"))


def test_samples_are_on_disk_when_the_position_is_past_them(make_node, tmp_path: Path) -> None:
    run_through(make_node(settings={"sample_every": 100}))
    assert len(list((tmp_path / "data" / "samples").glob("*.npz"))) == 3


def test_drift_is_told_when_it_begins_and_survives_a_restart(make_node, tmp_path: Path) -> None:
    make_bundle(tmp_path / "watched", drift=DriftSpec(output="novelty", threshold=1.0, rate=0.01))
    watched = make_app(tmp_path / "watched")
    source = f"{SOURCE}&strange_from=200"
    node = make_node(source, spec=watched, settings={"sample_every": 290, "score": 0.1})
    wait_for(lambda: node.processing.handled >= COUNT, "all readings")
    assert node.processing.drift.drifting
    assert node.stop() == 0
    (told,) = facts(kept(tmp_path / "data"), "edgeloop.drift")
    assert told["state"] == "drift"
    assert len(list((tmp_path / "data" / "samples").glob("*.npz"))) == 1, "drift makes a dull sample worth it"
    again = make_node(source, spec=watched)
    assert again.processing.drift.drifting
    assert again.stop() == 0
    assert len(facts(kept(tmp_path / "data"), "edgeloop.drift")) == 1


def test_a_damaged_outbox_is_told_and_the_node_goes_on(make_node, tmp_path: Path) -> None:
    run_through(make_node())
    (tmp_path / "data" / "outbox.sqlite").write_bytes(b"nonsense" * 1000)
    run_through(make_node())
    (told,) = facts(kept(tmp_path / "data"), "edgeloop.outbox")
    assert told["problem"] == "corrupt"
    assert list((tmp_path / "data").glob("outbox.sqlite.corrupt-*"))


def test_a_state_that_the_app_cannot_take_over_is_told(make_node, tmp_path: Path) -> None:
    make_node().stop()
    with closing(Outbox(tmp_path / "data" / "outbox.sqlite", "/l/x", 10**9, lambda: FIRST_NS)) as outbox:
        outbox.commit([], encode_state({"something": "else"}), 7)
    node = make_node()
    wait_for(lambda: facts(_pending(node), "edgeloop.source"), "it is told")
    run_through(node, 0)
    told = facts(kept(tmp_path / "data"), "edgeloop.source")
    assert told[0]["problem"] == "state"


def _pending(node: Node) -> list[WireEvent]:
    return [decode_event(row.body) for row in node.outbox.pending(0, 10**6, 10**9)]


def test_health_is_told_again_and_again(make_node, tmp_path: Path) -> None:
    node = make_node(telemetry=TelemetrySettings(health_s=0.05))

    def all_told() -> bool:
        told = facts(_pending(node), "edgeloop.node.health")
        return len(told) >= 3 and told[-1]["readings"] == COUNT

    wait_for(all_told, "three of them, the last about all readings")
    run_through(node)
    last = facts(kept(tmp_path / "data"), "edgeloop.node.health")[-1]
    assert last["readings"] == COUNT
    assert last["bytes_raw"] == COUNT * 4 * 8
    assert last["rss_bytes"] > 10**6
    assert last["confirmed"] is True
    assert last["version"] == "starter-1"


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


def test_a_stopping_node_waits_for_the_cloud_as_long_as_its_settings_say(
    tmp_path: Path, spec: AppSpec, enrolment: Enrolment
) -> None:
    drain_s = UplinkSettings().drain_s + 4.0
    settings = NodeSettings(
        app=spec.name,
        source=SOURCE,
        data=str(tmp_path / "data"),
        speed=0.0,
        profile="cpu",
        uplink=UplinkSettings(drain_s=drain_s),
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
    assert time.monotonic() - began_s >= drain_s
    assert len(of_the_app(kept(tmp_path / "data"))) >= COUNT


def test_a_hint_over_the_broker_makes_the_node_prove_its_model(
    tmp_path: Path, spec: AppSpec, enrolment: Enrolment
) -> None:
    source, data = f"{SOURCE}&rate_hz=100", str(tmp_path / "data")
    settings = NodeSettings(app=spec.name, source=source, data=data, speed=1.0, profile="cpu")
    node = Node(settings, enrolment, spec)
    node.start()
    try:
        wait_for(lambda: node.cloud.uplink is not None and node.cloud.uplink.connected, "a connection")
        with MqttClient(enrolment.mqtt_port, CLOUD_USER, "pw") as cloud:
            to, seal = topics("plant", "node-1"), seal_of()
            cloud.subscribe(to.status)
            cloud.wait(lambda: bool(cloud.received))
            session = decode(seal.open(*cloud.received[0]), Status).session
            for number, action in enumerate(("dance", "golden"), 1):
                hint = Hint(action, session=session, number=number)
                cloud.publish(to.hint, seal.close(to.hint, encode(hint)))
            (proof,) = wait_for(lambda: facts(_pending(node), "edgeloop.golden"), "the proof")
    finally:
        node.stop()
    assert (proof["passed"], proof["version"]) == (True, "starter-1")


def test_metrics_and_healthz_answer_on_loopback(make_node, tmp_path: Path) -> None:
    node = make_node()
    wait_for(lambda: node.processing.handled >= COUNT, "all readings")
    port = int((tmp_path / "data" / "telemetry.port").read_text("ascii"))
    text = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics").data.decode()
    assert f"edgeloop_readings_total {float(COUNT)}" in text
    assert f"edgeloop_outbox_events {float(node.outbox.events)}" in text
    assert 'edgeloop_model{slot="a",step="confirmed",version="starter-1"} 1.0' in text
    answer = urllib3.request("GET", f"http://127.0.0.1:{port}/healthz")
    assert answer.status == 200
    assert answer.json()["readings"] == COUNT
    node.outbox.acked(1)
    answer = urllib3.request("GET", f"http://127.0.0.1:{port}/healthz").json()
    assert (answer["outbox_events"], answer["acked_seq"]) == (node.outbox.last_seq - 1, 1)
    shown = CliRunner().invoke(node_commands, ["events", "--data", str(tmp_path / "data"), "--json"]).stdout
    delivered = [json.loads(line)["delivered"] for line in shown.splitlines()]
    assert delivered == [True, *[False] * (node.outbox.last_seq - 1)]
    assert node.stop() == 0
    assert not (tmp_path / "data" / "telemetry.port").exists()


def test_a_recording_gives_the_same_events_again(make_node, tmp_path: Path, truth) -> None:
    run_through(make_node(record_to=tmp_path / "recording"))
    run_through(make_node(f"replay:{tmp_path / 'recording'}", data="again"))
    assert of_the_app(kept(tmp_path / "again")) == truth


def test_once_ends_when_the_source_does(make_node) -> None:
    node = make_node(once=True)
    assert node.ended.wait(PATIENCE_S)
    assert node.outbox.position() == COUNT
    assert node.stop() == 0


def test_two_nodes_do_not_share_a_folder(make_node) -> None:
    make_node()
    with pytest.raises(ConfigError, match="another node runs"):
        make_node()


def test_the_folder_of_another_app_is_refused(make_node, tmp_path: Path, spec: AppSpec) -> None:
    run_through(make_node())
    other = make_app(tmp_path / "other", name="other")
    with pytest.raises(ConfigError, match="holds a node of the app 'sums'"):
        make_node(spec=replace(other, name="other"))


def test_a_wrong_setting_of_the_app_is_named(make_node) -> None:
    with pytest.raises(ConfigError, match="did you mean alarm_above"):
        make_node(settings={"alarm_abve": 1.0})


def test_a_dead_thread_ends_the_node_with_a_failure(make_node, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node("virtual:sums?count=100000&rate_hz=100", speed=1.0)

    class Unsaveable(dict):
        """What no snapshot may hold."""

    monkeypatch.setattr(node.models.adoption, "snapshot", lambda: {"bad": object()})
    assert node.ended.wait(PATIENCE_S)
    assert node.stop() == 1


def test_a_node_whose_clock_stood_in_2034_across_a_restart_of_the_machine_marks_its_times(
    spec: AppSpec, tmp_path: Path
) -> None:
    data = tmp_path / "data"

    def run(offset_ns: int) -> None:
        settings = NodeSettings(app=spec.name, source=SOURCE, data=str(data), speed=0.0, profile="cpu")
        node = Node(settings, None, spec, clock=NodeClock(lambda: offset_ns + steady_ns(), steady_ns))
        node.start()
        run_through(node, 0)
        anchor = msgspec.json.decode((data / "clock.json").read_bytes())
        (data / "clock.json").write_bytes(msgspec.json.encode({**anchor, "boot": "an earlier one"}))

    def qualities() -> list[str]:
        return [event.timequality for event in kept(data) if event.type == "edgeloop.node.started"]

    now_ns = time.time_ns()
    run(2_040_000_000 * 10**9)
    assert qualities() == ["unsynchronised"]
    run(now_ns)
    assert qualities() == ["unknown", ""]
    run(now_ns - 100 * 86400 * 10**9)
    assert qualities() == ["unknown", "unknown", "unsynchronised"]
