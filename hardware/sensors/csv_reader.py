"""Readings from the lines of a `FileSequence`: headers, rows, and rows that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common.app.edge import Reading
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.csv_table import Form, FormError, Row, Table, is_separator_line
from hardware.sensors.rotation.lines import LINE_LIMIT_BYTES, first_lines
from hardware.sensors.rotation.progress import Part
from hardware.sensors.rotation.sequence import FileSequence


class RowReader:
    """Makes a `Reading` or a `ReadingError` of each line of ``files``, with the table of its header.

    ``subject`` is that of rows without a column for it; ``time_at(position)`` gives the capture time in UTC
    nanoseconds of rows without a column for it.
    """

    def __init__(
        self, files: FileSequence, path: Path, form: Form, subject: str, time_at: Callable[[int], int]
    ) -> None:
        self._files = files
        self._path = path
        self._form = form
        self._subject = subject
        self._time_at = time_at
        self._part: Part | None = None
        self._table: Table | None = None
        self._before: Table | None = None

    def begin(self) -> None:
        """Lines come from wherever ``files`` was opened."""
        self._part = None

    def item(self, line: bytes) -> Reading | ReadingError | None:
        """Result of a line; None for a header or an empty line."""
        files, where = self._files, f"{self._path}:{self._files.line}"
        if len(line) > LINE_LIMIT_BYTES:
            return ReadingError(f"{where}: the row is longer than {LINE_LIMIT_BYTES} bytes; it is left out")
        if files.part is not self._part:
            self._enter(files.part)
        text = line.rstrip(b"\r\n")
        if files.line <= 2 and (is_separator_line(text) or line == files.part.header):
            return None
        if self._table is None:
            return self._first(line)
        if not text.strip():
            return None
        try:
            return self._reading(self._table.row(text))
        except ValueError as error:
            return ReadingError(f"{where}: {error}; the row is left out")

    def _enter(self, part: Part) -> None:
        """The first line of another file."""
        self._part, self._before, self._table = part, self._table, None
        if not part.header and self._files.line > 1:
            part.header = _header_in(first_lines(self._files.file, 2))
        if part.header:
            self._table = self._table_of(part.header)

    def _first(self, line: bytes) -> Reading | ReadingError | None:
        """The first line of a file: its header, or a row if the previous file had a header."""
        part, before = self._files.part, self._before
        try:
            self._table = self._table_of(line)
            part.header = line
        except SourceFormatError:
            try:
                row = before.row(line.rstrip(b"\r\n")) if before is not None else None
            except ValueError:
                row = None
            if before is None or row is None:
                raise
            self._table, part.header = before, before.header
            return self._reading(row)
        if before is not None and self._table.channels != before.channels:
            names = ", ".join(self._table.channels)
            return ReadingError(f"{self._path}: its columns are others now: {names[:200]}", kind="changed")
        return None

    def _reading(self, row: Row) -> Reading:
        assert self._table is not None
        position = self._files.part.base + self._files.line
        return Reading(
            subject=row.subject if row.subject is not None else self._subject,
            captured_ns=self._time_at(position) if row.captured_ns is None else row.captured_ns,
            position=position,
            values=row.values,
            channels=self._table.channels,
            attributes=row.attributes,
            recorded=row.captured_ns is not None,
        )

    def check(self, *, follow: bool) -> tuple[str, ...]:
        """The channels, if they are known already. Raises `SourceFormatError` for an unusable file."""
        try:
            lines = first_lines(self._path, 3)
        except OSError as error:
            if follow and self._files.known and isinstance(error, FileNotFoundError):
                return ()
            raise SourceFormatError(f"{self._path} cannot be read: {error}") from error
        header = _header_in(lines)
        if not header:
            if follow:
                return ()
            raise SourceFormatError(
                f"{self._path}: the first row must name the columns and end with a line break; there is none"
            )
        try:
            table = self._table_of(header)
        except SourceFormatError:
            if not (self._files.known and self._files.part.header):
                raise
            table = self._table_of(self._files.part.header)
        number = lines.index(header) + 1
        for line in lines[number : number + 1]:
            try:
                table.row(line.rstrip(b"\r\n"))
            except FormError as error:
                raise SourceFormatError(f"{self._path}:{number + 1}: {error}") from None
            except ValueError:
                pass  # Reported when the row is read.
        return table.channels

    def _table_of(self, header: bytes) -> Table:
        try:
            if len(header) > LINE_LIMIT_BYTES:
                raise SourceFormatError(f"the first row is longer than {LINE_LIMIT_BYTES} bytes")
            return Table(header, self._form)
        except SourceFormatError as error:
            raise SourceFormatError(f"{self._path}: {error}") from None


def _header_in(lines: list[bytes]) -> bytes:
    """The header among the first lines of a file; empty where there is none yet."""
    return next((line for line in lines[:2] if not is_separator_line(line.rstrip(b"\r\n"))), b"")
