"""Times on the wire: RFC 3339 in UTC with nanoseconds, and their reliability."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

from common.errors import MessageError

LARGEST_NUMBER = 2**63 - 1
"""Largest time on the wire: a 64-bit database column."""
EARLIEST_CLOCK_NS = 1_767_225_600_000_000_000
"""2026-01-01: a node's clock before this was never set. Recordings may be of any time."""
AHEAD_LIMIT_NS = 300_000_000_000
"""Tolerance for times after the moment at which they are stored or arrive; beyond it a time is wrong."""


class TimeQuality(StrEnum):
    """Reliability of an event's time."""

    PLAUSIBLE = ""
    """No known doubt. Not on the wire: the attribute is omitted."""
    UNSYNCHRONISED = "unsynchronised"
    """By the node's current clock, which is not set; the cloud corrects it on arrival."""
    CORRECTED = "corrected"
    """By a wrong clock whose error became known later: exact to within the transmission delay."""
    UNKNOWN = "unknown"
    """By a wrong clock of an earlier run or boot: not usable as a time."""
    RECORDED = "recorded"
    """As the recording has it, or a simulation that runs faster than the clock: an error of the node's clock
    does not concern it, and nobody corrects it."""


@lru_cache(maxsize=1024)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)
def _second_number(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds: ``2026-11-24T02:57:52.000000001Z``."""
    second, nanosecond = divmod(time_ns, 1_000_000_000)
    return f"{_second_text(second)}.{nanosecond:09d}Z"


def parse_time(text: str) -> int:
    """UTC nanoseconds of an RFC 3339 time in UTC, up to 2262. Raises `MessageError` for anything else."""
    try:
        if len(text) == 30 and text[19] == "." and text[29] == "Z":
            fraction = text[20:29]
        elif text.endswith("Z") and (len(text) == 20 or (text[19] == "." and len(text) > 21)):
            fraction = text[20:-1].ljust(9, "0")
        else:
            raise ValueError
        if len(fraction) != 9 or not fraction.isdigit():
            raise ValueError
        time_ns = _second_number(text[:19]) * 1_000_000_000 + int(fraction)
        if not -LARGEST_NUMBER <= time_ns <= LARGEST_NUMBER:
            raise ValueError
        return time_ns
    except (ValueError, IndexError, OverflowError):
        raise MessageError(
            f"{text[:40]!r} is not an RFC 3339 time in UTC, such as 2026-11-24T02:57:52Z"
        ) from None
