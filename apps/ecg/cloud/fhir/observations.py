"""Kinds of Observation. Those of an hour or a day are final once it is over."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from apps.ecg.cloud import queries
from apps.ecg.cloud.fhir import codes, resources
from apps.ecg.cloud.fhir.codes import Json, concept, quantity
from apps.ecg.cloud.fhir.criteria import Asked, Context, Kind
from apps.ecg.cloud.fhir.ids import ResourceId
from apps.ecg.cloud.fhir.resources import component, measured
from apps.ecg.cloud.tables import DAY_NS, HOUR_NS, Episode, Hour, HrvWindow, IntervalWindow, Strip, begin_of

LONGEST_EPISODE_NS = queries.EPISODE_LIMIT_NS
LONGEST_WINDOW_NS = HOUR_NS


def hours(asked: Asked, which: Any) -> Any:
    """Hours within the dates for which something holds."""
    first, before = asked.dates.of_length(HOUR_NS)
    return sa.select(*Hour.__table__.c).where(  # type: ignore[attr-defined]
        asked.of(Hour),
        Hour.began_ns >= first,  # type: ignore[arg-type]
        Hour.began_ns < before,  # type: ignore[arg-type]
        which,
    )


HAS_RATE: Any = Hour.rated_seconds > 0  # type: ignore[operator]
HAS_BEATS: Any = Hour.n + Hour.s + Hour.v + Hour.f + Hour.q > 0  # type: ignore[operator]


def _heart_rate(context: Context, hour: Any) -> Json:
    totals = queries.hour_totals(hour)
    parts = component(concept("Least over 10 s", (codes.OWN, "least")), totals.least_bpm, "/min")
    parts += component(concept("Most over 10 s", (codes.OWN, "most")), totals.most_bpm, "/min")
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
"""Measures by the kind of their means over an hour."""


def _intervals(kind: str, code: Json, method: str = "") -> Kind:
    table, value = IntervalWindow, getattr(IntervalWindow, INTERVALS[kind])

    def rows(asked: Asked) -> Any:
        first, before = asked.dates.of_length(HOUR_NS)
        hour = begin_of(table.began_ns, HOUR_NS)
        mean = queries.weighted_mean(value, table.beats)
        return (
            sa.select(
                table.patient,  # type: ignore[arg-type]
                hour.label("began_ns"),
                mean.label("mean"),
                sa.func.max(table.node).label("node"),
                sa.func.max(table.time_quality).label("time_quality"),
            )
            .where(asked.of(table), value.is_not(None), table.beats > 0)  # type: ignore[arg-type]
            .where(table.began_ns >= first, table.began_ns < before + HOUR_NS, hour < before)  # type: ignore[arg-type]
            .group_by(table.patient, hour)  # type: ignore[arg-type]
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


def _hrv_rows(asked: Asked) -> Any:
    ended = HrvWindow.began_ns + sa.cast(HrvWindow.seconds * 1e9, sa.BigInteger)  # type: ignore[arg-type]
    within = asked.within(HrvWindow, ended, LONGEST_WINDOW_NS)
    return sa.select(*HrvWindow.__table__.c).where(within, queries.SINUS_HRV)  # type: ignore[attr-defined]


def _episode_rows(asked: Asked) -> Any:
    within = asked.within(Episode, Episode.ended_ns, LONGEST_EPISODE_NS)
    return sa.select(*Episode.__table__.c).where(within)  # type: ignore[attr-defined]


def _strip_rows(asked: Asked) -> Any:
    within = asked.within(Strip, Strip.ended_ns, LONGEST_WINDOW_NS)
    return sa.select(Strip.patient, Strip.began_ns).where(within)  # type: ignore[call-overload]


def _strip(context: Context, row: Any) -> Json:
    strip = context.session.get_one(Strip, (row.patient, row.began_ns))
    return resources.strip_observation(strip, context.is_virtual(row.patient))


def days(asked: Asked, which: Any = None) -> Any:
    """Days within the dates that have any hour for which something holds."""
    first, before = asked.dates.of_length(DAY_NS)
    day = begin_of(Hour.began_ns, DAY_NS)
    rows = sa.select(Hour.patient, day.label("began_ns")).where(  # type: ignore[call-overload]
        asked.of(Hour), Hour.began_ns >= first, Hour.began_ns < before + DAY_NS, day < before
    )
    return (rows if which is None else rows.where(which)).group_by(Hour.patient, day)


def _burden_rows(asked: Asked) -> Any:
    return days(asked, Hour.good_seconds > 0)  # type: ignore[operator]


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
    Kind("hr", "Observation", (codes.HEART_RATE,), lambda asked: hours(asked, HAS_RATE), _heart_rate),
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
    Kind("ectopy", "Observation", (codes.VENTRICULAR_BEATS,), lambda asked: hours(asked, HAS_BEATS), _ectopy),
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
