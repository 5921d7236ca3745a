"""Reading progress over the files of one path, in a small file in the node's folder."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from common import durable

log = logging.getLogger(__name__)

PROGRESS_FILE = "csv-files.json"
PARTS_LIMIT = 8
"""Maximum number of remembered files; the node goes back no further than its last group of readings."""
NOT_YET = 2**62
"""Base of a part that is not begun."""


class Part(msgspec.Struct):
    """One of the files, with its last saved position: lines, bytes, and the CRC-32 of these bytes."""

    base: int
    device: int = 0
    inode: int = 0
    lines: int = 0
    size: int = 0
    crc: int = 0
    header: bytes = b""
    """The header line that applies to it."""
    finished: bool = False
    """Whether it was read to its end and another file followed."""

    @property
    def end(self) -> int:
        """Number of its last line that was read."""
        return self.base + self.lines


class _Saved(msgspec.Struct):
    path: str
    parts: list[Part]


class Progress:
    """The files at ``path`` that were read, oldest first, and after going back those expected again.

    Saved in ``folder``; without a folder nothing is saved. An unreadable progress file is logged, and one of
    another path is ignored: the file at the path then counts as the one that was read.
    """

    def __init__(self, path: Path, folder: Path | None) -> None:
        self._path = path
        self._file = folder / PROGRESS_FILE if folder is not None else None
        self.parts = self._load()
        self.expected: list[Part] = []

    @property
    def part(self) -> Part:
        """The file that is read now."""
        return self.parts[-1]

    def forget(self) -> None:
        self.parts, self.expected = [], []

    def go_back(self, after: int) -> None:
        """Make the file that holds line ``after`` the current one; later ones are expected again."""
        parts = [*self.parts, *self.expected] or [Part(0)]
        index = max((i for i, part in enumerate(parts) if part.base < after), default=0)
        while index + 1 < len(parts) and parts[index].finished and after >= parts[index].end:
            index += 1
        self.parts, self.expected = parts[: index + 1], parts[index + 1 :]
        for part in self.expected:
            part.base = NOT_YET
        self.part.base = min(self.part.base, after)

    def add(self, part: Part) -> None:
        """Begin a file; the oldest is dropped beyond `PARTS_LIMIT`."""
        self.parts = [*self.parts[-PARTS_LIMIT + 1 :], part]

    def save(self, *, strict: bool) -> None:
        """Save durably. With ``strict`` raises OSError; otherwise it is logged."""
        if self._file is None:
            return
        content = msgspec.json.encode(_Saved(str(self._path.absolute()), self.parts + self.expected))
        try:
            durable.write(self._file, content, mode=0o600)
        except OSError as error:
            if strict:
                raise
            log.warning("%s cannot be written: %s", self._file, error)

    def _load(self) -> list[Part]:
        if self._file is None or not self._file.exists():
            return []
        try:
            saved = msgspec.json.decode(self._file.read_bytes(), type=_Saved)
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read; the file at %s is taken for the one that was read: %s",
                        self._file, self._path, error)  # fmt: skip
            return []
        return saved.parts if saved.path == str(self._path.absolute()) else []
