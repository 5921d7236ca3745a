"""The newest counts of one camera: today's crossings of each line, and the last minute of each zone.

Both come from minutes. Crossings after ``counted_to_ns`` are events of the node and in no minute yet; a page
adds them.
"""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel
from sqlmodel import Session, col, select

from apps.retail.cloud.routes import CameraPublic, camera_public
from apps.retail.cloud.stores import Stores
from apps.retail.cloud.tables import CameraStatus, LineMinute, ZoneMinute
from apps.retail.domain import MINUTE_NS
from common.app.cloud import RouteDeps
from common.clock import Clock

ZONE_MINUTES_NS = 24 * 60 * MINUTE_NS
"""Age up to which a zone's last minute is shown."""


class LineNow(BaseModel):
    """Crossings of a line in the present local day, up to the end of its last minute (0 without one)."""

    line: str
    entered: int
    left: int
    counted_to_ns: int


class ZoneNow(BaseModel):
    """A zone in its last minute; ``people`` and ``queue`` are means, null where no frame was seen."""

    zone: str
    minute_ns: int
    people: float | None
    max_people: int
    queue: float | None
    max_queue: int
    longest_wait_s: float
    complete: bool


class CameraNow(BaseModel):
    """A camera with its lines and zones as they were counted last; ``now_ns`` is the cloud's time."""

    title: str
    day: str
    day_begin_ns: int
    time_zone: str
    now_ns: int
    camera: CameraPublic
    lines: list[LineNow]
    zones: list[ZoneNow]


def live_router(deps: RouteDeps, stores: Stores, clock: Clock) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["retail"])

    @router.get("/stores/{site}/live")
    def live(site: str, camera: str, session: Session = deps.session) -> CameraNow:
        """The newest counts of a camera."""
        known = session.get(CameraStatus, (site, camera))
        if known is None:
            raise HTTPException(404, f"no camera {camera!r} of the store {site!r} has reported")
        now_ns = clock()
        today = stores.today(site, now_ns)
        return CameraNow(
            title=stores.title(site),
            day=today.isoformat(),
            day_begin_ns=stores.day(site, today).begin_ns,
            time_zone=stores.of(site).time_zone,
            now_ns=now_ns,
            camera=camera_public(known, now_ns),
            lines=_lines(session, stores, site, camera, today),
            zones=_zones(session, site, camera, now_ns),
        )

    return router


def _lines(session: Session, stores: Stores, site: str, camera: str, today: date) -> list[LineNow]:
    whole, line, minute = stores.day(site, today), col(LineMinute.line), col(LineMinute.minute_ns)
    query = (
        sa.select(line, sa.func.sum(LineMinute.entered), sa.func.sum(LineMinute.left), sa.func.max(minute))
        .where(
            col(LineMinute.site) == site,
            col(LineMinute.camera) == camera,
            minute >= whole.begin_ns,
            minute < whole.end_ns,
        )
        .group_by(line)
        .order_by(line)
    )
    return [
        LineNow(line=name, entered=entered, left=left, counted_to_ns=last_ns + MINUTE_NS)
        for name, entered, left, last_ns in session.execute(query)
    ]


def _zones(session: Session, site: str, camera: str, now_ns: int) -> list[ZoneNow]:
    zone, minute = col(ZoneMinute.zone), col(ZoneMinute.minute_ns)
    own = (
        col(ZoneMinute.site) == site,
        col(ZoneMinute.camera) == camera,
        minute >= now_ns - ZONE_MINUTES_NS,
    )
    newest = sa.select(zone, sa.func.max(minute)).where(*own).group_by(zone)
    rows = session.exec(
        select(ZoneMinute)
        .where(*own, sa.tuple_(zone, minute).in_(newest))
        .order_by(zone, col(ZoneMinute.epoch), col(ZoneMinute.seq))
    )
    return [_zone(row) for row in {row.zone: row for row in rows}.values()]


def _zone(row: ZoneMinute) -> ZoneNow:
    seen_s = row.observed_s
    return ZoneNow(
        zone=row.zone,
        minute_ns=row.minute_ns,
        people=row.people_s / seen_s if seen_s else None,
        max_people=row.max_people,
        queue=row.queue_s / seen_s if seen_s else None,
        max_queue=row.max_queue,
        longest_wait_s=row.longest_wait_s,
        complete=row.complete,
    )
