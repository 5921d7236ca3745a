"""The newest events of the whole fleet by arrival, without a scan of all events.

Events above telemetry have an index of their own. The others are found through the streams: the arrival of
each stream's last event is one look-up, and only the most recent streams are read, from their ends. Filters
scan a bounded number of rows (`SCAN_ROWS`, `TAIL_FACTOR`), so that their result may be short.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Row, and_, func, literal_column, or_, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from cloud_backend.store.tables import Node, StoredEvent, Stream
from common.app.cloud import CLOUD_NODE
from common.messages import Priority

SCAN_ROWS = 5000
TAIL_FACTOR = 4
"""Scanned events of a stream as a multiple of the requested number, with a filter."""
StreamPosition = tuple[int, int]
"""``(stream_id, seq)`` of an event."""
Found = list[Row[tuple[StoredEvent, Stream]]]

_ORDER: tuple[Any, ...] = (
    col(StoredEvent.received_ns).desc(),
    col(StoredEvent.stream_id).desc(),
    col(StoredEvent.seq).desc(),
)


def newest_notable(session: Session, limit: int, app: str | None, *, alarms_only: bool) -> Found:
    """The newest events above telemetry, newest first."""
    # A literal, not a parameter: with a parameter the partial index would not be used.
    notable = col(StoredEvent.priority) >= literal_column(str(int(Priority.EVENT)))
    query = select(col(StoredEvent.stream_id), col(StoredEvent.seq), col(StoredEvent.priority))
    filtered = alarms_only or app is not None
    rows = session.execute(query.where(notable).order_by(*_ORDER).limit(SCAN_ROWS if filtered else limit))
    streams = set(session.scalars(_streams_of(app))) if app is not None else None
    wanted = (
        (stream, seq)
        for stream, seq, priority in rows
        if (streams is None or stream in streams) and (not alarms_only or priority == Priority.ALARM)
    )
    return _rows_at(session, list(islice(wanted, limit)))


def newest_of_streams(session: Session, limit: int, app: str | None, minimum: Priority) -> Found:
    """The newest events of any kind from priority ``minimum``, newest first."""
    depth = limit if minimum == Priority.SAMPLE else TAIL_FACTOR * limit
    end = aliased(StoredEvent)
    from_the_end = (
        select(col(end.received_ns))
        .where(col(end.stream_id) == col(Stream.id))
        .order_by(col(end.seq).desc())
        .limit(1)
    )
    moved = select(col(Stream.id).label("id"), from_the_end.scalar_subquery().label("moved_ns"))
    if app is not None:
        moved = moved.where(col(Stream.id).in_(_streams_of(app)))
    each = moved.subquery()
    newest = (  # No more streams than events can contribute.
        select(each.c.id)
        .where(each.c.moved_ns.is_not(None))
        .order_by(each.c.moved_ns.desc())
        .limit(limit)
        .subquery()
    )
    tail = aliased(StoredEvent)
    first = (
        select(col(tail.seq))
        .where(col(tail.stream_id) == newest.c.id)
        .order_by(col(tail.seq).desc())
        .offset(depth - 1)
        .limit(1)
        .scalar_subquery()
    )
    query = (
        select(StoredEvent, Stream)
        .select_from(newest)
        .join(Stream, col(Stream.id) == newest.c.id)
        .join(
            StoredEvent,
            and_(col(StoredEvent.stream_id) == newest.c.id, col(StoredEvent.seq) >= func.coalesce(first, 0)),
        )
        .order_by(*_ORDER)
        .limit(limit)
    )
    if minimum != Priority.SAMPLE:
        query = query.where(col(StoredEvent.priority) >= int(minimum))
    return list(session.execute(query))


def _rows_at(session: Session, positions: Sequence[StreamPosition]) -> Found:
    """The events at ``positions`` with their streams, in that order."""
    if not positions:
        return []
    seqs: dict[int, list[int]] = {}
    for stream, seq in positions:
        seqs.setdefault(stream, []).append(seq)
    # Not an IN of pairs: SQLite would scan the whole table.
    at = or_(
        *(and_(col(StoredEvent.stream_id) == s, col(StoredEvent.seq).in_(each)) for s, each in seqs.items())
    )
    query = select(StoredEvent, Stream).join(Stream, col(Stream.id) == col(StoredEvent.stream_id)).where(at)
    rows = {(row[0].stream_id, row[0].seq): row for row in session.execute(query)}
    return [rows[position] for position in positions if position in rows]


def _streams_of(app: str) -> Any:
    """Ids of the streams of the nodes that run ``app``, and of those that its cloud side records."""
    nodes = select(col(Node.name)).where(col(Node.app) == app)
    recorded = and_(col(Stream.node) == CLOUD_NODE, col(Stream.epoch).startswith(f"{app}.", autoescape=True))
    return select(col(Stream.id)).where(or_(col(Stream.node).in_(nodes), recorded))
