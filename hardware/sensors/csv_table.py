"""Text of a CSV file: its header, rows, numbers and times. No file is opened here.

A header names every column once. ``subject``, ``captured``, ``run`` and ``cycle`` (in any case) have that
meaning; every other column that is not ignored is a channel. Columns without a name are accepted only
at the end, as a separator behind the last column makes them, and must be empty in every row.

An error names the column and what to do; `FormError` is one that every row of the file will have.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from common.errors import SourceFormatError

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Column separators that a header is searched for, by the names that the option takes too."""
DECIMALS = {"point": ".", "comma": ","}
ENCODINGS = ("utf-8", "cp1252", "latin-1")
ATTRIBUTES = ("run", "cycle")
RESERVED = ("subject", "captured", *ATTRIBUTES)
MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "-", "--", "---"})
"""Texts of a cell without a value, in lower case; the channel is NaN then."""
LARGEST_WHOLE = 2**53
LARGEST_NS = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([ ,.'_\u00a0\u202f\u2019])\d{3}(\1\d{3})*([.,]\d+)?")
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt _](\d\d:\d\d)(:\d\d)?(?:[.,](\d+))?\s*(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?")


class FormError(ValueError):
    """The file's format differs from the source's URI; every row will be refused."""


@dataclass(frozen=True, slots=True)
class Form:
    """Format of a file. Without ``delimiter`` the header decides."""

    delimiter: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    zone: tzinfo | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """Content of a row. ``subject`` and ``captured_ns`` are None where the file has no such column."""

    subject: str | None
    captured_ns: int | None
    values: NDArray[np.float64]
    attributes: dict[str, int]


class Table:
    """The columns of a file, from its header line. Raises `SourceFormatError` for an unusable one."""

    def __init__(self, header: bytes, form: Form) -> None:
        text = decode_header(header, form.encoding)
        self.header = header
        self._form = form
        self._delimiter = form.delimiter or _delimiter_of(text)
        names = [name.strip() for name in _split_header(text, self._delimiter)]
        while names and not names[-1]:
            names.pop()
        _check_names(names, text, self._delimiter)
        self._names = tuple(names)
        ignored = _ignored(names, form.ignore)
        reserved = {name.lower(): i for i, name in enumerate(names) if name.lower() in RESERVED}
        self._channels = tuple(
            i for i in range(len(names)) if i not in ignored and i not in reserved.values()
        )
        if not self._channels:
            raise SourceFormatError(f"has no column of sensor values; it has {', '.join(names)}")
        reserved = {name: i for name, i in reserved.items() if i not in ignored}
        self.channels = tuple(names[i] for i in self._channels)
        self._subject = reserved.get("subject")
        self._captured = reserved.get("captured")
        self._attributes = tuple((name, reserved[name]) for name in ATTRIBUTES if name in reserved)

    def row(self, raw: bytes) -> Row:
        """The row in one line of text without its line break. Raises `ValueError`."""
        if b"\0" in raw:
            raise ValueError("holds NUL bytes, as after a power cut")
        text = raw.decode(self._form.encoding, "surrogateescape")
        cells = self._fitted(split(text, self._delimiter))
        values = self._values(cells, plain="_" not in text)
        captured, subject = None, None
        if self._captured is not None:
            captured = self._at(self._captured, cells, self._time)
        if self._subject is not None:
            subject = self._at(self._subject, cells, _name)
        attributes = {name: self._at(i, cells, self._whole) for name, i in self._attributes}
        return Row(subject, captured, values, attributes)

    def _fitted(self, cells: list[str]) -> list[str]:
        """The cells of the named columns."""
        width = len(self._names)
        if len(cells) == width:
            return cells
        if len(cells) < width:
            raise ValueError(f"{len(cells)} columns where the header has {width}")
        for number, cell in enumerate(cells[width:], width + 1):
            if cell.strip():
                hint = ""
                if self._delimiter == ",":
                    hint = "; a decimal comma needs another column separator, or quotes"
                raise ValueError(
                    f"{len(cells)} columns where the header has {width}: column {number} has no name and "
                    f"holds {cell.strip()[:40]!r}{hint}"
                )
        return cells[:width]

    def _values(self, cells: list[str], *, plain: bool) -> NDArray[np.float64]:
        if plain and self._form.decimal == ".":
            try:
                return np.array([float(cells[i]) for i in self._channels])
            except ValueError:
                pass  # The slow way knows missing values, and which column is wrong.
        return np.array([self._at(i, cells, self._number) for i in self._channels])

    def _at(self, index: int, cells: list[str], read: Any) -> Any:
        """The cell ``index`` by ``read``, whose errors are given the column."""
        try:
            return read(cells[index].strip())
        except ValueError as error:
            where = f"column {index + 1} ({self._names[index]})"
            raise type(error)(f"{where} {error}") from None

    def _number(self, text: str) -> float:
        if text.lower() in MISSING:
            return float("nan")
        return self._plain_number(text, "; a column that is no sensor is left out with ignore=NAME")

    def _plain_number(self, text: str, hint: str = "") -> float:
        plain = text
        if self._form.decimal == ",":
            if "." in text:
                raise ValueError(
                    f"is {text[:40]!r}: a point where decimal=comma; write no thousands separators"
                )
            if text.count(",") > 1:
                raise ValueError(f"is {text[:40]!r}: write no thousands separators")
            plain = text.replace(",", ".")
        try:
            if "_" not in plain:
                return float(plain)
        except ValueError:
            pass
        if _DECIMAL_COMMA.fullmatch(text):
            raise FormError(
                f"is {text[:40]!r}: for a decimal comma, add decimal=comma to the source "
                "(csv:FILE?decimal=comma); thousands separators are not read"
            )
        if _THOUSANDS.fullmatch(text):
            raise ValueError(f"is {text[:40]!r}: write no thousands separators")
        raise ValueError(f"is {text[:40]!r}, not a number{hint}")

    def _whole(self, text: str) -> int:
        number = self._plain_number(text) if text.lower() not in MISSING else float("nan")
        if not number.is_integer() or abs(number) > LARGEST_WHOLE:
            raise ValueError(f"is {text[:40]!r}, not a whole number" if text else "is empty")
        return int(number)

    def _time(self, text: str) -> int:
        if _is_number(text.replace(",", ".") if self._form.decimal == "," else text):
            seconds = self._plain_number(text)
            if not 0 <= seconds < 4e9:
                raise ValueError(f"is {text[:40]}, not seconds since 1970 (milliseconds are not read)")
            return round(seconds * 1e9)
        return time_of(text, self._form.zone)


def decode_header(raw: bytes, encoding: str) -> str:
    """The text of a header line. Raises `SourceFormatError` for another encoding."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in raw:
        raise SourceFormatError("is UTF-16 or not a text: write it as UTF-8")
    raw = raw.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    if b"\r" in raw:
        raise SourceFormatError("breaks its lines with CR alone: write LF or CR LF")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise SourceFormatError(
            f"the first row is not {encoding}: byte 0x{raw[error.start]:02x} at {error.start + 1}; write it "
            "as UTF-8, or add encoding=cp1252 to the source"
        ) from None


def is_separator_line(text: bytes) -> bool:
    """Whether a first line is ``sep=;``, as spreadsheets write it."""
    text = text.removeprefix(b"\xef\xbb\xbf").lower()
    return len(text) == 5 and text.startswith(b"sep=")


def split(text: str, delimiter: str) -> list[str]:
    """The cells of one line. Raises `ValueError` for a quote that is not closed."""
    if '"' not in text:
        return text.split(delimiter)
    if text.count('"') % 2:
        raise ValueError("a quote is not closed; a row is one line")
    try:
        return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error


def time_of(text: str, zone: tzinfo | None) -> int:
    """UTC nanoseconds of a date and time. Raises `FormError` without a zone in it or in ``zone``."""
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise ValueError(
            f"is {text[:40]!r}, neither an RFC 3339 time, such as 2026-11-24T02:57:52+02:00, nor seconds "
            "since 1970"
        )
    day, minute, second, fraction, offset = parts.groups()
    where = zone if offset is None else zone_of(offset)
    if where is None:
        raise FormError(
            f"is {text[:40]!r} without a zone: write Z or +02:00 behind it, or add zone=UTC, zone=+02:00 or "
            "zone=Europe/Berlin to the source (a + is written %2B there)"
        )
    try:
        at = datetime.fromisoformat(f"{day}T{minute}{second or ':00'}").replace(tzinfo=where)
        seconds = (at - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"is {text[:40]!r}: {error}") from None
    time_ns = seconds * 1_000_000_000 + int((fraction or "")[:9].ljust(9, "0"))
    if not -LARGEST_NS <= time_ns <= LARGEST_NS:
        raise ValueError(f"is {text[:40]!r}: times from 1678 to 2261 can be kept")
    return time_ns


def zone_of(text: str) -> tzinfo:
    """The zone ``UTC``, ``+02:00`` or ``Europe/Berlin``. Raises `ValueError` for an unknown one."""
    if text.upper() in ("Z", "UTC", "GMT"):
        return UTC
    if offset := _OFFSET.fullmatch(text):
        sign, hours, minutes = offset.groups()
        away = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return timezone(-away if sign == "-" else away)
    try:
        return ZoneInfo(text)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"{text!r} is no zone: UTC, +02:00 and Europe/Berlin are") from None


def _delimiter_of(header: str) -> str:
    """The separator that gives the most columns."""
    return max(DELIMITERS.values(), key=lambda sign: len(_split_header(header, sign)))


def _split_header(text: str, delimiter: str) -> list[str]:
    try:
        return split(text, delimiter)
    except ValueError as error:
        raise SourceFormatError(f"the first row cannot be read: {error}: {text[:80]!r}") from None


def _check_names(names: list[str], header: str, delimiter: str) -> None:
    if not names or any(_is_number(name) for name in names):
        raise SourceFormatError(f"the first row must name the columns; it is {header[:80]!r}")
    for number, name in enumerate(names, 1):
        if not name:
            raise SourceFormatError(
                f"column {number} has no name in the first row {header[:80]!r}; an index that a data frame "
                "wrote is left away there (index=False)"
            )
        first = names.index(name) + 1
        if first < number:
            raise SourceFormatError(f"the first row names {name!r} twice, in columns {first} and {number}")
    lower = [name.lower() for name in names]
    for name in RESERVED:
        if lower.count(name) > 1:
            raise SourceFormatError(f"the first row names {name!r} twice")
    others = [sign for sign in DELIMITERS.values() if sign != delimiter and sign in names[0]]
    if len(names) == 1 and others:
        raise SourceFormatError(
            f"the first row is one column, {names[0][:60]!r}: another delimiter= separates them"
        )


def _ignored(names: list[str], ignore: tuple[str, ...]) -> set[int]:
    for name in ignore:
        if name not in names:
            raise SourceFormatError(f"ignore={name}: there is no such column; there are {', '.join(names)}")
    return {names.index(name) for name in ignore}


def _name(text: str) -> str:
    if not text:
        raise ValueError("is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"is {text[:40]!r}: not in the file's encoding (encoding=)") from None
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip().lower() not in ("nan", "inf", "infinity", "-inf")
