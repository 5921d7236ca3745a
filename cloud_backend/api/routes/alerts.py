"""Alerts and their acknowledgement.

An alert is an alarm of an app or, with priority ``event``, the begin of drift on a node, or a model that a
node refused or reverted (unless a person or the cloud requested that). Alerts have an index of their own. A
filter without an index scans at most `SCAN_ROWS` rows per page: such a page may hold few items, or none, and
still have a ``next``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from sqlalchemy import ColumnElement, Select, and_, exists, func, literal_column, or_, select, tuple_
from sqlmodel import Session, col

from cloud_backend.api.dependencies import CloudDep, PrincipalDep, SessionDep
from cloud_backend.api.paging import Page, Paging, cursor_of, public_page
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.schemas.alerts import Acknowledge, AlertPublic
from cloud_backend.store.tables import Adoption, AlertAck, StoredEvent, Stream
from common.app.projection import insert_into
from common.messages import Priority

router = APIRouter(prefix="/v1/alerts", tags=["events"])
SCAN_ROWS = 5000
REQUESTED = ("operator", "superseded", "recalled")
"""Reasons of a requested refusal or reversal."""

_KEYS: tuple[Any, ...] = (col(StoredEvent.time_ns), col(StoredEvent.stream_id), col(StoredEvent.seq))
# Literals, not parameters: with parameters the partial index of alerts would not be used.
_ALARM = col(StoredEvent.priority) == literal_column(str(int(Priority.ALARM)))
_DRIFT = col(StoredEvent.type) == literal_column("'edgeloop.drift'")
_ADOPTION = col(StoredEvent.type) == literal_column("'edgeloop.adoption'")
_INDEXED = or_(_ALARM, _DRIFT, _ADOPTION)
_ACK = and_(col(AlertAck.stream_id) == col(StoredEvent.stream_id), col(AlertAck.seq) == col(StoredEvent.seq))
_FAILED = exists().where(
    col(Adoption.stream_id) == col(StoredEvent.stream_id),
    col(Adoption.seq) == col(StoredEvent.seq),
    col(Adoption.ok).is_(False),
    col(Adoption.reason).not_in(REQUESTED),
)
_IS_ALERT = or_(
    _ALARM,
    and_(_DRIFT, col(StoredEvent.body).contains('"state":"drift"', autoescape=True)),
    and_(_ADOPTION, _FAILED),
)


@router.get("", responses=responses(422))
def list_alerts(
    session: SessionDep,
    paging: Paging,
    state: Annotated[
        Literal["open", "acknowledged"] | None, Query(description="only open or only acknowledged alerts")
    ] = None,
    priority: Annotated[Literal["event", "alarm"] | None, Query(description="only this priority")] = None,
) -> Page[AlertPublic]:
    """Alerts, newest first by capture time."""
    bounds: list[ColumnElement[bool]] = [_INDEXED]
    after = paging.after([int, int, int])
    if after is not None:
        bounds.append(tuple_(*_KEYS) < after)
    ordering = [key.desc() for key in _KEYS]
    beyond = select(*_KEYS).where(*bounds).order_by(*ordering).offset(SCAN_ROWS - 1).limit(1)
    horizon = session.execute(beyond).first()
    if horizon is not None:
        bounds.append(tuple_(*_KEYS) >= tuple(horizon))
    query = _alerts().where(*bounds).order_by(*ordering).limit(paging.limit + 1)
    if state is not None:
        missing = col(AlertAck.seq).is_(None)
        query = query.where(missing if state == "open" else ~missing)
    if priority is not None:
        query = query.where(_ALARM if priority == "alarm" else ~_ALARM)
    rows = session.execute(query).all()
    following = cursor_of(tuple(horizon)) if horizon is not None else None
    if len(rows) > paging.limit:
        rows = rows[: paging.limit]
        last = rows[-1][0]
        following = cursor_of((last.time_ns, last.stream_id, last.seq))
    return public_page(
        rows,
        lambda row: AlertPublic.about(*row),
        lambda row: (row[1].node, row[1].epoch, row[0].seq),
        following,
    )


@router.post("/{node}/{epoch}/{seq}/acknowledge", responses=responses(404, 413, 422))
def acknowledge(
    node: Annotated[str, Path(max_length=63, description="name of a node")],
    epoch: Annotated[str, Path(max_length=200, description="epoch of the alert")],
    seq: Annotated[int, Path(ge=1, lt=2**63, description="sequence number of the alert")],
    body: Acknowledge,
    session: SessionDep,
    principal: PrincipalDep,
    cloud: CloudDep,
) -> AlertPublic:
    """Acknowledge an alert. The first acknowledgement is kept."""
    query = _alerts().where(col(Stream.node) == node, col(Stream.epoch) == epoch, col(StoredEvent.seq) == seq)
    found = session.execute(query).first()
    if found is None:
        raise problem(404, f"{node} has no alert {seq} in epoch {epoch!r}: GET /v1/alerts lists all")
    event, stream, known = found
    if known is None:
        known = AlertAck(
            stream_id=event.stream_id, seq=seq, by=principal.name, note=body.note, acked_ns=cloud.clock()
        )
        insert = insert_into(session, AlertAck)
        session.execute(insert.values(**known.model_dump()).on_conflict_do_nothing())
        known = session.get(AlertAck, (event.stream_id, seq)) or known
    alert = AlertPublic.about(event, stream, known)
    session.commit()
    return alert


def count_open_alarms() -> Select[Any]:
    """Query of the number of alarms without acknowledgement, by an index-only scan."""
    return select(func.count()).select_from(StoredEvent).where(_ALARM, ~exists().where(_ACK))


def open_alarms(session: Session) -> int:
    """Number of alarms without acknowledgement."""
    return session.scalar(count_open_alarms()) or 0


def _alerts() -> Select[Any]:
    query: Any = select(StoredEvent, Stream, AlertAck)
    return (
        query.join(Stream, col(Stream.id) == col(StoredEvent.stream_id))
        .outerjoin(AlertAck, _ACK)
        .where(_IS_ALERT)
    )
