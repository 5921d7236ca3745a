"""The route of the report: one patient and day as PDF."""

from __future__ import annotations

import time
from datetime import date

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Request, Response
from sqlmodel import Session

from apps.ecg.cloud import queries
from apps.ecg.cloud.report.report import STRIPS, Report, ReportStrip, render
from apps.ecg.cloud.strips import decode_samples
from apps.ecg.cloud.tables import DAY_NS, Patient, Strip
from common.app.cloud import RouteDeps

FINE_S, COARSE_S, FINE_HOURS = 10, 60, 3
"""Seconds of a point of the trend: fine where the day has only some hours."""
TREND_POINTS = 1500


def report_router(deps: RouteDeps) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["ecg"])

    @router.get(
        "/patients/{patient}/days/{day}/report.pdf",
        response_class=Response,
        responses={200: {"content": {"application/pdf": {}}, "description": "The report"}},
    )
    def report(patient: str, day: date, request: Request, session: Session = deps.session) -> Response:
        """A patient's day as PDF: summary, trend, alarms, intervals, and strips on ECG paper.

        A reference application, not a medical device.
        """
        who = getattr(request.state.principal, "name", "") or "admin"
        content = render(report_of(session, patient, day, made_ns=time.time_ns(), made_by=who))
        name = f"ecg-{patient}-{day.isoformat()}.pdf"
        shown = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "no-store"}
        return Response(content, media_type="application/pdf", headers=shown)

    return router


def report_of(session: Session, patient: str, day: date, *, made_ns: int, made_by: str) -> Report:
    """All that the report of a day tells; a 404 for an unknown patient or a day without anything."""
    row = session.get(Patient, patient)
    if row is None:
        raise HTTPException(404, f"nothing has been heard of a patient {patient[:40]!r}")
    if not queries.is_known_day(day):
        raise HTTPException(422, f"{day} is not a day of which anything can be known")
    told = queries.day_of_patient(session, patient, day)
    if not (told.hours or told.alarms or told.strips):
        raise HTTPException(404, f"nothing was told of {patient[:40]!r} on {day}")
    began_ns = queries.day_begin(day)
    bucket_s = FINE_S if len(told.hours) <= FINE_HOURS else COARSE_S
    trend = queries.trend_of(session, patient, began_ns, began_ns + DAY_NS, bucket_s, TREND_POINTS)
    query = (
        sa.select(Strip)
        .where(Strip.patient == patient, Strip.began_ns >= began_ns, Strip.began_ns < began_ns + DAY_NS)  # type: ignore[arg-type]
        .order_by(sa.desc(Strip.reason), Strip.began_ns)  # type: ignore[arg-type]
        .limit(STRIPS)
    )
    strips = sorted(session.scalars(query), key=lambda strip: strip.began_ns)
    return Report(
        patient=queries.patients_public(session, [row])[0],
        day=told,
        trend=trend,
        strips=[
            ReportStrip(
                queries.strip_public(each), decode_samples(each.samples, len(each.leads), each.lsb_mv)
            )
            for each in strips
        ],
        more_strips=max(0, told.strips - len(strips)),
        made_ns=made_ns,
        made_by=made_by,
    )
