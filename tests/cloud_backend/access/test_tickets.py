"""Sign-in links: a ticket works once, for a short time."""

from __future__ import annotations

import threading

from cloud_backend.access.tickets import LIFE_S as TICKET_S
from cloud_backend.access.tickets import TICKETS, Tickets
from tests.cloud_backend.access.hand_clock import HandClock
from tests.waiting import PATIENCE_S


def test_a_ticket_works_once_within_two_minutes(clock: HandClock) -> None:
    made = Tickets(clock)
    ticket, late = made.make("Eva"), made.make("Ada")
    assert len(ticket) >= 43
    assert made.take("x") is None
    assert made.take(ticket) == "Eva"
    assert made.take(ticket) is None
    clock.wait(TICKET_S)
    assert made.take(late) is None


def test_tickets_are_bounded_and_pruned(clock: HandClock) -> None:
    made = Tickets(clock)
    first = made.make("first")
    last = [made.make("last") for _ in range(TICKETS)][-1]
    assert len(made) == TICKETS
    assert made.take(first) is None
    assert made.take(last) == "last"
    clock.wait(TICKET_S)
    made.make("new")
    assert len(made) == 1


def test_a_ticket_is_taken_by_one_of_many(clock: HandClock) -> None:
    made = Tickets(clock)
    ticket = made.make("Eva")
    start, taken = threading.Barrier(8), []

    def take() -> None:
        start.wait(PATIENCE_S)
        taken.append(made.take(ticket))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(taken) == 8
    assert [name for name in taken if name] == ["Eva"]
