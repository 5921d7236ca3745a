"""Timetable of conditions: a list such as ``day,fog:60-120,night:200-300``, in seconds from frame 0."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Span:
    """``name`` holds from ``start_s`` to before ``end_s``."""

    name: str
    start_s: float = 0.0
    end_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Timetable:
    """Spans; where several hold, the last one wins."""

    spans: tuple[Span, ...]

    def at(self, time_s: float) -> Span | None:
        """The span that holds at ``time_s``."""
        for span in reversed(self.spans):
            if span.start_s <= time_s < span.end_s:
                return span
        return None


ALWAYS = Timetable(())
"""Nothing but the default, at any time."""


def parse_timetable(parameter: str, text: str, names: Collection[str]) -> Timetable:
    """The timetable in ``NAME[:START-END],...``. Raises `ConfigError` naming the parameter."""
    spans: list[Span] = []
    for word in filter(None, text.split(",")):
        name, colon, span = word.strip().partition(":")
        if name not in names:
            raise ConfigError(f"{parameter}={text}: {name!r} is none of {', '.join(names)}")
        if not colon:
            spans.append(Span(name))
            continue
        start, _, end = span.partition("-")
        try:
            seconds = float(start), float(end)
        except ValueError:
            seconds = 0.0, 0.0
        if not 0 <= seconds[0] < seconds[1]:
            raise ConfigError(
                f"{parameter}={text}: {span!r} is no time range in seconds; write {name}:60-120"
            )
        spans.append(Span(name, *seconds))
    return Timetable(tuple(spans))


def read_injected(path: Path, names: Collection[str]) -> tuple[Span, ...]:
    """The spans of a file with lines ``SECOND NAME``; none while there is no file, and of no other line."""
    try:
        rows = [line.split() for line in path.read_text("utf-8").splitlines()]
    except FileNotFoundError:
        return ()
    return tuple(
        Span(row[1], float(row[0]))
        for row in rows
        if len(row) == 2 and row[1] in names and row[0].replace(".", "", 1).isdecimal()
    )
