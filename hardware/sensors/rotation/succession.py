"""The file that follows the last part of a sequence.

In this order:

1. a part that is expected again after going back, if its file is found elsewhere than at the path;
2. the oldest file that was rotated away unseen since the last part was modified; one that does not begin with
   the header of that part is reported as lost;
3. the file at the path.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from common.errors import ReadingError
from hardware.sensors.rotation.lines import first_lines
from hardware.sensors.rotation.progress import Part, Progress
from hardware.sensors.rotation.search import find, rotated_since


class Successor(NamedTuple):
    """A file beside the path, and the part that it becomes."""

    file: Path
    part: Part
    expected: bool
    """Whether the part was in the progress before."""


def successor(
    path: Path, progress: Progress, since_ns: int | None
) -> Generator[ReadingError, None, Successor | None]:
    """The file after ``progress.part``; None for the one at ``path``. Yields losses.

    Expected parts that are passed over leave ``progress.expected``. ``since_ns`` is the last modification of
    the last part; without it no rotated files are looked for.
    """
    while progress.expected:
        part = progress.expected.pop(0)
        file = find(path, part, 0)
        if file is not None and file != path:
            return Successor(file, part, expected=True)
    if since_ns is None:
        return None
    for file in rotated_since(path, progress.parts, since_ns):
        if first_lines(file, 1) == [progress.part.header]:
            return Successor(file, Part(0), expected=False)
        yield ReadingError(
            f"{path}: {file.name} came in between and cannot be read as a file of this kind: its rows are "
            "lost",
            kind="lost",
        )
    return None
