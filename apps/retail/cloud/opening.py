"""Opening hours of a store in its local time, by weekday and for single days.

::

    [apps.retail.stores.berlin-1.opening]
    mon = ["09:00-13:00", "14:00-20:00"]
    sat = ["22:00-02:00"]

A span that ends before it begins passes midnight and belongs to the day on which it begins. Times are whole
quarters of an hour, since counts are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated

import msgspec

from common.errors import ConfigError

DAY_MINUTES = 24 * 60
QUARTER_MINUTES = 15
_SPAN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
Spans = Annotated[list[str], msgspec.Meta(max_length=8)]
Minutes = tuple[tuple[int, int], ...]
"""Pairs of begin and end in minutes from local midnight; the end may be in the next day."""


class OpeningHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Opening hours by weekday, each as a list of spans such as ``09:00-20:00``; empty: closed."""

    mon: Spans = []
    tue: Spans = []
    wed: Spans = []
    thu: Spans = []
    fri: Spans = []
    sat: Spans = []
    sun: Spans = []


class Calendar:
    """Opening hours of a store. Without opening hours it always is."""

    def __init__(
        self,
        opening: OpeningHours | None,
        special: Mapping[str, Sequence[str]],
        holidays: frozenset[date],
        where: str,
    ) -> None:
        """``special`` has spans of single days; other ``holidays`` are closed. Raises `ConfigError`."""
        self._always = opening is None
        if opening is None and special:
            raise ConfigError(f"{where}.special_days needs {where}.opening")
        self._week = [
            parse_spans(spans, f"{where}.opening.{name}")
            for name, spans in msgspec.structs.asdict(opening or OpeningHours()).items()
        ]
        self._special = {
            parse_day(day, f"{where}.special_days"): parse_spans(spans, f"{where}.special_days.{day}")
            for day, spans in special.items()
        }
        self._holidays = holidays

    @property
    def always_open(self) -> bool:
        return self._always

    def spans_of(self, day: date) -> Minutes:
        """The spans that begin on a day."""
        if self._always:
            return ((0, DAY_MINUTES),)
        if day in self._special:
            return self._special[day]
        return () if day in self._holidays else self._week[day.weekday()]

    def is_open(self, local: datetime) -> bool:
        """Whether the store is open at a local time."""
        if self._always:
            return True
        day, minute = local.date(), local.hour * 60 + local.minute
        if any(begin <= minute < end for begin, end in self.spans_of(day)):
            return True
        late = minute + DAY_MINUTES
        return any(begin <= late < end for begin, end in self.spans_of(day - timedelta(days=1)))


def parse_spans(spans: Sequence[str], where: str) -> Minutes:
    """Spans as minutes. Raises `ConfigError` for one that is none, or that overlaps another."""
    found = sorted(_span(text, where) for text in spans)
    for (_, end), (begin, _) in itertools.pairwise(found):
        if begin < end:
            raise ConfigError(f"{where}: the opening hours {', '.join(spans)} overlap")
    return tuple(found)


def parse_day(text: str, where: str) -> date:
    """A day such as 2026-12-24. Raises `ConfigError`."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {text!r} is not a day such as 2026-12-24") from error


def parse_clock(text: str, where: str) -> int:
    """Minutes from midnight of a time such as 04:00. Raises `ConfigError`."""
    match = re.fullmatch(r"(\d\d):(\d\d)", text)
    return _minutes(match[1], match[2], text, where) if match else _refuse(text, where)


def _span(text: str, where: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(text.replace(" ", ""))
    if match is None:
        return _refuse(text, where), 0
    begin = _minutes(match[1], match[2], text, where)
    end = _minutes(match[3], match[4], text, where)
    return begin, end if end > begin else end + DAY_MINUTES


def _minutes(hours: str, minutes: str, text: str, where: str) -> int:
    found = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or found > DAY_MINUTES or found % QUARTER_MINUTES:
        _refuse(text, where)
    return found


def _refuse(text: str, where: str) -> int:
    raise ConfigError(
        f"{where}: {text!r} is not a time of day in whole quarters of an hour, such as 09:00-20:15 or 04:00"
    )
