"""Inbox of received messages for the database: bounded, fair between nodes, and read in groups.

Each node has a queue. Reading goes round by cost: whose turn it is follows from what a node was served
already (start-time fair queueing), so a node that floods waits behind itself, and others do not wait behind
it. Of statuses only the newest of a node waits.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from cloud_backend.ingest.received import Message, ReceivedBatch, ReceivedStatus, Reconnected


@dataclass(slots=True)
class _Queue:
    """The queue of one node."""

    messages: deque[ReceivedBatch] = field(default_factory=deque)
    bytes: int = 0
    served: float = 0.0
    """Its virtual time: the cost of all that it was served."""


class Inbox:
    """A queue between the thread that receives and the one that commits.

    At most ``limit`` events and ``limit_bytes`` of memory wait, and of one node at most ``node_bytes``. A
    batch of a node of which less waits than of the average node may go up to twice that: those that fill the
    inbox do not keep it out. One batch is taken even if it alone is over a limit; messages without events
    always are.
    """

    def __init__(self, limit: int, limit_bytes: int = 2**62, node_bytes: int = 2**62) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._node_bytes = node_bytes
        self._queues: dict[str, _Queue] = {}
        self._turns: list[tuple[float, str]] = []
        self._now = 0.0
        self._statuses: dict[str, ReceivedStatus] = {}
        self._reconnected = False
        self._events = self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def has_room(self, node: str, cost_bytes: int, *, alone: bool = True) -> bool:
        """Whether a node may have another batch waiting; what exceeds its share is refused at once.

        Its share is ``node_bytes``, and where all is full, no more than others have; a node that is ``alone``
        may wait for room then.
        """
        with self._changed:
            queue = self._queues.get(node)
            if queue is None:
                return True
            if queue.bytes + cost_bytes > self._node_bytes:
                return False
            full = self._events >= self._limit or self._bytes + cost_bytes > self._limit_bytes
            return not full or alone or self._has_little(node)

    def put(self, message: Message, timeout_s: float) -> bool:
        """Add ``message``, waiting up to ``timeout_s`` for room; False where there is none or it closes."""
        with self._changed:
            if isinstance(message, ReceivedBatch):
                deadline = time.monotonic() + timeout_s
                while self._is_full(message):
                    remaining_s = deadline - time.monotonic()
                    if self._closed or remaining_s <= 0:
                        return False
                    self._changed.wait(remaining_s)
            if self._closed:
                return False
            self._add(message)
            self._changed.notify_all()
            return True

    def take(self, events: int) -> list[Message]:
        """The waiting messages, up to ``events`` (at least one message); blocks while there are none.

        Empty once the inbox is closed and read out.
        """
        with self._changed:
            while not (self._events or self._queues or self._statuses or self._reconnected or self._closed):
                self._changed.wait()
            group: list[Message] = [Reconnected()] if self._reconnected else []
            group += self._statuses.values()
            self._reconnected = False
            self._statuses.clear()
            size = 0
            for message in self._in_turn():
                if size and size + message.size > events:
                    break
                self._remove(message)
                size += message.size
                group.append(message)
            self._changed.notify_all()
            return group

    def charge(self, node: str, cost_bytes: float) -> None:
        """Add a cost that is known later only, such as that of events that fail in a projection."""
        with self._changed:
            queue = self._queues.get(node)
            if queue is not None:
                queue.served += cost_bytes

    def close(self) -> None:
        """Refuse new messages; those in the inbox can still be read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Number of waiting events."""
        return self._events

    @property
    def bytes(self) -> int:
        """Estimated memory of the waiting messages."""
        return self._bytes

    def _is_full(self, message: ReceivedBatch) -> bool:
        if not self._events:
            return False
        times = 2 if self._has_little(message.node) else 1
        return (
            self._events + message.size > times * self._limit
            or self._bytes + message.cost_bytes > times * self._limit_bytes
        )

    def _has_little(self, node: str) -> bool:
        """Whether less of ``node`` waits than of the average node."""
        queue = self._queues.get(node)
        return queue is None or queue.bytes < self._bytes / len(self._queues)

    def _add(self, message: Message) -> None:
        if isinstance(message, Reconnected):
            self._reconnected = True
            self._statuses.clear()  # All are sent again.
        elif isinstance(message, ReceivedStatus):
            self._statuses.pop(message.node, None)
            self._statuses[message.node] = message
        else:
            queue = self._queues.get(message.node)
            if queue is None:
                queue = self._queues[message.node] = _Queue(served=self._now)
                heapq.heappush(self._turns, (queue.served, message.node))
            queue.messages.append(message)
            queue.bytes += message.cost_bytes
            self._events += message.size
            self._bytes += message.cost_bytes

    def _in_turn(self) -> Iterator[ReceivedBatch]:
        """The next message, repeatedly; each is to be removed before the next step."""
        while self._turns:
            served, node = self._turns[0]
            queue = self._queues[node]
            if served < queue.served:  # It was charged meanwhile.
                heapq.heapreplace(self._turns, (queue.served, node))
                continue
            yield queue.messages[0]

    def _remove(self, message: ReceivedBatch) -> None:
        queue = self._queues[message.node]
        queue.messages.popleft()
        queue.bytes -= message.cost_bytes
        self._events -= message.size
        self._bytes -= message.cost_bytes
        self._now = max(self._now, queue.served)
        queue.served = self._now + message.cost_bytes
        if queue.messages:
            heapq.heapreplace(self._turns, (queue.served, message.node))
        else:
            heapq.heappop(self._turns)
            del self._queues[message.node]
