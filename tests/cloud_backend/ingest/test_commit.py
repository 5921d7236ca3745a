"""The transaction, on SQLite and PostgreSQL: which events are stored, and which batches are acked."""

from __future__ import annotations

import random

import msgspec
import pytest
from sqlalchemy import Engine

from cloud_backend.ingest.transaction import LOST_BY_CLOUD
from cloud_backend.store.tables import StoredEvent, Stream
from common import messages
from common.messages import Priority
from tests.cloud_backend.ingest.nodes import NOW_NS, SimulatedNode, rows, stored
from tests.cloud_backend.ingest.totals import Total, ack, committer


def test_a_batch_is_stored_and_acked_once(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    for _ in range(3):
        assert ingest.commit([node.received(1, 250)]) == [ack(250)]
    assert stored(engine) == [("e1", seq, "test.value") for seq in range(1, 251)]
    event = rows(engine, StoredEvent)[4]
    assert (event.seq, event.time_ns, event.received_ns) == (5, node.time_of(5), NOW_NS)
    assert (event.priority, event.subject, event.clock_offset_ms) == (Priority.TELEMETRY, "engine-1", None)
    assert msgspec.json.decode(event.body) == {"seq": 5}
    assert rows(engine, Total) == [Total(subject="engine-1", events=250, last_seq=250)]
    assert (ingest.counts["events"], ingest.counts["batches"], ingest.counts["batches_left"]) == (250, 1, 2)


def test_one_transaction_takes_many_batches_and_acks_each_stream_once(engine: Engine) -> None:
    ingest = committer(engine)
    one, two, again = SimulatedNode(), SimulatedNode("node-2"), SimulatedNode(epoch="e2")
    group = [
        one.received(1, 10),
        two.received(1, 5),
        one.received(11, 20),
        one.received(15, 30),
        again.received(1, 2),
    ]
    assert ingest.commit(group) == [ack(30), ack(5, node="node-2"), ack(2, "e2")]
    assert [seq for _, seq, _ in stored(engine)] == [*range(1, 31), 1, 2]
    assert len(stored(engine, "node-2")) == 5


def test_a_batch_beyond_the_mark_is_left_and_the_mark_acked(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    assert ingest.commit([node.received(5, 9)]) == [ack(0)]
    assert stored(engine) == []
    assert rows(engine, Stream) == []
    ingest.commit([node.received(1, 3)])
    assert ingest.commit([node.received(5, 9)]) == [ack(3)]
    assert ingest.commit([node.received(2, 9)]) == [ack(9)]
    assert [seq for _, seq, _ in stored(engine)] == list(range(1, 10))


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_any_batches_gives_every_event_once(engine: Engine, seed: int) -> None:
    chance, ingest, node = random.Random(seed), committer(engine), SimulatedNode()
    mark = 0
    while mark < 120:
        group = []
        for _ in range(chance.randint(1, 4)):
            first = chance.randint(max(1, mark - 20), min(mark + 10, 120))
            group.append(node.received(first, min(first + chance.randint(0, 30), 120)))
        (answer,) = ingest.commit(group)
        assert answer.ack.high_water_mark >= mark
        mark = answer.ack.high_water_mark
    assert [seq for _, seq, _ in stored(engine)] == list(range(1, 121))
    assert rows(engine, Total) == [Total(subject="engine-1", events=120, last_seq=120)]


def test_a_cloud_that_lost_its_records_writes_down_what_is_lost_and_goes_on(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    node.oldest = 101
    assert ingest.commit([node.received(151, 160)]) == [ack(0)]
    assert ingest.commit([node.received(101, 110), node.received(111, 115)]) == [ack(115)]
    first = rows(engine, StoredEvent)[0]
    assert (first.seq, first.type) == (1, messages.GAP_TYPE)
    assert msgspec.json.decode(first.body) == {"through": 100, "reason": LOST_BY_CLOUD, "counts": {}}
    assert [seq for _, seq, _ in stored(engine)] == [1, *range(101, 116)]
    assert ingest.counts["lost_by_cloud"] == 100


def test_a_gap_merged_after_its_beginning_was_stored_is_kept_from_there(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 5)])
    bodies = [node.body(1), node.body(2), node.gap(3, 9), node.body(10)]
    assert ingest.commit([node.received(1, 10, bodies)]) == [ack(10)]
    assert [(seq, kind) for _, seq, kind in stored(engine)][5:] == [
        (6, messages.GAP_TYPE),
        (10, "test.value"),
    ]
