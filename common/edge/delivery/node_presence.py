"""Presence of a node on its status topic: ``online`` while it is connected, ``offline`` after it. No I/O.

The status is published when it changes, and again after `STATUS_REPEAT_S`, should an old last will have
arrived behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from common.clock import Clock
from common.messages import Status, encode

STATUS_REPEAT_S = 60.0


class NodePresence:
    """The statuses of one session; ``status`` returns the present one."""

    def __init__(self, status: Callable[[], Status], session: str, clock: Clock) -> None:
        self._status = status
        self._session = session
        self._clock = clock
        self._published = Status("offline", "")
        self._published_s = 0.0

    def will(self) -> bytes:
        """The last will of a connection."""
        return self._encode(Status("offline", self._status().app))

    def online(self) -> bytes:
        """The present status, to be published now."""
        self._published, self._published_s = self._status(), time.monotonic()
        return self._encode(self._published)

    def due(self) -> bytes | None:
        """The present status if it must be published again."""
        fresh = time.monotonic() - self._published_s < STATUS_REPEAT_S
        return None if fresh and self._status() == self._published else self.online()

    def offline(self) -> bytes:
        """The status of a node that stops as planned."""
        status = self._status()
        return self._encode(Status("offline", status.app, status.version))

    def _encode(self, status: Status) -> bytes:
        return encode(Status(status.state, status.app, status.version, self._clock(), self._session))
