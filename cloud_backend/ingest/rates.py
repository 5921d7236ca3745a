"""How much each node may send: token buckets over batches and bytes, without I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

BURST_S = 2.0
"""Seconds' worth of its rate that a node may send at once."""
NODES_LIMIT = 20_000
"""Most nodes whose rates are remembered: those heard of last."""


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
        most_batches, most_bytes = BURST_S * self._batches_per_s, BURST_S * self._bytes_per_s
        bucket = self._buckets.get(node)
        if bucket is None:
            bucket = self._buckets[node] = _Bucket(most_batches, most_bytes, now_s)
            if len(self._buckets) > NODES_LIMIT:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(node)
        passed_s = max(0.0, now_s - bucket.filled_s)
        bucket.batches = min(most_batches, bucket.batches + passed_s * self._batches_per_s)
        bucket.bytes = min(most_bytes, bucket.bytes + passed_s * self._bytes_per_s)
        bucket.filled_s = now_s
        if bucket.batches < 1 or bucket.bytes <= 0:
            return False
        bucket.batches -= 1
        bucket.bytes -= size_bytes
        return True
