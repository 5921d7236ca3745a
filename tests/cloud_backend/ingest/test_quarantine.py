"""Rejected input: poisoned events, unreadable batches, unknown senders; and the bounded quarantine."""

from __future__ import annotations

from sqlalchemy import Engine

from cloud_backend.ingest.received import read_batch
from cloud_backend.store.tables import Quarantined, Stream
from common import messages
from tests.cloud_backend.ingest.nodes import NOW_NS, SITE, SimulatedNode, rows, stored
from tests.cloud_backend.ingest.totals import Total, ack, committer


def test_a_poisoned_element_goes_to_quarantine_and_the_stream_goes_on(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    other = SimulatedNode("node-2").body(4)
    bad_time = node.body(5).replace(b'"time":"', b'"time":"yesterday ')
    bad_priority = node.body(6).replace(b"telemetry", b"urgent")
    nul = node.body(7, subject="engine\0")
    bodies = [node.body(1), b'{"type": 7}', node.body(3), other, bad_time, bad_priority, nul, node.body(8)]
    assert ingest.commit([node.received(1, 8, bodies)]) == [ack(8)]
    assert [seq for _, seq, _ in stored(engine)] == [1, 3, 8]
    kept = {row.body: row.reason for row in rows(engine, Quarantined)}
    assert len(kept) == 5
    assert kept[b'{"type": 7}']
    assert "came over the topic of '/plant/node-1'" in kept[other]
    assert "RFC 3339" in kept[bad_time]
    assert "'urgent' is not a priority" in kept[bad_priority]
    assert "cannot be stored" in kept[nul]
    assert rows(engine, Total) == [Total(subject="engine-1", events=3, last_seq=8)]


def test_a_batch_that_cannot_be_read_is_refused_by_its_digest_and_kept(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    noise = read_batch(SITE, "node-1", b"noise", NOW_NS)
    short = node.received(1, 9, [node.body(1)])
    for arrival, words in ((noise, "not zstd"), (short, "carries 1 seqs")):
        (answer,) = ingest.commit([arrival])
        assert answer.ack.epoch == ""
        assert answer.ack.high_water_mark == 0
        assert answer.ack.refused_digest == messages.digest(arrival.payload)
        assert words in answer.ack.refused_reason
    ingest.commit([noise])
    kept = rows(engine, Quarantined)
    assert [(row.body, row.count, row.node) for row in kept] == [
        (b"noise", 2, "node-1"),
        (short.payload, 1, "node-1"),
    ]
    assert stored(engine) == []


def test_a_node_that_is_not_enrolled_or_is_elsewhere_gets_no_answer(engine: Engine) -> None:
    ingest = committer(engine)
    assert ingest.commit([SimulatedNode("stranger").received(1, 3)]) == []
    batch = SimulatedNode().batch(1, 3)
    assert ingest.commit([read_batch("elsewhere", "node-1", batch, NOW_NS)]) == []
    assert ingest.commit([read_batch("elsewhere", "node-1", b"noise", NOW_NS)]) == []
    assert rows(engine, Quarantined) == []
    assert rows(engine, Stream) == []
    assert ingest.counts["not_enrolled"] == 3


def test_quarantine_is_bounded_in_rows_and_bytes_and_the_newest_stay(engine: Engine) -> None:
    ingest = committer(engine, quarantine_rows=5, quarantine_bytes=1000)
    for size, expected in ((10, 5), (300, 3)):
        for i in range(8):
            ingest.commit([read_batch(SITE, "node-1", b"%d" % i + b"x" * (size - 1), NOW_NS)])
        kept = rows(engine, Quarantined)
        assert [row.body[:1] for row in kept] == [b"%d" % i for i in range(8 - expected, 8)]
    assert ingest.counts["quarantine_dropped"] == 13


def test_a_batch_that_the_database_cannot_take_is_refused_alone(engine: Engine) -> None:
    """A reason that no check foresaw: here a trigger of the database's owner."""
    ingest, node, other = committer(engine), SimulatedNode(), SimulatedNode("node-2")
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER no_sevens BEFORE INSERT ON event WHEN new.seq = 7 "
                "BEGIN SELECT RAISE(ABORT, 'no sevens'); END"
            )
        else:
            connection.exec_driver_sql("ALTER TABLE event ADD CONSTRAINT no_sevens CHECK (seq <> 7)")
    answers = ingest.commit([node.received(1, 10), other.received(1, 5)])
    assert answers[0].ack.refused_digest == messages.digest(node.batch(1, 10))
    assert "no_sevens" in answers[0].ack.refused_reason or "no sevens" in answers[0].ack.refused_reason
    assert answers[1:] == [ack(5, node="node-2")]
    assert stored(engine) == []
    assert len(stored(engine, "node-2")) == 5


def test_one_node_cannot_fill_the_quarantine_with_one_batch(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    bodies = [node.body(seq).replace(b'"priority":"telemetry"', b'"priority":"p"') for seq in range(1, 301)]
    ingest.commit([node.received(1, 300, bodies)])
    assert len(rows(engine, Quarantined)) == 20
    assert ingest.counts["malformed"] == 300
