"""The newest events of the whole fleet, by when they arrived, without going through all of them.

What is more than telemetry has an index of its own. The rest is found from the streams: the arrival of
each stream's last event is one look-up, and only the streams that moved last are read, from their ends.
Filters look at a bounded number of rows (`SCAN_ROWS`, `TAIL_FACTOR`), so what they give may be short.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Row, and_, func, literal_column, or_, select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col

from cloud_backend.store.tables import Node, StoredEvent, Stream
from common.messages import Priority

SCAN_ROWS = 5000
TAIL_FACTOR = 4
"""How many times the events that are wanted are looked at from the end of a stream, under a filter."""
StreamPosition = tuple[int, int]
"""``(stream_id, seq)`` of an event."""
Found = list[Row[tuple[StoredEvent, Stream]]]

_ORDER: tuple[Any, ...] = (
    col(StoredEvent.received_ns).desc(),
    col(StoredEvent.stream_id).desc(),
    col(StoredEvent.seq).desc(),
)


def newest_notable(session: Session, limit: int, app: str | None, *, alarms_only: bool) -> Found:
    """The newest events that are more than telemetry, newest first."""
    # A literal, not a parameter: only then does the partial index serve the query.
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


def newest_of_streams(session: Session, limit: int, app: str | None, least: Priority) -> Found:
    """The newest events of any kind from priority ``least`` on, newest first."""
    depth = limit if least == Priority.SAMPLE else TAIL_FACTOR * limit
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
    newest = (  # More streams than events are wanted cannot be among them.
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
    if least != Priority.SAMPLE:
        query = query.where(col(StoredEvent.priority) >= int(least))
    return list(session.execute(query))


def _rows_at(session: Session, places: Sequence[StreamPosition]) -> Found:
    """The events at ``places`` with their streams, in that order."""
    if not places:
        return []
    seqs: dict[int, list[int]] = {}
    for stream, seq in places:
        seqs.setdefault(stream, []).append(seq)
    # Not an IN of pairs: SQLite would go through the whole table for that.
    at = or_(
        *(and_(col(StoredEvent.stream_id) == s, col(StoredEvent.seq).in_(each)) for s, each in seqs.items())
    )
    query = select(StoredEvent, Stream).join(Stream, col(Stream.id) == col(StoredEvent.stream_id)).where(at)
    rows = {(row[0].stream_id, row[0].seq): row for row in session.execute(query)}
    return [rows[place] for place in places if place in rows]


def _streams_of(app: str) -> Any:
    """Ids of the streams of the nodes that run ``app``."""
    nodes = select(col(Node.name)).where(col(Node.app) == app)
    return select(col(Stream.id)).where(col(Stream.node).in_(nodes))
