"""What was received and waits for the database: bounded, and read in groups."""

from __future__ import annotations

import threading
import time
from collections import deque

from cloud_backend.ingest.arrival import Message


class Inbox:
    """A queue between the thread that receives and the one that commits, at most ``limit`` events.

    One message is taken even if it alone is over the limit; messages without events always are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: deque[Message] = deque()
        self._events = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, message: Message, timeout_s: float) -> bool:
        """Add ``message``, waiting up to ``timeout_s`` for room; False where there is none or it closes."""
        with self._changed:
            deadline = time.monotonic() + timeout_s
            while message.size and self._events and self._events + message.size > self._limit:
                remaining_s = deadline - time.monotonic()
                if self._closed or remaining_s <= 0:
                    return False
                self._changed.wait(remaining_s)
            if self._closed:
                return False
            self._messages.append(message)
            self._events += message.size
            self._changed.notify_all()
            return True

    def take(self, events: int) -> list[Message]:
        """All that waits, up to ``events`` (at least one message); blocks while there is nothing.

        Empty once the inbox is closed and read out.
        """
        with self._changed:
            while not self._messages and not self._closed:
                self._changed.wait()
            group: list[Message] = []
            size = 0
            while self._messages and (not group or size + self._messages[0].size <= events):
                message = self._messages.popleft()
                size += message.size
                group.append(message)
            self._events -= size
            self._changed.notify_all()
            return group

    def close(self) -> None:
        """Take nothing more; what waits can still be read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Events that wait."""
        return self._events
