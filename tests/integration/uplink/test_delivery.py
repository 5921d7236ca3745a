"""The uplink over a real broker: everything arrives, whatever the cloud, the broker or the network do."""

from __future__ import annotations

import random
import threading
from pathlib import Path

from cloud_backend.access.tokens import CLOUD_USER
from cloud_backend.access.wire_keys import WireKeys
from cloud_backend.broker.broker import Broker
from cloud_backend.ingest.consumer import Consumer
from cloud_backend.ingest.projections import Projections
from cloud_backend.store.engine import open_store, sqlite_url
from common.clock import anchored_clock
from common.config.cloud import IngestSettings
from common.edge.delivery.outbox import Outbox
from common.messages import (
    GAP_TYPE,
    Ack,
    Priority,
    decode_batch,
    digest,
    encode,
    topics,
)
from common.sealing import TAG_BYTES
from tests.builders import make_event
from tests.cloud_backend.ingest.nodes import SECRET, enrol, seal_of, stored
from tests.integration.uplink.ends import NODE, PASSWORD, SEAL, SITE, TOPICS, Cloud
from tests.waiting import PATIENCE_S, wait_for


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
    wait_for(lambda: outbox.events < 5, "the right ack")
    assert outbox.events == 3


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
                cloud.publish(TOPICS.ack, Ack("", 0, digest(payload), "cannot read it"))
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


def test_a_cloud_that_was_put_back_to_an_earlier_day_is_reported_once(
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
