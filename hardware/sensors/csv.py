"""Rows of sensor values from a CSV file: ``csv:FILE?subject=engine-1&period_s=1&delimiter=;``.

The first row names the columns. ``subject``, ``captured`` (RFC 3339 in UTC, or seconds since 1970), ``run``
and ``cycle`` are taken for what they say, every other column is a channel. Without ``captured``, rows are
``period_s`` apart, from now on. An empty cell is NaN: whether that is usable is for the app to say.

A row that cannot be read is given as a `ReadingError` with its file and line, and the next row follows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.app import Reading
from common.clock import anchored_clock
from common.edge.sources import SourceUri
from common.errors import MessageError, ReadingError, SourceFormatError
from common.messages import parse_time
from hardware.sensors.pace import Pace

PARAMETERS = ("subject", "period_s", "delimiter")
ATTRIBUTES = ("run", "cycle")
ROW_LIMIT_CHARACTERS = 65536


@dataclass(frozen=True, slots=True)
class Columns:
    """Where in a row things are."""

    names: tuple[str, ...]
    channels: tuple[int, ...]
    subject: int | None
    captured: int | None
    attributes: tuple[tuple[str, int], ...]


class CsvSource:
    """`common.app.Source` over a CSV file; the position of a row is its line number."""

    live = False
    virtual = False

    def __init__(self, path: Path, subject: str, period_s: float, delimiter: str, speed: float) -> None:
        self._path = path
        self._subject = subject
        self._period_ns = round(period_s * 1e9)
        self._delimiter = delimiter
        self._pace = Pace(speed)
        self._columns = self._read_header()

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """Rows below line ``after``. Raises `SourceFormatError` if the file cannot be read on."""
        begun_ns = anchored_clock()() - ((after or 1) - 1) * self._period_ns
        with self._path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = csv.reader(file, delimiter=self._delimiter)
            next(rows)
            while not self._pace.closed:
                try:
                    row = next(rows)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield ReadingError(f"{self._path}:{rows.line_num}: {error}")
                    continue
                line = rows.line_num
                if not row or (after is not None and line <= after):
                    continue
                try:
                    reading = self._reading(row, line, begun_ns)
                except (ValueError, MessageError) as error:
                    yield ReadingError(f"{self._path}:{line}: {error}; the row is left out")
                    continue
                if self._pace.wait_until(reading.captured_ns):
                    yield reading

    def close(self) -> None:
        self._pace.close()

    def _read_header(self) -> Columns:
        try:
            with self._path.open(newline="", encoding="utf-8") as file:
                text = file.readline(ROW_LIMIT_CHARACTERS)
        except (OSError, UnicodeDecodeError) as error:
            raise SourceFormatError(f"{self._path} cannot be read: {error}") from error
        names = tuple(name.strip() for name in next(csv.reader([text], delimiter=self._delimiter), []))
        channels = tuple(i for i, n in enumerate(names) if n not in ("subject", "captured", *ATTRIBUTES))
        if (
            not channels
            or len(set(names)) < len(names)
            or any(not name or _is_number(name) for name in names)
        ):
            raise SourceFormatError(
                f"{self._path}: the first row must name the columns, each once; it is {text[:80].strip()!r}"
            )
        return Columns(
            tuple(names[i] for i in channels),
            channels,
            names.index("subject") if "subject" in names else None,
            names.index("captured") if "captured" in names else None,
            tuple((name, names.index(name)) for name in ATTRIBUTES if name in names),
        )

    def _reading(self, row: list[str], line: int, begun_ns: int) -> Reading:
        columns = self._columns
        expected = len(columns.channels) + len(columns.attributes)
        expected += (columns.subject is not None) + (columns.captured is not None)
        if len(row) != expected:
            raise ValueError(f"{len(row)} columns where the header has {expected}")
        values = np.array([_number(row[i], n) for i, n in zip(columns.channels, columns.names, strict=True)])
        if columns.captured is None:
            captured_ns = begun_ns + (line - 2) * self._period_ns
        else:
            captured_ns = _time(row[columns.captured])
        return Reading(
            subject=row[columns.subject].strip() if columns.subject is not None else self._subject,
            captured_ns=captured_ns,
            position=line,
            values=values,
            channels=columns.names,
            attributes={name: _whole(row[i], name) for name, i in columns.attributes},
        )


def open_source(uri: SourceUri, speed: float) -> CsvSource:
    """Open ``csv:FILE?...``. Raises `SourceFormatError`."""
    unknown = sorted(set(uri.parameters) - set(PARAMETERS))
    if unknown:
        raise SourceFormatError(f"csv: does not know {unknown[0]!r}; it has {', '.join(PARAMETERS)}")
    period = uri.parameters.get("period_s", "1")
    delimiter = uri.parameters.get("delimiter", ",")
    if not _is_number(period) or not 0 < float(period) < 1e9:
        raise SourceFormatError(f"period_s={period} is not a number of seconds above 0")
    if len(delimiter) != 1:
        raise SourceFormatError(f"delimiter={delimiter!r} is not one character")
    path = Path(uri.target)
    return CsvSource(path, uri.parameters.get("subject", path.stem), float(period), delimiter, speed)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, name: str) -> float:
    if not text.strip():
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is {text[:40]!r}, not a number") from None


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is {text[:40]!r}, not a whole number") from None


def _time(text: str) -> int:
    if _is_number(text):
        seconds = float(text)
        if not 0 <= seconds < 4e9:
            raise ValueError(f"captured is {text[:40]}, not seconds since 1970")
        return round(seconds * 1e9)
    return parse_time(text.strip())
