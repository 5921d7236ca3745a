"""The window delivers everything once and in order, whatever the network does to batches and acks."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from common.config.node import UplinkSettings
from common.edge.delivery.send_window import SAME_MARKS, Answer, SendWindow

SETTINGS = UplinkSettings(
    batch_events=8, in_flight_batches=4, ack_timeout_s=5.0, catch_up_events_per_s=100.0, reconnect_min_s=0.5
)


def window(acked: int = 0) -> SendWindow:
    return SendWindow(SETTINGS, acked, random.Random(1))


def send_all(sending: SendWindow, last_seq: int, now_s: float = 0.0) -> list[tuple[int, int]]:
    """Hand out batches as long as there is room."""
    given: list[tuple[int, int]] = []
    while room := sending.room(now_s, last_seq):
        first = sending.sent + 1
        last = min(last_seq, sending.sent + room)
        sending.handed(first, last, last - first + 1, f"{first}-{last}", now_s)
        given.append((first, last))
    return given


def test_batches_follow_each_other_up_to_the_limit_in_flight() -> None:
    sending = window()
    assert send_all(sending, 100) == [(1, 8), (9, 16), (17, 24), (25, 32)]
    assert sending.answered(8, 100, 0.1) is Answer.PROGRESS
    assert send_all(sending, 100) == [(33, 40)]


def test_a_mark_that_stands_still_means_that_a_batch_was_lost() -> None:
    sending = window()
    send_all(sending, 32)
    for _ in range(SAME_MARKS):
        assert sending.answered(0, 32, 0.1) is Answer.NOTHING
    assert send_all(sending, 32)[0] == (1, 8)
    for _ in range(10):
        sending.answered(0, 32, 0.2)
    assert sending.in_flight == 4, "answers to the first try do not start a second one"


def test_silence_sends_again_one_batch_at_a_time_until_there_is_progress() -> None:
    sending = window()
    send_all(sending, 32)
    assert not sending.expired(4.9)
    assert sending.expired(5.0)
    assert send_all(sending, 32, 5.0) == [(1, 8)]
    sending.answered(8, 32, 5.1)
    assert send_all(sending, 32, 5.1) == [(9, 16), (17, 24), (25, 32)]


def test_an_old_ack_changes_nothing_but_a_mark_that_stays_low_is_reported() -> None:
    sending = window()
    send_all(sending, 40)
    sending.answered(32, 40, 0.1)
    assert sending.answered(16, 40, 0.1) is Answer.NOTHING
    assert sending.acked == 32
    sending.answered(32, 40, 0.1)
    send_all(sending, 60, 0.2)
    answers = [sending.answered(5, 60, 0.3) for _ in range(SAME_MARKS)]
    assert answers == [Answer.NOTHING, Answer.NOTHING, Answer.CLOUD_LOST]
    assert send_all(sending, 60, 0.3)[0] == (33, 40), "goes on from what is kept"
    assert sending.answered(5, 60, 0.4) is Answer.NOTHING, "reported once"


def test_a_mark_above_everything_means_that_the_node_was_put_back() -> None:
    assert window().answered(10, 9, 0.0) is Answer.NODE_LOST


def test_a_refused_batch_shrinks_to_the_one_event_that_is_to_blame() -> None:
    sending = window()
    attempts = 0
    poisoned = 5
    while True:
        for first, last in send_all(sending, 8):
            if first <= poisoned <= last:
                bad = sending.refused(f"{first}-{last}")
                break
            sending.answered(last, 8, 0.0)
        else:
            continue
        attempts += 1
        if bad:
            break
    assert bad == poisoned
    assert attempts <= 5
    assert sending.acked == poisoned - 1
    assert sending.refused("unknown") == 0


def test_a_backlog_is_paced_after_a_random_wait_and_fresh_events_are_not() -> None:
    sending = window()
    sending.connected(0.0, 200)
    assert sending.room(0.0, 200) == 0
    now_s, sent = 0.0, []
    while sending.sent < 200:
        now_s += sending.wait_s(now_s, 200)
        assert now_s < 60
        if sending.in_flight:
            sending.answered(sending.sent, 200, now_s)
        sent += [(now_s, last) for _, last in send_all(sending, 200, now_s)]
    assert 200 / SETTINGS.catch_up_events_per_s <= now_s <= 4.0
    for at_s, last in sent:
        assert last <= SETTINGS.catch_up_events_per_s * at_s + 1
    sending.answered(200, 232, now_s)
    assert send_all(sending, 232, now_s)[-1] == (225, 232)


def test_few_events_are_not_paced() -> None:
    sending = window()
    sending.connected(0.0, 8)
    assert send_all(sending, 8) == [(1, 8)]


def test_nothing_to_wait_for_is_an_endless_wait() -> None:
    sending = window(acked=5)
    assert sending.wait_s(0.0, 5) == float("inf")
    assert sending.wait_s(0.0, 6) == 0
    send_all(sending, 6)
    assert sending.wait_s(1.0, 6) == pytest.approx(4.0)


@dataclass
class Cloud:
    """The cloud's handling of batches under the wire contract."""

    mark: int = 0
    taken: list[int] = field(default_factory=list)
    poisoned: set[int] = field(default_factory=set)

    def receive(self, first: int, last: int, gone: frozenset[int]) -> tuple[str, int]:
        """``("refused", 0)`` or ``("ack", mark)``."""
        if self.poisoned & set(range(first, last + 1)) - gone:
            return "refused", 0
        if first <= self.mark + 1 <= last:
            self.taken.extend(range(self.mark + 1, last + 1))
            self.mark = last
        return "ack", self.mark


class Delivery(RuleBasedStateMachine):
    """A node and a cloud with a network between them that drops, doubles, delays and reorders."""

    def __init__(self) -> None:
        super().__init__()
        self.sending = window()
        self.cloud = Cloud()
        self.now_s = 0.0
        self.last_seq = 0
        self.deleted = 0
        self.gone: frozenset[int] = frozenset()
        self.up: list[tuple[int, int]] = []
        self.down: list[tuple[str, int, str]] = []

    @rule(count=st.integers(1, 30), poison=st.booleans())
    def decide(self, count: int, poison: bool) -> None:
        self.last_seq += count
        if poison:
            self.cloud.poisoned.add(self.last_seq)

    @rule()
    def send(self) -> None:
        self.up += send_all(self.sending, self.last_seq, self.now_s)

    @rule(index=st.integers(0, 50), doubled=st.booleans())
    def arrive(self, index: int, doubled: bool) -> None:
        if self.up:
            first, last = self.up.pop(index % len(self.up))
            for _ in range(1 + doubled):
                kind, mark = self.cloud.receive(first, last, self.gone)
                self.down.append((kind, mark, f"{first}-{last}"))

    @rule(index=st.integers(0, 50))
    def lose_batch(self, index: int) -> None:
        if self.up:
            self.up.pop(index % len(self.up))

    @rule(index=st.integers(0, 50), doubled=st.booleans())
    def answer(self, index: int, doubled: bool) -> None:
        if self.down:
            kind, mark, name = self.down.pop(index % len(self.down))
            for _ in range(1 + doubled):
                self.handle_ack(kind, mark, name)

    def handle_ack(self, kind: str, mark: int, name: str) -> None:
        if kind == "refused":
            self.gone |= {self.sending.refused(name)} - {0}
            return
        answer = self.sending.answered(mark, self.last_seq, self.now_s)
        assert answer is not Answer.NODE_LOST
        if answer is Answer.PROGRESS:
            self.deleted = max(self.deleted, mark)

    @rule(index=st.integers(0, 50))
    def lose_ack(self, index: int) -> None:
        if self.down:
            self.down.pop(index % len(self.down))

    @rule(seconds=st.floats(0.01, 6.0))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.sending.expired(self.now_s)

    @rule()
    def reconnect(self) -> None:
        self.up.clear()
        self.down.clear()
        self.sending.connected(self.now_s, self.last_seq)

    @rule()
    def restart(self) -> None:
        self.sending = window(self.deleted)
        self.reconnect()

    @invariant()
    def nothing_is_lost_doubled_or_deleted_too_early(self) -> None:
        assert self.cloud.taken == list(range(1, self.cloud.mark + 1))
        assert self.deleted <= self.cloud.mark
        assert self.sending.in_flight <= SETTINGS.in_flight_batches

    def teardown(self) -> None:
        """Once the network is good, everything arrives soon."""
        self.up.clear()
        for _ in range(100 + 12 * self.last_seq):
            if self.cloud.mark == self.last_seq == self.deleted:
                return
            self.now_s += min(1.0, self.sending.wait_s(self.now_s, self.last_seq))
            self.sending.expired(self.now_s)
            self.send()
            while self.up:
                self.arrive(0, False)
            while self.down:
                self.answer(0, False)
        raise AssertionError(f"stuck at {self.cloud.mark} of {self.last_seq}, deleted {self.deleted}")


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=60, stateful_step_count=60)
