"""The queue of a source that is not live: bounded in number and in bytes, nothing lost."""

from __future__ import annotations

import threading

import numpy as np

from common.app.edge import Reading
from common.edge.processing.reading_queue import QUEUE_BYTES, ReadingQueue

FRAME = (1080, 1920, 3)


def frame(position: int) -> Reading:
    return Reading("door", position, position, np.zeros(FRAME, np.uint8))


def test_frames_wait_by_their_bytes_and_none_is_lost() -> None:
    queue, put = ReadingQueue(live=False), threading.Semaphore(0)
    fitting = QUEUE_BYTES // frame(0).values.nbytes

    def fill() -> None:
        for position in range(3 * fitting):
            queue.put(frame(position))
            put.release()

    thread = threading.Thread(target=fill)
    thread.start()
    for _ in range(fitting):
        put.acquire()
    taken: list[int] = []
    while len(taken) < 3 * fitting:
        items = queue.take(1.0)
        assert len(items) <= fitting
        taken += [item.position for item in items if isinstance(item, Reading)]
    thread.join()
    assert taken == list(range(3 * fitting))


def test_two_readings_fit_however_large_they_are() -> None:
    queue = ReadingQueue(live=False)
    large = Reading("door", 0, 0, np.zeros(QUEUE_BYTES, np.uint8))
    assert queue.put(large)
    assert queue.put(large)
    assert len(queue.take(0)) == 2


def test_a_closed_queue_lets_nobody_wait() -> None:
    queue = ReadingQueue(live=False)
    large = Reading("door", 0, 0, np.zeros(QUEUE_BYTES, np.uint8))
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.extend(queue.put(large) for _ in range(3)))
    thread.start()
    queue.close()
    thread.join()
    assert answers[-1] is False
