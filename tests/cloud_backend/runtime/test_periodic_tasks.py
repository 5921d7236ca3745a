"""Chores: each in its time, and one that fails stops no other."""

from __future__ import annotations

import threading

from cloud_backend.runtime.periodic_tasks import Chore, Steward
from tests.waiting import PATIENCE_S


def test_a_chore_that_fails_stops_no_other_and_is_tried_again() -> None:
    attempts: list[int] = []
    recovered, worked = threading.Event(), threading.Semaphore(0)

    def fails_twice() -> None:
        attempts.append(len(attempts))
        if len(attempts) < 3:
            raise RuntimeError("not yet")
        recovered.set()

    steward = Steward("test", [Chore("bad", 0.01, fails_twice), Chore("good", 0.01, worked.release)])
    steward.start()
    assert recovered.wait(PATIENCE_S)
    for _ in range(3):
        assert worked.acquire(timeout=PATIENCE_S)
    steward.stop()


def test_stopping_waits_for_the_chore_in_hand_and_starts_no_other() -> None:
    inside, go_on, done = threading.Event(), threading.Event(), []

    def slow() -> None:
        inside.set()
        go_on.wait(PATIENCE_S)
        done.append("slow")

    steward = Steward("test", [Chore("slow", 60, slow), Chore("next", 60, lambda: done.append("next"))])
    steward.start()
    inside.wait(PATIENCE_S)
    stopper = threading.Thread(target=steward.stop)
    stopper.start()
    while not steward._stopping.is_set():
        pass
    go_on.set()
    stopper.join(PATIENCE_S)
    assert done == ["slow"]


def test_a_steward_that_never_started_can_be_stopped() -> None:
    Steward("test", [Chore("one", 1, lambda: None)]).stop()
