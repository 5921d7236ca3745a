"""Playing a recording at its own pace, or faster."""

from __future__ import annotations

import threading
import time


class Pace:
    """Waits so that recorded times pass ``speed`` times as fast as they did; 0 does not wait at all."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._closed = threading.Event()
        self._start: tuple[int, float] | None = None

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """End a wait, from another thread."""
        self._closed.set()

    def pause(self, seconds: float) -> None:
        """Wait, at most until closed."""
        self._closed.wait(seconds)

    def wait_until(self, recorded_ns: int) -> bool:
        """Wait until ``recorded_ns`` is due; False once closed. A jump of the clock is not waited for."""
        if self._speed <= 0:
            return not self.closed
        now = time.monotonic()
        if self._start is None:
            self._start = (recorded_ns, now)
        due = self._start[1] + (recorded_ns - self._start[0]) / 1e9 / self._speed
        if not now - 5.0 < due < now + 3600.0:
            self._start, due = (recorded_ns, now), now
        return not self._closed.wait(max(0.0, due - now))
