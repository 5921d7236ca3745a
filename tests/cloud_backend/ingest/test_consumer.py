"""Ingest over real brokers: in by MQTT, committed, acked, whatever dies meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlmodel import Session

from cloud_backend.access.tokens import CLOUD_USER, hash_password
from cloud_backend.access.wire_keys import WireKeys
from cloud_backend.broker.broker import Broker
from cloud_backend.ingest.consumer import Consumer
from cloud_backend.ingest.projections import Projections
from cloud_backend.store.engine import open_store, sqlite_url
from cloud_backend.store.tables import Node, NodeProblem, Quarantined
from common import messages
from common.clock import anchored_clock
from common.config.cloud import IngestSettings
from common.messages import Ack, Hint, Status, decode, topics
from tests.brokers import KINDS, MqttClient, make_broker
from tests.cloud_backend.ingest.nodes import SECRET, SITE, SimulatedNode, enrol, rows, seal_of, stored
from tests.waiting import PATIENCE_S, eventually

TOPICS = topics(SITE, "node-1")
PASSWORD = "a password"
SEAL = seal_of()
QUICK = IngestSettings(retry_min_s=0.02, retry_max_s=0.1)


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    users = (CLOUD_USER, f"{SITE}/node-1", f"{SITE}/stranger")
    broker = make_broker(
        request.param, tmp_path / "broker", lambda: {u: hash_password(PASSWORD) for u in users}
    )
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(sqlite_url(tmp_path / "store.sqlite"))
    enrol(engine, "node-1")
    yield engine
    engine.dispose()


def make_consumer(broker: Broker, engine: Engine, settings: IngestSettings = QUICK) -> Consumer:
    return Consumer(
        engine,
        Projections({}),
        settings,
        host="127.0.0.1",
        port=broker.port,
        user=CLOUD_USER,
        password=PASSWORD,
        keys=WireKeys(engine, SECRET),
        clock=anchored_clock(),
    )


@pytest.fixture
def consumer(broker: Broker, store: Engine) -> Iterator[Consumer]:
    consumer = make_consumer(broker, store)
    consumer.start()
    assert eventually(lambda: consumer.counts().get("subscribed"))
    yield consumer
    consumer.stop()


@pytest.fixture
def uplink(broker: Broker) -> Iterator[MqttClient]:
    with MqttClient(broker.port, f"{SITE}/node-1", PASSWORD) as client:
        client.subscribe(TOPICS.ack, TOPICS.hint)
        yield client


def acks(uplink: MqttClient) -> list[Ack]:
    return [
        decode(SEAL.open(topic, payload), Ack) for topic, payload in uplink.received if topic == TOPICS.ack
    ]


def publish(uplink: MqttClient, topic: str, body: bytes, **options: Any) -> None:
    uplink.publish(topic, SEAL.close(topic, body), **options)


def send(uplink: MqttClient, node: SimulatedNode, *arguments: Any) -> None:
    publish(uplink, TOPICS.up, node.batch(*arguments, sent_ns=time.time_ns()))


def test_what_is_sent_is_stored_and_acked(consumer: Consumer, uplink: MqttClient, store: Engine) -> None:
    node = SimulatedNode()
    for first in range(1, 2001, 100):
        send(uplink, node, first, first + 99)
    uplink.wait(lambda: Ack("e1", 2000) in acks(uplink))
    assert [seq for _, seq, _ in stored(store)] == list(range(1, 2001))
    marks = [ack.high_water_mark for ack in acks(uplink)]
    assert marks == sorted(marks)
    assert consumer.counts()["events"] == 2000


def test_noise_is_refused_and_the_stream_goes_on(
    consumer: Consumer, uplink: MqttClient, store: Engine
) -> None:
    node = SimulatedNode()
    publish(uplink, TOPICS.up, b"noise")
    publish(uplink, TOPICS.status, b"noise")
    send(uplink, node, 1, 3)
    uplink.wait(lambda: Ack("e1", 3) in acks(uplink))
    refused = next(ack for ack in acks(uplink) if not ack.epoch)
    assert refused.refused_digest == messages.digest(b"noise")
    assert [row.body for row in rows(store, Quarantined)] == [b"noise"]
    assert consumer.counts()["strange_statuses"] == 1


def test_a_stranger_gets_no_answer_and_changes_nothing(
    consumer: Consumer, broker: Broker, store: Engine
) -> None:
    with MqttClient(broker.port, f"{SITE}/stranger", PASSWORD) as stranger:
        stranger.subscribe(topics(SITE, "stranger").ack)
        stranger.publish(topics(SITE, "stranger").up, SimulatedNode("stranger").batch(1, 3))
        assert eventually(lambda: consumer.counts().get("not_enrolled"))
        assert stranger.received == []
    assert stored(store, "stranger") == []
    assert rows(store, Quarantined) == []


def test_a_killed_broker_is_survived(consumer: Consumer, broker: Broker, store: Engine) -> None:
    node = SimulatedNode()
    mark = 0
    for _ in range(3):
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        assert eventually(lambda: not broker.alive())
        broker.start()
        with MqttClient(broker.port, f"{SITE}/node-1", PASSWORD) as uplink:
            uplink.subscribe(TOPICS.ack)
            while not acks(uplink) or acks(uplink)[-1].high_water_mark < mark + 10:
                send(uplink, node, mark + 1, mark + 10)
                assert eventually(lambda: consumer.connected)
                eventually_acked = time.monotonic() + 0.5
                while not acks(uplink) and time.monotonic() < eventually_acked:
                    time.sleep(0.01)
        mark += 10
    assert [seq for _, seq, _ in stored(store)] == list(range(1, 31))


def test_hints_reach_their_node(consumer: Consumer, uplink: MqttClient) -> None:
    publish(uplink, TOPICS.status, messages.encode(Status("online", "test", session="s1")), retain=True)
    assert eventually(lambda: [n.state for n in rows(consumer._engine, Node)] == ["online"])
    for action in ("deployment", "golden"):
        consumer.hint(SITE, "node-1", action)
    uplink.wait(lambda: len(uplink.received) == 2)
    first, second = (decode(SEAL.open(*each), Hint) for each in uplink.received)
    assert (first.action, first.session, second.action) == ("deployment", "s1", "golden")
    assert first.number < second.number


@pytest.mark.parametrize("topic", [TOPICS.up, TOPICS.status])
def test_nobody_speaks_for_a_node_without_its_key(
    consumer: Consumer, uplink: MqttClient, store: Engine, topic: str
) -> None:
    body = SimulatedNode().batch(1, 3) if topic == TOPICS.up else messages.encode(Status("online", "test"))
    other = topics(SITE, "node-2").up
    forged = [
        body,
        bytes(32) + body,
        seal_of("node-2").close(topic, body),
        seal_of(enrolled_ns=2).close(topic, body),
        SEAL.close(other, body),
        SEAL.close(TOPICS.ack, body),
        SEAL.close(topic, body)[:-1],
        SEAL.close(topic, body)[:20],
        b"",
    ]
    for payload in forged:
        uplink.publish(topic, payload)
    assert eventually(lambda: consumer.counts().get("messages_rejected") == len(forged))
    consumer.keep_problems()
    assert stored(store) == []
    assert rows(store, Quarantined) == []
    assert [(n.state, n.last_seen_ns) for n in rows(store, Node)] == [("unknown", 0)]
    (problem,) = rows(store, NodeProblem)
    assert (problem.node, problem.kind, problem.count) == ("node-1", "rejected", len(forged))


def test_a_new_enrolment_ends_the_key_of_the_one_before(
    consumer: Consumer, uplink: MqttClient, store: Engine
) -> None:
    node = SimulatedNode()
    send(uplink, node, 1, 3)
    uplink.wait(lambda: Ack("e1", 3) in acks(uplink))
    with Session(store) as session:
        session.execute(sa.update(Node).values(enrolled_ns=2))
        session.commit()
    new = seal_of(enrolled_ns=2)

    def taken() -> bool:
        uplink.publish(TOPICS.up, new.close(TOPICS.up, node.batch(4, 6, sent_ns=time.time_ns())))
        return len(stored(store)) == 6

    assert eventually(taken)
    before = consumer.counts()["messages_rejected"]
    send(uplink, node, 7, 9)
    assert eventually(lambda: consumer.counts()["messages_rejected"] > before)
    assert len(stored(store)) == 6


def test_who_is_online_stands_in_the_node_table(
    consumer: Consumer, uplink: MqttClient, store: Engine
) -> None:
    for state in ("online", "offline"):
        publish(uplink, TOPICS.status, messages.encode(Status(state, "test")), retain=True)
        assert eventually(lambda state=state: [n.state for n in rows(store, Node)] == [state])


def test_what_was_received_before_the_stop_is_committed_and_acked(
    broker: Broker, uplink: MqttClient, store: Engine
) -> None:
    consumer = make_consumer(broker, store)
    consumer.start()
    assert eventually(lambda: consumer.counts().get("subscribed"))
    node = SimulatedNode()
    for first in range(1, 5001, 500):
        send(uplink, node, first, first + 499)
    assert eventually(lambda: consumer.counts().get("batches_received") == 10)
    consumer.stop()
    uplink.wait(lambda: Ack("e1", 5000) in acks(uplink))
    assert len(stored(store)) == 5000


def test_a_consumer_stops_though_the_broker_never_was_there(store: Engine, tmp_path: Path) -> None:
    broker = make_broker("iotcore", tmp_path / "broker")  # not started
    consumer = make_consumer(broker, store)
    consumer.start()
    consumer.stop()
    assert not consumer.connected


def test_a_full_disk_is_waited_for_and_nothing_acked_meanwhile(
    consumer: Consumer, uplink: MqttClient, store: Engine, limit_file_size: Callable[[int], None]
) -> None:
    node = SimulatedNode()
    send(uplink, node, 1, 10)
    uplink.wait(lambda: Ack("e1", 10) in acks(uplink))
    limit_file_size(300_000)
    for first in range(11, 10_011, 1000):
        send(uplink, node, first, first + 999)
    assert eventually(lambda: consumer.counts()["database"] == "unwell")
    committed = len(stored(store))
    assert acks(uplink)[-1].high_water_mark == committed
    limit_file_size(resource.RLIM_INFINITY)
    uplink.wait(lambda: Ack("e1", 10_010) in acks(uplink))
    assert [seq for _, seq, _ in stored(store)] == list(range(1, 10_011))
    assert consumer.counts()["database"] == "well"


def test_what_does_not_fit_while_the_disk_is_full_is_dropped_and_sent_again(
    broker: Broker, store: Engine, uplink: MqttClient, limit_file_size: Callable[[int], None]
) -> None:
    settings = IngestSettings(retry_min_s=0.02, retry_max_s=0.1, queue_events=1000, transaction_events=500)
    consumer = make_consumer(broker, store, settings)
    consumer.start()
    assert eventually(lambda: consumer.counts().get("subscribed"))
    node = SimulatedNode()
    limit_file_size(200_000)
    firsts = range(1, 10_001, 500)
    for first in firsts:
        send(uplink, node, first, first + 499)
    assert eventually(lambda: consumer.counts().get("batches_dropped"))
    assert consumer.counts()["waiting_events"] <= 1000
    limit_file_size(resource.RLIM_INFINITY)
    deadline = time.monotonic() + PATIENCE_S
    while Ack("e1", 10_000) not in acks(uplink):
        assert time.monotonic() < deadline
        for first in firsts:
            send(uplink, node, first, first + 499)
    assert [seq for _, seq, _ in stored(store)] == list(range(1, 10_001))
    consumer.stop()
