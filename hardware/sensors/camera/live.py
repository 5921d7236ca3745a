"""Live cameras: ``rtsp://``, MJPEG over ``http://`` and ``https://``, and ``usb:N``.

Frames are read as they come, so none waits in a buffer; the node's queue keeps the newest and counts the
others (`common.edge.processing.reading_queue`). A camera that cannot be opened, ends its stream or is silent
for ``timeout_s`` is a `SourceError`; the node opens it again with growing delays. Capture times are the
stream's timestamps on this device's clock where it has any (`stream_clock`).

Within one connection OpenCV scales frames of another size to the first one's; a change of the resolution is
reported when the camera is opened again, which it mostly is after such a change.

Parameters stand behind ``#`` for addresses of a network (``rtsp://10.0.0.7/live?channel=1#name=door``) and
behind ``?`` for USB cameras (``usb:0?width=1280&height=720``).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from common.app.edge import Reading
from common.clock import anchored_clock
from common.edge.processing.reading_queue import DROPPED
from common.edge.sensing.sources import SourceUri
from common.errors import ReadingError, SourceError
from hardware.sensors.camera.capture import camera_name, check_parameters, no_camera, number, opencv, resized
from hardware.sensors.camera.stream_clock import StreamClock

TIMEOUT_S = 10.0
DAMAGED_FRAMES = 16
"""Frames in a row that cannot be decoded, after which a camera is opened again."""
BUFFERED_FRAMES = 256
UNTIMED_FRAMES = 3
NETWORK_PARAMETERS = {
    "name": "the camera's name (host and path)",
    "timeout_s": f"silence after which it is opened again ({TIMEOUT_S:g})",
}
USB_PARAMETERS = {
    "name": "the camera's name (usb-N)",
    "timeout_s": NETWORK_PARAMETERS["timeout_s"],
    "width": "of its frames, in pixels (the driver's)",
    "height": "of its frames, in pixels (the driver's)",
    "fps": "frames per second (the driver's)",
}


class LiveCamera:
    """`common.app.edge.Source` over a camera. ``address`` is what OpenCV opens, a URL or a device."""

    live = True
    virtual = False

    def __init__(self, uri: SourceUri, name: str, address: str | int, timeout_s: float) -> None:
        self._uri = uri
        self._name = name
        self._address = address
        self._timeout_s = timeout_s
        self._closed = threading.Event()
        self._clock = anchored_clock()
        self._shape: tuple[int, ...] | None = None
        self._frame: NDArray[np.uint8] | None = None

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        """Frames as they come. Raises `SourceError` once there are no more."""
        cv2 = opencv()
        position = after or 0
        times = StreamClock()
        capture = self._open(cv2)
        try:
            dropped = self._pass_buffered(cv2, capture)
            while self._read(capture):
                now_ns = self._clock()
                frame = self._frame
                if frame is None or frame.ndim != 3 or frame.shape[2] != 3:
                    yield ReadingError(f"a frame of {self._name} has no colours")
                    continue
                if frame.shape != self._shape:
                    if self._shape is not None:
                        yield resized(f"the frames of {self._name}", self._shape, frame.shape)
                    self._shape = frame.shape
                position += 1
                captured_ns = times.captured_ns(capture.get(cv2.CAP_PROP_POS_MSEC), now_ns)
                attributes, dropped = {DROPPED: dropped} if dropped else {}, 0
                yield Reading(self._name, captured_ns, position, frame, attributes=attributes)
        finally:
            capture.release()

    def _pass_buffered(self, cv2: Any, capture: Any) -> int:
        """Pass the frames that came while FFmpeg examined an RTSP stream, which takes seconds; their number.

        They are there at once; the first that is waited for is new.
        """
        if self._uri.scheme != "rtsp":
            return 0
        stream_ms, arrived_s = 0.0, time.monotonic()
        for passed in range(BUFFERED_FRAMES):
            if not capture.grab():
                return passed
            before_ms, stream_ms = stream_ms, capture.get(cv2.CAP_PROP_POS_MSEC)
            before_s, arrived_s = arrived_s, time.monotonic()
            step_ms = stream_ms - before_ms
            if before_ms > 0 and (arrived_s - before_s) * 1000 > step_ms / 2:
                return passed
            if passed >= UNTIMED_FRAMES and not step_ms > 0:
                return passed
        return BUFFERED_FRAMES

    def _read(self, capture: Any) -> bool:
        """Decode the next frame. False once closed. Raises `SourceError` if there is none in time."""
        give_up_s = time.monotonic() + self._timeout_s
        for _ in range(DAMAGED_FRAMES):
            good, self._frame = capture.read()
            if self._closed.is_set():
                return False
            if good:
                return True
            if time.monotonic() > give_up_s:
                break
        raise no_camera(self._uri, "gives no more frames: it ended, or was silent for too long")

    def _open(self, cv2: Any) -> Any:
        timeout_ms = math.ceil(self._timeout_s * 1000)
        if isinstance(self._address, int) or self._address.startswith("/dev/"):
            wanted: list[int] = []
            for name, key in (
                ("width", cv2.CAP_PROP_FRAME_WIDTH),
                ("height", cv2.CAP_PROP_FRAME_HEIGHT),
                ("fps", cv2.CAP_PROP_FPS),
            ):
                if name in self._uri.parameters:
                    wanted += [key, round(number(self._uri, name, 0))]
            capture = cv2.VideoCapture(self._address, cv2.CAP_V4L2, wanted)
        else:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
            capture = cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            capture.release()
            raise no_camera(self._uri, "cannot be opened: it is not there, refuses, or is no video")
        return capture

    def close(self) -> None:
        """End `readings`, from any thread, with the next frame or after ``timeout_s``."""
        self._closed.set()


def open_network(uri: SourceUri, _speed: float) -> LiveCamera:
    """Open ``rtsp://``, ``http://`` or ``https://``. Raises `SourceError`."""
    opencv()
    check_parameters(uri, NETWORK_PARAMETERS)
    address = f"{uri.scheme}:{uri.target}"
    parts = urlsplit(address)
    if not parts.hostname:
        raise SourceError(f"{uri.scheme}: needs an address such as {uri.scheme}://10.0.0.7/live")
    name = camera_name(uri, f"{parts.hostname}{parts.path}{'-' + parts.query if parts.query else ''}"[:64])
    return LiveCamera(uri, name, address, number(uri, "timeout_s", TIMEOUT_S))


def open_usb(uri: SourceUri, _speed: float) -> LiveCamera:
    """Open ``usb:N`` or ``usb:/dev/videoN``. Raises `SourceError`."""
    opencv()
    check_parameters(uri, USB_PARAMETERS)
    for name in ("width", "height", "fps"):
        number(uri, name, 0)
    if not (uri.target.isdecimal() or uri.target.startswith("/dev/")):
        raise SourceError(f"{uri.text!r} is no USB camera; give usb:0 or usb:/dev/video0")
    address = int(uri.target) if uri.target.isdecimal() else uri.target
    name = camera_name(uri, f"usb-{uri.target.removeprefix('/dev/')}")
    return LiveCamera(uri, name, address, number(uri, "timeout_s", TIMEOUT_S))
