"""Dates of a search: a date or time of any FHIR precision, with a comparison prefix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import MAXYEAR, UTC, datetime, timedelta, timezone

from fastapi import HTTPException

from apps.ecg.cloud.fhir.criteria import BEFORE_ALL_NS, Dates
from apps.ecg.events import EARLIEST_NS, LATEST_NS

_PREFIXES = ("eq", "ge", "le", "gt", "lt", "sa", "eb", "ap")
_APPROXIMATELY = 10
"""``ap`` matches within this fraction (1/10) of the time between the date and now."""
_DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)(T(?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)"
    r"(?P<fraction>\.\d{1,30})?)?(?P<zone>Z|[+ -]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)


def dates_of(values: Iterable[str], now_ns: int) -> Dates:
    """The dates that satisfy all values of ``date``. Raises a 400 for a malformed value.

    ``ne`` is refused: its result is two ranges.
    """
    dates = Dates()
    for value in values:
        if "," in value:
            raise HTTPException(400, "one date per parameter; several parameters are combined with AND")
        prefix, text = (value[:2], value[2:]) if value[:2] in _PREFIXES else ("eq", value)
        first, after = _range(text)
        near = max(now_ns - after, first - now_ns, 0) // _APPROXIMATELY
        ranges = {
            "eq": Dates(began_from=first, ended_by=after),
            "ge": Dates(ended_after=first),
            "gt": Dates(ended_after=after),
            "le": Dates(began_before=after),
            "lt": Dates(began_before=first),
            "sa": Dates(began_from=after),
            "eb": Dates(ended_by=first),
            "ap": Dates(
                began_before=min(after + near, LATEST_NS), ended_after=max(first - near, BEFORE_ALL_NS)
            ),
        }
        dates = dates.both(ranges[prefix])
    return dates


def _range(text: str) -> tuple[int, int]:
    """First nanosecond of the period that a date denotes, and the first one after it."""
    match = _DATE.fullmatch(text)
    if match is None:
        known = ", ".join(_PREFIXES)
        raise HTTPException(
            400,
            f"{text[:40]!r} is not a date such as ge2026-11-16 or 2026-11-16T08:00:00Z; prefixes: {known}",
        )
    part = {name: int(value) for name, value in match.groupdict().items() if value and value.isdecimal()}
    try:
        begin = datetime(
            part["year"],
            part.get("month", 1),
            part.get("day", 1),
            part.get("hour", 0),
            part.get("minute", 0),
            part.get("second", 0),
            tzinfo=_zone(match["zone"]),
        )
        if "day" not in part:
            months = 1 if "month" in part else 12
            ordinal = begin.year * 12 + begin.month - 1 + months
            if ordinal // 12 > MAXYEAR:
                length_ns = LATEST_NS
            else:
                after = begin.replace(year=ordinal // 12, month=ordinal % 12 + 1)
                length_ns = _ns(after) - _ns(begin)
        else:
            finest = "second" if "second" in part else "minute" if "minute" in part else "day"
            length_ns = {"second": 1, "minute": 60, "day": 86400}[finest] * 10**9
    except (ValueError, OverflowError):
        raise HTTPException(400, f"{text[:40]!r} is not a valid date or time") from None
    begin_ns = _ns(begin)
    if fraction := match["fraction"]:
        digits = fraction[1:10]
        begin_ns += int(digits.ljust(9, "0"))
        length_ns = 10 ** (9 - len(digits))
    return (
        min(max(begin_ns, BEFORE_ALL_NS), LATEST_NS),
        min(max(begin_ns + length_ns, EARLIEST_NS), LATEST_NS),
    )


def _zone(text: str | None) -> timezone:
    if not text or text == "Z":
        return UTC
    sign = -1 if text[0] == "-" else 1  # an unescaped plus sign in a query decodes to a space
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[4:6])))


def _ns(time: datetime) -> int:
    return int(time.timestamp()) * 10**9
