"""The inbox is bounded, keeps the order, and lets nobody wait for ever."""

from __future__ import annotations

import threading

from cloud_backend.ingest.inbox import Inbox
from cloud_backend.ingest.received import ReceivedBatch, ReceivedStatus, Reconnected
from common.messages import Status
from tests.cloud_backend.ingest.nodes import SimulatedNode
from tests.waiting import PATIENCE_S

NODE = SimulatedNode()


def of(first: int, count: int) -> ReceivedBatch:
    return NODE.received(first, first + count - 1)


def test_groups_keep_the_order_and_their_size() -> None:
    inbox = Inbox(100)
    messages = [of(1, 10), of(11, 10), of(21, 10), of(31, 30)]
    for message in messages:
        assert inbox.put(message, 0)
    assert len(inbox) == 60
    assert inbox.take(25) == messages[:2]
    assert inbox.take(25) == messages[2:3]
    assert inbox.take(25) == messages[3:], "one message is given even if it is larger"
    assert len(inbox) == 0


def test_a_full_inbox_takes_nothing_until_there_is_room() -> None:
    inbox = Inbox(20)
    assert inbox.put(of(1, 15), 0)
    assert not inbox.put(of(16, 10), 0.01)
    assert inbox.put(Reconnected(), 0), "what holds no events always fits"
    taken: list[bool] = []
    waiting = threading.Thread(target=lambda: taken.append(inbox.put(of(16, 10), 10)))
    waiting.start()
    inbox.take(15)
    waiting.join(PATIENCE_S)
    assert taken == [True]


def test_one_message_over_the_limit_is_taken_when_nothing_else_is_there() -> None:
    inbox = Inbox(5)
    assert inbox.put(of(1, 10), 0)
    assert not inbox.put(of(11, 1), 0)


def test_a_closed_inbox_is_read_out_and_then_empty() -> None:
    inbox = Inbox(100)
    inbox.put(of(1, 3), 0)
    taker_done = threading.Event()
    inbox.close()
    assert not inbox.put(of(4, 3), 10)
    assert len(inbox.take(10)) == 1

    def take() -> None:
        assert inbox.take(10) == []
        taker_done.set()

    threading.Thread(target=take).start()
    assert taker_done.wait(PATIENCE_S)


def test_closing_frees_who_waits_for_room() -> None:
    inbox = Inbox(5)
    inbox.put(of(1, 5), 0)
    results: list[bool] = []
    waiting = threading.Thread(target=lambda: results.append(inbox.put(of(6, 5), 60)))
    waiting.start()
    inbox.close()
    waiting.join(PATIENCE_S)
    assert results == [False]


def test_a_node_that_floods_waits_behind_itself() -> None:
    inbox, victim = Inbox(10_000), SimulatedNode("victim")
    for first in range(1, 1001, 10):
        assert inbox.put(of(first, 10), 0)
    mine = victim.received(1, 10)
    assert inbox.put(mine, 0)
    assert mine in inbox.take(20)


def test_what_a_node_costs_later_counts_too() -> None:
    inbox, victim = Inbox(10_000), SimulatedNode("victim")
    for first in range(1, 41, 10):
        inbox.put(of(first, 10), 0)
    inbox.charge("node-1", 10**9)
    theirs = [victim.received(first, first + 9) for first in range(1, 101, 10)]
    for message in theirs:
        inbox.put(message, 0)
    assert inbox.take(100) == theirs


def test_bytes_are_bounded_for_all_and_for_each() -> None:
    cost = of(1, 10).cost_bytes
    inbox, victim = Inbox(10_000, 6 * cost, 3 * cost + cost // 2), SimulatedNode("victim")
    for number in range(3):
        assert inbox.has_room("node-1", cost)
        assert inbox.put(of(1 + 10 * number, 10), 0)
    assert not inbox.has_room("node-1", cost)
    assert inbox.has_room("victim", cost)
    assert 2 * cost < inbox.bytes < 4 * cost
    for number in range(2):
        assert inbox.put(victim.received(1 + 10 * number, 10 + 10 * number), 0)
    assert inbox.has_room("victim", 0)
    assert not inbox.put(SimulatedNode("third").received(1, 100), 0)
    inbox.take(1000)
    assert (len(inbox), inbox.bytes) == (0, 0)
    assert inbox.has_room("node-1", cost)


def test_of_statuses_only_the_newest_waits() -> None:
    inbox = Inbox(10)
    for number in range(10_000):
        state = "online" if number % 2 else "offline"
        assert inbox.put(ReceivedStatus("plant", f"node-{number % 3}", Status(state, ""), number, False), 0)
    group = inbox.take(10)
    assert [message.arrived_ns for message in group if isinstance(message, ReceivedStatus)] == [
        9997,
        9998,
        9999,
    ]
    inbox.put(ReceivedStatus("plant", "node-1", Status("online", ""), 1, False), 0)
    inbox.put(Reconnected(), 0)
    assert inbox.take(10) == [Reconnected()], "all statuses are sent again after a reconnection"


def test_who_fills_the_inbox_beside_others_is_refused_and_keeps_nobody_out() -> None:
    inbox, victim = Inbox(10), SimulatedNode("victim")
    assert inbox.put(of(1, 10), 0)
    assert inbox.has_room("node-1", 1, alone=True)
    assert not inbox.put(of(11, 5), 0)
    assert inbox.put(victim.received(1, 5), 0)
    assert inbox.put(victim.received(6, 7), 0), "still less than others have"
    assert not inbox.put(victim.received(8, 20), 0), "twice the limit is the end"
    assert not inbox.has_room("node-1", 1, alone=False)
    assert inbox.has_room("third", 1, alone=False)
