"""Kinds of Observation. Those of an hour or a day are final once it is over."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlmodel import col

from apps.ecg.cloud import queries
from apps.ecg.cloud.fhir import codes, resources
from apps.ecg.cloud.fhir.codes import Json, concept, quantity
from apps.ecg.cloud.fhir.criteria import Context, Criteria, Kind
from apps.ecg.cloud.fhir.ids import ResourceId
from apps.ecg.cloud.fhir.resources import component, measured
from apps.ecg.cloud.tables import (
    DAY_NS,
    HOUR_NS,
    Episode,
    Hour,
    HrvWindow,
    IntervalWindow,
    Strip,
    begin_of,
    columns_of,
)

LONGEST_EPISODE_NS = queries.EPISODE_LIMIT_NS
LONGEST_WINDOW_NS = HOUR_NS


def hours(criteria: Criteria, which: Any) -> Any:
    """Hours within the dates that satisfy ``which``."""
    first, before = criteria.dates.of_length(HOUR_NS)
    return sa.select(*columns_of(Hour)).where(
        criteria.of(Hour),
        col(Hour.began_ns) >= first,
        col(Hour.began_ns) < before,
        which,
    )


HAS_RATE: Any = col(Hour.rated_seconds) > 0
HAS_BEATS: Any = col(Hour.n) + col(Hour.s) + col(Hour.v) + col(Hour.f) + col(Hour.q) > 0


def _heart_rate(context: Context, hour: Any) -> Json:
    totals = queries.hour_totals(hour)
    parts = component(concept("Minimum over 10 s", (codes.OWN, "minimum")), totals.min_bpm, "/min")
    parts += component(concept("Maximum over 10 s", (codes.OWN, "maximum")), totals.max_bpm, "/min")
    value = quantity(totals.heart_rate_bpm or 0, "beats/minute", "/min")
    options: Json = {"category": resources.VITAL_SIGNS, "components": parts}
    return _of_hour(context, hour, "hr", codes.HEART_RATE, value, **options)


def _ectopy(context: Context, hour: Any) -> Json:
    totals = queries.hour_totals(hour)
    more = [
        ("supraventricular-beats", "Supraventricular ectopic beats", totals.beats["S"], "{beats}"),
        ("beats", "Beats", sum(totals.beats.values()), "{beats}"),
        ("v-share", "Ventricular ectopic beats of all", totals.v_percent, "%"),
        ("s-share", "Supraventricular ectopic beats of all", totals.s_percent, "%"),
    ]
    parts = [
        each
        for code, text, value, unit in more
        for each in component(concept(text, (codes.OWN, code)), value, unit.strip("{}"), unit)
    ]
    value = quantity(totals.beats["V"], "beats", "{beats}")
    return _of_hour(context, hour, "ectopy", codes.VENTRICULAR_BEATS, value, components=parts)


def _of_hour(context: Context, hour: Any, kind: str, code: Json, value: Json, **more: Any) -> Json:
    ended_ns = hour.began_ns + HOUR_NS
    return measured(
        ResourceId(hour.patient, kind, hour.began_ns),
        code,
        value,
        ended_ns=ended_ns,
        node=hour.node,
        final=resources.is_over(ended_ns, context.now_ns),
        virtual=context.is_virtual(hour.patient),
        time_quality=hour.time_quality,
        **more,
    )


INTERVALS = {
    "pr": "pr_ms",
    "qrs": "qrs_ms",
    "qt": "qt_ms",
    "qtcb": "qtc_bazett_ms",
    "qtcf": "qtc_fridericia_ms",
}
"""Measures by the kind of their hourly means."""


def _intervals(kind: str, code: Json, method: str = "") -> Kind:
    table: Any = IntervalWindow
    value = getattr(IntervalWindow, INTERVALS[kind])

    def rows(criteria: Criteria) -> Any:
        first, before = criteria.dates.of_length(HOUR_NS)
        hour = begin_of(table.began_ns, HOUR_NS)
        mean = queries.weighted_mean(value, table.beats)
        return (
            sa.select(
                table.patient,
                hour.label("began_ns"),
                mean.label("mean"),
                sa.func.max(table.node).label("node"),
                sa.func.max(table.time_quality).label("time_quality"),
            )
            .where(criteria.of(table), value.is_not(None), table.beats > 0)
            .where(table.began_ns >= first, table.began_ns < before + HOUR_NS, hour < before)
            .group_by(table.patient, hour)
        )

    def make(context: Context, row: Any) -> Json:
        ended_ns = row.began_ns + HOUR_NS
        return measured(
            ResourceId(row.patient, kind, row.began_ns),
            code,
            quantity(row.mean, "ms"),
            ended_ns=ended_ns,
            node=row.node,
            final=resources.is_over(ended_ns, context.now_ns),
            virtual=context.is_virtual(row.patient),
            method=method,
            time_quality=row.time_quality,
        )

    return Kind(kind, "Observation", (code,), rows, make, summed=True)


def _hrv_rows(criteria: Criteria) -> Any:
    ended = col(HrvWindow.began_ns) + sa.cast(col(HrvWindow.seconds) * 1e9, sa.BigInteger)
    within = criteria.within(HrvWindow, ended, LONGEST_WINDOW_NS)
    return sa.select(*columns_of(HrvWindow)).where(within, queries.SINUS_HRV)


def _episode_rows(criteria: Criteria) -> Any:
    within = criteria.within(Episode, col(Episode.ended_ns), LONGEST_EPISODE_NS)
    return sa.select(*columns_of(Episode)).where(within)


def _strip_rows(criteria: Criteria) -> Any:
    within = criteria.within(Strip, col(Strip.ended_ns), LONGEST_WINDOW_NS)
    return sa.select(col(Strip.patient), col(Strip.began_ns)).where(within)


def _strip(context: Context, row: Any) -> Json:
    strip = context.session.get_one(Strip, (row.patient, row.began_ns))
    return resources.strip_observation(strip, context.is_virtual(row.patient))


def days(criteria: Criteria, which: Any = None) -> Any:
    """Days within the dates with an hour that satisfies ``which``."""
    first, before = criteria.dates.of_length(DAY_NS)
    day = begin_of(col(Hour.began_ns), DAY_NS)
    rows = sa.select(col(Hour.patient), day.label("began_ns")).where(
        criteria.of(Hour), col(Hour.began_ns) >= first, col(Hour.began_ns) < before + DAY_NS, day < before
    )
    return (rows if which is None else rows.where(which)).group_by(col(Hour.patient), day)


def _burden_rows(criteria: Criteria) -> Any:
    return days(criteria, col(Hour.good_seconds) > 0)


def _burden(context: Context, row: Any) -> Json:
    totals = queries.totals_of(context.session, row.patient, row.began_ns, DAY_NS)
    ended_ns = row.began_ns + DAY_NS
    return measured(
        ResourceId(row.patient, "afb", row.began_ns),
        codes.AF_BURDEN,
        quantity(totals.af_burden_percent or 0, "%"),
        ended_ns=ended_ns,
        node=queries.hours_of(context.session, row.patient, row.began_ns, DAY_NS)[-1].node,
        final=resources.is_over(ended_ns, context.now_ns),
        virtual=context.is_virtual(row.patient),
        time_quality=totals.time_quality,
    )


OBSERVATIONS = (
    Kind("hr", "Observation", (codes.HEART_RATE,), lambda criteria: hours(criteria, HAS_RATE), _heart_rate),
    Kind(
        "hrv",
        "Observation",
        (codes.SDNN,),
        _hrv_rows,
        lambda context, row: resources.hrv_observation(row, context.is_virtual(row.patient)),
    ),
    _intervals("pr", codes.PR),
    _intervals("qrs", codes.QRS),
    _intervals("qt", codes.QT),
    _intervals("qtcb", codes.QTC_BAZETT, "Bazett: QT / RR^(1/2)"),
    _intervals("qtcf", codes.QTC_FRIDERICIA, "Fridericia: QT / RR^(1/3)"),
    Kind(
        "ectopy",
        "Observation",
        (codes.VENTRICULAR_BEATS,),
        lambda criteria: hours(criteria, HAS_BEATS),
        _ectopy,
    ),
    Kind(
        "rhy",
        "Observation",
        (codes.RHYTHM,),
        _episode_rows,
        lambda context, row: resources.episode_observation(row, context.is_virtual(row.patient)),
    ),
    Kind("afb", "Observation", (codes.AF_BURDEN,), _burden_rows, _burden),
    Kind("strip", "Observation", (codes.STRIP,), _strip_rows, _strip),
)
