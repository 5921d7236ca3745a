"""Recorded readings: ``replay:FOLDER``, one ``.npz`` a reading, as ``edgeloop node run --record`` has them.

A file holds ``values`` and, as JSON text in ``reading``, the rest. Nothing is ever unpickled. A file that
cannot be read is given as a `ReadingError`, and the next one follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from common.app.edge import Reading
from common.arrays import read_arrays
from common.edge.sensing.sources import SourceUri
from common.errors import ArraysError, ReadingError, SourceFormatError
from hardware.sensors.pace import Pace

READING_LIMIT_BYTES = 64 * 1024 * 1024
"""Largest recorded reading after decompression."""


class ReplaySource:
    """`common.app.edge.Source` over a folder of recorded readings."""

    live = False
    virtual = False

    def __init__(self, folder: Path, speed: float) -> None:
        if not folder.is_dir():
            raise SourceFormatError(f"{folder} is not a folder of recorded readings")
        self._files = sorted(folder.glob("*.npz"))
        if not self._files:
            raise SourceFormatError(f"{folder} holds no recorded readings (*.npz)")
        self._pace = Pace(speed)
        self.identity = _digest(self._files[0])

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """The recorded readings behind position ``after``, in order."""
        for file in self._files:
            try:
                reading = read(file)
            except (
                OSError,
                EOFError,
                ValueError,
                KeyError,
                ArraysError,
                msgspec.MsgspecError,
            ) as error:
                yield ReadingError(f"{file} is not a recorded reading: {error}; it is left out")
                continue
            if after is not None and reading.position <= after:
                continue
            if not self._pace.wait_until(reading.captured_ns):
                return
            yield reading

    def close(self) -> None:
        self._pace.close()


def _digest(file: Path) -> str:
    """By what a folder is known again: its first reading; empty if it cannot be read."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return ""


def read(file: Path) -> Reading:
    """One recorded reading."""
    arrays = read_arrays(file, limit_bytes=READING_LIMIT_BYTES)
    rest: dict[str, Any] = msgspec.json.decode(arrays["reading"].tobytes(), type=dict[str, Any])
    values = arrays["values"]
    return Reading(
        subject=rest["subject"],
        captured_ns=rest["captured_ns"],
        position=rest["position"],
        values=values,
        channels=tuple(rest["channels"]),
        rate_hz=rest["rate_hz"],
        attributes=rest["attributes"],
        recorded=True,
    )


def open_source(uri: SourceUri, speed: float) -> ReplaySource:
    """Open ``replay:FOLDER``. Raises `SourceFormatError`."""
    return ReplaySource(Path(uri.target), speed)
