"""Routes across stores: stores compared, all cameras with their health, and the queues of a store's day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlmodel import Session, col, func, select

from apps.retail.cloud.counts import is_forgotten, is_silent, quarters_of, silent_cameras, visits_by
from apps.retail.cloud.forecast.models import COVERAGE
from apps.retail.cloud.forecast.outlook import findings_of, outlook_of
from apps.retail.cloud.store_routes import chosen_day, known_store, page_of_sites
from apps.retail.cloud.stores import Stores
from apps.retail.cloud.tables import CameraStatus, ZoneQuarter
from apps.retail.cloud.trade import trade_by
from common.app.cloud import RouteDeps
from common.clock import Clock


class StoreCompared(BaseModel):
    """A store over some whole days up to yesterday, and the same number of days before. Null: unknown."""

    site: str
    title: str
    visits: int
    visits_before: int
    change_percent: float | None
    complete_share: float | None
    conversion: float | None
    group_conversion: float | None
    capture_rate: float | None
    unusual: list[str]
    """Findings of these days, newest first."""


class Comparison(BaseModel):
    """Stores by site, and the cursor of what follows, or null."""

    days: int
    items: list[StoreCompared]
    next: str | None


class CameraHealth(BaseModel):
    """A camera of any store; ``troubles`` are its present ones."""

    site: str
    title: str
    camera: str
    node: str
    troubles: list[str]
    forgotten: bool
    silent: bool
    """Whether nothing has come from it for 3 minutes."""
    pictures: list[str] | None
    """Kinds of pictures that its node's own settings allow to leave (samples, stills); null: unknown."""
    health_ns: int
    last_ns: int
    time_quality: str


class CameraHealthPage(BaseModel):
    """Cameras, those in trouble first, then silent ones, with the numbers of both; ``next`` is the cursor."""

    total: int
    troubled: int
    silent: int
    items: list[CameraHealth]
    next: int | None


class QueueQuarter(BaseModel):
    """A zone in a quarter of an hour; means are null where nothing was observed or nobody waited."""

    local: str
    mean_people: float | None
    mean_queue: float | None
    max_queue: int
    mean_wait_s: float | None
    longest_wait_s: float


class ZoneQueue(BaseModel):
    """A zone's day by quarter of an hour."""

    camera: str
    zone: str
    quarters: list[QueueQuarter]


class QueueDay(BaseModel):
    """The zones of a store in a local day."""

    day: str
    title: str
    zones: list[ZoneQueue]


def comparison_router(deps: RouteDeps, stores: Stores, clock: Clock) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["retail"])

    @router.get("/compare")
    def compare(
        session: Session = deps.session,
        days: int = Query(7, ge=1, le=31),
        limit: int = Query(25, ge=1, le=100),
        cursor: str = Query("", max_length=200, description="`next` of the page before"),
    ) -> Comparison:
        """Stores beside each other over the last whole days."""
        sites, following = page_of_sites(session, cursor, limit)
        items = [_compared(session, stores, each, days, clock()) for each in sites]
        return Comparison(days=days, items=items, next=following)

    @router.get("/cameras")
    def cameras(
        session: Session = deps.session,
        limit: int = Query(50, ge=1, le=200),
        cursor: int = Query(0, ge=0, le=10**6, description="`next` of the page before"),
    ) -> CameraHealthPage:
        """Cameras of all stores, those in trouble first."""
        status, now_ns = CameraStatus, clock()
        silence = silent_cameras(now_ns)
        order = (col(status.troubled).desc(), silence.desc(), col(status.site), col(status.camera))
        rows = session.exec(select(status).order_by(*order).offset(cursor).limit(limit + 1)).all()
        total = session.exec(select(func.count()).select_from(status)).one()
        troubled, silent = (
            session.exec(select(func.count()).select_from(status).where(condition)).one()
            for condition in (col(status.troubled).is_(True), silence)
        )
        items = [_health(stores, row, now_ns) for row in rows[:limit]]
        following = cursor + limit if len(rows) > limit else None
        return CameraHealthPage(total=total, troubled=troubled, silent=silent, items=items, next=following)

    @router.get("/stores/{site}/queues")
    def queues(site: str, session: Session = deps.session, day: date | None = None) -> QueueDay:
        """Queues and waiting times of a local day by quarter of an hour."""
        known_store(session, stores, site)
        chosen = chosen_day(stores, site, day, clock())
        whole = stores.day(site, chosen)
        by_zone: dict[tuple[str, str], list[ZoneQuarter]] = {}
        for row in quarters_of(session, ZoneQuarter, site, whole.begin_ns, whole.end_ns):
            by_zone.setdefault((row.camera, row.zone), []).append(row)
        zones = [_queue(stores, site, *key, rows) for key, rows in sorted(by_zone.items())]
        return QueueDay(day=chosen.isoformat(), title=stores.title(site), zones=zones)

    return router


def _compared(session: Session, stores: Stores, site: str, days: int, now_ns: int) -> StoreCompared:
    first = stores.today(site, now_ns) - timedelta(days=days)
    present, before = stores.days(site, first, days), stores.days(site, first - timedelta(days=days), days)
    (earlier,) = visits_by(session, stores, site, [before], now_ns)
    (count,) = visits_by(session, stores, site, [present], now_ns)
    (trade,) = trade_by(session, stores, site, [present], now_ns)
    outlook = outlook_of(session, stores, site, now_ns, COVERAGE, 0, days)
    change = None
    if earlier.visits and earlier.complete_share is not None:
        change = round(100 * (count.visits - earlier.visits) / earlier.visits, 1)
    return StoreCompared(
        site=site,
        title=stores.title(site),
        visits=count.visits,
        visits_before=earlier.visits,
        change_percent=change,
        complete_share=count.complete_share,
        conversion=trade.conversion,
        group_conversion=trade.group_conversion,
        capture_rate=trade.capture_rate,
        unusual=findings_of(outlook.days),
    )


def _health(stores: Stores, row: CameraStatus, now_ns: int) -> CameraHealth:
    return CameraHealth(
        site=row.site,
        title=stores.title(row.site),
        camera=row.camera,
        node=row.node,
        troubles=row.troubles,
        forgotten=is_forgotten(row),
        silent=is_silent(row, now_ns),
        pictures=row.pictures,
        health_ns=row.health_ns,
        last_ns=row.last_ns,
        time_quality=row.time_quality,
    )


def _queue(stores: Stores, site: str, camera: str, zone: str, rows: Sequence[ZoneQuarter]) -> ZoneQueue:
    return ZoneQueue(
        camera=camera,
        zone=zone,
        quarters=[
            QueueQuarter(
                local=stores.local(site, row.quarter_ns).isoformat(),
                mean_people=row.people_s / row.observed_s if row.observed_s else None,
                mean_queue=row.queue_s / row.observed_s if row.observed_s else None,
                max_queue=row.max_queue,
                mean_wait_s=row.wait_s / row.waited if row.waited else None,
                longest_wait_s=row.longest_wait_s,
            )
            for row in sorted(rows, key=lambda row: row.quarter_ns)
        ],
    )
