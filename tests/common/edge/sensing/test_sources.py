"""Sources are found by their URI; the queue loses nothing but old frames of a live source."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from apps.industrial.app import SPEC
from common.app.edge import Reading
from common.edge.processing.reading_queue import ReadingQueue
from common.edge.sensing.sources import open_source, parse_uri
from common.errors import SourceError
from tests.waiting import PATIENCE_S


def reading(position: int) -> Reading:
    return Reading("s", position, position, np.zeros(1))


def test_a_uri_comes_apart() -> None:
    uri = parse_uri("virtual:turbofan?seed=7&fault=hpc")
    assert (uri.scheme, uri.target, uri.parameters) == ("virtual", "turbofan", {"seed": "7", "fault": "hpc"})


@pytest.mark.parametrize("text", ["", "turbofan", ":x", "csv:", "virtual:turbofan?seed"])
def test_what_is_no_uri_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SourceError):
        parse_uri(text)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(SourceError, match=r"csv.*replay.*virtual"):
        open_source("smoke:signals", SPEC, 1.0)


def test_a_live_source_keeps_the_newest_and_counts_the_rest() -> None:
    queue = ReadingQueue(live=True)
    for position in range(5):
        queue.put(reading(position))
    assert [r.position for r in queue.take(0.0) if isinstance(r, Reading)] == [4]
    assert queue.dropped == 4


def test_any_other_source_waits_and_loses_nothing() -> None:
    queue = ReadingQueue(live=False, limit=3)
    thread = threading.Thread(target=lambda: [queue.put(reading(i)) for i in range(100)])
    thread.start()
    taken: list[int] = []
    while len(taken) < 100:
        items = queue.take(5.0)
        assert 0 < len(items) <= 3
        taken += [r.position for r in items if isinstance(r, Reading)]
    thread.join()
    assert taken == list(range(100))
    assert queue.dropped == 0


def test_closing_wakes_a_source_that_waits_and_keeps_what_is_there() -> None:
    queue = ReadingQueue(live=False, limit=1)
    queue.put(reading(0))
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(queue.put(reading(1))))
    thread.start()
    queue.close()
    thread.join(PATIENCE_S)
    assert results == [False]
    assert len(queue.take(0.0)) == 1
    assert queue.take(0.0) == []
