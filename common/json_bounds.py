"""JSON from strangers: what is taken, and how it is read again.

A value is taken if every reader of it can show it again: UTF-8 without lone surrogates, no NaN or infinity,
numbers that fit a double, integers of at most `DIGITS_LIMIT` digits, nesting of at most `NESTING_LIMIT`. Of
duplicate keys the last one counts, for every reader.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from common.errors import MessageError

NESTING_LIMIT = 64
"""Deepest nesting of arrays and objects."""
DIGITS_LIMIT = 32
"""Maximum number of digits of an integer."""
MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Errors of msgspec for hostile input: wrong JSON, wrong UTF-8, endless nesting."""
UNREADABLE = "unreadable"
"""Key under which `shown` gives the reason for what it cannot show."""

_decoder = msgspec.json.Decoder()
_DIGITS = bytes(48 if 48 <= code <= 57 else 32 for code in range(256))
_LONG_RUN = b"0" * (DIGITS_LIMIT + 1)
_LARGEST = 10**DIGITS_LIMIT
_FAILURES = (*MALFORMED, ValueError)


def read(text: bytes | str) -> Any:
    """The value of a JSON text. Raises `MessageError` for one that is not within the bounds."""
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return read_part(content, has_long_numbers(content))


def read_part(content: bytes, long_numbers: bool) -> Any:
    """`read` for one of many texts; ``long_numbers`` is the answer of `has_long_numbers` for all together."""
    try:
        value = _decoder.decode(content)
    except _FAILURES as error:
        raise MessageError(f"not JSON that can be read: {error}") from None
    # Only a text that could break a bound is looked at value by value.
    if long_numbers or (len(content) > 2 * NESTING_LIMIT and _may_be_deep(bytes(content))):
        _check(value)
    return value


def has_long_numbers(content: bytes) -> bool:
    """Whether there may be an integer in a JSON text that is longer than the limit."""
    return len(content) > DIGITS_LIMIT and _LONG_RUN in content.translate(_DIGITS)


def finite_number(value: object) -> int | float | None:
    """``value`` if it is a finite number within 64 bits; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 2**63:
        return None
    return value if math.isfinite(value) else None


def shown(text: bytes | str) -> Any:
    """The value of a stored JSON text; an object with the reason under `UNREADABLE` where it is none."""
    try:
        return read(text)
    except MessageError as error:
        return {UNREADABLE: str(error)[:200], "size_bytes": len(text)}


def _may_be_deep(content: bytes) -> bool:
    return content.count(b"[") + content.count(b"{") > NESTING_LIMIT


def _check(value: Any) -> None:
    level: list[Any] = [value]
    depth = 0
    while level:
        below: list[Any] = []
        for each in level:
            if isinstance(each, int) and abs(each) >= _LARGEST:
                raise MessageError(f"an integer has more than {DIGITS_LIMIT} digits")
            if isinstance(each, dict):
                below += each.values() or [None]
            elif isinstance(each, list):
                below += each or [None]
        level = below
        depth += bool(below)
        if depth > NESTING_LIMIT:
            raise MessageError(f"nested deeper than {NESTING_LIMIT} levels")
