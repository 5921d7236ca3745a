"""The queue between the source and the app.

From a live source only the newest reading of each subject is kept, so a fast camera takes nothing from a
slow one; what it replaces is dropped, and the newer reading's attribute ``dropped`` counts it. From any
other source `ReadingQueue.put` waits while the queue is full, in number or in bytes (frames are large), so no
reading is lost.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from common.app.edge import Reading
from common.errors import ReadingError

QUEUE_READINGS = 256
QUEUE_BYTES = 32 * 1024 * 1024
"""Limit of the values of waiting readings from a source that is not live; two always fit."""
DROPPED = "dropped"
"""Attribute of a reading of a live source: frames of its subject that were dropped since the last one."""


class ReadingQueue:
    """Readings on their way to the app, at most ``limit`` (subjects, if the source is live)."""

    def __init__(self, *, live: bool, limit: int = QUEUE_READINGS) -> None:
        self._live = live
        self._limit = limit
        self._items: deque[Reading | ReadingError] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0
        """Items that were dropped here."""
        self.dropped_before = 0
        """Frames that the source had dropped."""
        self.dropped_by: dict[str, int] = {}
        """Both by subject, of up to ``limit`` subjects."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Reading | ReadingError) -> bool:
        """Add a reading, or what was wrong with one. False once the queue is closed."""
        with self._changed:
            if not self._live:
                self._changed.wait_for(lambda: self._closed or self._has_room(item))
            if self._closed:
                return False
            if self._live:
                self._put_newest(item)
            else:
                self._items.append(item)
                self._bytes += _size(item)
            self._changed.notify_all()
            return True

    def _has_room(self, item: Reading | ReadingError) -> bool:
        count = len(self._items)
        return count < self._limit and (count < 2 or self._bytes + _size(item) <= QUEUE_BYTES)

    def _put_newest(self, item: Reading | ReadingError) -> None:
        if isinstance(item, Reading):
            before = _dropped(item)
            self.dropped_before += before
            self._count(item.subject, before)
            for place, waiting in enumerate(self._items):
                if isinstance(waiting, Reading) and waiting.subject == item.subject:
                    count = before + 1 + _dropped(waiting)
                    self._items[place] = replace(item, attributes={**item.attributes, DROPPED: count})
                    self.dropped += 1
                    self._count(item.subject, 1)
                    return
        if len(self._items) >= self._limit:
            oldest = self._items.popleft()
            self.dropped += 1
            if isinstance(oldest, Reading):
                self._count(oldest.subject, 1)
        self._items.append(item)

    def _count(self, subject: str, frames: int) -> None:
        if frames and (subject in self.dropped_by or len(self.dropped_by) < self._limit):
            self.dropped_by[subject] = self.dropped_by.get(subject, 0) + frames

    def take(self, timeout_s: float) -> list[Reading | ReadingError]:
        """All waiting readings, after at most ``timeout_s``; empty if none came."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items), timeout_s)
            items = list(self._items)
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()
            return items

    def close(self) -> None:
        """Take no more; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _size(item: Reading | ReadingError) -> int:
    return item.values.nbytes if isinstance(item, Reading) else 0


def _dropped(reading: Reading) -> int:
    count = reading.attributes.get(DROPPED, 0)
    return count if isinstance(count, int) else 0
