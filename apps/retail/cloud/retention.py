"""Age limit of minutes: those older than the setting are deleted, their quarters of an hour are kept.

What was deleted is recorded (`Retention`) before it is: counts that arrive later for minutes before that time
are not projected, as their quarter can no longer be summed; their events stay in the event log.
"""

from __future__ import annotations

import structlog
from sqlalchemy import delete
from sqlmodel import Session, col, select

from apps.retail.cloud.store_projection import put
from apps.retail.cloud.stores import HOUR_NS, QUARTER_NS
from apps.retail.cloud.tables import LineMinute, LineQuarter, Retention, ZoneMinute, ZoneQuarter
from common.app.cloud import CloudContext

_log = structlog.get_logger("edgeloop.retail")
THE_ONE = 1


class MinuteRetention:
    """Deletes minutes beyond an age; belongs to one thread."""

    def __init__(self, context: CloudContext, days: int) -> None:
        self._context = context
        self._age_ns = days * 24 * HOUR_NS

    def turn(self) -> int:
        """Delete what is too old, in a transaction for each line and zone; the number of minutes."""
        before_ns = (self._context.clock() - self._age_ns) // QUARTER_NS * QUARTER_NS
        with self._context.session() as session:
            before_ns = max(before_ns, kept_from_ns(session))
            put(session, Retention, {"id": THE_ONE}, {"kept_from_ns": before_ns})
            session.commit()
        deleted = 0
        for minutes, quarters, part in (
            (LineMinute, LineQuarter, "line"),
            (ZoneMinute, ZoneQuarter, "zone"),
        ):
            columns = [col(getattr(quarters, name)) for name in ("site", "camera", part)]
            with self._context.session(read_only=True) as session:
                parts = session.execute(select(*columns).distinct()).all()
            for site, camera, name in parts:
                with self._context.session() as session:
                    query = delete(minutes).where(
                        col(minutes.site) == site,
                        col(minutes.camera) == camera,
                        col(getattr(minutes, part)) == name,
                        col(minutes.minute_ns) < before_ns,
                    )
                    deleted += session.connection().execute(query).rowcount
                    session.commit()
        if deleted:
            _log.info("minutes beyond the age limit deleted", minutes=deleted, kept_from_ns=before_ns)
        return deleted


def kept_from_ns(session: Session) -> int:
    """Time before which minutes were deleted; 0 for none."""
    row = session.get(Retention, THE_ONE)
    return row.kept_from_ns if row is not None else 0
