"""Admission of batches: the share of each node in the inbox, in rate, and in the receiving thread's time.

No node can delay the others: a batch over its node's share is dropped before it is unpacked, and the node is
notified, at most every ``retry_after_s``. No I/O; one thread uses it at a time, the one that reads.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from cloud_backend.ingest.inbox import Inbox
from cloud_backend.ingest.rates import NODES_LIMIT, NodeRates, ReadingTime
from cloud_backend.ingest.received import cost_bytes
from common.config.cloud import IngestSettings
from common.messages import plain_size


class Admission:
    """Shares of the nodes; ``now_s`` are seconds of a steady clock."""

    def __init__(self, inbox: Inbox, settings: IngestSettings) -> None:
        self._inbox = inbox
        self._rates = NodeRates(settings.node_batches_per_s, settings.node_bytes_per_s)
        self._reading_time = ReadingTime()
        self._notice_every_s = settings.retry_after_s
        self._notified_s: OrderedDict[str, float] = OrderedDict()

    def is_alone(self, node: str, now_s: float) -> bool:
        """Whether ``node``, which sends now, is the only one that does."""
        return self._reading_time.is_alone(node, now_s)

    def admits(self, node: str, body: bytes, now_s: float, *, alone: bool) -> bool:
        """Whether a batch of ``node`` is within its share; it then counts."""
        return (
            (alone or self._reading_time.has_share(node, now_s))
            and self._inbox.has_room(node, cost_bytes(body), alone=alone)
            and self._rates.take(node, plain_size(body), now_s)
        )

    @contextmanager
    def reading(self, node: str) -> Iterator[None]:
        """Count the time of the body, which reads a batch of ``node``."""
        began_s = time.monotonic()
        yield
        now_s = time.monotonic()
        self._reading_time.spent(node, now_s - began_s, now_s)

    def is_notice_due(self, node: str, now_s: float) -> bool:
        """Whether ``node`` is to be notified of a dropped batch; it then counts as notified."""
        if now_s - self._notified_s.get(node, float("-inf")) < self._notice_every_s:
            return False
        self._notified_s[node] = now_s
        self._notified_s.move_to_end(node)
        if len(self._notified_s) > NODES_LIMIT:
            self._notified_s.popitem(last=False)
        return True
