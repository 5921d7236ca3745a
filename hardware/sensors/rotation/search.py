"""A file by its content: at its path, or renamed or copied beside it by a rotation."""

from __future__ import annotations

import re
import stat
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.errors import SourceFormatError
from hardware.sensors.rotation.lines import Lines, open_file
from hardware.sensors.rotation.progress import Part

SIBLINGS_LIMIT = 1000
"""Maximum number of files in the folder that are searched for an earlier file; the newest."""
CHUNK_BYTES = 1024 * 1024
_ROTATED = re.compile(r"[.-][0-9][0-9T_-]*(\.(gz|bz2|xz|zst))?")
"""Suffix of a rotation: a number or a date."""


def find(path: Path, part: Part, count: int, *, elsewhere: bool = False) -> Path | None:
    """The file of ``part``, with ``count`` lines or more: at ``path`` (unless ``elsewhere``) or beside it."""
    if not elsewhere and matches(path, part, count):
        return path
    if not part.size:
        return None  # Nothing is known of its content.
    for renamed, file in _siblings(path, part):
        if (renamed or part.lines > 1) and matches(file, part, count):
            return file
    return None


def rotated_since(path: Path, parts: Sequence[Part], since_ns: int) -> list[Path]:
    """Files with a rotation's name, written since ``since_ns`` and none of ``parts``, oldest first."""
    found: list[tuple[int, Path]] = []
    for file in path.parent.glob(f"{_escaped(path.name)}[.-]*"):
        if not _ROTATED.fullmatch(file.name[len(path.name) :]):
            continue
        with suppress(OSError):
            about = file.stat()
            known = any(
                (about.st_dev, about.st_ino) == (part.device, part.inode)
                or (part.lines > 1 and matches(file, part, part.lines))
                for part in parts
            )
            if stat.S_ISREG(about.st_mode) and about.st_mtime_ns >= since_ns and not known:
                found.append((about.st_mtime_ns, file))
    return [file for _, file in sorted(found)]


def _siblings(path: Path, part: Part) -> list[tuple[bool, Path]]:
    """Other files whose names begin alike: the renamed one first, then the newest."""
    found: list[tuple[bool, int, Path]] = []
    for file in path.parent.glob(f"{_escaped(path.stem)}*"):
        with suppress(OSError):
            about = file.stat()
            if file != path and stat.S_ISREG(about.st_mode) and about.st_size >= part.size:
                renamed = (about.st_dev, about.st_ino) == (part.device, part.inode)
                found.append((renamed, about.st_mtime_ns, file))
    return [(renamed, file) for renamed, _, file in sorted(found, reverse=True)[:SIBLINGS_LIMIT]]


def matches(file: Path, part: Part, count: int) -> bool:
    """Whether ``file`` begins with the known content of ``part`` and has at least ``count`` lines."""
    try:
        with open_file(file) as opened:
            left, crc = part.size, 0
            while left and (content := opened.read(min(left, CHUNK_BYTES))):
                left, crc = left - len(content), zlib.crc32(content, crc)
            if left or crc != part.crc:
                return False
            opened.seek(0)
            return Lines(opened).skip_to(count)
    except (OSError, SourceFormatError):
        return False


def _escaped(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)
