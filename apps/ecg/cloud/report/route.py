"""The route of the report: one patient and day as PDF."""

from __future__ import annotations

import time
from datetime import date

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Request, Response
from sqlmodel import Session, col

from apps.ecg.cloud import queries
from apps.ecg.cloud.report.report import STRIPS, Report, ReportStrip, render
from apps.ecg.cloud.strips import decode_samples
from apps.ecg.cloud.tables import DAY_NS, Patient, Strip
from common.app.cloud import RouteDeps

FINE_S, COARSE_S, FINE_HOURS = 10, 60, 3
"""Bucket of the trend: ``FINE_S`` up to ``FINE_HOURS`` of data, else ``COARSE_S``."""
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
    """Content of a day's report. Raises a 404 for an unknown patient or a day without data."""
    row = session.get(Patient, patient)
    if row is None:
        raise HTTPException(404, f"unknown patient {patient[:40]!r}")
    if not queries.is_known_day(day):
        raise HTTPException(422, f"{day} is outside of 1678 to 2262")
    found = queries.day_of_patient(session, patient, day)
    if not (found.hours or found.alarms or found.strips):
        raise HTTPException(404, f"no data of {patient[:40]!r} on {day}")
    began_ns = queries.day_begin(day)
    bucket_s = FINE_S if len(found.hours) <= FINE_HOURS else COARSE_S
    trend = queries.trend_of(session, patient, began_ns, began_ns + DAY_NS, bucket_s, TREND_POINTS)
    query = (
        sa.select(Strip)
        .where(
            col(Strip.patient) == patient,
            col(Strip.began_ns) >= began_ns,
            col(Strip.began_ns) < began_ns + DAY_NS,
        )
        .order_by(sa.desc(col(Strip.reason)), col(Strip.began_ns))
        .limit(STRIPS)
    )
    strips = sorted(session.scalars(query), key=lambda strip: strip.began_ns)
    return Report(
        patient=queries.patients_public(session, [row])[0],
        day=found,
        trend=trend,
        strips=[
            ReportStrip(
                queries.strip_public(each), decode_samples(each.samples, len(each.leads), each.lsb_mv)
            )
            for each in strips
        ],
        more_strips=max(0, found.strips - len(strips)),
        made_ns=made_ns,
        made_by=made_by,
    )
