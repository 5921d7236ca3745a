"""Several sources of one node take turns; one that fails does not stop the others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.app.edge import Reading
from common.config.node import NodeSettings
from common.edge.node import Node
from common.edge.processing.reading_queue import ReadingQueue
from common.edge.sensing.several_sources import LiveSources, MergedSources, NamedSource, combine
from common.edge.sensing.sources import without_password
from common.errors import ConfigError, ReadingError, SourceError
from tests.builders import make_app
from tests.waiting import PATIENCE_S, wait_for


def reading(subject: str, position: int, **attributes: int) -> Reading:
    return Reading(subject, position, position, np.zeros(1), attributes=attributes)


class Recording:
    """Readings at these positions; at ``fails_at`` it raises, at ``bad`` one is unusable."""

    live = False
    virtual = False

    def __init__(self, subject: str, positions: list[int], *, fails_at: int = -1, bad: int = -1) -> None:
        self._subject, self._positions, self._fails_at, self._bad = subject, positions, fails_at, bad

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        for position in self._positions:
            if position == self._fails_at:
                raise SourceError("the disk is gone")
            if after is None or position > after:
                if position == self._bad:
                    yield ReadingError("a frame is corrupt")
                else:
                    yield reading(self._subject, position)

    def close(self) -> None:
        pass


def merged(*sources: Recording) -> MergedSources:
    return MergedSources([NamedSource(f"file:{index}", source) for index, source in enumerate(sources)])


def test_recordings_take_turns() -> None:
    source = merged(Recording("a", [0, 1, 2, 3]), Recording("b", [0, 1, 2]), Recording("c", [0, 1]))
    items = [item for item in source.readings(None) if isinstance(item, Reading)]
    assert "".join(item.subject for item in items) == "abcabcaba"[:3] + "abcab" + "a"


@given(
    st.lists(st.lists(st.integers(0, 30), unique=True, max_size=12).map(sorted), min_size=2, max_size=4),
    st.integers(0, 60),
)
def test_after_a_restart_every_recording_continues_where_it_was(positions: list[list[int]], cut: int) -> None:
    def make() -> MergedSources:
        return merged(*(Recording(str(index), each) for index, each in enumerate(positions)))

    whole = [item for item in make().readings(None) if isinstance(item, Reading)]
    assert [item.position for item in whole] == sorted({item.position for item in whole})
    assert Counter(item.subject for item in whole) == {str(i): len(p) for i, p in enumerate(positions) if p}
    before = whole[: min(cut, len(whole))]
    after = before[-1].position if before else None
    rest = [item for item in make().readings(after) if isinstance(item, Reading)]
    assert [(i.subject, i.position) for i in before + rest] == [(i.subject, i.position) for i in whole]


def test_a_recording_that_fails_is_left_out_and_the_others_go_on() -> None:
    source = merged(Recording("a", [0, 1, 2], fails_at=1), Recording("b", [0, 1, 2], bad=1))
    items = list(source.readings(None))
    assert [item.subject for item in items if isinstance(item, Reading)] == ["a", "b", "b"]
    problems = [(item.kind, str(item)) for item in items if isinstance(item, ReadingError)]
    assert problems == [
        ("lost", "the source file:0 is left out from here on: the disk is gone"),
        ("unusable", "a frame is corrupt"),
    ]


class Camera:
    """A live source that hands over what a test puts, and fails first ``failures`` times."""

    live = True
    virtual = False

    def __init__(self, subject: str, failures: int = 0) -> None:
        self._subject, self._failures = subject, failures
        self.frames = threading.Semaphore(0)
        self._closed = False

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        if self._failures:
            self._failures -= 1
            raise SourceError("no route to the camera")
        position = 0
        while True:
            self.frames.acquire()
            if self._closed:
                return
            yield reading(self._subject, position)
            position += 1

    def close(self) -> None:
        self._closed = True
        self.frames.release()


def test_a_camera_that_fails_is_opened_again_while_the_others_go_on() -> None:
    broken, good = Camera("broken", failures=1), Camera("good")
    source = LiveSources([NamedSource("rtsp://u:secret@h/1", broken), NamedSource("rtsp://h/2", good)])
    items = source.readings(41)
    first = next(items)
    assert isinstance(first, ReadingError)
    assert (first.kind, str(first)) == (
        "source",
        "the source rtsp://h/1 failed and is opened again: no route to the camera",
    )
    assert source.failing == {"rtsp://h/1": "no route to the camera"}
    good.frames.release()
    second = next(items)
    broken.frames.release()
    third = next(items)
    assert source.failing == {}
    assert isinstance(second, Reading)
    assert isinstance(third, Reading)
    assert [(each.subject, each.position) for each in (second, third)] == [("good", 42), ("broken", 43)]
    source.close()
    assert list(items) == []


def test_live_sources_beside_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run two nodes"):
        combine(
            [NamedSource("usb:0", Camera("a")), NamedSource("file:b", Recording("b", [0]))], tmp_path, None
        )


def test_a_fast_camera_takes_nothing_from_a_slow_one_and_drops_are_counted_by_camera() -> None:
    queue = ReadingQueue(live=True)
    queue.put(reading("slow", 0))
    for position in range(5):
        queue.put(reading("fast", position, dropped=2))
    queue.put(ReadingError("a frame is corrupt"))
    slow, fast, error = queue.take(0)
    assert isinstance(slow, Reading)
    assert isinstance(fast, Reading)
    assert (slow.subject, fast.position, fast.attributes["dropped"]) == ("slow", 4, 4 + 5 * 2)
    assert isinstance(error, ReadingError)
    assert (queue.dropped, queue.dropped_before, queue.dropped_by) == (4, 10, {"fast": 14})


def test_the_live_queue_is_bounded() -> None:
    queue = ReadingQueue(live=True, limit=3)
    for position in range(10):
        queue.put(reading(f"camera {position}", position))
        queue.put(ReadingError("a frame is corrupt"))
    assert len(queue) == 3
    assert queue.dropped == 17
    assert len(queue.dropped_by) <= 3


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://admin:p@ss:word@10.0.0.1:554/live?name=door", "rtsp://10.0.0.1:554/live?name=door"),
        ("rtsp://10.0.0.1/a@b", "rtsp://10.0.0.1/a@b"),
        ("http://user@h/x", "http://h/x"),
        ("file:a@b.mp4", "file:a@b.mp4"),
    ],
)
def test_passwords_are_not_shown(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def open_two(kind: str, parameters: dict[str, str], speed: float) -> Recording:
    class Rows(Recording):
        def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
            for item in super().readings(after):
                yield replace(item, values=np.zeros(4)) if isinstance(item, Reading) else item

    return Rows(kind, list(range(20)))


def test_a_node_with_two_sources_continues_both_after_a_restart(tmp_path: Path) -> None:
    spec = replace(make_app(tmp_path / "starter"), virtual=f"{__name__}:open_two")
    settings = NodeSettings(
        app=spec.name,
        source=["virtual:a", "virtual:b"],
        data=str(tmp_path / "data"),
        speed=0.0,
        profile="cpu",
    )
    for expected in (40, 0):
        node = Node(settings, None, spec)
        node.start()
        wait_for(lambda node=node: node.reader.state.value == "ended", "the end of both")
        assert node.stop() == 0
        assert node.processing.decisions.usable == expected
    assert PATIENCE_S > 0
