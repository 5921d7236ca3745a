"""People in a store now: the sum over its entrances since the occupancy last began again, and its limit.

The edge counts the people behind each entrance from its crossings. Every day at ``reset_at`` local time the
cloud's count of a store begins again at 0, so that missed crossings of one day do not add up. An alarm is
raised when a store has more people than its limit, and ends when it was within it for `KEPT_NS`. Both are
events of the cloud's own, so an alarm is an alert as those of nodes are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlmodel import Session, col, select

from apps.retail.cloud.stores import Stores
from apps.retail.cloud.tables import Area, AreaQuarter, StoreLimit
from apps.retail.events import StoreLimitExceeded, StoreLimitKept
from common.app.cloud import CloudContext
from common.app.events import make_event

_log = structlog.get_logger("edgeloop.retail")
KEPT_NS = 10 * 10**9
AreaKey = tuple[str, str, str]
"""Node, area, and camera where the area has no name."""


@dataclass(frozen=True, slots=True)
class Inside:
    """People behind entrances; ``contradictions`` since the edge's count began, ``time_ns`` of a crossing."""

    area: str
    camera: str
    people: int
    contradictions: int
    time_ns: int


def areas_of(session: Session, stores: Stores, site: str, now_ns: int) -> list[Inside]:
    """The areas of a store with the people in them since the last reset."""
    people = _people(session, site, stores.reset_ns(site, now_ns), now_ns)
    areas = session.exec(
        select(Area).where(col(Area.site) == site).order_by(col(Area.area), col(Area.camera), col(Area.node))
    )
    return [
        Inside(
            area.area,
            area.camera,
            people.get((area.node, area.area, area.camera), 0),
            area.contradictions,
            area.time_ns,
        )
        for area in areas
    ]


def people_in(session: Session, stores: Stores, site: str, now_ns: int) -> int:
    """People in a store."""
    return sum(_people(session, site, stores.reset_ns(site, now_ns), now_ns).values())


def _people(session: Session, site: str, since_ns: int, now_ns: int) -> dict[AreaKey, int]:
    rows: Sequence[AreaQuarter] = session.exec(
        select(AreaQuarter)
        .where(
            col(AreaQuarter.site) == site,
            col(AreaQuarter.quarter_ns) >= since_ns,
            col(AreaQuarter.quarter_ns) <= now_ns,
        )
        .order_by(col(AreaQuarter.quarter_ns))
    ).all()
    newest = {(row.node, row.area, row.camera): row.people for row in rows}
    return {
        key: people - min(row.min_people for row in rows if (row.node, row.area, row.camera) == key)
        for key, people in newest.items()
    }


class StoreLimits:
    """Compares the people of each store with its limit; belongs to one thread."""

    def __init__(self, context: CloudContext, stores: Stores) -> None:
        self._context = context
        self._stores = stores
        self._limits = {site: limit for site in stores if (limit := stores.of(site).max_people)}
        self._within_ns: dict[str, int] = {}
        """Since when a store with an alarm is within its limit."""

    def check(self) -> int:
        """Record an alarm or its end for each store that needs it; their number."""
        now_ns = self._context.clock()
        due: dict[str, StoreLimitExceeded | StoreLimitKept] = {}
        with self._context.session(read_only=True) as session:
            for site, limit in self._limits.items():
                people = people_in(session, self._stores, site, now_ns)
                known = session.get(StoreLimit, site)
                if change := self._change(site, people, limit, known is not None and known.exceeded, now_ns):
                    due[site] = change
        for site, change in due.items():
            with self._context.session() as session:
                self._context.record(session, site, [make_event(change, site, now_ns)])
                session.commit()
            _log.info(
                "limit of people", site=site, what=change.TYPE, people=change.people, limit=change.limit
            )
        return len(due)

    def _change(
        self, site: str, people: int, limit: int, exceeded: bool, now_ns: int
    ) -> StoreLimitExceeded | StoreLimitKept | None:
        if people > limit:
            self._within_ns.pop(site, None)
            return None if exceeded else StoreLimitExceeded(people=people, limit=limit)
        if not exceeded:
            return None
        since_ns = self._within_ns.setdefault(site, now_ns)
        if now_ns - since_ns < KEPT_NS:
            return None
        del self._within_ns[site]
        return StoreLimitKept(people=people, limit=limit)
