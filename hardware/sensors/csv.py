"""Rows of sensor values from a CSV file: ``csv:FILE?subject=engine-1&delimiter=;&decimal=comma``.

The first row names the columns (`hardware.sensors.csv_rows` has the rules). An empty cell is NaN: whether
that is usable is for the app to say. Without a column ``captured``, rows are ``period_s`` apart, from now on;
where the file is followed, they carry the time at which they were read. Times of that column are recorded
ones, also where the file is followed: no error of the node's clock concerns them.

- A row is read once its line break is there. The end of a file without one is told and not read, unless
  ``last_row=read`` says that the writer leaves it away.
- A row that cannot be read is given as a `ReadingError` with its file, line and column; the next one follows.
- Another file at the same path is seen as one (`hardware.sensors.csv_files`) and read from its start.
- With ``follow=true`` the source does not end: it waits for rows, and goes on in the file that comes after a
  rotation. Rows are then given as soon as they are there, whatever the speed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from common.app.edge import Reading
from common.clock import anchored_clock
from common.edge.sensing.sources import SourceUri
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.csv_files import LINE_LIMIT_BYTES, Part, Trail, first_lines
from hardware.sensors.csv_rows import (
    DECIMALS,
    DELIMITERS,
    ENCODINGS,
    Form,
    FormError,
    Row,
    Table,
    is_separator_line,
    zone_of,
)
from hardware.sensors.pace import Pace

PARAMETERS = {
    "subject": "what was observed, where no column says it (name of the file)",
    "period_s": "seconds between rows, where no column says the time (1)",
    "delimiter": "comma, semicolon, tab, pipe or one character (what the header shows)",
    "decimal": "decimal sign: point or comma (point)",
    "zone": "zone of times that have none: UTC, +02:00 (written %2B02:00) or Europe/Berlin (refused)",
    "encoding": "utf-8, cp1252 or latin-1 (utf-8)",
    "ignore": "columns that are no sensors, by name, between commas (none)",
    "follow": "whether to wait for more rows and for the next file: true or false (false)",
    "last_row": "read or refuse a last row without line break (refuse)",
}
FOLLOW_S = 0.2
"""How often a followed file is looked at."""
ABSENT_LOOKS = 25
"""Looks without a file at the path after which that is told."""


class CsvSource:
    """A `Source` over the files at a path; the position of a row is its line, numbered through."""

    live = False
    virtual = False

    def __init__(
        self,
        path: Path,
        form: Form,
        *,
        subject: str,
        period_s: float = 1.0,
        speed: float = 1.0,
        follow: bool = False,
        last_row: bool = False,
        memory: Path | None = None,
    ) -> None:
        """Raises `SourceFormatError` for a file that is not as ``form`` says."""
        self._path = path
        self._form = form
        self._subject = subject
        self._period_ns = round(period_s * 1e9)
        self._follow = follow
        self._last_row = last_row
        self._pace = Pace(speed)
        self._clock = anchored_clock()
        self._trail = Trail(path, memory)
        self._part: Part | None = None
        self._table: Table | None = None
        self._before: Table | None = None
        self._absent = 0
        self.channels = self._check()

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """Rows behind position ``after``. Raises `SourceFormatError` or OSError if it cannot be read on."""
        start_ns = self._clock() - ((after or 1) + 1) * self._period_ns
        trail = self._trail
        self._part = None
        try:
            yield from self._begin(after)
            while not self._pace.closed:
                line = trail.next()
                if line is not None:
                    item = self._item(line, start_ns)
                    if item is not None and (yield from self._give(item)):
                        return
                elif (yield from trail.turn(follow=self._follow)):
                    self._absent = 0
                elif not self._follow:
                    yield from self._end(start_ns)
                    return
                else:
                    yield from self._wait()
        finally:
            trail.close()

    def close(self) -> None:
        self._pace.close()

    # ------------------------------------------------------------------------------------ the files

    def _begin(self, after: int | None) -> Iterator[ReadingError]:
        while not self._pace.closed:
            try:
                yield from self._trail.begin(after)
                return
            except FileNotFoundError:
                if not self._follow or not self._trail.known:
                    raise
                yield from self._wait()

    def _wait(self) -> Iterator[ReadingError]:
        self._absent = 0 if self._path.exists() else self._absent + 1
        if self._absent == ABSENT_LOOKS:
            yield ReadingError(f"{self._path} is gone; it is read on when it is there again", kind="changed")
        self._pace.pause(FOLLOW_S)

    def _end(self, start_ns: int) -> Iterator[Reading | ReadingError]:
        """The end of a file that is not followed."""
        line = self._trail.last() if self._last_row else None
        if line is not None:
            item = self._item(line, start_ns)
            if item is not None:
                yield from self._give(item)
        elif self._trail.unfinished:
            yield ReadingError(
                f"{self._path}:{self._trail.line + 1}: the last row has no line break at its end, so it "
                "may be cut: it is not read (add last_row=read to the source if the writer leaves it away)"
            )

    def _give(self, item: Reading | ReadingError) -> Generator[Reading | ReadingError, None, bool]:
        """Yield ``item`` when it is due; returns whether the source was closed."""
        if isinstance(item, Reading) and not self._follow and not self._pace.wait_until(item.captured_ns):
            return True
        yield item
        return False

    # ------------------------------------------------------------------------------------ the rows

    def _item(self, line: bytes, start_ns: int) -> Reading | ReadingError | None:
        """What a line gives; None for a header or an empty line."""
        trail, where = self._trail, f"{self._path}:{self._trail.line}"
        if len(line) > LINE_LIMIT_BYTES:
            return ReadingError(f"{where}: the row is longer than {LINE_LIMIT_BYTES} bytes; it is left out")
        if trail.part is not self._part:
            self._enter(trail.part)
        text = line.rstrip(b"\r\n")
        if trail.line <= 2 and (is_separator_line(text) or line == trail.part.header):
            return None
        if self._table is None:
            return self._first(line, start_ns)
        if not text.strip():
            return None
        try:
            return self._reading(self._table.row(text), start_ns)
        except ValueError as error:
            return ReadingError(f"{where}: {error}; the row is left out")

    def _enter(self, part: Part) -> None:
        """Lines are of another file from here on."""
        self._part, self._before, self._table = part, self._table, None
        if not part.header and self._trail.line > 1:
            part.header = _header_in(first_lines(self._trail.file, 2))
        if part.header:
            self._table = self._table_of(part.header)

    def _first(self, line: bytes, start_ns: int) -> Reading | ReadingError | None:
        """The first line of a file: its header, or a row where the file before it had one."""
        part, before = self._trail.part, self._before
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
            return self._reading(row, start_ns)
        if before is not None and self._table.channels != before.channels:
            names = ", ".join(self._table.channels)
            return ReadingError(f"{self._path}: its columns are others now: {names[:200]}", kind="changed")
        return None

    def _reading(self, row: Row, start_ns: int) -> Reading:
        assert self._table is not None
        position = self._trail.part.base + self._trail.line
        captured_ns = row.captured_ns
        if captured_ns is None:
            captured_ns = self._clock() if self._follow else start_ns + position * self._period_ns
        return Reading(
            subject=row.subject if row.subject is not None else self._subject,
            captured_ns=captured_ns,
            position=position,
            values=row.values,
            channels=self._table.channels,
            attributes=row.attributes,
            recorded=row.captured_ns is not None,
        )

    def _check(self) -> tuple[str, ...]:
        """Refuse what every row would be refused for; the channels, where they are known already."""
        try:
            lines = first_lines(self._path, 3)
        except OSError as error:
            if self._follow and self._trail.known and isinstance(error, FileNotFoundError):
                return ()
            raise SourceFormatError(f"{self._path} cannot be read: {error}") from error
        header = _header_in(lines)
        if not header:
            if self._follow:
                return ()
            raise SourceFormatError(
                f"{self._path}: the first row must name the columns and end with a line break; there is none"
            )
        try:
            table = self._table_of(header)
        except SourceFormatError:
            if not (self._trail.known and self._trail.part.header):
                raise
            table = self._table_of(self._trail.part.header)
        number = lines.index(header) + 1
        for line in lines[number : number + 1]:
            try:
                table.row(line.rstrip(b"\r\n"))
            except FormError as error:
                raise SourceFormatError(f"{self._path}:{number + 1}: {error}") from None
            except ValueError:
                pass  # It is told as a row when it is read.
        return table.channels

    def _table_of(self, header: bytes) -> Table:
        try:
            if len(header) > LINE_LIMIT_BYTES:
                raise SourceFormatError(f"the first row is longer than {LINE_LIMIT_BYTES} bytes")
            return Table(header, self._form)
        except SourceFormatError as error:
            raise SourceFormatError(f"{self._path}: {error}") from None


def open_source(uri: SourceUri, speed: float) -> CsvSource:
    """Open ``csv:FILE?...``. Raises `SourceFormatError`."""
    parameters = uri.parameters
    unknown = sorted(set(parameters) - set(PARAMETERS))
    if unknown:
        raise SourceFormatError(f"csv: does not know {unknown[0]!r}; it has {', '.join(PARAMETERS)}")
    path = Path(uri.target)
    period = parameters.get("period_s", "1")
    try:
        period_s = float(period)
    except ValueError:
        period_s = 0.0
    if not 0 < period_s < 1e9:
        raise SourceFormatError(f"period_s={period} is not a number of seconds above 0")
    zone = parameters.get("zone")
    try:
        form = Form(
            delimiter=_delimiter(parameters.get("delimiter")),
            decimal=_one_of("decimal", parameters.get("decimal", "point"), {**DECIMALS, ".": ".", ",": ","}),
            encoding=_one_of("encoding", parameters.get("encoding", "utf-8"), {e: e for e in ENCODINGS}),
            zone=zone_of(zone) if zone is not None else None,
            ignore=tuple(name.strip() for name in parameters.get("ignore", "").split(",") if name.strip()),
        )
    except ValueError as error:
        raise SourceFormatError(f"zone={zone}: {error}") from None
    return CsvSource(
        path,
        form,
        subject=parameters.get("subject", path.stem),
        period_s=period_s,
        speed=speed,
        follow=_one_of("follow", parameters.get("follow", "false"), {"true": True, "false": False}),
        last_row=_one_of("last_row", parameters.get("last_row", "refuse"), {"read": True, "refuse": False}),
        memory=uri.folder,
    )


def _header_in(lines: list[bytes]) -> bytes:
    """The header among the first lines of a file; empty where there is none yet."""
    return next((line for line in lines[:2] if not is_separator_line(line.rstrip(b"\r\n"))), b"")


def _delimiter(text: str | None) -> str | None:
    if text is None:
        return None
    sign = DELIMITERS.get(text, text)
    if len(sign) != 1 or sign in '"\r\n.':
        raise SourceFormatError(f"delimiter={text!r} is not {', '.join(DELIMITERS)} or one character")
    return sign


V = TypeVar("V")


def _one_of(name: str, text: str, values: Mapping[str, V]) -> V:
    if text.lower() not in values:
        raise SourceFormatError(f"{name}={text} is none of {', '.join(values)}")
    return values[text.lower()]
