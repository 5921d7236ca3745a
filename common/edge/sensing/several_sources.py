"""Several sources of one node behind one `common.app.edge.Source`, such as the cameras of a store.

Recordings are merged, live sources run side by side; the two kinds cannot be mixed. Each source keeps its own
positions, and one number has them all: ``position * number of sources + index of the source``.

- *Recordings*: the reading with the lowest such number is next, so sources with the same positions (frames by
  their index) take turns, the order is the same in every run, and the last number that a node has committed
  has the position of each source.
- *Live*: each source has a thread and hands over its newest reading; the others are dropped and counted in
  the attribute ``dropped``. The sources take turns.

A source that fails is reported with its name. A recording is then left out; a live source is opened again
with growing delays. The others go on.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from common.app.edge import Reading, Source
from common.app.spec import AppSpec
from common.backoff import Backoff
from common.config.node import NodeSettings
from common.edge.processing.reading_queue import ReadingQueue
from common.edge.sensing.continued_source import continued
from common.edge.sensing.sources import RETRY_FIRST_S, RETRY_LAST_S, open_source, without_password
from common.errors import ConfigError, ReadingError, SourceError

log = logging.getLogger(__name__)

JOIN_S = 5.0
TAKE_S = 1.0
Item = Reading | ReadingError


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A source with its URI."""

    uri: str
    source: Source

    @property
    def name(self) -> str:
        """Name in reports."""
        return without_password(self.uri)


@contextmanager
def open_sources(settings: NodeSettings, spec: AppSpec, folder: Path) -> Generator[Sequence[NamedSource]]:
    """The sources of the settings; closed at the end. Raises as `sources.open_source`."""
    with ExitStack() as opened:
        sources: list[NamedSource] = []
        for uri in settings.sources or ("",):
            source = open_source(uri, spec, settings.speed, folder)
            opened.callback(source.close)
            sources.append(NamedSource(uri, source))
        yield sources


def combine(sources: Sequence[NamedSource], folder: Path, position: int | None) -> Source:
    """One source for all of them, each continued behind its part of ``position``.

    ``folder`` is the node's. Raises `ConfigError` for live ones beside recordings, OSError where the folder
    cannot be written.
    """
    if len(sources) == 1:
        (only,) = sources
        return continued(only.source, only.uri, folder / "source.json", position)
    live = [each.name for each in sources if each.source.live]
    if live and len(live) < len(sources):
        recorded = [each.name for each in sources if not each.source.live]
        raise ConfigError(
            f"one node cannot have live sources ({', '.join(live)}) beside recordings "
            f"({', '.join(recorded)}): run two nodes"
        )
    if live:
        return LiveSources(sources)
    count = len(sources)
    return MergedSources(
        [
            replace(
                each,
                source=continued(
                    each.source,
                    each.uri,
                    folder / ("source.json" if index == 0 else f"source-{index}.json"),
                    own_position(position, index, count),
                ),
            )
            for index, each in enumerate(sources)
        ]
    )


def own_position(position: int | None, index: int, count: int) -> int | None:
    """The last position of the source ``index`` among the first ``position``; None before its first."""
    if position is None or position < index:
        return None
    return (position - index) // count


class MergedSources:
    """Recordings, merged by their positions."""

    live = False

    def __init__(self, sources: Sequence[NamedSource]) -> None:
        self.virtual = any(each.source.virtual for each in sources)
        self._sources = sources
        self._closed = threading.Event()

    def readings(self, after: int | None) -> Iterator[Item]:
        count = len(self._sources)
        parts = [
            each.source.readings(own_position(after, index, count))
            for index, each in enumerate(self._sources)
        ]
        waiting: list[tuple[int, int, Reading]] = []
        for index in range(count):
            yield from self._next(index, parts, waiting)
        while waiting and not self._closed.is_set():
            position, index, reading = heapq.heappop(waiting)
            yield replace(reading, position=position)
            yield from self._next(index, parts, waiting)

    def _next(
        self, index: int, parts: Sequence[Iterator[Item]], waiting: list[tuple[int, int, Reading]]
    ) -> Iterator[ReadingError]:
        """Put the next reading of a source to those that wait; what is unusable before it."""
        name = self._sources[index].name
        try:
            for item in parts[index]:
                if isinstance(item, Reading):
                    heapq.heappush(waiting, (item.position * len(parts) + index, index, item))
                    return
                yield item
        except (SourceError, OSError) as error:
            yield ReadingError(f"the source {name} is left out from here on: {error}", kind="lost")

    def close(self) -> None:
        self._closed.set()
        for each in self._sources:
            each.source.close()


class LiveSources:
    """Live sources, each in a thread."""

    live = True

    def __init__(self, sources: Sequence[NamedSource]) -> None:
        self.virtual = any(each.source.virtual for each in sources)
        self._sources = sources
        self._closed = threading.Event()
        self.failing: dict[str, str] = {}
        """Why a source gives nothing at present, by its name."""

    def readings(self, after: int | None) -> Iterator[Item]:
        queue = ReadingQueue(live=True)
        running = threading.Semaphore(0)
        threads = [
            threading.Thread(target=self._read, args=(index, after, queue, running), name=f"source-{index}")
            for index in range(len(self._sources))
        ]
        for thread in threads:
            thread.start()
        position = -1 if after is None else after
        try:
            ended = 0
            while not self._closed.is_set():
                for item in queue.take(TAKE_S):
                    if isinstance(item, Reading):
                        position += 1
                        item = replace(item, position=position)
                    yield item
                while running.acquire(blocking=False):
                    ended += 1
                if ended == len(threads) and not len(queue):
                    return
        finally:
            self.close()
            queue.close()
            for thread in threads:
                thread.join(JOIN_S)

    def _read(self, index: int, after: int | None, queue: ReadingQueue, ended: threading.Semaphore) -> None:
        name, source = self._sources[index].name, self._sources[index].source
        backoff = Backoff(RETRY_FIRST_S, RETRY_LAST_S)
        try:
            while not self._closed.is_set():
                try:
                    for item in source.readings(after):
                        if isinstance(item, Reading):
                            backoff.reset()
                            self.failing.pop(name, None)
                            after = item.position
                        if not queue.put(item):
                            return
                    return
                except (SourceError, OSError) as error:
                    self.failing[name] = str(error)
                    queue.put(
                        ReadingError(f"the source {name} failed and is opened again: {error}", kind="source")
                    )
                    self._closed.wait(backoff.next_s())
        finally:
            ended.release()

    def close(self) -> None:
        self._closed.set()
        for each in self._sources:
            each.source.close()
