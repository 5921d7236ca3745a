"""The uplink over a real broker: everything arrives, whatever the cloud, the broker or the network do."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloud_backend.access.tokens import CLOUD_USER, hash_password
from cloud_backend.access.wire_keys import WireKeys
from cloud_backend.broker.broker import Broker
from cloud_backend.ingest.consumer import Consumer
from cloud_backend.ingest.projections import Projections
from cloud_backend.store.engine import open_store, sqlite_url
from common.clock import anchored_clock
from common.config.cloud import IngestSettings
from common.config.node import Enrolment, UplinkSettings
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.uplink import Uplink
from common.messages import (
    GAP_TYPE,
    Ack,
    Batch,
    Event,
    Hint,
    Priority,
    Status,
    decode,
    decode_batch,
    digest,
    encode,
    topics,
)
from common.sealing import TAG_BYTES, name_of
from tests.brokers import KINDS, MqttClient, make_broker
from tests.builders import make_event
from tests.cloud_backend.ingest.nodes import SECRET, enrol, seal_of, stored, wire_key_of
from tests.waiting import PATIENCE_S, wait_for

SITE, NODE = "plant", "node-1"
TOPICS = topics(SITE, NODE)
PASSWORD = "a password"
SEAL = seal_of()
QUICK = UplinkSettings(
    batch_events=100,
    ack_timeout_s=0.5,
    linger_s=0.01,
    reconnect_first_s=0.05,
    reconnect_last_s=0.2,
    in_flight_batches=4,
)


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    users = (CLOUD_USER, f"{SITE}/{NODE}")
    broker = make_broker(
        request.param, tmp_path / "broker", lambda: {user: hash_password(PASSWORD) for user in users}
    )
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with closing(Outbox(tmp_path / "outbox.sqlite", f"/{SITE}/{NODE}", 10**8, anchored_clock())) as outbox:
        yield outbox


class Running:
    """An uplink with its thread, and what it reported."""

    def __init__(self, outbox: Outbox, port: int, settings: UplinkSettings, password: str) -> None:
        self.outbox = outbox
        self.looks = threading.Event()
        self.hints: list[Hint] = []
        self.reports: list[Event] = []
        self.version = "1"
        self.uplink = Uplink(
            Enrolment(
                NODE, SITE, "http://127.0.0.1:9", "127.0.0.1", port, password, "token", {}, wire_key_of()
            ),
            outbox,
            settings,
            anchored_clock(),
            status=lambda: Status("online", "sums", self.version),
            check_now=self.looks.set,
            hint=self.hints.append,
            report=self.reports.append,
            rng=random.Random(1),
        )
        self.thread = threading.Thread(target=self.uplink.run, name="uplink")
        self.thread.start()

    def keep(self, count: int, **options: Any) -> None:
        self.outbox.commit([make_event(number, **options) for number in range(count)])
        self.uplink.wake()

    def stop(self, drain_s: float = 0.0) -> None:
        self.uplink.stop(drain_s)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


@pytest.fixture
def start(broker: Broker, outbox: Outbox) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start_(settings: UplinkSettings = QUICK, password: str = PASSWORD) -> Running:
        running.append(Running(outbox, broker.port, settings, password))
        return running[-1]

    yield start_
    for each in running:
        each.stop()
        each.uplink.close()


class Cloud:
    """The other end, under the test's control: ``answer`` decides what is said to a payload."""

    def __init__(self, broker: Broker) -> None:
        self.client = MqttClient(broker.port, CLOUD_USER, PASSWORD)
        self.client.subscribe(TOPICS.up, TOPICS.status)
        self.mark = self.turn = 0
        self.taken: list[int] = []

    def received(self, topic: str) -> list[bytes]:
        """The bodies of what the node sent on a topic."""
        received = list(self.client.received)
        return [SEAL.open(topic, payload) for each, payload in received if each == topic]

    def batches(self) -> list[Batch]:
        return [decode_batch(body) for body in self.received(TOPICS.up)]

    def statuses(self) -> list[Status]:
        return [decode(body, Status) for body in self.received(TOPICS.status)]

    def say(self, topic: str, message: Ack | Hint) -> None:
        self.client.publish(topic, SEAL.close(topic, encode(message)))

    def ack(self, epoch: str, mark: int, **more: Any) -> None:
        """Answer the newest batch, as often as is wanted: each answer counts as one to a batch of its own."""
        self.turn += 1
        self.say(TOPICS.ack, Ack(epoch, mark, session=self.session, turn=self.turn, **more))

    def hint(self, action: str, version: str = "") -> Hint:
        self.turn += 1
        hint = Hint(action, version, self.session, self.turn)
        self.say(TOPICS.hint, hint)
        return hint

    @property
    def session(self) -> str:
        return wait_for(self.statuses, "a status")[-1].session


@pytest.fixture
def cloud(broker: Broker) -> Iterator[Cloud]:
    cloud = Cloud(broker)
    yield cloud
    cloud.client.close()


def test_everything_arrives_at_the_real_ingest_and_the_outbox_is_empty(
    broker: Broker, start, outbox: Outbox, tmp_path: Path
) -> None:
    engine = open_store(sqlite_url(tmp_path / "store.sqlite"))
    enrol(engine, NODE)
    consumer = Consumer(
        engine,
        Projections({}),
        IngestSettings(),
        host="127.0.0.1",
        port=broker.port,
        user=CLOUD_USER,
        password=PASSWORD,
        keys=WireKeys(engine, SECRET),
        clock=anchored_clock(),
    )
    outbox.commit([make_event(number) for number in range(1500)])
    running = start()
    consumer.start()
    try:
        for _ in range(20):
            running.keep(50)
        wait_for(lambda: not outbox.events, "an empty outbox")
        assert [seq for _, seq, _ in stored(engine)] == list(range(1, 2501))
    finally:
        consumer.stop()
        engine.dispose()


def test_it_says_when_it_comes_changes_and_goes(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: [s.state for s in cloud.statuses()] == ["online"], "it is there")
    running.version = "2"
    running.keep(1)
    wait_for(lambda: cloud.statuses()[-1].version == "2", "the new version")
    running.stop()
    wait_for(lambda: cloud.statuses()[-1].state == "offline", "it is gone")
    assert not running.uplink.connected


def test_the_broker_tells_when_it_vanishes_and_it_comes_back(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    running.uplink._connection._client.socket().shutdown(socket.SHUT_RDWR)
    wait_for(lambda: [s.state for s in cloud.statuses()] == ["online", "offline", "online"], "gone and back")
    running.keep(3)
    wait_for(cloud.batches, "events over the new connection")


def test_a_refused_connection_is_none_and_nothing_is_lost(
    start, cloud: Cloud, broker: Broker, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    if broker.kind != "mosquitto":
        pytest.skip("this broker lets everybody in")
    running = start(password="wrong")
    running.keep(10)
    wait_for(lambda: caplog.text.count("refuses this node") >= 2, "two refusals")
    assert not running.uplink.connected
    assert outbox.events == 10


def test_events_stay_until_they_are_acked_and_travel_again_after_silence(
    start, cloud: Cloud, outbox: Outbox
) -> None:
    running = start()
    running.keep(30)
    wait_for(lambda: len(cloud.batches()) >= 2, "the same again")
    first, second = (batch.head for batch in cloud.batches()[:2])
    assert (first.first, first.last) == (second.first, second.last) == (1, 30)
    assert first.sent_ns < second.sent_ns
    assert outbox.events == 30
    cloud.ack(outbox.epoch, 10)
    wait_for(lambda: outbox.events == 20, "ten less")
    wait_for(lambda: cloud.batches()[-1].head.first == 11, "the rest again")
    assert cloud.batches()[-1].head.oldest == 11


def test_acks_of_another_epoch_and_noise_change_nothing(start, cloud: Cloud, outbox: Outbox) -> None:
    running = start()
    running.keep(5)
    wait_for(cloud.batches, "a batch")
    cloud.client.publish(TOPICS.ack, b"\xff noise")
    cloud.client.publish(TOPICS.hint, SEAL.close(TOPICS.hint, b"{}"))
    cloud.ack("another", 5)
    cloud.ack(outbox.epoch, 2)
    wait_for(lambda: outbox.events == 3, "the right ack")


def test_a_hint_makes_the_node_look(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    running.looks.clear()
    cloud.hint("deployment")
    assert running.looks.wait(PATIENCE_S)
    assert running.hints == []


def test_other_hints_are_handed_on(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    running.looks.clear()
    sent = [cloud.hint("golden"), cloud.hint("revert", "v2"), cloud.hint("a word of the future")]
    wait_for(lambda: running.hints == sent, "three hints")
    assert not running.looks.is_set()


def test_an_event_that_the_cloud_cannot_read_becomes_a_gap_and_the_rest_arrives(
    start, cloud: Cloud, outbox: Outbox
) -> None:
    running = start()
    running.keep(20)
    handled = 0

    def serve() -> bool:
        nonlocal handled
        received = cloud.received(TOPICS.up)
        for payload in received[handled:]:
            handled += 1
            batch = decode_batch(payload)
            if any(event.seq == 13 and event.type != GAP_TYPE for event in batch.events):
                cloud.say(TOPICS.ack, Ack("", 0, digest(payload), "cannot read it"))
                continue
            if batch.head.first <= cloud.mark + 1 <= batch.head.last:
                cloud.taken += [event.seq for event in batch.events if event.seq > cloud.mark]
                cloud.mark = batch.head.last
            cloud.ack(outbox.epoch, cloud.mark)
        return not outbox.events

    wait_for(serve, "an empty outbox")
    assert cloud.taken == list(range(1, 21))
    gaps = [event for batch in cloud.batches() for event in batch.events if event.type == GAP_TYPE]
    assert {gap.seq for gap in gaps} == {13}
    assert [report.data["problem"] for report in running.reports] == ["refused"]
    assert running.reports[0].priority is Priority.EVENT


def test_a_cloud_that_was_put_back_to_an_earlier_day_is_told_once(
    start, cloud: Cloud, outbox: Outbox
) -> None:
    running = start()
    running.keep(50)
    wait_for(cloud.batches, "a batch")
    cloud.ack(outbox.epoch, 50)
    wait_for(lambda: not outbox.events, "all is acked")
    running.keep(10)
    for _ in range(8):
        cloud.ack(outbox.epoch, 20)
    wait_for(lambda: running.reports, "a report")
    assert running.reports[0].data["problem"] == "cloud_lost"
    wait_for(lambda: cloud.batches()[-1].head.first == 51, "what it still has")
    head = cloud.batches()[-1].head
    assert head.first == head.oldest == 51
    cloud.ack(outbox.epoch, 60)
    wait_for(lambda: not outbox.events, "all is acked")
    assert len(running.reports) == 1


def test_a_node_that_was_put_back_to_an_earlier_day_goes_on_in_a_new_epoch(
    start, cloud: Cloud, outbox: Outbox
) -> None:
    running = start()
    running.keep(5)
    old = outbox.epoch
    wait_for(cloud.batches, "a batch")
    cloud.ack(old, 900)
    wait_for(lambda: outbox.epoch != old, "a new epoch")
    wait_for(lambda: cloud.batches()[-1].head.epoch == outbox.epoch, "the events again")
    assert [event.seq for event in cloud.batches()[-1].events] == [1, 2, 3, 4, 5]
    assert running.reports[0].data["problem"] == "node_lost"


def test_a_broker_that_dies_is_met_again(start, broker: Broker, outbox: Outbox) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    port = broker.port
    broker.stop()
    wait_for(lambda: not running.uplink.connected, "it notices")
    running.keep(40)
    broker.start()
    assert broker.port == port
    with closing(Cloud(broker).client) as client:
        wait_for(lambda: any(topic == TOPICS.up for topic, _ in client.received), "events again")


def test_a_stop_waits_until_the_cloud_has_all_or_its_time_is_over(
    start, cloud: Cloud, outbox: Outbox
) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    running.keep(5)
    stopping = threading.Thread(target=running.stop, args=(10.0,))
    stopping.start()
    wait_for(cloud.batches, "a batch")
    cloud.ack(outbox.epoch, 5)
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive()
    assert outbox.events == 0


def test_large_events_are_split_over_batches_that_fit(start, cloud: Cloud, outbox: Outbox) -> None:
    chance = random.Random(5)
    running = start()
    for _ in range(6):
        running.keep(1, data={"noise": chance.randbytes(40_000).hex()})

    def all_there() -> bool:
        seqs = {event.seq for batch in cloud.batches() for event in batch.events}
        return seqs == set(range(1, 7))

    wait_for(all_there, "all six")
    sizes = [len(payload) for topic, payload in cloud.client.received if topic == TOPICS.up]
    assert max(sizes) <= 256 * 1024 + TAG_BYTES


def test_an_ack_that_the_cloud_did_not_seal_forgets_nothing(start, cloud: Cloud, outbox: Outbox) -> None:
    running = start()
    running.keep(63)
    wait_for(cloud.batches, "a batch")
    forged = encode(Ack(outbox.epoch, 63, session=cloud.session, turn=9))
    for payload in (
        forged,
        bytes(TAG_BYTES) + forged,
        seal_of("node-2").close(TOPICS.ack, forged),
        SEAL.close(topics(SITE, "node-2").ack, forged),
        SEAL.close(TOPICS.hint, forged),
        b"",
    ):
        cloud.client.publish(TOPICS.ack, payload)
    wait_for(lambda: running.uplink.traffic.rejected == 6, "six refusals")
    assert outbox.events == 63
    wait_for(lambda: running.reports, "a report")
    assert running.reports[0].data["problem"] == "rejected"
    cloud.ack(outbox.epoch, 63)
    wait_for(lambda: not outbox.events, "the right ack")


def test_an_ack_that_is_sent_again_by_others_counts_for_nothing(start, cloud: Cloud, outbox: Outbox) -> None:
    running = start()
    running.keep(10)
    wait_for(cloud.batches, "a batch")
    cloud.ack(outbox.epoch, 4)
    wait_for(lambda: outbox.events == 6, "four less")
    old = next(p for t, p in _sent_acks(cloud))
    cloud.ack(outbox.epoch, 10)
    wait_for(lambda: not outbox.events, "all is acked")
    for _ in range(10):
        cloud.client.publish(TOPICS.ack, old)
    other = encode(Ack(outbox.epoch, 5, session="another", turn=99))
    cloud.client.publish(TOPICS.ack, SEAL.close(TOPICS.ack, other))
    wait_for(lambda: running.uplink.traffic.rejected == 11, "eleven ignored")
    assert running.reports == []


def _sent_acks(cloud: Cloud) -> list[tuple[str, bytes]]:
    ack = encode(Ack(cloud.batches()[-1].head.epoch, 4, session=cloud.session, turn=1))
    return [(TOPICS.ack, SEAL.close(TOPICS.ack, ack))]


def test_a_hint_counts_once(start, cloud: Cloud) -> None:
    running = start()
    wait_for(lambda: running.uplink.connected, "a connection")
    wait_for(cloud.statuses, "its session")
    hint = cloud.hint("revert", "v1")
    cloud.say(TOPICS.hint, hint)
    cloud.say(TOPICS.hint, Hint("revert", "v1", "another session", 99))
    last = cloud.hint("golden")
    wait_for(lambda: running.hints[-1:] == [last], "the last hint")
    assert running.hints == [hint, last]


def test_an_epoch_that_another_device_continued_is_left_with_all_that_is_kept(
    start, cloud: Cloud, outbox: Outbox
) -> None:
    running = start()
    running.keep(10)
    wait_for(cloud.batches, "a batch")
    old = outbox.epoch
    cloud.ack(old, 4)
    wait_for(lambda: outbox.events == 6, "four less")
    cloud.ack(old, 0, forked=True, shared=True)
    wait_for(lambda: outbox.epoch != old, "a new epoch")
    wait_for(lambda: cloud.batches()[-1].head.epoch == outbox.epoch, "what is kept, in it")
    head = cloud.batches()[-1].head
    assert (head.first, head.last, outbox.events) == (1, 6, 6)
    reports = {report.data["problem"]: report.priority for report in running.reports}
    assert reports == {"identity_shared": Priority.ALARM, "forked": Priority.EVENT}
    assert running.uplink.shared


def test_a_node_that_is_limited_waits_and_sends_again(start, cloud: Cloud, outbox: Outbox) -> None:
    running = start()
    running.keep(10)
    wait_for(cloud.batches, "a batch")
    (payload,) = (payload for topic, payload in list(cloud.client.received)[:2] if topic == TOPICS.up)
    cloud.say(TOPICS.ack, Ack("", 0, limited="00" * TAG_BYTES, limited_s=50.0))
    cloud.say(TOPICS.ack, Ack("", 0, limited=name_of(payload), limited_s=0.3))
    wait_for(lambda: running.uplink.traffic.limited == 1, "it is told")
    wait_for(lambda: cloud.batches()[-1].head.turn > cloud.batches()[0].head.turn, "the same again")
    cloud.ack(outbox.epoch, 10)
    wait_for(lambda: not outbox.events, "all is acked")
    wait_for(lambda: running.reports, "a report")
    assert running.reports[0].data["problem"] == "limited"


def test_connections_that_end_at_once_are_reported_and_waited_for(start, cloud: Cloud) -> None:
    running = start()
    for number in range(1, 4):
        wait_for(lambda number=number: running.uplink.traffic.connections >= number, "a connection")
        wait_for(lambda: running.uplink.connected, "it is up")
        running.uplink._connection._client.socket().shutdown(socket.SHUT_RDWR)
    wait_for(lambda: running.reports, "a report")
    assert running.reports[0].data["problem"] == "short_connections"
