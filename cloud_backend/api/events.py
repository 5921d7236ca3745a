"""Committed events, alarms among them, and what was quarantined.

Lists go through a table by its key. Where a filter has no index, a page looks at `SCAN_ROWS` rows at
most: it may then hold few items, or none, and still have a ``next``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from sqlalchemy import ColumnElement, and_, literal_column, select, tuple_
from sqlmodel import Session, col

from cloud_backend.api.deps import SessionDep
from cloud_backend.api.paging import Page, PageQuery, Paging, cursor_of, page_of
from cloud_backend.api.problem import responses
from cloud_backend.api.shapes import EventPublic, QuarantinedPublic
from cloud_backend.store.tables import Quarantined, StoredEvent, Stream
from common.messages import Priority

router = APIRouter(prefix="/v1", tags=["events"])
SCAN_ROWS = 20_000
Order = Annotated[Literal["oldest", "newest"], Query(description="which come first, within a stream")]
TypeFilter = Annotated[str | None, Query(max_length=200, description="only events of this type")]
PriorityFilter = Annotated[
    Literal["sample", "telemetry", "event", "alarm"] | None, Query(description="only this priority")
]


@router.get("/events", responses=responses(422))
def list_events(
    session: SessionDep,
    paging: Paging,
    type: TypeFilter = None,
    priority: PriorityFilter = None,
    order: Order = "oldest",
) -> Page[EventPublic]:
    """Events of all nodes, stream by stream, in order."""
    return _page(session, paging, None, _filters(type, priority), order)


@router.get("/nodes/{node}/events", responses=responses(422))
def list_events_of_node(
    node: Annotated[str, Path(max_length=63)],
    session: SessionDep,
    paging: Paging,
    type: TypeFilter = None,
    priority: PriorityFilter = None,
    order: Order = "oldest",
) -> Page[EventPublic]:
    """Events of one node in order; a new epoch comes after the one before."""
    streams = session.scalars(select(Stream.id).where(col(Stream.node) == node)).all()
    return _page(session, paging, list(streams), _filters(type, priority), order)


@router.get("/alerts", responses=responses(422))
def list_alerts(session: SessionDep, paging: Paging) -> Page[EventPublic]:
    """Events of priority ``alarm``, newest first by the time at which they were captured."""
    key = tuple_(col(StoredEvent.time_ns), col(StoredEvent.stream_id), col(StoredEvent.seq))
    # The literal, not a parameter: only then does the partial index of alarms serve the query.
    query = (
        select(StoredEvent, Stream)
        .join(Stream, col(Stream.id) == col(StoredEvent.stream_id))
        .where(col(StoredEvent.priority) == literal_column(str(int(Priority.ALARM))))
        .order_by(
            col(StoredEvent.time_ns).desc(), col(StoredEvent.stream_id).desc(), col(StoredEvent.seq).desc()
        )
        .limit(paging.limit + 1)
    )
    after = paging.after([int, int, int])
    if after is not None:
        query = query.where(key < after)
    rows = session.execute(query).all()
    following = None
    if len(rows) > paging.limit:
        rows = rows[: paging.limit]
        last = rows[-1][0]
        following = cursor_of((last.time_ns, last.stream_id, last.seq))
    return Page(items=[EventPublic.of(event, stream) for event, stream in rows], next=following)


@router.get("/quarantine", responses=responses(422))
def list_quarantine(session: SessionDep, paging: Paging) -> Page[QuarantinedPublic]:
    """What could not be taken, newest first."""
    query = select(Quarantined)
    return page_of(session, query, [col(Quarantined.id)], [int], paging, QuarantinedPublic.of)


def _filters(type: str | None, priority: str | None) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if type is not None:
        filters.append(col(StoredEvent.type) == type)
    if priority is not None:
        filters.append(col(StoredEvent.priority) == int(Priority[priority.upper()]))
    return filters


def _page(
    session: Session,
    paging: PageQuery,
    streams: list[int | None] | None,
    filters: list[ColumnElement[bool]],
    order: str,
) -> Page[EventPublic]:
    keys: tuple[Any, Any] = (col(StoredEvent.stream_id), col(StoredEvent.seq))
    place = tuple_(*keys)
    newest = order == "newest"
    ordering = [key.desc() if newest else key.asc() for key in keys]
    bounds: list[ColumnElement[bool]] = []
    if streams is not None:
        bounds.append(col(StoredEvent.stream_id).in_(streams))
    after = paging.after([int, int])
    if after is not None:
        bounds.append(place < after if newest else place > after)
    horizon = None
    if filters:
        horizon = session.execute(
            select(*keys).where(*bounds).order_by(*ordering).offset(SCAN_ROWS - 1).limit(1)
        ).first()
        if horizon is not None:
            bounds.append(place >= tuple(horizon) if newest else place <= tuple(horizon))
    query = (
        select(StoredEvent, Stream)
        .join(Stream, col(Stream.id) == col(StoredEvent.stream_id))
        .where(and_(True, *bounds, *filters))
        .order_by(*ordering)
        .limit(paging.limit + 1)
    )
    rows = session.execute(query).all()
    following = cursor_of(tuple(horizon)) if horizon is not None else None
    if len(rows) > paging.limit:
        rows = rows[: paging.limit]
        following = cursor_of((rows[-1][0].stream_id, rows[-1][0].seq))
    return Page(items=[EventPublic.of(event, stream) for event, stream in rows], next=following)
