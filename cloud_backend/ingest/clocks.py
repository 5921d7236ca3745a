"""The error of each node's clock, from the times of sending and arrival of its batches; no I/O.

``arrived - sent`` is the clock's error plus the delay on the way, and a delay is never negative. So a
late delivery only looks like a clock that is behind, and only for as long as deliveries are late: the
least of a node's last few differences is taken, and a clock that is ahead shows at once, as does one that
was never set.

An error that was found is kept while it is right within the tolerance, so that times which belong together,
such as those in the begin and the end of an alarm, move by the same.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from common.messages import EARLIEST_CLOCK_NS

WINDOW = 3
"""Batches in a row that must agree before a clock that was right is believed to have fallen behind."""


class NodeClocks:
    """Clock errors of the nodes that sent last, at most ``limit`` of them."""

    def __init__(self, tolerance_ns: int, limit: int = 10_000) -> None:
        self._tolerance_ns = tolerance_ns
        self._limit = limit
        self._differences: OrderedDict[str, deque[int]] = OrderedDict()

    def offset_ns(self, node: str, sent_ns: int, arrived_ns: int, known_ns: int | None) -> int:
        """Correction of the node's times; 0 for a clock that is right within the tolerance.

        In whole milliseconds, as it is stored. ``known_ns`` is the error that the store has for the node,
        None for one that never sent before: the first batch of a new node is believed as it is.
        """
        differences = self._differences.get(node)
        if differences is None:
            differences = deque([] if known_ns is None else [known_ns] * (WINDOW - 1), maxlen=WINDOW)
            self._differences[node] = differences
            if len(self._differences) > self._limit:
                self._differences.popitem(last=False)
        self._differences.move_to_end(node)
        differences.append(arrived_ns - sent_ns)
        # No delay explains a clock that was never set.
        error_ns = arrived_ns - sent_ns if sent_ns < EARLIEST_CLOCK_NS else min(differences)
        if abs(error_ns) <= self._tolerance_ns:
            return 0
        if known_ns and abs(error_ns - known_ns) <= self._tolerance_ns:
            return known_ns
        return round(error_ns / 1_000_000) * 1_000_000
