"""The rule of a stream: whatever the network does, each seq is taken once and in order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud_backend.ingest.sequence import Accept, Skip, above, check_cover, judge
from common import messages
from common.errors import BatchError
from common.messages import BatchHead, Malformed, WireEvent, decode_event
from tests.cloud_backend.ingest.nodes import SimulatedNode

NODE = SimulatedNode()


def head(first: int, last: int, oldest: int = 1) -> BatchHead:
    return BatchHead("e1", first, last, 0, oldest)


@pytest.mark.parametrize(
    ("mark", "batch", "verdict"),
    [
        (0, head(1, 10), Accept(0)),
        (10, head(11, 20), Accept(10)),
        (10, head(5, 20), Accept(10)),
        (10, head(1, 10), Skip()),
        (10, head(3, 4), Skip()),
        (10, head(12, 20), Skip()),
        (0, head(2, 2), Skip()),
        (0, head(101, 200, oldest=101), Accept(100, lost_from=1)),
        (50, head(101, 200, oldest=101), Accept(100, lost_from=51)),
        (50, head(201, 300, oldest=101), Skip()),
        (100, head(101, 200, oldest=101), Accept(100)),
        (150, head(101, 200, oldest=101), Accept(150)),
    ],
)
def test_a_batch_is_taken_where_it_continues_the_stream(
    mark: int, batch: BatchHead, verdict: Accept | Skip
) -> None:
    assert judge(mark, batch) == verdict


class Streams(RuleBasedStateMachine):
    """A node that sends, a network that loses, doubles and reorders, a cloud that may lose its memory.

    The node is the simplest that keeps the contract: it deletes what is acked, and sends again from the
    mark of an ack.
    """

    @initialize()
    def begin(self) -> None:
        self.produced = 0
        self.oldest = 1  # of the node's outbox
        self.batches: list[BatchHead] = []  # on their way to the cloud
        self.acks: list[int] = []  # on their way to the node
        self.mark = 0
        self.taken: list[int] = []  # by the cloud, as it remembers
        self.lost: list[int] = []  # that the cloud wrote down as lost
        self.forgotten: set[int] = set()  # that the cloud had taken before it lost its memory

    @rule(count=st.integers(1, 5))
    def produce(self, count: int) -> None:
        self.produced += count

    @precondition(lambda self: self.produced >= self.oldest)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        first = data.draw(st.integers(self.oldest, self.produced), "first")
        last = data.draw(st.integers(first, self.produced), "last")
        self.batches.append(head(first, last, self.oldest))

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), keep=st.booleans())
    def arrive(self, data: st.DataObject, keep: bool) -> None:
        """Any batch on the way arrives, perhaps for the first of several times."""
        index = data.draw(st.integers(0, len(self.batches) - 1), "which")
        batch = self.batches[index] if keep else self.batches.pop(index)
        verdict = judge(self.mark, batch)
        if isinstance(verdict, Accept):
            if verdict.lost_from:
                self.lost += range(verdict.lost_from, verdict.after + 1)
            self.taken += range(max(verdict.after + 1, batch.first), batch.last + 1)
            self.mark = batch.last
        self.acks.append(self.mark)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def lose_batch(self, data: st.DataObject) -> None:
        self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))

    @precondition(lambda self: self.acks)
    @rule(data=st.data(), keep=st.booleans())
    def ack(self, data: st.DataObject, keep: bool) -> None:
        index = data.draw(st.integers(0, len(self.acks) - 1))
        mark = self.acks[index] if keep else self.acks.pop(index)
        self.oldest = max(self.oldest, mark + 1)

    @rule(data=st.data())
    def restore_a_backup(self, data: st.DataObject) -> None:
        """The cloud forgets what it took last, while batches and acks from before are still on the way."""
        self.mark = data.draw(st.integers(0, self.mark))
        self.forgotten |= {seq for seq in self.taken + self.lost if seq > self.mark}
        self.taken = [seq for seq in self.taken if seq <= self.mark]
        self.lost = [seq for seq in self.lost if seq <= self.mark]

    @invariant()
    def each_seq_stands_once_in_order(self) -> None:
        if not hasattr(self, "taken"):
            return
        assert self.taken == sorted(set(self.taken))
        assert sorted(self.taken + self.lost) == list(range(1, self.mark + 1))
        assert set(self.lost) <= self.forgotten, "only what this cloud once had can be lost by it"

    def teardown(self) -> None:
        """A network that works at last brings everything across: nobody waits for anybody."""
        if not hasattr(self, "taken"):
            return
        self.batches.clear()
        while self.oldest <= self.produced:
            before = self.oldest
            self.batches.append(head(self.oldest, self.produced, self.oldest))
            verdict = judge(self.mark, self.batches.pop())
            assert isinstance(verdict, Accept) or self.mark >= self.produced
            self.mark = max(self.mark, self.produced)
            self.oldest = self.mark + 1
            assert self.oldest > before


Streams.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
test_any_network_gives_each_seq_once_in_order = Streams.TestCase


def events(*bodies: bytes) -> list[WireEvent]:
    return [decode_event(body) for body in bodies]


def test_a_batch_must_carry_what_it_claims() -> None:
    one, gap, six = NODE.body(1), NODE.gap(2, 5), NODE.body(6)
    junk = Malformed(b"junk", "junk")
    check_cover(head(1, 6), events(one, gap, six), [])
    check_cover(head(1, 7), events(one, gap, six), [junk])
    check_cover(head(1, 1), [], [junk])
    for first, last, inside in [(1, 7, [one, gap, six]), (1, 6, [one, six]), (1, 5, []), (1, 3, [one, gap])]:
        with pytest.raises(BatchError, match=r"carries|beyond"):
            check_cover(head(first, last), events(*inside), [])


def test_a_gap_must_make_sense() -> None:
    for bodies, words in [
        ([NODE.gap(1, 5), NODE.body(3)], "inside a gap"),
        ([NODE.gap(3, 2)], "reaches back"),
        ([NODE.body(1, messages.GAP_TYPE, data={"through": "x"})], "not readable"),
    ]:
        with pytest.raises(BatchError, match=words):
            check_cover(head(1, 5), events(*bodies), [])


def test_a_gap_that_reaches_across_the_mark_is_kept_from_there_on() -> None:
    inside = events(NODE.body(1), NODE.gap(2, 8), NODE.body(9))
    assert [event.seq for event in above(inside, 0)] == [1, 2, 9]
    assert [event.seq for event in above(inside, 1)] == [2, 9]
    assert [event.seq for event in above(inside, 5)] == [6, 9]
    assert [event.seq for event in above(inside, 8)] == [9]
    assert [event.seq for event in above(inside, 9)] == []
