"""Rate limits of nodes: token buckets over batches and bytes, and a share of the time; without I/O."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

BURST_S = 2.0
"""Burst: seconds of its rate that a node may send at once."""
NODES_LIMIT = 20_000
"""Limit of nodes with a remembered rate: those that sent last."""


@dataclass(slots=True)
class _Bucket:
    batches: float
    bytes: float
    filled_s: float


class NodeRates:
    """The rates of all nodes; times are seconds of any steady clock. A rate of 0 is no limit."""

    def __init__(self, batches_per_s: float, bytes_per_s: float) -> None:
        self._batches_per_s = batches_per_s or float("inf")
        self._bytes_per_s = bytes_per_s or float("inf")
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, node: str, size_bytes: int, now_s: float) -> bool:
        """Whether ``node`` may send a batch of this size now; it then counts."""
        max_batches, max_bytes = BURST_S * self._batches_per_s, BURST_S * self._bytes_per_s
        bucket = self._buckets.get(node)
        if bucket is None:
            bucket = self._buckets[node] = _Bucket(max_batches, max_bytes, now_s)
            if len(self._buckets) > NODES_LIMIT:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(node)
        passed_s = max(0.0, now_s - bucket.filled_s)
        bucket.batches = min(max_batches, bucket.batches + passed_s * self._batches_per_s)
        bucket.bytes = min(max_bytes, bucket.bytes + passed_s * self._bytes_per_s)
        bucket.filled_s = now_s
        if bucket.batches < 1 or bucket.bytes <= 0:
            return False
        bucket.batches -= 1
        bucket.bytes -= size_bytes
        return True


SHARE = 0.2
"""Share of the receiving thread's time for the batches of one node while others send."""
OTHERS_S = 5.0
"""Time for which a node counts as sending."""


class ReadingTime:
    """The time that reading the batches of each node takes, so that no node takes it from the others.

    All batches come by one thread, in the order of the broker: where one node's take all of its time, what
    others send waits behind them. It is time of the clock, not of the processor: on a busy machine the thread
    gets a part of a processor, and a share of all of it would be more than there is. A node alone may take
    all.
    """

    def __init__(self) -> None:
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._newest = self._before = ("", -math.inf)

    def is_alone(self, node: str, now_s: float) -> bool:
        """Whether ``node``, which sends now, is the only one that does."""
        if node != self._newest[0]:
            self._before = self._newest
        self._newest = node, now_s
        return now_s - self._before[1] > OTHERS_S

    def has_share(self, node: str, now_s: float) -> bool:
        """Whether reading batches of ``node`` has taken less than its share."""
        return self._recently_s(node, now_s) < SHARE

    def spent(self, node: str, seconds: float, now_s: float) -> None:
        """Reading a batch of ``node`` took ``seconds``."""
        self._spent[node] = self._recently_s(node, now_s) + seconds, now_s
        self._spent.move_to_end(node)
        if len(self._spent) > NODES_LIMIT:
            self._spent.popitem(last=False)

    def _recently_s(self, node: str, now_s: float) -> float:
        """Time spent, with exponential decay over a second."""
        seconds, at_s = self._spent.get(node, (0.0, now_s))
        return seconds * math.exp(at_s - now_s)
