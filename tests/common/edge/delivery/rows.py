"""The rows of an outbox as events and gaps."""

from __future__ import annotations

import msgspec

from common.edge.delivery.outbox import Outbox
from common.edge.delivery.recent_rows import Pending
from common.messages import GAP_TYPE, Gap, WireEvent, decode_event

ALL = 10**6


def wire(rows: list[Pending]) -> list[WireEvent]:
    return [decode_event(row.body) for row in rows]


def all_of(outbox: Outbox) -> list[WireEvent]:
    return wire(outbox.pending(0, ALL, 10**9))


def gaps(outbox: Outbox) -> list[tuple[int, Gap]]:
    return [
        (event.seq, msgspec.json.decode(event.data, type=Gap))
        for event in all_of(outbox)
        if event.type == GAP_TYPE
    ]


def covered(outbox: Outbox) -> list[int]:
    """Every seq that a row stands for, in the order of the rows."""
    return [seq for row in outbox.pending(0, ALL, 10**9) for seq in range(row.seq, row.last_seq + 1)]
