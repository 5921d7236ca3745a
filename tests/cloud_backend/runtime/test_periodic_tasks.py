"""Periodic tasks: each at its interval, and one that fails stops no other."""

from __future__ import annotations

import threading

from cloud_backend.runtime.periodic_tasks import PeriodicTask, PeriodicWorker
from tests.waiting import PATIENCE_S


def test_a_task_that_fails_stops_no_other_and_is_tried_again() -> None:
    attempts: list[int] = []
    recovered, worked = threading.Event(), threading.Semaphore(0)

    def fails_twice() -> None:
        attempts.append(len(attempts))
        if len(attempts) < 3:
            raise RuntimeError("not yet")
        recovered.set()

    worker = PeriodicWorker(
        "test", [PeriodicTask("bad", 0.01, fails_twice), PeriodicTask("good", 0.01, worked.release)]
    )
    worker.start()
    assert recovered.wait(PATIENCE_S)
    for _ in range(3):
        assert worked.acquire(timeout=PATIENCE_S)
    worker.stop()


def test_stopping_waits_for_the_running_task_and_starts_no_other() -> None:
    inside, go_on, done = threading.Event(), threading.Event(), []

    def slow() -> None:
        inside.set()
        go_on.wait(PATIENCE_S)
        done.append("slow")

    worker = PeriodicWorker(
        "test", [PeriodicTask("slow", 60, slow), PeriodicTask("next", 60, lambda: done.append("next"))]
    )
    worker.start()
    inside.wait(PATIENCE_S)
    stopper = threading.Thread(target=worker.stop)
    stopper.start()
    while not worker._stopping.is_set():
        pass
    go_on.set()
    stopper.join(PATIENCE_S)
    assert done == ["slow"]


def test_a_worker_that_never_started_can_be_stopped() -> None:
    done: list[str] = []
    PeriodicWorker("test", [PeriodicTask("one", 1, lambda: done.append("one"))]).stop()
    assert done == []
