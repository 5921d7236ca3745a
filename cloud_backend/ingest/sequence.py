"""Sequence of a stream, without I/O: the rule that accepts every seq once, in order.

A stream is known by its high-water mark: all up to it is committed, nothing above it is.

1. A batch that ends at or below the mark is a repeat: acked again, not stored.
2. A batch that starts at or below mark + 1 is accepted from mark + 1 on.
3. A batch that starts above mark + 1 is skipped: the events between come first. The ack has the mark from
   which the node continues.
4. Unless the node no longer has the events between (``first == oldest``): this cloud acked them once and has
   lost them since (restored from a backup, database gone). Then the gap is recorded as lost, and the batch
   accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec

from common.errors import BatchError
from common.messages import GAP_TYPE, BatchHead, Gap, Malformed, WireEvent

_TYPE_OF = attrgetter("type")


class Accept(NamedTuple):
    """Store the events above ``after``; ``lost_from`` is the first lost seq (0: none)."""

    after: int
    lost_from: int = 0


class Skip(NamedTuple):
    """Store nothing; the mark stays."""


def judge(high_water_mark: int, head: BatchHead) -> Accept | Skip:
    """The verdict on a batch of a stream with this ``high_water_mark`` (0 for a new one)."""
    if head.last <= high_water_mark:
        return Skip()
    if head.first <= high_water_mark + 1:
        return Accept(high_water_mark)
    if head.first == head.oldest:
        return Accept(head.first - 1, lost_from=high_water_mark + 1)
    return Skip()


def check_cover(head: BatchHead, events: Sequence[WireEvent], malformed: Sequence[Malformed]) -> None:
    """Raise `BatchError` if the batch claims more seqs than it carries.

    Every seq of ``first .. last`` is an event, inside a gap, or one of the ``malformed`` (whose own seq
    cannot be read). ``events`` are in order and in range, as `common.messages.decode_batch` gives them.
    """
    claimed = head.last - head.first + 1
    if len(events) == claimed and GAP_TYPE not in map(_TYPE_OF, events):
        return
    covered = 0
    through = head.first - 1
    for event in events:
        if event.seq <= through:
            raise BatchError(f"seq {event.seq} lies inside a gap that reaches to {through}")
        through = gap_of(event).through if event.type == GAP_TYPE else event.seq
        covered += through - event.seq + 1
    if through > head.last:
        raise BatchError(f"a gap reaches to {through}, beyond the end of the batch at {head.last}")
    if claimed - covered > len(malformed):
        raise BatchError(
            f"the batch {head.first}..{head.last} carries {covered} seqs and {len(malformed)} unreadable "
            f"elements, not {claimed}"
        )


def gap_of(event: WireEvent) -> Gap:
    """The data of a gap event. Raises `BatchError`."""
    try:
        gap = msgspec.json.decode(event.data, type=Gap)
    except msgspec.MsgspecError as error:
        raise BatchError(f"the gap at seq {event.seq} is not readable: {error}") from error
    if gap.through < event.seq:
        raise BatchError(f"the gap at seq {event.seq} reaches back to {gap.through}")
    return gap


def above(events: Sequence[WireEvent], after: int) -> Sequence[WireEvent]:
    """The part of ``events`` that is above ``after``.

    A gap that reaches across ``after`` is kept from there on: the node merged it after it had sent its
    beginning as events.
    """
    if not events or events[0].seq > after:
        return events
    index = next((i for i, event in enumerate(events) if event.seq > after), len(events))
    across = events[index - 1]
    if across.type == GAP_TYPE and gap_of(across).through > after:
        return [msgspec.structs.replace(across, seq=after + 1), *events[index:]]
    return events[index:]
