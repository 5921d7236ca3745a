"""The retail app's routes, below ``/v1/apps/retail``: stores, and of each its counts, zones, heat, cameras.

A day is a local day of the store, ``YYYY-MM-DD``; by default the present one.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlmodel import Session

from apps.retail.cloud import counts
from apps.retail.cloud.occupancy import areas_of, people_in
from apps.retail.cloud.retention import kept_from_ns
from apps.retail.cloud.store_routes import chosen_day, known_cameras, page_of_sites
from apps.retail.cloud.stores import HOUR_NS, QUARTER_NS, Bucket, Stores
from apps.retail.cloud.tables import CameraStatus, StoreLimit
from apps.retail.domain import DWELL_EDGES_S
from common.app.cloud import RouteDeps
from common.clock import Clock

MINUTES_LIMIT = 1500


class CameraPublic(BaseModel):
    """A camera with its layout's problems and its health."""

    camera: str
    node: str
    version: str
    layout: str
    lines: list[str]
    zones: list[str]
    problems: list[str]
    troubles: list[str]
    forgotten: bool
    silent: bool
    """Whether nothing has come from it for 3 minutes."""
    last_ns: int
    time_quality: str


class AreaPublic(BaseModel):
    """People in an area, or behind the entrances of one camera, since the last daily reset."""

    area: str
    camera: str
    people: int
    contradictions: int
    time_ns: int


class StorePublic(BaseModel):
    """A store with its local day: visits so far, people in it by the crossings, cameras, those in trouble.

    Visits are counted as in `VisitCount`; ``exceeded``: the alarm of its limit is open.
    """

    site: str
    title: str
    time_zone: str
    day: str
    entered: int
    left: int
    returned: int
    visits: int
    groups: int | None
    outside: int
    complete_share: float | None
    open_now: bool
    people: int
    max_people: int
    exceeded: bool
    cameras: int
    troubled: int
    silent: int
    last_ns: int


class StorePage(BaseModel):
    """Stores by site, and the cursor of what follows, or null."""

    items: list[StorePublic]
    next: str | None


class StoreDay(BaseModel):
    """One day of one store."""

    store: StorePublic
    hours: list[counts.VisitCount]
    lines: list[counts.LineCount]
    zones: list[counts.ZoneCount]
    dwell_edges_s: list[float]
    areas: list[AreaPublic]
    cameras: list[CameraPublic]


class VisitList(BaseModel):
    """Visits by part of a day."""

    day: str
    time_zone: str
    items: list[counts.VisitCount]


class MinuteList(BaseModel):
    """Minutes with an observation in order of time; those before ``kept_from_ns`` were deleted."""

    kept_from_ns: int
    items: list[counts.MinuteCount]


def make_router(deps: RouteDeps, stores: Stores, clock: Clock) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["retail"])

    @router.get("/stores")
    def list_stores(
        session: Session = deps.session,
        limit: int = Query(25, ge=1, le=100),
        cursor: str = Query("", max_length=200, description="`next` of the page before"),
    ) -> StorePage:
        """Stores with their present day, by site."""
        sites, following = page_of_sites(session, cursor, limit)
        now_ns = clock()
        items = [_store(session, stores, each, stores.today(each, now_ns), now_ns) for each in sites]
        return StorePage(items=items, next=following)

    @router.get("/stores/{site}/day")
    def one_day(site: str, session: Session = deps.session, day: date | None = None) -> StoreDay:
        """All of one day of a store: visits by hour, lines, zones, people, cameras."""
        now_ns = clock()
        cameras = known_cameras(session, site)
        chosen = chosen_day(stores, site, day, now_ns)
        whole = stores.day(site, chosen)
        return StoreDay(
            store=_store(session, stores, site, chosen, now_ns),
            hours=counts.visits_by(session, stores, site, list(stores.hours(site, chosen)), now_ns),
            lines=counts.lines_of(session, site, whole),
            zones=counts.zones_of(session, site, whole),
            dwell_edges_s=list(DWELL_EDGES_S),
            areas=[
                AreaPublic.model_validate(area, from_attributes=True)
                for area in areas_of(session, stores, site, now_ns)
            ],
            cameras=[camera_public(camera, now_ns) for camera in cameras],
        )

    @router.get("/stores/{site}/visits")
    def visits(
        site: str,
        session: Session = deps.session,
        day: date | None = None,
        by: Literal["quarter", "hour", "day"] = "hour",
    ) -> VisitList:
        """Visits of a local day by quarter of an hour, by hour, or as one."""
        now_ns = clock()
        known_cameras(session, site)
        chosen = chosen_day(stores, site, day, now_ns)
        buckets: list[Bucket] = (
            [stores.day(site, chosen)]
            if by == "day"
            else list(stores.parts(site, chosen, HOUR_NS if by == "hour" else QUARTER_NS))
        )
        items = counts.visits_by(session, stores, site, buckets, now_ns)
        return VisitList(day=chosen.isoformat(), time_zone=stores.of(site).time_zone, items=items)

    @router.get("/stores/{site}/minutes")
    def minutes(
        site: str,
        camera: str,
        line: str,
        session: Session = deps.session,
        day: date | None = None,
    ) -> MinuteList:
        """Crossings of one line by minute in a local day."""
        known_cameras(session, site)
        whole = stores.day(site, chosen_day(stores, site, day, clock()))
        rows = counts.minutes_of(session, site, camera, line, whole.begin_ns, whole.end_ns)
        return MinuteList(kept_from_ns=kept_from_ns(session), items=rows[:MINUTES_LIMIT])

    @router.get("/stores/{site}/heat")
    def heat(
        site: str,
        camera: str,
        session: Session = deps.session,
        day: date | None = None,
    ) -> counts.Heat | None:
        """The heat map of a camera in a local day; null without one."""
        known_cameras(session, site)
        whole = stores.day(site, chosen_day(stores, site, day, clock()))
        return counts.heat_of(session, site, camera, whole)

    return router


def _store(session: Session, stores: Stores, site: str, day: date, now_ns: int) -> StorePublic:
    cameras = counts.cameras_of(session, site)
    (whole,) = counts.visits_by(session, stores, site, [stores.day(site, day)], now_ns)
    settings = stores.of(site)
    limit = session.get(StoreLimit, site)
    return StorePublic(
        site=site,
        title=stores.title(site),
        time_zone=settings.time_zone,
        day=day.isoformat(),
        entered=whole.entered,
        left=whole.left,
        returned=whole.returned,
        visits=whole.visits,
        groups=whole.groups,
        outside=whole.outside,
        complete_share=whole.complete_share,
        open_now=stores.is_open(site, now_ns),
        people=people_in(session, stores, site, now_ns),
        max_people=settings.max_people,
        exceeded=limit is not None and limit.exceeded,
        cameras=len(cameras),
        troubled=sum(bool(camera.troubles) for camera in cameras),
        silent=sum(counts.is_silent(camera, now_ns) for camera in cameras),
        last_ns=max((camera.last_ns for camera in cameras), default=0),
    )


def camera_public(camera: CameraStatus, now_ns: int) -> CameraPublic:
    """A camera as the routes give it."""
    return CameraPublic(
        camera=camera.camera,
        node=camera.node,
        version=camera.version,
        layout=camera.layout,
        lines=camera.lines,
        zones=camera.zones,
        problems=camera.problems,
        troubles=camera.troubles,
        forgotten=counts.is_forgotten(camera),
        silent=counts.is_silent(camera, now_ns),
        last_ns=camera.last_ns,
        time_quality=camera.time_quality,
    )
