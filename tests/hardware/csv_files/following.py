"""A logger that writes and rotates a CSV file, and a source that follows it."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from common.app.edge import Reading
from common.edge.sensing.sources import SourceUri
from common.errors import ReadingError
from hardware.sensors.csv import CsvSource, open_source
from tests.waiting import wait_for

HEADER = "subject,value\n"


class Logger:
    """Writes numbered rows to a file, as a logger does, and rotates it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "engine.csv"
        self.written = 0
        self.path.write_text(HEADER)

    def rows(self, count: int, *, file: Path | str | None = None) -> None:
        with Path(file or self.path).open("a") as out:
            for _ in range(count):
                out.write(f"e,{self.written}\n")
                self.written += 1

    def rename(self, name: str = "engine.csv.1", *, header: bool = True) -> None:
        self.path.rename(self.path.with_name(name))
        self.path.write_text(HEADER if header else "")

    def truncate(self, name: str = "engine.csv.1", *, header: bool = True) -> None:
        shutil.copy2(self.path, self.path.with_name(name))
        with self.path.open("r+") as file:
            file.truncate()
            file.write(HEADER if header else "")


def source_at(path: Path, memory: Path | None, **parameters: str) -> CsvSource:
    return open_source(SourceUri("", "csv", str(path), parameters, memory), 0.0)


class Followed:
    """A source that is followed by a thread; what it gave."""

    def __init__(self, source: CsvSource, after: int | None = None) -> None:
        self.source = source
        self.items: list[Reading | ReadingError] = []
        self.failed: Exception | None = None
        self._thread = threading.Thread(target=self._read, args=(after,), daemon=True)
        self._thread.start()

    def _read(self, after: int | None) -> None:
        try:
            for item in self.source.readings(after):
                self.items.append(item)
        except Exception as error:  # Raised by `wait`.
            self.failed = error

    def values(self) -> list[int]:
        return [int(item.values[0]) for item in self.items if isinstance(item, Reading)]

    def errors(self) -> list[ReadingError]:
        return [item for item in self.items if isinstance(item, ReadingError)]

    def wait(self, count: int) -> None:
        wait_for(lambda: len(self.values()) >= count or self.failed, f"{count} rows of {self.items[-3:]}")
        assert self.failed is None

    def end(self) -> int:
        """Close the source; the last position."""
        self.source.close()
        self._thread.join(10)
        assert not self._thread.is_alive()
        return positions(self.items)[-1]


def positions(items: list[Reading | ReadingError]) -> list[int]:
    return [item.position for item in items if isinstance(item, Reading)]


def kinds(errors: list[ReadingError]) -> list[str]:
    return [error.kind for error in errors]
