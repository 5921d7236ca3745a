"""The newest events of the whole fleet, by when they arrived, without going through all of them.

What is more than telemetry has an index of its own. The rest is found from the streams: the arrival of
each stream's last event is one look-up, and only the streams that moved last are read, from their ends.
A filter on telemetry looks at the last `TAIL_ROWS` events of a stream at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, literal_column, select, tuple_
from sqlmodel import Session, col

from cloud_backend.store.tables import Node, StoredEvent, Stream
from common.messages import Priority

SCAN_ROWS = 20_000
TAIL_ROWS = 1000
Place = tuple[int, int, int]
"""``(received_ns, stream_id, seq)`` of an event."""

_PLACE: tuple[Any, ...] = (col(StoredEvent.received_ns), col(StoredEvent.stream_id), col(StoredEvent.seq))
# Literals, not parameters: only then does the partial index serve the query.
_NOTABLE = col(StoredEvent.priority) >= literal_column(str(int(Priority.EVENT)))


def newest_notable(session: Session, limit: int, app: str | None, *, alarms_only: bool) -> list[Place]:
    """Places of the newest events that are more than telemetry, newest first."""
    ordering = [key.desc() for key in _PLACE]
    query = select(*_PLACE).where(_NOTABLE).order_by(*ordering)
    if alarms_only or app is not None:
        horizon = session.execute(query.offset(SCAN_ROWS - 1).limit(1)).first()
        if horizon is not None:
            query = query.where(tuple_(*_PLACE) >= tuple(horizon))
    if alarms_only:
        query = query.where(col(StoredEvent.priority) == int(Priority.ALARM))
    if app is not None:
        query = query.join(Stream, col(Stream.id) == col(StoredEvent.stream_id)).where(_runs(app))
    return [tuple(row) for row in session.execute(query.limit(limit))]  # type: ignore[misc]


def newest_of_streams(session: Session, limit: int, app: str | None, least: Priority) -> list[Place]:
    """Places of the newest events of any kind from priority ``least`` on, newest first."""
    last = (
        select(col(StoredEvent.received_ns))
        .where(col(StoredEvent.stream_id) == col(Stream.id))
        .order_by(col(StoredEvent.seq).desc())
        .limit(1)
        .scalar_subquery()
    )
    streams = select(col(Stream.id).label("id"), last.label("moved_ns"))
    if app is not None:
        streams = streams.where(_runs(app))
    moved = streams.subquery()
    found: list[Place] = []
    for number, moved_ns in session.execute(
        select(moved.c.id, moved.c.moved_ns)
        .where(moved.c.moved_ns.is_not(None))
        .order_by(moved.c.moved_ns.desc())
        .limit(limit)
    ).all():
        if len(found) == limit and found[-1][0] > moved_ns:
            break
        found = sorted([*found, *_tail(session, number, limit, least)], reverse=True)[:limit]
    return found


def rows_at(session: Session, places: Sequence[Place]) -> list[Row[tuple[StoredEvent, Stream]]]:
    """The events at ``places`` with their streams, in that order."""
    rows: dict[Place, Row[tuple[StoredEvent, Stream]]] = {}
    for number in {place[1] for place in places}:
        query = (
            select(StoredEvent, Stream)
            .join(Stream, col(Stream.id) == col(StoredEvent.stream_id))
            .where(col(StoredEvent.stream_id) == number)
            .where(col(StoredEvent.seq).in_([seq for _, stream, seq in places if stream == number]))
        )
        for row in session.execute(query):
            rows[row[0].received_ns, row[0].stream_id, row[0].seq] = row
    return [rows[place] for place in places if place in rows]


def _tail(session: Session, stream: int, limit: int, least: Priority) -> list[Place]:
    tail = select(*_PLACE, col(StoredEvent.priority)).where(col(StoredEvent.stream_id) == stream)
    tail = tail.order_by(col(StoredEvent.seq).desc())
    if least == Priority.SAMPLE:
        return [tuple(row[:3]) for row in session.execute(tail.limit(limit))]  # type: ignore[misc]
    rows = session.execute(tail.limit(TAIL_ROWS))
    return [tuple(row[:3]) for row in rows if row[3] >= least][:limit]  # type: ignore[misc]


def _runs(app: str) -> ColumnElement[bool]:
    """Whether a stream is of a node that runs ``app``."""
    return col(Stream.node).in_(select(col(Node.name)).where(col(Node.app) == app))
