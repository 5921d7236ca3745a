"""Capture times of a live stream from the timestamps in it. No I/O."""

from __future__ import annotations

import math


class StreamClock:
    """Puts the stream's own timestamps on this device's clock.

    The time between capture and arrival varies with the network; it is never negative. So the least that
    was seen is taken for the constant part, and a frame was captured at its timestamp plus that (the
    minimum filter of Moon, Skelly and Towsley, INFOCOM 1999). ``DRIFT`` lets it rise again as the clocks
    drift apart. Without usable timestamps the capture time is that of arrival.
    """

    DRIFT = 1e-3
    """How much faster than this device's clock a camera's may be."""
    JUMP_S = 5.0
    """Difference from which the stream's timestamps are taken to have begun again."""

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._stream_ns = -1

    def captured_ns(self, stream_ms: float, now_ns: int) -> int:
        """Capture time of a frame with this timestamp that arrives now; ``stream_ms`` may be NaN or 0."""
        stream_ns = round(stream_ms * 1e6) if math.isfinite(stream_ms) else -1
        elapsed_ns, self._stream_ns = stream_ns - self._stream_ns, stream_ns
        if stream_ns <= 0 or elapsed_ns <= 0:
            self._offset_ns = None
            return now_ns
        offset_ns = now_ns - stream_ns
        if self._offset_ns is not None and abs(offset_ns - self._offset_ns) <= self.JUMP_S * 1e9:
            offset_ns = min(offset_ns, self._offset_ns + round(self.DRIFT * elapsed_ns))
        self._offset_ns = offset_ns
        return stream_ns + offset_ns
