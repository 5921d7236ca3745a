"""Whole lines of an open file, with the length and the checksum of what was read."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import BinaryIO

from common.errors import SourceFormatError

LINE_LIMIT_BYTES = 65536
TAIL_BYTES = 64
"""Bytes before the reading position by which a truncation is detected."""


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
        """Whether the file has content after the last line break."""

    def next(self) -> bytes | None:
        """The next line with its line break; None where none is whole.

        Of a line longer than `LINE_LIMIT_BYTES` only the beginning is returned, without line break.
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
        """The content after the last line break as a line; None if there is none."""
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
        """Skip the lines up to ``count``; False if there are fewer."""
        while self.count < count:
            if self.next() is None and self.rest() is None:
                return False
        return True

    def is_rewritten(self) -> bool:
        """Whether the content before the position is gone: the file was truncated, perhaps refilled."""
        if os.fstat(self._file.fileno()).st_size < self.size:
            return True
        length = len(self._tail)
        return os.pread(self._file.fileno(), length, self.size - length) != self._tail

    def modified_ns(self) -> int:
        """Time of the last modification."""
        return os.fstat(self._file.fileno()).st_mtime_ns

    def identity(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_dev, found.st_ino

    def close(self) -> None:
        self._file.close()


def open_file(path: Path) -> BinaryIO:
    """Raises OSError, or `SourceFormatError` for a folder or a device."""
    if path.exists() and not path.is_file():
        raise SourceFormatError(f"{path} is not a file")
    return path.open("rb")


def first_lines(path: Path, count: int) -> list[bytes]:
    """The first whole lines of a file, at most ``count``. Raises OSError, or `SourceFormatError`."""
    with open_file(path) as file:
        lines = Lines(file)
        found = [lines.next() for _ in range(count)]
        return [line for line in found if line is not None]
