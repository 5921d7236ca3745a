"""Rows of sensor values from a CSV file: ``csv:FILE?subject=engine-1&delimiter=;&decimal=comma``.

The first row names the columns (rules: `hardware.sensors.csv_table`). An empty cell is NaN; the app decides
whether that is usable. Without a column ``captured``, rows are ``period_s`` apart, starting now; in a
followed file they carry the time at which they were read. Times of the column ``captured`` are recorded, also
in a followed file: errors of the node's clock do not apply to them.

- A row is read once its line break is there. A last row without one is reported and not read, unless
  ``last_row=read``.
- An unreadable row becomes a `ReadingError` with file, line and column; the next row follows.
- Another file at the same path is detected (`hardware.sensors.rotation`) and read from its start.
- With ``follow=true`` the source does not end: it waits for rows, and continues in the next file after a
  rotation. Rows are then delivered immediately, whatever the speed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from common.app.edge import Reading
from common.clock import anchored_clock
from common.edge.sensing.sources import SourceUri
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.csv_reader import RowReader
from hardware.sensors.csv_table import DECIMALS, DELIMITERS, ENCODINGS, Form, zone_of
from hardware.sensors.pace import Pace
from hardware.sensors.rotation.sequence import FileSequence

PARAMETERS = {
    "subject": "subject of rows without a column for it (name of the file)",
    "period_s": "seconds between rows without a time (1)",
    "delimiter": "comma, semicolon, tab, pipe or one character (detected from the header)",
    "decimal": "decimal sign: point or comma (point)",
    "zone": "zone of times without one: UTC, +02:00 (written %2B02:00) or Europe/Berlin (refused)",
    "encoding": "utf-8, cp1252 or latin-1 (utf-8)",
    "ignore": "columns that are not sensors: names separated by commas (none)",
    "follow": "wait for more rows and for the next file: true or false (false)",
    "last_row": "read or refuse a last row without line break (refuse)",
}
FOLLOW_S = 0.2
"""Polling interval of a followed file."""
ABSENT_LOOKS = 25
"""Polls without a file at the path before that is reported."""


class CsvSource:
    """`Source` over the files at a path; the position of a row is its line number over all of them."""

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
        """Raises `SourceFormatError` for a file that does not match ``form``."""
        self._path = path
        self._period_ns = round(period_s * 1e9)
        self._follow = follow
        self._last_row = last_row
        self._pace = Pace(speed)
        self._clock = anchored_clock()
        self._start_ns = 0
        self._files = FileSequence(path, memory)
        self._rows = RowReader(self._files, path, form, subject, self._time_at)
        self._absent = 0
        self.channels = self._rows.check(follow=follow)

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """Rows after position ``after``. Raises `SourceFormatError` or OSError for an unreadable file."""
        self._start_ns = self._clock() - ((after or 1) + 1) * self._period_ns
        files = self._files
        self._rows.begin()
        try:
            yield from self._begin(after)
            while not self._pace.closed:
                line = files.next()
                if line is not None:
                    item = self._rows.item(line)
                    if item is not None and (yield from self._deliver(item)):
                        return
                elif (yield from files.advance(follow=self._follow)):
                    self._absent = 0
                elif not self._follow:
                    yield from self._end()
                    return
                else:
                    yield from self._wait()
        finally:
            files.close()

    def close(self) -> None:
        self._pace.close()

    def _time_at(self, position: int) -> int:
        """Capture time of a row without one."""
        return self._clock() if self._follow else self._start_ns + position * self._period_ns

    def _begin(self, after: int | None) -> Iterator[ReadingError]:
        while not self._pace.closed:
            try:
                yield from self._files.begin(after)
                return
            except FileNotFoundError:
                if not self._follow or not self._files.known:
                    raise
                yield from self._wait()

    def _wait(self) -> Iterator[ReadingError]:
        self._absent = 0 if self._path.exists() else self._absent + 1
        if self._absent == ABSENT_LOOKS:
            yield ReadingError(f"{self._path} is gone; reading continues when it is back", kind="changed")
        self._pace.pause(FOLLOW_S)

    def _end(self) -> Iterator[Reading | ReadingError]:
        """The end of a file that is not followed."""
        line = self._files.last() if self._last_row else None
        if line is not None:
            item = self._rows.item(line)
            if item is not None:
                yield from self._deliver(item)
        elif self._files.unfinished:
            yield ReadingError(
                f"{self._path}:{self._files.line + 1}: the last row has no line break at its end, so it "
                "may be cut: it is not read (add last_row=read to the source if the writer omits it)"
            )

    def _deliver(self, item: Reading | ReadingError) -> Generator[Reading | ReadingError, None, bool]:
        """Yield ``item`` when it is due; returns whether the source was closed."""
        if isinstance(item, Reading) and not self._follow and not self._pace.wait_until(item.captured_ns):
            return True
        yield item
        return False


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
