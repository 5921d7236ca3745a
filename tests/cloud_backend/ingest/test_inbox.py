"""The inbox is bounded, keeps the order, and lets nobody wait for ever."""

from __future__ import annotations

import threading

from cloud_backend.ingest.arrival import Arrival, Reconnected
from cloud_backend.ingest.inbox import Inbox
from tests.cloud_backend.ingest.nodes import SimulatedNode
from tests.waiting import PATIENCE_S

NODE = SimulatedNode()


def of(first: int, count: int) -> Arrival:
    return NODE.arrival(first, first + count - 1)


def test_groups_keep_the_order_and_their_size() -> None:
    inbox = Inbox(100)
    messages = [of(1, 10), of(11, 10), Reconnected(), of(21, 10), of(31, 30)]
    for message in messages:
        assert inbox.put(message, 0)
    assert len(inbox) == 60
    assert inbox.take(25) == messages[:3]
    assert inbox.take(25) == messages[3:4]
    assert inbox.take(25) == messages[4:], "one message is given even if it is larger"
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
