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
from hardware.sensors.rotation.lines import Lines, first_lines, open_file
from hardware.sensors.rotation.progress import Part, Progress
from hardware.sensors.rotation.search import find, matches, rotated_since


class FileSequence:
    """The files at ``path``: `begin`, then `next` for lines and `advance` when there is none."""

    def __init__(self, path: Path, folder: Path | None) -> None:
        self._path = path
        self._progress = Progress(path, folder)
        self._lines: Lines | None = None
        self._saved_size = 0
        self._seen_size = -1
        self._at_path = False
        self._file = path

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
        return self._lines.count if self._lines is not None else 0

    @property
    def file(self) -> Path:
        """Path of the open file."""
        return self._file

    @property
    def unfinished(self) -> bool:
        """Whether the open file has content after its last line break."""
        return self._lines is not None and self._lines.unfinished

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
            if not self._at_path:
                yield self._changed("the earlier file lies elsewhere now; its rest is read first")
            return
        yield self._changed(
            f"another file; the earlier one is gone, and rows after its line {after - self.part.base}, if "
            "there were any, are lost"
        )
        yield from self._open_following(after, reported=True)

    def next(self) -> bytes | None:
        """The next whole line; None if the open file has no more."""
        assert self._lines is not None
        return self._counted(self._lines.next())

    def last(self) -> bytes | None:
        """The content after the last line break; None if there is none."""
        assert self._lines is not None
        return self._counted(self._lines.rest())

    def advance(self, *, follow: bool) -> Generator[ReadingError, None, bool]:
        """Look for more after the last whole line; yields what has changed.

        Returns whether `next` may have more now.
        """
        assert self._lines is not None
        if self._at_path and not follow:
            if self._lines.is_rewritten():
                yield ReadingError(
                    f"{self._path} was truncated while it was read: content after line {self.line} is "
                    "lost; use follow=true to continue reading",
                    kind="lost",
                )
            return False
        there = _about(self._path)
        if self._at_path:
            if there is not None and (there.st_dev, there.st_ino) == self._lines.identity():
                return (yield from self._grown(there.st_size))
            if there is not None and there.st_size:
                self._at_path = False  # What its writer still wrote is read before `advance` moves on.
                return True
            return False  # Its writer has not begun another one; the open one may still grow.
        if follow and not self._progress.expected and (there is None or not there.st_size):
            return False
        if self._lines.is_rewritten():  # Truncated, and then renamed, between two polls.
            return (yield from self._truncated())
        yield from self._leave()
        return True

    def save(self, *, strict: bool = False) -> None:
        """Save the position in the open file. Raises OSError only with ``strict``."""
        if self._lines is None:
            return
        part = self.part
        part.lines, part.size, part.crc = self._lines.count, self._lines.size, self._lines.crc
        self._saved_size = part.size
        self._progress.save(strict=strict)

    def close(self) -> None:
        """Close the open file, if any, and save the position."""
        if self._lines is not None:
            self.save()
            self._lines.close()
            self._lines = None

    # ------------------------------------------------------------------------------------- advancing

    def _counted(self, line: bytes | None) -> bytes | None:
        assert self._lines is not None
        if line is not None and (self._lines.count == 2 or self._lines.size > 2 * self._saved_size):
            self.save()
        return line

    def _grown(self, size: int) -> Generator[ReadingError, None, bool]:
        """The open file is still the one at the path, and has ``size`` bytes now."""
        assert self._lines is not None
        if not self._lines.is_rewritten():
            grown = size != self._seen_size
            self._seen_size = size
            return grown
        return (yield from self._truncated())

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
        assert self._lines is not None
        self.save()
        part = self.part
        if matches(self._path, part, part.lines):
            self._open_known(part, part.lines)  # Its content in a new file: written again, and longer.
            return
        if self._lines.unfinished:
            yield ReadingError(
                f"{self._path}: the last row of the earlier file, after line {part.lines}, has no line "
                "break: it may be cut and is not read",
                kind="lost",
            )
        part.finished = True
        yield from self._open_following(part.end, reported=False, since_ns=self._lines.modified_ns())

    def _open_following(
        self, base: int, *, reported: bool, since_ns: int | None = None
    ) -> Iterator[ReadingError]:
        """Open the file after the last part, its lines numbered from ``base`` on.

        ``since_ns`` is the last modification of the last part: files that were rotated away unseen after that
        come before the one at the path.
        """
        while self._progress.expected:
            part = self._progress.expected.pop(0)
            file = find(self._path, part, 0)
            if file is not None and file != self._path:
                self.close()
                part.base = base
                self._progress.parts.append(part)
                self._open(file, 0)
                yield self._changed(f"continues with {file.name}")
                return
        for file in rotated_since(self._path, self._progress.parts, since_ns) if since_ns is not None else ():
            if first_lines(file, 1) != [self.part.header]:
                yield ReadingError(
                    f"{self._path}: {file.name} came in between and cannot be read as a file of this kind: "
                    "its rows are lost",
                    kind="lost",
                )
                continue
            self.close()
            self._progress.add(Part(base))
            self._open(file, 0)
            self._progress.save(strict=True)
            yield self._changed(f"continues with {file.name}")
            return
        self.close()
        self._open_new(base)
        if not reported:
            yield self._changed("another file; it is read from its start")

    def _changed(self, what: str) -> ReadingError:
        return ReadingError(f"{self._path}: {what}", kind="changed")

    # ------------------------------------------------------------------------------------ opening

    def _open_new(self, base: int) -> None:
        """The file at the path, from its start."""
        lines = Lines(open_file(self._path))
        device, inode = lines.identity()
        self._progress.add(Part(base, device, inode))
        self._lines, self._file, self._at_path, self._saved_size = lines, self._path, True, 0
        self._seen_size = -1
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
        self._lines = Lines(open_file(file))
        self._lines.skip_to(count)
        self._file, self._at_path, self._seen_size = file, file == self._path, -1
        self._saved_size = self.part.size
        self.part.device, self.part.inode = self._lines.identity()


def _about(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
