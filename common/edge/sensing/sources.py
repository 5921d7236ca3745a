"""Sources of readings by URI, and the queue between a source and the app.

``virtual:KIND?key=value`` is the app's virtual sensor; any other scheme is looked up under the
entry point group ``edgeloop.sources`` (``open_source(uri: SourceUri, speed) -> Source``).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import parse_qsl

from common.app.edge import Reading, Source
from common.app.spec import AppSpec
from common.errors import ReadingError, SourceError, SourceFormatError

GROUP = "edgeloop.sources"
VIRTUAL = "virtual"
QUEUE_READINGS = 256


@dataclass(frozen=True, slots=True)
class SourceUri:
    """A source's URI in its parts: ``scheme:target?key=value``.

    ``folder`` is where a source may keep what it must know after a restart; None is nowhere.
    """

    text: str
    scheme: str
    target: str
    parameters: dict[str, str]
    folder: Path | None = None


OpenSource = Callable[[SourceUri, float], Source]


def parse_uri(text: str) -> SourceUri:
    """The parts of a source's URI. Raises `SourceError`."""
    scheme, colon, rest = text.partition(":")
    target, _, query = rest.partition("?")
    if not colon or not scheme or not target:
        raise SourceError(f"{text!r} is not a source; give scheme:target, such as virtual:turbofan?seed=7")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise SourceError(f"{text!r}: the part behind '?' is not key=value&key=value: {error}") from None
    return SourceUri(text, scheme.lower(), target, dict(pairs))


def open_source(text: str, spec: AppSpec, speed: float, folder: Path | None = None) -> Source:
    """Open the source with this URI; ``folder`` is the node's. Raises `SourceError` or `ConfigError`."""
    uri = replace(parse_uri(text), folder=folder)
    if uri.scheme == VIRTUAL:
        return spec.load_virtual()(uri.target, uri.parameters, speed)
    for entry in entry_points(group=GROUP, name=uri.scheme):
        opener: OpenSource = entry.load()
        source = opener(uri, speed)
        _check_channels(source, spec)
        _check_rate(source, spec, text)
        return source
    known = ", ".join(sorted([VIRTUAL, *(entry.name for entry in entry_points(group=GROUP))]))
    raise SourceError(f"no source has the scheme {uri.scheme!r}; there are: {known}")


def _check_rate(source: Source, spec: AppSpec, text: str) -> None:
    """Refuse a recording at a sampling rate that the app does not take. Raises `SourceFormatError`."""
    rate_hz: float | None = getattr(source, "rate_hz", None)
    if rate_hz is None or spec.rates_hz is None:
        return
    lowest, highest = spec.rates_hz
    if not lowest <= rate_hz <= highest:
        source.close()
        raise SourceFormatError(
            f"{text} is sampled at {rate_hz:g} Hz; the app {spec.name!r} takes {lowest:g} to {highest:g} Hz: "
            "resample it, or give another recording"
        )


def _check_channels(source: Source, spec: AppSpec) -> None:
    """Refuse a source that lacks channels of the app. Raises `SourceFormatError`."""
    channels: tuple[str, ...] = getattr(source, "channels", ())
    lacking = [name for name in spec.channels if name not in channels]
    if channels and lacking:
        source.close()
        raise SourceFormatError(
            f"the source lacks {', '.join(lacking)}, which the app {spec.name!r} needs; it has "
            f"{', '.join(channels)[:500]}"
        )


class ReadingQueue:
    """Readings on their way to the app.

    From a live source only the newest is kept; what it replaces is counted in `dropped`. From any other
    `put` waits while the queue is full, so no reading is lost.
    """

    def __init__(self, *, live: bool, limit: int = QUEUE_READINGS) -> None:
        self._live = live
        self._limit = 1 if live else limit
        self._items: deque[Reading | ReadingError] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Reading | ReadingError) -> bool:
        """Add a reading, or what was wrong with one. False once the queue is closed."""
        with self._changed:
            if self._live:
                while len(self._items) >= self._limit:
                    self._items.popleft()
                    self.dropped += 1
            else:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._limit)
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> list[Reading | ReadingError]:
        """All waiting readings, after at most ``timeout_s``; empty if none came."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items), timeout_s)
            items = list(self._items)
            self._items.clear()
            self._changed.notify_all()
            return items

    def close(self) -> None:
        """Take no more; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
