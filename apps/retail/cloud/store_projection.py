"""Projection of the events that the cloud records itself: of a store as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlmodel import Session, SQLModel, col

from apps.retail import events
from apps.retail.cloud.tables import Delivery, ForecastDay, ForecastState, Sale, StoreLimit
from common.app.cloud import ReceivedEvent
from common.app.events import EventData
from common.app.projection import insert_into

Row = dict[str, Any]


def project_store(session: Session, event: ReceivedEvent, data: EventData) -> None:
    """Bring the tables of a store up to date with an event of the cloud."""
    match data:
        case events.StoreLimitExceeded() | events.StoreLimitKept():
            values = {
                "exceeded": isinstance(data, events.StoreLimitExceeded),
                "people": data.people,
                "limit": data.limit,
                "time_ns": event.time_ns,
            }
            put(session, StoreLimit, {"site": event.subject}, values)
        case events.Sales():
            _put_sales(session, event, data)
        case events.Forecasted():
            _put_forecast(session, event.subject, data)
        case events.ReportSent() | events.ReportFailed():
            failed = isinstance(data, events.ReportFailed)
            values = {
                "first_day": data.first_day,
                "last_day": data.last_day,
                "sent": not failed,
                "attempts": data.attempt if isinstance(data, events.ReportFailed) else 0,
                "reason": data.reason if isinstance(data, events.ReportFailed) else "",
                "time_ns": event.time_ns,
            }
            put(session, Delivery, {"name": event.subject}, values)
        case _:
            pass


def _put_sales(session: Session, event: ReceivedEvent, data: events.Sales) -> None:
    session.execute(
        sa.delete(Sale).where(
            col(Sale.site) == event.subject,
            col(Sale.begin_ns) >= data.day_begin_ns,
            col(Sale.begin_ns) < data.day_end_ns,
            col(Sale.period) != data.period,
            col(Sale.seq) < event.seq,
        )
    )
    columns = (data.begins_ns, data.ends_ns, data.transactions, data.revenues)
    for begin_ns, end_ns, transactions, revenue in zip(*columns, strict=True):
        values = {
            "end_ns": end_ns,
            "period": data.period,
            "transactions": transactions,
            "revenue": revenue,
            "seq": event.seq,
        }
        put(session, Sale, {"site": event.subject, "begin_ns": begin_ns}, values)


def _put_forecast(session: Session, site: str, data: events.Forecasted) -> None:
    state = {
        "day": data.day,
        "model": data.model,
        "note": data.note,
        "backtests": [msgspec.to_builtins(each) for each in data.backtests],
    }
    put(session, ForecastState, {"site": site}, state)
    first = date.fromisoformat(data.day)
    for ahead, (expected, lower, upper) in enumerate(zip(data.expected, data.lower, data.upper, strict=True)):
        values = {"made_day": data.day, "expected": expected, "lower": lower, "upper": upper}
        day = (first + timedelta(days=ahead)).isoformat()
        put(session, ForecastDay, {"site": site, "day": day}, values)


def put(session: Session, table: type[SQLModel], key: Row, values: Mapping[str, Any]) -> None:
    """Insert or replace one row."""
    insert = insert_into(session, table).values(**key, **values)
    session.connection().execute(
        insert.on_conflict_do_update(
            index_elements=list(key), set_={name: insert.excluded[name] for name in values}
        )
    )
