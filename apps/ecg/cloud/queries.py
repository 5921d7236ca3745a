"""Queries over the ECG app's tables, each over a bounded number of rows of an index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel
from sqlmodel import Session, SQLModel, col

from apps.ecg.cloud import schemas
from apps.ecg.cloud.hours import SUMS
from apps.ecg.cloud.reviews import unreviewed
from apps.ecg.cloud.strips import PRIORITIES, strip_id
from apps.ecg.cloud.tables import (
    DAY_NS,
    HOUR_NS,
    NEVER_NS,
    OPEN_STATES,
    Episode,
    Finding,
    Hour,
    HrvWindow,
    IntervalWindow,
    Patient,
    QualityChange,
    RaisedAlarm,
    RateWindow,
    Strip,
    begin_of,
)
from apps.ecg.events import EARLIEST_NS, LATEST_NS

LIST_LIMIT = 500
"""Limit of each list of a day."""
EPISODE_LIMIT_NS = 31 * DAY_NS
"""Longest ended episode that is found in a later day; ongoing ones are always found."""
T = TypeVar("T", bound=BaseModel)


def day_begin(day: date) -> int:
    """Begin of a day in UTC nanoseconds."""
    return (day - date(1970, 1, 1)).days * DAY_NS


def is_known_day(day: date) -> bool:
    """Whether a day is within the accepted times."""
    return EARLIEST_NS <= day_begin(day) < LATEST_NS


def day_of(time_ns: int) -> date:
    """The UTC day of a time."""
    return datetime.fromtimestamp(time_ns // 10**9, UTC).date()


# -------------------------------------------------------------------------------- patients and strips


def patients_public(session: Session, patients: Sequence[Patient]) -> list[schemas.PatientPublic]:
    """Patients with their counts of alarms and strips."""
    names = [row.patient for row in patients]
    alarms = _counts(session, RaisedAlarm, names, col(RaisedAlarm.state).in_(OPEN_STATES))
    strips = _counts(session, Strip, names, col(Strip.reviewed_ns).is_(None))
    found = []
    for row in patients:
        last_ns = row.last_ns if row.rated_ns == NEVER_NS else row.rated_ns
        began_ns = last_ns - last_ns % DAY_NS
        burden = totals_of(session, row.patient, began_ns, DAY_NS).af_burden_percent
        found.append(
            schemas.PatientPublic(
                **row.model_dump(exclude={"rated_ns"}),
                open_alarms=alarms.get(row.patient, 0),
                unreviewed_strips=strips.get(row.patient, 0),
                day=day_of(began_ns).isoformat(),
                af_burden_percent=burden,
            )
        )
    return found


def strip_public(row: Strip) -> schemas.StripPublic:
    """A strip without its samples."""
    fields = row.model_dump(include=set(schemas.StripPublic.model_fields))
    priority = PRIORITIES.get(row.alarm, "low")
    return schemas.StripPublic(id=strip_id(row.patient, row.began_ns), priority=priority, **fields)


def _counts(session: Session, table: Any, names: Sequence[str], which: Any) -> dict[str, int]:
    query = sa.select(table.patient, sa.func.count()).where(table.patient.in_(names), which)
    return {row[0]: row[1] for row in session.execute(query.group_by(table.patient))}


# ----------------------------------------------------------------------------------------- one day


def totals_of(session: Session, patient: str, began_ns: int, length_ns: int) -> schemas.Totals:
    """Totals over the hours in a span."""
    sums = [
        *(sa.func.coalesce(sa.func.sum(getattr(Hour, name)), 0) for name in SUMS),
        sa.func.min(col(Hour.min_bpm)),
        sa.func.max(col(Hour.max_bpm)),
        sa.func.coalesce(sa.func.max(col(Hour.time_quality)), ""),
    ]
    row = session.execute(sa.select(*sums).where(*_within(Hour, patient, began_ns, length_ns))).one()
    return _totals(began_ns, row[: len(SUMS)], *row[len(SUMS) :])


def _totals(
    began_ns: int, sums: Sequence[Any], min_bpm: float | None, max_bpm: float | None, time_quality: str
) -> schemas.Totals:
    seconds, good_s, af_s, rated_s, bpm_s = (float(value) for value in sums[:5])
    n, s, v, f, q = (int(value) for value in sums[5:])
    beats = n + s + v + f + q
    return schemas.Totals(
        began_ns=began_ns,
        monitored_s=seconds,
        withheld_s=max(seconds - good_s, 0.0),
        heart_rate_bpm=bpm_s / rated_s if rated_s else None,
        min_bpm=min_bpm,
        max_bpm=max_bpm,
        beats={"N": n, "S": s, "V": v, "F": f, "Q": q},
        v_percent=100 * v / beats if beats else None,
        s_percent=100 * s / beats if beats else None,
        af_burden_percent=100 * af_s / good_s if good_s else None,
        time_quality=time_quality,
    )


def hours_of(session: Session, patient: str, began_ns: int, length_ns: int) -> list[Hour]:
    """The hours in a span, in order."""
    query = sa.select(Hour).where(*_within(Hour, patient, began_ns, length_ns)).order_by(col(Hour.began_ns))
    return list(session.scalars(query))


def hour_totals(hour: Hour) -> schemas.Totals:
    """Totals of one hour."""
    sums = [getattr(hour, name) for name in SUMS]
    return _totals(hour.began_ns, sums, hour.min_bpm, hour.max_bpm, hour.time_quality)


def day_of_patient(session: Session, patient: str, day: date) -> schemas.Day:
    """All findings of a patient's day."""
    began_ns = day_begin(day)
    hours = hours_of(session, patient, began_ns, DAY_NS)
    lists: dict[str, list[Any]] = {
        "episodes": episodes_of(session, patient, began_ns, DAY_NS),
        "alarms": _rows(session, RaisedAlarm, col(RaisedAlarm.raised_ns), patient, began_ns),
        "hrv": _rows(session, HrvWindow, col(HrvWindow.began_ns), patient, began_ns, SINUS_HRV),
        "quality": _rows(session, QualityChange, col(QualityChange.at_ns), patient, began_ns),
        "findings": _rows(session, Finding, col(Finding.at_ns), patient, began_ns),
    }
    strips = sa.select(sa.func.count()).select_from(Strip).where(*_within(Strip, patient, began_ns, DAY_NS))
    return schemas.Day(
        patient=patient,
        day=day.isoformat(),
        totals=totals_of(session, patient, began_ns, DAY_NS),
        hours=[hour_totals(hour) for hour in hours],
        episodes=[public(schemas.EpisodePublic, row) for row in lists["episodes"][:LIST_LIMIT]],
        alarms=[public(schemas.AlarmPublic, row) for row in lists["alarms"][:LIST_LIMIT]],
        hrv=[public(schemas.HrvPublic, row) for row in lists["hrv"][:LIST_LIMIT]],
        intervals=intervals_of(session, patient, began_ns, DAY_NS),
        quality=[public(schemas.QualityPublic, row) for row in lists["quality"][:LIST_LIMIT]],
        findings=[public(schemas.FindingPublic, row) for row in lists["findings"][:LIST_LIMIT]],
        strips=session.scalar(strips) or 0,
        unreviewed_strips=unreviewed(session, patient, began_ns, began_ns + DAY_NS),
        versions=sorted({hour.version for hour in hours}),
        cut=[name for name, rows in lists.items() if len(rows) > LIST_LIMIT],
    )


SINUS_HRV: Any = ~sa.exists().where(
    col(RateWindow.patient) == col(HrvWindow.patient),
    col(RateWindow.began_ns) >= col(HrvWindow.began_ns),
    col(RateWindow.began_ns) < col(HrvWindow.began_ns) + sa.cast(col(HrvWindow.seconds) * 1e9, sa.BigInteger),
    col(RateWindow.rhythm) == "AF",
)
"""SQL: windows of variability without atrial fibrillation; older nodes also sent windows with it."""


def episodes_of(session: Session, patient: str, began_ns: int, length_ns: int) -> list[Episode]:
    """Episodes that overlap a span, in order of begin; up to `LIST_LIMIT` + 1."""
    query = (
        sa.select(Episode)
        .where(col(Episode.patient) == patient, col(Episode.began_ns) < began_ns + length_ns)
        .where(sa.or_(col(Episode.began_ns) >= began_ns - EPISODE_LIMIT_NS, col(Episode.ended_ns).is_(None)))
        .where(sa.or_(col(Episode.ended_ns).is_(None), col(Episode.ended_ns) > began_ns))
        .order_by(col(Episode.began_ns), col(Episode.episode))
        .limit(LIST_LIMIT + 1)
    )
    return list(session.scalars(query))


def intervals_of(
    session: Session, patient: str, began_ns: int, length_ns: int
) -> list[schemas.IntervalsPublic]:
    """Hourly mean intervals in order of time, weighted by beats."""
    table: Any = IntervalWindow
    hour = begin_of(table.began_ns, HOUR_NS).label("hour")
    means = [weighted_mean(getattr(table, name), table.beats) for name in _MEASURES]
    query = (
        sa.select(hour, sa.func.sum(table.beats), sa.func.max(table.time_quality), *means)
        .where(*_within(table, patient, began_ns, length_ns))
        .group_by(hour)
        .order_by(hour)
    )
    return [
        schemas.IntervalsPublic(
            began_ns=row[0], beats=row[1], time_quality=row[2], **dict(zip(_MEASURES, row[3:], strict=True))
        )
        for row in session.execute(query)
    ]


_MEASURES = ("rr_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms")


def weighted_mean(value: Any, weight: Any) -> Any:
    """SQL: weighted mean; null without values."""
    weights = sa.func.sum(sa.case((value.is_not(None), weight), else_=0))
    return sa.func.sum(value * weight) / sa.func.nullif(weights, 0)


def days_of(session: Session, patient: str, limit: int, before: date | None) -> schemas.DayPage:
    """Days with data, newest first."""
    before_ns = day_begin(before) if before is not None else LATEST_NS
    found = day_begins(session, patient, EARLIEST_NS, before_ns, limit + 1)
    items = [
        schemas.DaySummary(
            day=day_of(began_ns).isoformat(), totals=totals_of(session, patient, began_ns, DAY_NS)
        )
        for began_ns in found[:limit]
    ]
    return schemas.DayPage(items=items, next=items[-1].day if len(found) > limit else None)


def day_begins(session: Session, patient: str, first_ns: int, before_ns: int, limit: int) -> list[int]:
    """Begins of days with data in ``first_ns <= t < before_ns``, newest first."""
    day = begin_of(col(Hour.began_ns), DAY_NS).label("day")
    query: Any = sa.select(day).where(
        col(Hour.patient) == patient,
        col(Hour.began_ns) >= first_ns,
        col(Hour.began_ns) < before_ns + DAY_NS,
    )
    query = query.where(day < before_ns).distinct().order_by(day.desc()).limit(limit)
    return list(session.scalars(query))


# ------------------------------------------------------------------------------------------- trend


def trend_of(
    session: Session, patient: str, since_ns: int, until_ns: int, bucket_s: int, limit: int
) -> schemas.Trend:
    """Heart rate and beats of buckets with data, in order of time."""
    table: Any = RateWindow
    bucket_ns = bucket_s * 10**9
    at = begin_of(table.began_ns, bucket_ns).label("at")
    af = sa.case((table.rhythm == "AF", 1.0), else_=0.0)
    weighted = weighted_mean(table.heart_rate_bpm, table.seconds)
    bpm = table.heart_rate_bpm
    query: Any = (
        sa.select(
            at,
            sa.func.sum(table.seconds),
            weighted,
            sa.func.min(bpm),
            sa.func.max(bpm),
            sa.func.sum(table.v),
            sa.func.sum(table.s),
            sa.func.avg(table.good_share),
            sa.func.avg(af),
        )
        .where(table.patient == patient, table.began_ns >= since_ns, table.began_ns < until_ns)
        .group_by(at)
        .order_by(at)
        .limit(limit + 1)
    )
    rows = session.execute(query).all()
    names = list(schemas.TrendPoint.model_fields)
    points = [schemas.TrendPoint(**dict(zip(names, row, strict=True))) for row in rows[:limit]]
    following = rows[limit][0] if len(rows) > limit else None
    return schemas.Trend(patient=patient, bucket_s=bucket_s, points=points, next_ns=following)


# ----------------------------------------------------------------------------------------- plumbing


def public(schema: type[T], row: SQLModel) -> T:
    """A row in its public schema, a subset of its columns."""
    return schema(**row.model_dump(include=set(schema.model_fields)))


def _within(table: Any, patient: str, began_ns: int, length_ns: int) -> tuple[Any, ...]:
    return table.patient == patient, table.began_ns >= began_ns, table.began_ns < began_ns + length_ns


def _rows(session: Session, table: Any, at: Any, patient: str, began_ns: int, *which: Any) -> list[Any]:
    query = (
        sa.select(table)
        .where(table.patient == patient, at >= began_ns, at < began_ns + DAY_NS, *which)
        .order_by(at)
        .limit(LIST_LIMIT + 1)
    )
    return list(session.scalars(query))
