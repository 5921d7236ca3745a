"""Virtual sources: a paced loop over readings that are a function of their position, and URI parameters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping

from common.app.edge import Reading
from common.clock import anchored_clock
from common.errors import ConfigError

ReadingAt = Callable[[int, int], Reading]
"""The reading at ``(position, captured_ns)``. Within one iteration, positions only rise."""
LATE_LIMIT_S = 1.0
"""Delay that is made up for after a pause of the process; what is beyond it is left out."""


class PacedSource:
    """`common.app.edge.Source` of a virtual sensor: positions from 0 on, one reading each, without an end.

    ``open_readings`` makes the function of each iteration, which may keep state of its own. ``period_s`` is
    the time between two readings at ``speed`` 1; at ``speed`` 0 there is none. ``count`` readings are given
    where it is set; afterwards the source waits until it is closed (at ``speed`` 0 it ends).
    """

    live = False
    virtual = True

    def __init__(
        self,
        open_readings: Callable[[], ReadingAt],
        period_s: float,
        speed: float,
        *,
        channels: tuple[str, ...] = (),
        count: int | None = None,
    ) -> None:
        self.channels = channels
        self._open = open_readings
        self._pause_s = period_s / speed if speed > 0 else 0.0
        self._count = count
        self._closed = threading.Event()

    def readings(self, after: int | None) -> Iterator[Reading]:
        """Readings with ``position > after``, until `close`."""
        clock = anchored_clock()
        reading_at = self._open()
        position = 0 if after is None else after + 1
        due = time.monotonic()
        while not self._closed.is_set():
            if self._count is not None and position >= self._count:
                if self._pause_s:
                    self._closed.wait()
                return
            yield reading_at(position, clock())
            position += 1
            if self._pause_s:
                due = max(due + self._pause_s, time.monotonic() - LATE_LIMIT_S)
                self._closed.wait(max(0.0, due - time.monotonic()))

    def close(self) -> None:
        self._closed.set()


def check_parameters(uri: str, parameters: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Raises `ConfigError` for a parameter that is not one of ``known``; ``speed`` always is."""
    unknown = sorted(set(parameters) - {*known, "speed"})
    if unknown:
        raise ConfigError(f"{uri} has no parameter {unknown[0]!r}; it has {', '.join(known)}")


def whole_number(parameters: Mapping[str, str], name: str, default: int, minimum: int) -> int:
    """The whole number in a parameter. Raises `ConfigError`."""
    text = parameters.get(name, str(default))
    if not text.isdecimal() or int(text) < minimum:
        raise ConfigError(f"{name}={text} is not a whole number of at least {minimum}")
    return int(text)


def seconds(parameters: Mapping[str, str], name: str, default: float) -> float:
    """The seconds above 0 in a parameter. Raises `ConfigError`."""
    text = parameters.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise ConfigError(f"{name}={text} is not a number of seconds above 0")
    return value
