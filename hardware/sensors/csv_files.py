"""The files that stand at one path one after another, and how far each was read.

A logger's file grows, is renamed away by a rotation, copied and truncated, replaced by the next day's or
written again from its beginning. `Trail` gives the lines of all of them as one sequence:

- A line is given once its line break is there.
- A file is known by its content: length and checksum of what was read of it. So another file at the same
  path is seen as one, whatever its inode, and a copy or a renamed file is known again.
- Lines are numbered through: the number of a line is ``part.base`` plus its line in the file. ``base`` is
  what the numbers had reached when the file was begun, so they grow over all files.
- What was read of a file that is no longer at the path is read to its end first, where the file lies in the
  same folder under a name that begins alike (``engine.csv.1``). Where it does not, that is told.

The parts are kept in a small file in the node's folder, written when a part begins, after its first rows,
whenever what was read of it has doubled, and at its end. Without a folder they are kept in memory only.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import zlib
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from common import durable
from common.errors import ReadingError, SourceFormatError

log = logging.getLogger(__name__)

LINE_LIMIT_BYTES = 65536
PARTS_LIMIT = 8
"""Most files that are remembered; the node goes back over no more than its last group of readings."""
SIBLINGS_LIMIT = 1000
"""Most files of the folder that are looked at for an earlier file; the newest."""
TAIL_BYTES = 64
CHUNK_BYTES = 1024 * 1024
MEMORY_FILE = "csv-files.json"
_ROTATED = re.compile(r"[.-][0-9][0-9T_-]*(\.(gz|bz2|xz|zst))?")
"""What a rotation puts behind a file's name: a number or a date."""
NOT_YET = 2**62
"""Base of a part that is not begun."""


class Part(msgspec.Struct):
    """One of the files, and how far it was read at the last note: lines, bytes, their CRC-32."""

    base: int
    device: int = 0
    inode: int = 0
    lines: int = 0
    size: int = 0
    crc: int = 0
    header: bytes = b""
    """The header line that holds for it."""
    left: bool = False
    """Whether it was read to its end and another file came behind it."""

    @property
    def end(self) -> int:
        """The number of its last line that was read."""
        return self.base + self.lines


class Memory(msgspec.Struct):
    """What is kept in the node's folder."""

    path: str
    parts: list[Part]


class Lines:
    """Whole lines of an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0
        self.size = 0
        self.crc = 0
        self._tail = b""
        self._at_end = False
        self.unfinished = False
        """Whether the file goes on behind the last line break."""

    def next(self) -> bytes | None:
        """The next line with its line break; None where none is whole.

        Of a line that is longer than `LINE_LIMIT_BYTES` only the beginning is given, without line break.
        """
        if self._at_end and self.is_rewritten():
            return None
        line = self._file.readline(LINE_LIMIT_BYTES + 1)
        length, crc, piece = len(line), zlib.crc32(line, self.crc), line
        while not piece.endswith(b"\n"):
            if len(piece) <= LINE_LIMIT_BYTES:
                self.unfinished, self._at_end = length > 0, True
                self._file.seek(self.size)
                return None
            piece = self._file.readline(LINE_LIMIT_BYTES + 1)
            length, crc = length + len(piece), zlib.crc32(piece, crc)
        self._pass(length, crc, piece)
        return line

    def rest(self) -> bytes | None:
        """What stands behind the last line break, as if it were a line; None for nothing."""
        line = self._file.readline(LINE_LIMIT_BYTES + 1)
        if not line or len(line) > LINE_LIMIT_BYTES:
            return None
        self._pass(len(line), zlib.crc32(line, self.crc), line)
        return line

    def _pass(self, length: int, crc: int, end: bytes) -> None:
        self.count += 1
        self.size += length
        self.crc = crc
        self._tail = end[-TAIL_BYTES:]
        self.unfinished = self._at_end = False

    def skip_to(self, count: int) -> bool:
        """Pass over the lines up to ``count``; False if there are fewer."""
        while self.count < count:
            if self.next() is None and self.rest() is None:
                return False
        return True

    def is_rewritten(self) -> bool:
        """Whether the file lost what was read of it last: it was truncated, and perhaps filled again."""
        if os.fstat(self._file.fileno()).st_size < self.size:
            return True
        length = len(self._tail)
        return os.pread(self._file.fileno(), length, self.size - length) != self._tail

    def modified_ns(self) -> int:
        """When the file was written to last."""
        return os.fstat(self._file.fileno()).st_mtime_ns

    def identity(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_dev, found.st_ino

    def close(self) -> None:
        self._file.close()


class Trail:
    """The files at ``path``. After `begin`, `next` gives lines, and `turn` goes on where none is left."""

    def __init__(self, path: Path, memory: Path | None) -> None:
        self._path = path
        self._memory = memory / MEMORY_FILE if memory is not None else None
        self._parts: list[Part] = []
        self._expected: list[Part] = []
        self._lines: Lines | None = None
        self._noted_size = 0
        self._seen_size = -1
        self._at_path = False
        self._file = path
        self._load()

    @property
    def known(self) -> bool:
        """Whether something at this path was read before."""
        return bool(self._parts)

    @property
    def part(self) -> Part:
        return self._parts[-1]

    @property
    def line(self) -> int:
        """The last line of the file that was given."""
        return self._lines.count if self._lines is not None else 0

    @property
    def file(self) -> Path:
        """Where the open file lies."""
        return self._file

    @property
    def unfinished(self) -> bool:
        """Whether the open file goes on behind its last line break."""
        return self._lines is not None and self._lines.unfinished

    def begin(self, after: int | None) -> Iterator[ReadingError]:
        """Open the file in which line ``after`` lies, behind it; tells what is no longer as it was.

        Raises OSError if there is no file.
        """
        self.close()
        parts = [*self._parts, *self._expected]
        if after is None or not parts:
            self._parts, self._expected = [], []
            if after is None:
                self._open_new(0)
                return
            parts = [Part(0)]
        index = max((i for i, part in enumerate(parts) if part.base < after), default=0)
        while index + 1 < len(parts) and parts[index].left and after >= parts[index].end:
            index += 1
        self._parts, self._expected = parts[: index + 1], parts[index + 1 :]
        for part in self._expected:
            part.base = NOT_YET
        self.part.base = min(self.part.base, after)
        if self._open_known(self.part, after - self.part.base):
            if not self._at_path:
                yield self._changed("the earlier file lies elsewhere now; its rest is read first")
            return
        yield self._changed(
            f"another file; the earlier one is gone, and rows behind its line {after - self.part.base}, if "
            "there were any, are lost"
        )
        yield from self._open_following(after, told=True)

    def next(self) -> bytes | None:
        """The next whole line; None where the open file has none."""
        assert self._lines is not None
        return self._noted(self._lines.next())

    def last(self) -> bytes | None:
        """What stands behind the last line break; None for nothing."""
        assert self._lines is not None
        return self._noted(self._lines.rest())

    def turn(self, *, follow: bool) -> Generator[ReadingError, None, bool]:
        """Look for what comes behind the last whole line; tells what has changed.

        Returns whether `next` may have more now.
        """
        assert self._lines is not None
        if self._at_path and not follow:
            if self._lines.is_rewritten():
                yield ReadingError(
                    f"{self._path} was truncated while it was read: what stood behind line {self.line} is "
                    "lost; follow=true reads on",
                    kind="lost",
                )
            return False
        there = _about(self._path)
        if self._at_path:
            if there is not None and (there.st_dev, there.st_ino) == self._lines.identity():
                return (yield from self._grown(there.st_size))
            if there is not None and there.st_size:
                self._at_path = False  # What its writer still wrote is read before `turn` moves on.
                return True
            return False  # Its writer has not begun another one; the open one may still grow.
        if follow and not self._expected and (there is None or not there.st_size):
            return False
        if self._lines.is_rewritten():  # Truncated, and then renamed, between two looks.
            return (yield from self._truncated())
        yield from self._leave()
        return True

    def note(self, *, strict: bool = False) -> None:
        """Keep how far the open file was read. Only with ``strict`` raises OSError."""
        if self._lines is None:
            return
        part = self.part
        part.lines, part.size, part.crc = self._lines.count, self._lines.size, self._lines.crc
        self._noted_size = part.size
        self._save(strict=strict)

    def close(self) -> None:
        """Close the open file, if any, and keep how far it was read."""
        if self._lines is not None:
            self.note()
            self._lines.close()
            self._lines = None

    # ------------------------------------------------------------------------------------ going on

    def _noted(self, line: bytes | None) -> bytes | None:
        assert self._lines is not None
        if line is not None and (self._lines.count == 2 or self._lines.size > 2 * self._noted_size):
            self.note()
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
        """The open file lost what was read of it."""
        self.note()
        line = self.line
        if self._open_known(self.part, self.part.lines, elsewhere=True):
            yield self._changed("the file was truncated; its rest is read from a copy first")
            return True
        yield self._changed(
            f"the file was truncated; rows that were added behind its line {line} and not yet read are lost"
        )
        self.part.device = self.part.inode = 0  # It holds other rows now.
        yield from self._leave()
        return True

    def _leave(self) -> Iterator[ReadingError]:
        """The open file was read to its end: go on with what came behind it."""
        assert self._lines is not None
        self.note()
        part = self.part
        if self._matches(self._path, part, part.lines):
            self._open_known(part, part.lines)  # Its content in a new file: written again, and longer.
            return
        if self._lines.unfinished:
            yield ReadingError(
                f"{self._path}: the last row of the earlier file, behind line {part.lines}, has no line "
                "break: it may be cut and is not read",
                kind="lost",
            )
        part.left = True
        yield from self._open_following(part.end, told=False, since_ns=self._lines.modified_ns())

    def _open_following(
        self, base: int, *, told: bool, since_ns: int | None = None
    ) -> Iterator[ReadingError]:
        """Open the file behind the last part, its lines numbered from ``base`` on.

        ``since_ns`` is when the last part was written to last: files that were rotated away after that while
        nobody looked come before the one at the path.
        """
        while self._expected:
            part = self._expected.pop(0)
            file = self._find(part, 0)
            if file is not None and file != self._path:
                self.close()
                part.base = base
                self._parts.append(part)
                self._open(file, 0)
                yield self._changed(f"goes on with {file.name}")
                return
        for file in self._rotated_since(since_ns) if since_ns is not None else ():
            if first_lines(file, 1) != [self.part.header]:
                yield ReadingError(
                    f"{self._path}: {file.name} came in between and cannot be read as a file of this kind: "
                    "its rows are lost",
                    kind="lost",
                )
                continue
            self.close()
            self._parts = [*self._parts[-PARTS_LIMIT + 1 :], Part(base)]
            self._open(file, 0)
            self._save(strict=True)
            yield self._changed(f"goes on with {file.name}")
            return
        self.close()
        self._open_new(base)
        if not told:
            yield self._changed("another file; it is read from its start")

    def _changed(self, what: str) -> ReadingError:
        return ReadingError(f"{self._path}: {what}", kind="changed")

    # ------------------------------------------------------------------------------------ opening

    def _open_new(self, base: int) -> None:
        """The file at the path, from its start."""
        lines = Lines(_opened(self._path))
        device, inode = lines.identity()
        self._parts = [*self._parts[-PARTS_LIMIT + 1 :], Part(base, device, inode)]
        self._lines, self._file, self._at_path, self._noted_size = lines, self._path, True, 0
        self._seen_size = -1
        self._save(strict=True)

    def _open_known(self, part: Part, count: int, *, elsewhere: bool = False) -> bool:
        """Open the file of ``part`` behind its line ``count``, if it can be found."""
        file = self._find(part, count, elsewhere=elsewhere)
        if file is None:
            return False
        self.close()
        self._open(file, count)
        return True

    def _open(self, file: Path, count: int) -> None:
        self._lines = Lines(_opened(file))
        self._lines.skip_to(count)
        self._file, self._at_path, self._seen_size = file, file == self._path, -1
        self._noted_size = self.part.size
        self.part.device, self.part.inode = self._lines.identity()

    def _find(self, part: Part, count: int, *, elsewhere: bool = False) -> Path | None:
        """The file of ``part``, which has at least ``count`` lines."""
        if not elsewhere and self._matches(self._path, part, count):
            return self._path
        if not part.size:
            return None  # Nothing is known of its content.
        for renamed, file in self._siblings(part):
            if (renamed or part.lines > 1) and self._matches(file, part, count):
                return file
        return None

    def _rotated_since(self, since_ns: int) -> list[Path]:
        """Files with a rotation's name that were written since ``since_ns`` and not read, oldest first."""
        found: list[tuple[int, Path]] = []
        for file in self._path.parent.glob(f"{_escaped(self._path.name)}[.-]*"):
            if not _ROTATED.fullmatch(file.name[len(self._path.name) :]):
                continue
            with suppress(OSError):
                about = file.stat()
                known = any(
                    (about.st_dev, about.st_ino) == (part.device, part.inode)
                    or (part.lines > 1 and self._matches(file, part, part.lines))
                    for part in self._parts
                )
                if stat.S_ISREG(about.st_mode) and about.st_mtime_ns >= since_ns and not known:
                    found.append((about.st_mtime_ns, file))
        return [file for _, file in sorted(found)]

    def _siblings(self, part: Part) -> list[tuple[bool, Path]]:
        """Other files with a name that begins alike: first the renamed one, then the newest."""
        found: list[tuple[bool, int, Path]] = []
        for file in self._path.parent.glob(f"{_escaped(self._path.stem)}*"):
            with suppress(OSError):
                about = file.stat()
                if file != self._path and stat.S_ISREG(about.st_mode) and about.st_size >= part.size:
                    renamed = (about.st_dev, about.st_ino) == (part.device, part.inode)
                    found.append((renamed, about.st_mtime_ns, file))
        return [(renamed, file) for renamed, _, file in sorted(found, reverse=True)[:SIBLINGS_LIMIT]]

    def _matches(self, file: Path, part: Part, count: int) -> bool:
        """Whether ``file`` begins with what was read of ``part`` and has at least ``count`` lines."""
        try:
            with _opened(file) as opened:
                left, crc = part.size, 0
                while left and (content := opened.read(min(left, CHUNK_BYTES))):
                    left, crc = left - len(content), zlib.crc32(content, crc)
                if left or crc != part.crc:
                    return False
                opened.seek(0)
                return Lines(opened).skip_to(count)
        except (OSError, SourceFormatError):
            return False

    # ------------------------------------------------------------------------------------ remembering

    def _load(self) -> None:
        if self._memory is None or not self._memory.exists():
            return
        try:
            memory = msgspec.json.decode(self._memory.read_bytes(), type=Memory)
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read; the file at %s is taken for the one that was read: %s",
                        self._memory, self._path, error)  # fmt: skip
            return
        if memory.path == str(self._path.absolute()):
            self._parts = memory.parts

    def _save(self, *, strict: bool) -> None:
        if self._memory is None:
            return
        content = msgspec.json.encode(Memory(str(self._path.absolute()), self._parts + self._expected))
        try:
            durable.write(self._memory, content, mode=0o600)
        except OSError as error:
            if strict:
                raise
            log.warning("%s cannot be written: %s", self._memory, error)


def first_lines(path: Path, count: int) -> list[bytes]:
    """The first whole lines of a file, at most ``count``. Raises OSError, or `SourceFormatError`."""
    with _opened(path) as file:
        lines = Lines(file)
        found = [lines.next() for _ in range(count)]
        return [line for line in found if line is not None]


def _about(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _opened(path: Path) -> BinaryIO:
    """The file, opened. Raises OSError, or `SourceFormatError` for what is no file."""
    if path.exists() and not path.is_file():
        raise SourceFormatError(f"{path} is not a file")
    return path.open("rb")


def _escaped(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)
