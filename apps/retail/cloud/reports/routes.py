"""Routes of reports: files of any days, and the deliveries of the scheduled ones."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel
from sqlmodel import Session, col, select

from apps.retail.cloud.reports.files import as_csv, as_parquet
from apps.retail.cloud.reports.rows import DAYS_LIMIT, STORES_LIMIT, Interval, report_of
from apps.retail.cloud.store_routes import DAY_FIRST, DAY_LAST, known_store
from apps.retail.cloud.stores import Stores
from apps.retail.cloud.tables import CameraStatus, Delivery
from common.app.cloud import RouteDeps
from common.clock import Clock
from common.errors import ConfigError

Format = Literal["csv", "parquet"]
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
HOURLY_DAYS = 31


class DeliveryPublic(BaseModel):
    """The last delivery of a scheduled report; empty days before the first one."""

    name: str
    every: str
    at: str
    recipients: int
    first_day: str
    last_day: str
    sent: bool | None
    attempts: int
    reason: str
    time_ns: int


class DeliveryList(BaseModel):
    """Scheduled reports by name."""

    items: list[DeliveryPublic]


def reports_router(deps: RouteDeps, stores: Stores, clock: Clock) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["retail"])

    @router.get(
        "/report.{format}",
        response_class=Response,
        responses={200: {"content": {each: {} for each in MEDIA_TYPES.values()}, "description": "The file"}},
    )
    def report(
        format: Format,
        first: date,
        last: date,
        store: Annotated[str, Query(max_length=63, description="site; empty: all stores")] = "",
        by: Interval = "day",
        session: Session = deps.session,
    ) -> Response:
        """Visits, sales, conversion and forecast of one store or of all, by local day or hour."""
        _check(first, last, by)
        if store:
            known_store(session, stores, store)
        reporting = select(CameraStatus.site).distinct()
        sites = [store] if store else sorted({*stores, *session.exec(reporting)})[:STORES_LIMIT]
        if not sites:
            raise HTTPException(404, "no store has reported yet")
        rows = report_of(session, stores, sites, first, last, by, clock()).rows
        try:
            content = as_csv(rows) if format == "csv" else as_parquet(rows)
        except ConfigError as error:
            raise HTTPException(501, str(error)) from error
        name = f"visitors-{first}-{last}.{format}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return Response(content, media_type=MEDIA_TYPES[format], headers=headers)

    @router.get("/reports")
    def deliveries(session: Session = deps.session) -> DeliveryList:
        """The scheduled reports with their last delivery."""
        known = {row.name: row for row in session.exec(select(Delivery).order_by(col(Delivery.name)))}
        items: list[DeliveryPublic] = []
        for name, settings in sorted(stores.settings.reports.items()):
            row = known.get(name)
            items.append(
                DeliveryPublic(
                    name=name,
                    every=settings.every,
                    at=settings.at,
                    recipients=len(settings.to),
                    first_day=row.first_day if row else "",
                    last_day=row.last_day if row else "",
                    sent=row.sent if row else None,
                    attempts=row.attempts if row else 0,
                    reason=row.reason if row else "",
                    time_ns=row.time_ns if row else 0,
                )
            )
        return DeliveryList(items=items)

    return router


def _check(first: date, last: date, by: Interval) -> None:
    """Refuses days that are out of range or too many."""
    limit = DAYS_LIMIT if by == "day" else HOURLY_DAYS
    if not DAY_FIRST <= first <= last <= DAY_LAST:
        raise HTTPException(422, f"{first} to {last} is not a range of days from {DAY_FIRST} to {DAY_LAST}")
    if last - first >= timedelta(days=limit):
        raise HTTPException(422, f"{first} to {last} is more than {limit} days by {by}")
