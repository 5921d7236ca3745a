"""Committed events, newest events of the fleet, health history, quarantined messages.

Lists are paginated by the table's key. With a filter that has no index, a page scans at most `SCAN_ROWS`
rows: it may then hold few items, or none, and still have a ``next``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from sqlalchemy import ColumnElement, and_, select, tuple_
from sqlmodel import Session, col

from cloud_backend.api import newest_events
from cloud_backend.api.dependencies import SessionDep
from cloud_backend.api.paging import Page, PageQuery, Paging, cursor_of, page_of, public_page
from cloud_backend.api.problem import responses
from cloud_backend.api.schemas.events import EventPublic, QuarantinedPublic
from cloud_backend.api.schemas.health import HealthPoint
from cloud_backend.store.tables import Quarantined, StoredEvent, Stream
from common.messages import Priority

router = APIRouter(prefix="/v1", tags=["events"])
SCAN_ROWS = 20_000
NEWEST_LIMIT = 200
HEALTH_TYPE = "edgeloop.node.health"
Order = Annotated[Literal["oldest", "newest"], Query(description="order within a stream")]
TypeFilter = Annotated[str | None, Query(max_length=200, description="only events of this type")]
PriorityFilter = Annotated[
    Literal["sample", "telemetry", "event", "alarm"] | None, Query(description="only this priority")
]

MinPriority = Annotated[
    Literal["sample", "telemetry", "event", "alarm"], Query(description="only this priority and higher ones")
]


@router.get("/events", responses=responses(422))
def list_events(
    session: SessionDep,
    paging: Paging,
    type: TypeFilter = None,
    priority: PriorityFilter = None,
    min_priority: MinPriority = "sample",
    order: Order = "oldest",
) -> Page[EventPublic]:
    """Events of all nodes, stream by stream, in order."""
    return _page(session, paging, None, _filters(type, priority, min_priority), order)


@router.get("/nodes/{node}/events", responses=responses(422))
def list_events_of_node(
    node: Annotated[str, Path(max_length=63)],
    session: SessionDep,
    paging: Paging,
    type: TypeFilter = None,
    priority: PriorityFilter = None,
    min_priority: MinPriority = "sample",
    order: Order = "oldest",
) -> Page[EventPublic]:
    """Events of one node in order; epochs in order of their begin."""
    streams = session.scalars(select(col(Stream.id)).where(col(Stream.node) == node)).all()
    return _page(session, paging, list(streams), _filters(type, priority, min_priority), order)


@router.get("/events/newest", responses=responses(422))
def list_newest_events(
    session: SessionDep,
    limit: Annotated[int, Query(ge=1, le=NEWEST_LIMIT, description="maximum number of items")] = 50,
    app: Annotated[
        str | None, Query(max_length=63, description="of one app's nodes and cloud side only")
    ] = None,
    min_priority: MinPriority = "sample",
) -> Page[EventPublic]:
    """The newest events of the whole fleet by arrival, newest first, in a single page."""
    if min_priority in ("sample", "telemetry"):
        minimum = Priority[min_priority.upper()]
        rows = newest_events.newest_of_streams(session, limit, app, minimum)
    else:
        rows = newest_events.newest_notable(session, limit, app, alarms_only=min_priority == "alarm")
    return public_page(rows, _public, _key, None)


@router.get("/nodes/{node}/health-history", responses=responses(422))
def list_health(
    node: Annotated[str, Path(max_length=63)], session: SessionDep, paging: Paging
) -> Page[HealthPoint]:
    """The newest health reports of a node, oldest first; ``next`` is the page of older ones."""
    streams = session.scalars(select(col(Stream.id)).where(col(Stream.node) == node)).all()
    page = _page(session, paging, list(streams), _filters(HEALTH_TYPE, None), "newest")
    return Page(
        items=[HealthPoint.of(event.time_ns, event.data) for event in page.items[::-1]], next=page.next
    )


@router.get("/quarantine", responses=responses(422))
def list_quarantine(session: SessionDep, paging: Paging) -> Page[QuarantinedPublic]:
    """Messages that could not be processed, newest first."""
    query = select(Quarantined)
    return page_of(session, query, [col(Quarantined.id)], [int], paging, QuarantinedPublic.of)


def _filters(
    type: str | None, priority: str | None, min_priority: str = "sample"
) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if type is not None:
        filters.append(col(StoredEvent.type) == type)
    if priority is not None:
        filters.append(col(StoredEvent.priority) == int(Priority[priority.upper()]))
    if min_priority != "sample":
        filters.append(col(StoredEvent.priority) >= int(Priority[min_priority.upper()]))
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
    return public_page(rows, _public, _key, following)


def _public(row: Any) -> EventPublic:
    return EventPublic.of(*row)


def _key(row: Any) -> tuple[str, str, int]:
    event, stream = row
    return stream.node, stream.epoch, event.seq
