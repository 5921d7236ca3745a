"""Routes of sales: upload as CSV or JSON, and conversion and capture rate by part of a day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Body, HTTPException, Query
from pydantic import BaseModel, Field
from sqlmodel import Session

from apps.retail.cloud import sales, trade
from apps.retail.cloud.sales import Period, SalesError, SalesRow, SalesUpload
from apps.retail.cloud.store_routes import chosen_day, known_store
from apps.retail.cloud.stores import Stores
from common.app.cloud import RouteDeps
from common.app.events import make_event
from common.clock import Clock
from common.messages import Event

Record = Callable[[Session, str, list[Event]], None]


class SalesBody(BaseModel):
    """Sales of periods of one length."""

    by: Period = "hour"
    periods: list[SalesRow] = Field(min_length=1, max_length=sales.ROWS_LIMIT)


class TradeList(BaseModel):
    """Sales and passers-by by part of a day."""

    day: str
    time_zone: str
    items: list[trade.TradeCount]


def sales_router(deps: RouteDeps, stores: Stores, clock: Clock, record: Record) -> APIRouter:
    """The routes; ``record`` keeps events of the cloud's own."""
    router = APIRouter(tags=["retail"])

    def keep(session: Session, site: str, rows: list[SalesRow], by: Period) -> SalesUpload:
        known_store(session, stores, site)
        now_ns = clock()
        try:
            periods = sales.periods_of(stores, site, rows, by, now_ns)
        except SalesError as error:
            raise HTTPException(422, str(error)) from error
        events, result = sales.changes_of(session, stores, site, periods, by)
        record(session, site, [make_event(each, site, now_ns) for each in events])
        session.commit()
        return result

    @router.post("/stores/{site}/sales", dependencies=[deps.admin])
    def add_sales(site: str, body: SalesBody, session: Session = deps.session) -> SalesUpload:
        """Keep the sales of some periods; the same again changes nothing, other numbers correct it."""
        return keep(session, site, body.periods, body.by)

    @router.post("/stores/{site}/sales.csv", dependencies=[deps.admin])
    def add_sales_csv(
        site: str,
        body: Annotated[bytes, Body(media_type="text/csv")] = b"",
        by: Period = "hour",
        session: Session = deps.session,
    ) -> SalesUpload:
        """Keep the sales in a CSV file in UTF-8 with the columns begin, transactions and perhaps revenue."""
        try:
            rows = sales.read_csv(body.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise HTTPException(422, f"byte {error.start} of the file is not UTF-8") from error
        except SalesError as error:
            raise HTTPException(422, str(error)) from error
        return keep(session, site, rows, by)

    @router.get("/stores/{site}/trade")
    def trade_of_day(
        site: str,
        session: Session = deps.session,
        day: date | None = None,
        by: Annotated[Period, Query()] = "hour",
    ) -> TradeList:
        """Transactions, conversion, passers-by and capture rate of a local day."""
        now_ns = clock()
        known_store(session, stores, site)
        chosen = chosen_day(stores, site, day, now_ns)
        buckets = sales.parts_of(stores, site, chosen, by)
        items = trade.trade_by(session, stores, site, buckets, now_ns)
        return TradeList(day=chosen.isoformat(), time_zone=stores.of(site).time_zone, items=items)

    return router
