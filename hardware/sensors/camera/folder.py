"""A folder of pictures: ``folder:PATH``, in the order of their names, ``fps`` of them a second.

Position ``p`` is the picture ``p``, from 1. A file that is no picture is reported, and the next one follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.app.edge import Reading
from common.edge.sensing.sources import SourceUri
from common.errors import ReadingError, SourceFormatError
from hardware.sensors.camera.capture import camera_name, check_parameters, number, opencv
from hardware.sensors.camera.file import path_of, start_of
from hardware.sensors.pace import Pace

PARAMETERS = {
    "name": "the camera's name (the folder's)",
    "start": "time of the first picture in UTC (time of modification of the first)",
    "fps": "pictures per second (1)",
}
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
PICTURE_LIMIT_BYTES = 256 * 1024 * 1024


class PictureFolder:
    """`common.app.edge.Source` over a folder of pictures."""

    live = False
    virtual = False

    def __init__(self, folder: Path, name: str, start_ns: int | None, fps: float, speed: float) -> None:
        """Raises `SourceFormatError` for a folder without pictures."""
        if not folder.is_dir():
            raise SourceFormatError(f"{folder} is no folder")
        self._files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        if not self._files:
            raise SourceFormatError(f"{folder} has no pictures ({', '.join(sorted(SUFFIXES))})")
        self._name = name
        self._start_ns = self._files[0].stat().st_mtime_ns if start_ns is None else start_ns
        self._period_s = 1 / fps
        self._pace = Pace(speed)
        first = self._files[0]
        self.identity = hashlib.sha256(first.name.encode() + first.read_bytes()).hexdigest()

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """The pictures behind position ``after``."""
        cv2 = opencv()
        for position, file in enumerate(self._files, 1):
            if after is not None and position <= after:
                continue
            captured_ns = self._start_ns + round((position - 1) * self._period_s * 1e9)
            if not self._pace.wait_until(captured_ns):
                return
            try:
                if file.stat().st_size > PICTURE_LIMIT_BYTES:
                    raise OSError(f"it has over {PICTURE_LIMIT_BYTES} bytes")
                content = np.frombuffer(file.read_bytes(), np.uint8)
            except OSError as error:
                yield ReadingError(f"{file} cannot be read: {error}")
                continue
            frame = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
            if frame is None:
                yield ReadingError(f"{file} is no picture, or is damaged")
                continue
            yield Reading(self._name, captured_ns, position, frame, recorded=True)

    def close(self) -> None:
        self._pace.close()


def open_source(uri: SourceUri, speed: float) -> PictureFolder:
    """Open ``folder:PATH``. Raises `SourceError`."""
    opencv()
    check_parameters(uri, PARAMETERS)
    folder = path_of(uri)
    return PictureFolder(
        folder, camera_name(uri, folder.resolve().name), start_of(uri), number(uri, "fps", 1.0), speed
    )
