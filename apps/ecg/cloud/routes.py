"""The ECG app's routes, below ``/v1/apps/ecg``: patients, their days and strips, and the review queue.

Lists are paged by key; ``next`` is the cursor of the next page, or null. A reference application,
not a medical device.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, cast

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Query
from sqlalchemy.orm import defer
from sqlmodel import Session, col

from apps.ecg.cloud import queries, schemas
from apps.ecg.cloud.report.route import report_router
from apps.ecg.cloud.reviews import Review, labels_of
from apps.ecg.cloud.strips import parse_strip_id
from apps.ecg.cloud.tables import DAY_NS, Patient, Strip
from apps.ecg.events import EARLIEST_NS, LATEST_NS
from common.app.cloud import RouteDeps
from common.app.training import Label

_NO_SAMPLES = defer(cast(Any, Strip.samples))


def make_router(deps: RouteDeps, project_labels: Callable[[Session, Sequence[Label]], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["ecg"])

    @router.get("/patients")
    def patients_last_seen_first(
        session: Session = deps.session,
        limit: int = Query(50, ge=1, le=200),
        cursor: str | None = Query(None, max_length=100, description="`next` of the previous page"),
    ) -> schemas.PatientPage:
        """Patients, most recent data first."""
        query = sa.select(Patient).order_by(sa.desc(col(Patient.last_ns)), sa.desc(col(Patient.patient)))
        if cursor:
            last_ns, patient = _parse(cursor, int, str)
            query = query.where(
                sa.tuple_(col(Patient.last_ns), col(Patient.patient)) < sa.tuple_(last_ns, patient)
            )
        rows = session.scalars(query.limit(limit + 1)).all()
        following = _cursor(rows[limit - 1].last_ns, rows[limit - 1].patient) if len(rows) > limit else None
        return schemas.PatientPage(items=queries.patients_public(session, rows[:limit]), next=following)

    @router.get("/patients/{patient}")
    def one_patient(patient: str, session: Session = deps.session) -> schemas.PatientPublic:
        """The latest state of one patient."""
        return queries.patients_public(session, [_known(session, patient)])[0]

    @router.get("/patients/{patient}/days")
    def days_of_patient(
        patient: str,
        session: Session = deps.session,
        limit: int = Query(14, ge=1, le=100),
        cursor: date | None = Query(None, description="`next` of the previous page"),
    ) -> schemas.DayPage:
        """Days of a patient with data, newest first."""
        _known(session, patient)
        return queries.days_of(session, patient, limit, _checked_day(cursor) if cursor else None)

    @router.get("/patients/{patient}/days/{day}")
    def one_day(patient: str, day: date, session: Session = deps.session) -> schemas.Day:
        """A patient's day: totals, hours, episodes, alarms, variability, intervals, quality of the signal."""
        _known(session, patient)
        return queries.day_of_patient(session, patient, _checked_day(day))

    @router.get("/patients/{patient}/trend")
    def trend(
        patient: str,
        session: Session = deps.session,
        since_ns: int = Query(ge=EARLIEST_NS, le=LATEST_NS),
        until_ns: int = Query(ge=EARLIEST_NS, le=LATEST_NS),
        bucket_s: int = Query(60, ge=10, le=3600, description="length of a bucket in seconds"),
        limit: int = Query(1500, ge=1, le=1500),
    ) -> schemas.Trend:
        """Heart rate and ectopic beats in buckets, over at most a week."""
        _known(session, patient)
        if until_ns - since_ns > 7 * DAY_NS:
            raise HTTPException(422, "the range is limited to 7 days")
        return queries.trend_of(session, patient, since_ns, until_ns, bucket_s, limit)

    @router.get("/patients/{patient}/strips")
    def strips_of_patient(
        patient: str,
        session: Session = deps.session,
        since_ns: int = Query(EARLIEST_NS, ge=EARLIEST_NS, le=LATEST_NS),
        until_ns: int = Query(LATEST_NS, ge=EARLIEST_NS, le=LATEST_NS),
        limit: int = Query(50, ge=1, le=200),
        cursor: str | None = Query(None, max_length=30, description="`next` of the previous page"),
    ) -> schemas.StripPage:
        """Strips of a patient without samples, newest first."""
        _known(session, patient)
        before_ns = min(until_ns, _parse(cursor, int)[0] if cursor else until_ns)
        query = (
            sa.select(Strip)
            .options(_NO_SAMPLES)
            .where(
                col(Strip.patient) == patient,
                col(Strip.began_ns) >= since_ns,
                col(Strip.began_ns) < before_ns,
            )
            .order_by(sa.desc(col(Strip.began_ns)))
        )
        rows = session.scalars(query.limit(limit + 1)).all()
        following = str(rows[limit - 1].began_ns) if len(rows) > limit else None
        return schemas.StripPage(items=[queries.strip_public(row) for row in rows[:limit]], next=following)

    @router.get("/strips/{strip}")
    def one_strip(strip: str, session: Session = deps.session) -> schemas.StripSignal:
        """One strip with its samples."""
        row = _strip(session, strip)
        samples = base64.b64encode(row.samples).decode()
        return schemas.StripSignal(
            **queries.strip_public(row).model_dump(), lsb_mv=row.lsb_mv, samples_b64=samples
        )

    @router.get("/review")
    def review_queue(
        session: Session = deps.session,
        limit: int = Query(50, ge=1, le=200),
        cursor: str | None = Query(None, max_length=100, description="`next` of the previous page"),
    ) -> schemas.StripPage:
        """Unreviewed strips: highest ``reason`` first, then newest."""
        key = sa.tuple_(col(Strip.reason), col(Strip.began_ns), col(Strip.patient))
        query = sa.select(Strip).options(_NO_SAMPLES).where(col(Strip.reviewed_ns).is_(None))
        if cursor:
            query = query.where(key < sa.tuple_(*_parse(cursor, float, int, str)))
        query = query.order_by(
            sa.desc(col(Strip.reason)), sa.desc(col(Strip.began_ns)), sa.desc(col(Strip.patient))
        )
        rows = session.scalars(query.limit(limit + 1)).all()
        last = rows[limit - 1] if len(rows) > limit else None
        following = _cursor(last.reason, last.began_ns, last.patient) if last else None
        return schemas.StripPage(items=[queries.strip_public(row) for row in rows[:limit]], next=following)

    @router.post("/strips/{strip}/review", status_code=201)
    def review(
        strip: str, body: Review, who: Any = deps.admin, session: Session = deps.session
    ) -> schemas.StripPublic:
        """Confirm or correct the beats and the rhythm of a strip; the review is stored as labels."""
        row = _strip(session, strip)
        late = max((beat.at_ms for beat in body.beats or ()), default=0.0)
        if late * 1e6 > row.ended_ns - row.began_ns:
            raise HTTPException(422, f"beat at {late:g} ms is after the end of the strip")
        labels = labels_of(row, body, reviewer=getattr(who, "name", "") or "admin", now_ns=time.time_ns())
        for label in labels:
            deps.add_label(session, label)
        project_labels(session, labels)
        session.commit()
        session.refresh(row)
        return queries.strip_public(row)

    router.include_router(report_router(deps))
    return router


def _known(session: Session, patient: str) -> Patient:
    row = session.get(Patient, patient)
    if row is None:
        raise HTTPException(404, f"unknown patient {patient[:40]!r}")
    return row


def _strip(session: Session, text: str) -> Strip:
    key = parse_strip_id(text)
    row = session.get(Strip, key) if key else None
    if row is None:
        raise HTTPException(404, f"unknown strip {text[:60]!r}")
    return row


def _checked_day(day: date) -> date:
    if not queries.is_known_day(day):
        raise HTTPException(422, f"{day} is outside of 1678 to 2262")
    return day


def _cursor(*key: int | float | str) -> str:
    return "|".join(repr(part) if isinstance(part, float) else str(part) for part in key)


def _parse(cursor: str, *kinds: type) -> list[Any]:
    parts = cursor.split("|")
    try:
        return [kind(part) for kind, part in zip(kinds, parts, strict=True)]
    except ValueError:
        raise HTTPException(422, f"{cursor[:50]!r} is not a cursor of this list") from None
