"""Copies of a node's data folder: two devices that number the same epoch."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from cloud_backend.ingest.received import ReceivedBatch
from tests.cloud_backend.ingest.nodes import SimulatedNode, stored
from tests.cloud_backend.ingest.totals import SECOND_NS, committer


def forked(node: SimulatedNode, session: str, first: int, last: int, **changes: Any) -> ReceivedBatch:
    """A batch of another session, with data of its own."""
    bodies = [node.body(seq, **changes) for seq in range(first, last + 1)]
    return node.received(first, last, bodies, session=session, turn=1)


def test_a_copy_that_numbers_the_same_epoch_differently_loses_nothing(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 10, session="a", turn=1)])
    (answer,) = ingest.commit([forked(node, "b", 6, 12, data={"other": 1})])
    assert (answer.ack.forked, answer.ack.shared, answer.ack.session) == (True, True, "b")
    assert answer.ack.high_water_mark == 0, "nothing of it counts as taken"
    assert len(stored(engine)) == 10
    assert ingest.commit([node.received(11, 12, session="a", turn=2)])[0].ack.high_water_mark == 12
    for changes in ({"kind": "test.other"}, {"subject": "engine-2"}):
        assert ingest.commit([forked(node, "c", 12, 12, **changes)])[0].ack.forked
    late = SimulatedNode(clock_error_ns=60 * SECOND_NS)
    assert ingest.commit([forked(late, "d", 12, 12)])[0].ack.forked, "the same at another time"


def test_a_copy_is_found_within_one_transaction_too(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 1, session="a", turn=1)])
    group = [node.received(2, 5, session="a", turn=2), forked(node, "b", 2, 9, data={"other": 1})]
    answers = {answer.ack.session: answer.ack for answer in ingest.commit(group)}
    assert (answers["a"].high_water_mark, answers["a"].turn, answers["b"].forked) == (5, 2, True)
    assert len(stored(engine)) == 5


def test_a_copy_is_acked_what_it_shares_with_the_stored_epoch_and_no_more(engine: Engine) -> None:
    """The copy had 1 to 10 waiting and went on by itself; the original had gone on to 30 by then."""
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 30, session="a", turn=1)])
    shared = [node.received(1, 4, session="b", turn=1), node.received(5, 8, session="b", turn=2)]
    marks = [answer.ack.high_water_mark for batch in shared for answer in ingest.commit([batch])]
    assert marks == [4, 8], "not 30: what the copy numbers from 11 on was never sent"
    own = [node.body(9), node.body(10), *(node.body(seq, data={"own": seq}) for seq in range(11, 41))]
    (answer,) = ingest.commit([node.received(9, 40, own, session="b", turn=3)])
    assert (answer.ack.forked, answer.ack.high_water_mark) == (True, 10)
    assert len(stored(engine)) == 30


def test_a_copy_whose_batches_come_in_one_transaction_is_acked_no_more(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 30, session="a", turn=1)])
    group = [
        node.received(1, 4, session="b", turn=1),
        node.received(31, 32, session="a", turn=2),
        node.received(5, 8, session="b", turn=2),
    ]
    marks = {answer.ack.session: answer.ack.high_water_mark for answer in ingest.commit(group)}
    assert marks == {"a": 32, "b": 8}


def test_a_copy_that_misses_a_batch_is_not_acked_by_the_next_one(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 30, session="a", turn=1)])
    node.oldest = 5
    (later,) = ingest.commit([node.received(9, 12, session="b", turn=2)])
    assert later.ack.high_water_mark == 4, "5 to 8 were not compared"
    (beyond,) = ingest.commit([node.received(40, 41, session="b", turn=3)])
    assert beyond.ack.high_water_mark == 4
    (first,) = ingest.commit([node.received(5, 8, session="b", turn=4)])
    assert first.ack.high_water_mark == 8


def test_a_copy_that_misses_a_batch_does_not_continue_the_epoch_with_the_next_one(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 30, session="a", turn=1)])
    node.oldest = 25
    (later,) = ingest.commit([node.received(31, 40, session="b", turn=2)])
    assert (later.ack.high_water_mark, later.ack.forked) == (24, False), "25 to 30 were not compared"
    assert len(stored(engine)) == 30
    (again,) = ingest.commit([node.received(25, 40, session="b", turn=3)])
    assert again.ack.high_water_mark == 40


def test_no_loss_of_batches_acks_what_only_a_copy_has(engine: Engine) -> None:
    """A data folder is copied at 10 with ``kept`` events unacked; the original sends ``own`` more."""
    ingest, node = committer(engine), SimulatedNode()

    @given(
        kept=st.integers(0, 6),
        own=st.integers(1, 6),
        parts=st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=8),
    )
    def copy_sends(kept: int, own: int, parts: list[tuple[int, bool]]) -> None:
        """The copy sends batches of its own continuation, of which some are lost."""
        node.epoch, node.oldest = uuid4().hex, 11 - kept
        ingest.commit([node.received(1, 10 + own, session="a", turn=1)])
        first = node.oldest
        for turn, (size, lost) in enumerate(parts, 1):
            last = first + size - 1
            data = [{"seq": seq} if seq <= 10 else {"copy": seq} for seq in range(first, last + 1)]
            bodies = [node.body(seq, data=each) for seq, each in enumerate(data, first)]
            if not lost:
                (answer,) = ingest.commit([node.received(first, last, bodies, session="b", turn=turn)])
                assert answer.ack.high_water_mark <= 10
            first = last + 1
        assert len([epoch for epoch, _, _ in stored(engine) if epoch == node.epoch]) == 10 + own

    copy_sends()


def test_a_node_that_restarts_and_sends_again_is_no_copy(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 10, session="a", turn=1)])
    node.oldest = 4
    (answer,) = ingest.commit([node.received(4, 20, session="b", turn=1)])
    assert (answer.ack.forked, answer.ack.shared, answer.ack.high_water_mark) == (False, False, 20)
    with_gap = [node.body(15), node.gap(16, 21), node.body(22)]
    node.oldest = 15
    (answer,) = ingest.commit([node.received(15, 22, with_gap, session="c", turn=1)])
    assert (answer.ack.forked, answer.ack.high_water_mark) == (False, 22), (
        "what became a gap is no difference"
    )
    assert len(stored(engine)) == 22


def test_sessions_that_take_turns_are_two_devices(engine: Engine) -> None:
    ingest = committer(engine)
    one, two = SimulatedNode(epoch="one"), SimulatedNode(epoch="two")
    for number in range(1, 4):
        for node in (one, two):
            (answer,) = ingest.commit([node.received(number, number, session=node.epoch, turn=number)])
            assert answer.ack.shared == ((number, node.epoch) > (1, "two"))
    assert len(stored(engine)) == 6
    problems = {row["kind"]: row["count"] for row in ingest._problems.take()}
    assert problems["identity_shared"] == 4
