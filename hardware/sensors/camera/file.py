"""Recorded video: ``file:clip.mp4``, every frame, in real time or faster.

Position ``p`` is the frame ``p``, from 1; after a restart the frame behind the last committed one is
decoded next. Capture times are the start plus the frame's time in the file. The start is the parameter
``start``, else the file's time of modification less its duration, so that it is the same in every run.

A file that ends before its last frame is reported, and so is a frame that cannot be decoded; the others are
given.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.app.edge import Reading
from common.edge.sensing.sources import SourceUri
from common.errors import MessageError, ReadingError, SourceError, SourceFormatError
from common.messages import parse_time
from hardware.sensors.camera.capture import camera_name, check_parameters, number, opencv, resized
from hardware.sensors.pace import Pace

PARAMETERS = {
    "name": "the camera's name (the file's)",
    "start": "time of the first frame in UTC (time of modification less duration)",
    "fps": "frames per second (the file's)",
}
IDENTITY_BYTES = 65536
DAMAGED_FRAMES = 16
"""Frames in a row that cannot be decoded, after which a file is taken to have ended."""
COUNT_TOLERANCE = 0.01
"""Share by which the number of frames in a file's header may be wrong: in some formats it is an estimate."""


class VideoFile:
    """`common.app.edge.Source` over a video file."""

    live = False
    virtual = False

    def __init__(self, path: Path, name: str, start_ns: int | None, fps: float | None, speed: float) -> None:
        """Raises `SourceFormatError` for a file that is no video."""
        self._path = path
        self._name = name
        self._pace = Pace(speed)
        capture = self._open()
        try:
            cv2 = opencv()
            rate = capture.get(cv2.CAP_PROP_FPS)
            self._count = max(0, round(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        finally:
            capture.release()
        if fps is None and not (math.isfinite(rate) and 0 < rate <= 1000):
            raise SourceFormatError(f"{path} has no frame rate: add fps=25")
        self._by_rate = fps is not None
        self._fps = fps or rate
        stat = path.stat()
        duration_ns = round(self._count / self._fps * 1e9)
        self._start_ns = start_ns if start_ns is not None else stat.st_mtime_ns - duration_ns
        with path.open("rb") as content:
            head = content.read(IDENTITY_BYTES)
        self.identity = hashlib.sha256(head + str(stat.st_size).encode()).hexdigest()

    def _open(self) -> Any:
        cv2 = opencv()
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            capture.release()
            raise SourceFormatError(f"{self._path} is no video that can be read; it may be cut off")
        return capture

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """Frames behind position ``after``. Raises `SourceFormatError` for a file that cannot be read."""
        cv2 = opencv()
        capture = self._open()
        try:
            index, grabbed = self._seek(cv2, capture, after or 0)
            shape: tuple[int, ...] | None = None
            while grabbed:
                captured_ns = self._start_ns + self._time_ns(cv2, capture, index)
                if not self._pace.wait_until(captured_ns):
                    return
                good, frame = capture.retrieve()
                if not good or frame is None or frame.ndim != 3:
                    yield ReadingError(f"frame {index + 1} of {self._path} cannot be decoded")
                else:
                    if shape is not None and frame.shape != shape:
                        yield resized(f"the frames of {self._path}", shape, frame.shape)
                    shape = frame.shape
                    yield Reading(self._name, captured_ns, index + 1, frame, recorded=True)
                index += 1
                grabbed = capture.grab()
                if not grabbed and index < self._count and self._grab_behind_damage(capture):
                    yield ReadingError(f"{self._path} is damaged before frame {index + 1}", kind="lost")
                    grabbed = True
            missing = self._count - index
            if missing > max(1, COUNT_TOLERANCE * self._count) and not self._pace.closed:
                yield ReadingError(
                    f"{self._path} ends after {index} of {self._count} frames: it is cut off or damaged",
                    kind="lost",
                    count=missing,
                )
        finally:
            capture.release()

    def _seek(self, cv2: Any, capture: Any, index: int) -> tuple[int, bool]:
        """Grab the frame ``index`` (from 0): its index, and whether it is there."""
        if not index:
            return 0, capture.grab()
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        if capture.grab() and round(capture.get(cv2.CAP_PROP_POS_FRAMES)) == index + 1:
            return index, True
        # Not every format can be sought in: pass all frames before it.
        capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        for passed in range(index + 1):
            if self._pace.closed or not (capture.grab() or self._grab_behind_damage(capture)):
                return passed, False
        return index, True

    @staticmethod
    def _grab_behind_damage(capture: Any) -> bool:
        """Grab the next frame that can be decoded behind one that cannot."""
        return any(capture.grab() for _ in range(DAMAGED_FRAMES))

    def _time_ns(self, cv2: Any, capture: Any, index: int) -> int:
        """Time of the frame since the file's begin; by the frame rate where the file has no times."""
        milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
        by_rate = index / self._fps
        if self._by_rate or not math.isfinite(milliseconds) or (milliseconds <= 0 and index):
            return round(by_rate * 1e9)
        return round(milliseconds * 1e6)

    def close(self) -> None:
        self._pace.close()


def start_of(uri: SourceUri) -> int | None:
    """The parameter ``start`` in nanoseconds. Raises `SourceError`."""
    text = uri.parameters.get("start")
    try:
        return None if text is None else parse_time(text)
    except MessageError as error:
        raise SourceError(
            f"{uri.text}: start={text!r} is no time such as 2026-05-01T09:00:00Z: {error}"
        ) from None


def path_of(uri: SourceUri) -> Path:
    """The path of ``scheme:path`` or ``scheme:///path``."""
    return Path(uri.target.removeprefix("//"))


def open_source(uri: SourceUri, speed: float) -> VideoFile:
    """Open ``file:PATH``. Raises `SourceError`."""
    opencv()
    check_parameters(uri, PARAMETERS)
    path = path_of(uri)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise SourceFormatError(f"there is no file {path} that can be read")
    fps = number(uri, "fps", 0.0) or None
    return VideoFile(path, camera_name(uri, path.stem), start_of(uri), fps, speed)
