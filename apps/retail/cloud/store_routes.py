"""Parameters of routes about stores: a page of them, the known store, and its chosen day."""

from __future__ import annotations

from datetime import date

from fastapi import HTTPException
from sqlmodel import Session, col, select

from apps.retail.cloud.counts import cameras_of
from apps.retail.cloud.stores import Stores
from apps.retail.cloud.tables import CameraStatus

DAY_FIRST, DAY_LAST = date(2000, 1, 1), date(2200, 1, 1)


def chosen_day(stores: Stores, site: str, day: date | None, now_ns: int) -> date:
    """The chosen day of a store, or its present one; 422 for one out of range."""
    if day is not None and not DAY_FIRST <= day <= DAY_LAST:
        raise HTTPException(422, f"the day {day} is not from {DAY_FIRST} to {DAY_LAST}")
    return day or stores.today(site, now_ns)


def page_of_sites(session: Session, after: str, limit: int) -> tuple[list[str], str | None]:
    """Sites with cameras in order of their names, and the last of them where more follow."""
    site = col(CameraStatus.site)
    query = select(site).where(site > after).distinct().order_by(site).limit(limit + 1)
    sites = list(session.exec(query))
    return sites[:limit], sites[limit - 1] if len(sites) > limit else None


def known_cameras(session: Session, site: str) -> list[CameraStatus]:
    """The cameras of a store; 404 where there is none."""
    found = list(cameras_of(session, site))
    if not found:
        raise HTTPException(404, f"no store {site!r} has reported")
    return found


def known_store(session: Session, stores: Stores, site: str) -> None:
    """404 for a store without settings of which no camera has reported."""
    if site not in set(stores):
        known_cameras(session, site)
