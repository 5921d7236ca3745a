"""The files at one path, one after another, as a single sequence of numbered lines.

A logger's file grows, is renamed by a rotation, copied and truncated, replaced by the next day's or rewritten
from its beginning. `FileSequence` yields the lines of all of them:

- A line is yielded once its line break is there.
- A file is identified by its content: length and checksum of what was read. So another file at the same path
  is detected whatever its inode, and a copied or renamed file is recognised.
- Lines are numbered throughout: the number of a line is ``part.base`` plus its line in the file. ``base`` is
  the number reached when the file was begun, so numbers increase over all files.
- If the file at the path was replaced before its end was read, its rest is read first, provided that it lies
  in the same folder under a name that begins alike (``engine.csv.1``); otherwise the loss is reported.

Progress is saved when a part begins, after its first rows, whenever the amount read has doubled, and at its
end (`hardware.sensors.rotation.progress`).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

from common.errors import ReadingError
from hardware.sensors.rotation.open_part import OpenPart
from hardware.sensors.rotation.progress import Part, Progress
from hardware.sensors.rotation.search import find, matches
from hardware.sensors.rotation.succession import successor


class FileSequence:
    """The files at ``path``: `begin`, then `next` for lines and `advance` when there is none."""

    def __init__(self, path: Path, folder: Path | None) -> None:
        self._path = path
        self._progress = Progress(path, folder)
        self._open_part: OpenPart | None = None

    @property
    def known(self) -> bool:
        """Whether something at this path was read before."""
        return bool(self._progress.parts)

    @property
    def part(self) -> Part:
        return self._progress.part

    @property
    def line(self) -> int:
        """Number of the last line in the open file."""
        return self._open_part.line if self._open_part is not None else 0

    @property
    def file(self) -> Path:
        """Path of the open file."""
        return self._opened.file

    @property
    def unfinished(self) -> bool:
        """Whether the open file has content after its last line break."""
        return self._open_part is not None and self._open_part.unfinished

    def begin(self, after: int | None) -> Iterator[ReadingError]:
        """Open the file in which line ``after`` lies, after it; yields what has changed.

        Raises OSError if there is no file.
        """
        self.close()
        if after is None:
            self._progress.forget()
            self._open_new(0)
            return
        self._progress.go_back(after)
        if self._open_known(self.part, after - self.part.base):
            if not self._opened.at_path:
                yield self._changed("the earlier file lies elsewhere now; its rest is read first")
            return
        yield self._changed(
            f"another file; the earlier one is gone, and rows after its line {after - self.part.base}, if "
            "there were any, are lost"
        )
        yield from self._open_following(after, reported=True)

    def next(self) -> bytes | None:
        """The next whole line; None if the open file has no more."""
        return self._counted(self._opened.next())

    def last(self) -> bytes | None:
        """The content after the last line break; None if there is none."""
        return self._counted(self._opened.last())

    def advance(self, *, follow: bool) -> Generator[ReadingError, None, bool]:
        """Look for more after the last whole line; yields what has changed.

        Returns whether `next` may have more now.
        """
        opened = self._opened
        if opened.at_path and not follow:
            if opened.is_rewritten():
                yield ReadingError(
                    f"{self._path} was truncated while it was read: content after line {self.line} is "
                    "lost; use follow=true to continue reading",
                    kind="lost",
                )
            return False
        there = _about(self._path)
        if opened.at_path:
            if there is not None and opened.is_same_file(there):
                return (yield from self._grown(there.st_size))
            if there is not None and there.st_size:
                opened.at_path = False  # What its writer still wrote is read before `advance` moves on.
                return True
            return False  # Its writer has not begun another one; the open one may still grow.
        if follow and not self._progress.expected and (there is None or not there.st_size):
            return False
        if opened.is_rewritten():  # Truncated, and then renamed, between two polls.
            return (yield from self._truncated())
        yield from self._leave()
        return True

    def save(self, *, strict: bool = False) -> None:
        """Save the position in the open file. Raises OSError only with ``strict``."""
        if self._open_part is not None:
            self._open_part.record()
            self._progress.save(strict=strict)

    def close(self) -> None:
        """Close the open file, if any, and save the position."""
        if self._open_part is not None:
            self.save()
            self._open_part.close()
            self._open_part = None

    @property
    def _opened(self) -> OpenPart:
        assert self._open_part is not None
        return self._open_part

    # ------------------------------------------------------------------------------------- advancing

    def _counted(self, line: bytes | None) -> bytes | None:
        if line is not None and self._opened.is_save_due:
            self.save()
        return line

    def _grown(self, size: int) -> Generator[ReadingError, None, bool]:
        """The open file is still the one at the path, and has ``size`` bytes now."""
        if self._opened.is_rewritten():
            return (yield from self._truncated())
        return self._opened.has_changed_size(size)

    def _truncated(self) -> Generator[ReadingError, None, bool]:
        """The open file no longer has the content that was read."""
        self.save()
        line = self.line
        if self._open_known(self.part, self.part.lines, elsewhere=True):
            yield self._changed("the file was truncated; its rest is read from a copy first")
            return True
        yield self._changed(
            f"the file was truncated; rows that were added after its line {line} and not yet read are lost"
        )
        self.part.device = self.part.inode = 0  # It holds other rows now.
        yield from self._leave()
        return True

    def _leave(self) -> Iterator[ReadingError]:
        """The open file was read to its end: continue with the next one."""
        self.save()
        part = self.part
        if matches(self._path, part, part.lines):
            self._open_known(part, part.lines)  # Its content in a new file: written again, and longer.
            return
        if self._opened.unfinished:
            yield ReadingError(
                f"{self._path}: the last row of the earlier file, after line {part.lines}, has no line "
                "break: it may be cut and is not read",
                kind="lost",
            )
        part.finished = True
        yield from self._open_following(part.end, reported=False, since_ns=self._opened.modified_ns())

    def _open_following(
        self, base: int, *, reported: bool, since_ns: int | None = None
    ) -> Iterator[ReadingError]:
        """Open the file after the last part (`successor`), its lines numbered from ``base`` on."""
        found = yield from successor(self._path, self._progress, since_ns)
        self.close()
        if found is None:
            self._open_new(base)
            if not reported:
                yield self._changed("another file; it is read from its start")
            return
        found.part.base = base
        self._progress.add(found.part)
        self._open(found.file, 0)
        if not found.expected:
            self._progress.save(strict=True)
        yield self._changed(f"continues with {found.file.name}")

    def _changed(self, what: str) -> ReadingError:
        return ReadingError(f"{self._path}: {what}", kind="changed")

    # ------------------------------------------------------------------------------------ opening

    def _open_new(self, base: int) -> None:
        """The file at the path, from its start."""
        part = Part(base)
        self._open_part = OpenPart(part, self._path, 0, at_path=True)
        self._progress.add(part)
        self._progress.save(strict=True)

    def _open_known(self, part: Part, count: int, *, elsewhere: bool = False) -> bool:
        """Open the file of ``part`` after its line ``count``, if it can be found."""
        file = find(self._path, part, count, elsewhere=elsewhere)
        if file is None:
            return False
        self.close()
        self._open(file, count)
        return True

    def _open(self, file: Path, count: int) -> None:
        self._open_part = OpenPart(self.part, file, count, at_path=file == self._path)


def _about(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
