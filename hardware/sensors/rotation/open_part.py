"""The open file of a part: its lines, and the position in it that `Part` records.

The position counts as due to be saved after the first rows and whenever the amount read has doubled, so that
the number of saves grows with the logarithm of the file's size.
"""

from __future__ import annotations

import os
from pathlib import Path

from hardware.sensors.rotation.lines import Lines, open_file
from hardware.sensors.rotation.progress import Part


class OpenPart:
    """``part`` in ``file``, open after line ``count``. Raises OSError, or `SourceFormatError`.

    ``at_path``: the file lies at the path of the sequence, where its writer adds to it.
    """

    def __init__(self, part: Part, file: Path, count: int, *, at_path: bool) -> None:
        self.part = part
        self.file = file
        self.at_path = at_path
        self._lines = Lines(open_file(file))
        self._lines.skip_to(count)
        self._recorded_size = part.size
        self._seen_size = -1
        part.device, part.inode = self._lines.identity()

    @property
    def line(self) -> int:
        """Number of the last line that was read."""
        return self._lines.count

    @property
    def unfinished(self) -> bool:
        """Whether the file has content after its last line break."""
        return self._lines.unfinished

    @property
    def is_save_due(self) -> bool:
        """Whether the position has moved far enough since `record`."""
        return self._lines.count == 2 or self._lines.size > 2 * self._recorded_size

    def next(self) -> bytes | None:
        """The next whole line; None if there is none."""
        return self._lines.next()

    def last(self) -> bytes | None:
        """The content after the last line break; None if there is none."""
        return self._lines.rest()

    def record(self) -> None:
        """Write the position into ``part``."""
        lines, part = self._lines, self.part
        part.lines, part.size, part.crc = lines.count, lines.size, lines.crc
        self._recorded_size = part.size

    def is_same_file(self, there: os.stat_result) -> bool:
        """Whether ``there`` is the status of this file."""
        return (there.st_dev, there.st_ino) == self._lines.identity()

    def has_changed_size(self, size: int) -> bool:
        """Whether ``size`` is another one than at the last call."""
        changed, self._seen_size = size != self._seen_size, size
        return changed

    def is_rewritten(self) -> bool:
        """Whether the content before the position is gone (`Lines.is_rewritten`)."""
        return self._lines.is_rewritten()

    def modified_ns(self) -> int:
        """Time of the last modification."""
        return self._lines.modified_ns()

    def close(self) -> None:
        self._lines.close()
