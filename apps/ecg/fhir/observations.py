"""Kinds of Observation. Those of an hour or a day are final once it is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from apps.ecg import queries, shapes
from apps.ecg.fhir import codes, resources
from apps.ecg.fhir.asked import Asked, Found, Kind
from apps.ecg.fhir.codes import Json, concept, quantity
from apps.ecg.fhir.ids import Place
from apps.ecg.fhir.resources import component, measured
from apps.ecg.tables import DAY_NS, HOUR_NS, Episode, Hour, HrvWindow, IntervalWindow, Strip

LONGEST_EPISODE_NS = queries.EPISODE_LIMIT_NS
LONGEST_WINDOW_NS = HOUR_NS


def hours(asked: Asked) -> Sequence[Hour]:
    """Hours within the dates, newest first."""
    first, before = asked.dates.of_length(HOUR_NS)
    query = sa.select(Hour).where(
        Hour.patient == asked.patient.patient,  # type: ignore[arg-type]
        Hour.began_ns >= first,  # type: ignore[arg-type]
        Hour.began_ns < before,  # type: ignore[arg-type]
    )
    return asked.session.scalars(query.order_by(sa.desc(Hour.began_ns)).limit(asked.limit)).all()  # type: ignore[arg-type]


def _heart_rates(asked: Asked) -> Iterator[Found]:
    for hour in hours(asked):
        totals = queries.hour_totals(hour)
        if totals.heart_rate_bpm is not None:
            parts = component(concept("Least over 10 s", (codes.OWN, "least")), totals.least_bpm, "/min")
            parts += component(concept("Most over 10 s", (codes.OWN, "most")), totals.most_bpm, "/min")
            value = quantity(totals.heart_rate_bpm, "beats/minute", "/min")
            options: Json = {"category": resources.VITAL_SIGNS, "components": parts}
            yield hour.began_ns, _of_hour(asked, hour, "hr", codes.HEART_RATE, value, **options)


def _ectopy(asked: Asked) -> Iterator[Found]:
    for hour in hours(asked):
        totals = queries.hour_totals(hour)
        if totals.v_percent is None:
            continue
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
        yield (
            hour.began_ns,
            _of_hour(asked, hour, "ectopy", codes.VENTRICULAR_BEATS, value, components=parts),
        )


def _of_hour(asked: Asked, hour: Hour, kind: str, code: Json, value: Json, **more: Any) -> Json:
    ended_ns = hour.began_ns + HOUR_NS
    return measured(
        Place(hour.patient, kind, hour.began_ns),
        code,
        value,
        ended_ns=ended_ns,
        node=hour.node,
        final=ended_ns <= asked.now_ns,
        virtual=asked.patient.virtual,
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
    def find(asked: Asked) -> Iterator[Found]:
        first, before = asked.dates.of_length(HOUR_NS)
        table, value = IntervalWindow, getattr(IntervalWindow, INTERVALS[kind])
        hour = (table.began_ns - table.began_ns % HOUR_NS).label("hour")  # type: ignore[attr-defined]
        mean = queries.weighted_mean(value, table.beats)
        query = (
            sa.select(hour, mean, sa.func.max(table.node))
            .where(table.patient == asked.patient.patient, value.is_not(None))  # type: ignore[arg-type]
            .where(table.began_ns >= first, table.began_ns < before + HOUR_NS)  # type: ignore[arg-type]
            .group_by(hour)
            .having(sa.and_(hour < before, mean.is_not(None)))
            .order_by(sa.desc(hour))
            .limit(asked.limit)
        )
        for began_ns, found, node in asked.session.execute(query):
            ended_ns = began_ns + HOUR_NS
            yield (
                began_ns,
                measured(
                    Place(asked.patient.patient, kind, began_ns),
                    code,
                    quantity(found, "ms"),
                    ended_ns=ended_ns,
                    node=node,
                    final=ended_ns <= asked.now_ns,
                    virtual=asked.patient.virtual,
                    method=method,
                ),
            )

    return Kind(kind, "Observation", (code,), find)


def _hrv(asked: Asked) -> Iterator[Found]:
    ended = HrvWindow.began_ns + sa.cast(HrvWindow.seconds * 1e9, sa.BigInteger)  # type: ignore[arg-type]
    for row in asked.within(HrvWindow, ended, LONGEST_WINDOW_NS):
        yield row.began_ns, resources.hrv_observation(row, asked.patient.virtual)


def _episodes(asked: Asked) -> Iterator[Found]:
    rows = asked.within(Episode, Episode.ended_ns, LONGEST_EPISODE_NS)
    for row in sorted(rows, key=lambda row: (-row.began_ns, row.label)):
        yield row.began_ns, resources.episode_observation(row, asked.patient.virtual)


def _strips(asked: Asked) -> Iterator[Found]:
    for row in asked.within(Strip, Strip.ended_ns, LONGEST_WINDOW_NS):
        yield row.began_ns, resources.strip_observation(row, asked.patient.virtual)


def days(asked: Asked) -> Iterator[tuple[int, shapes.Totals]]:
    """Days within the dates, newest first, with what was found on them."""
    first, before = asked.dates.of_length(DAY_NS)
    patient = asked.patient.patient
    for began_ns in queries.day_begins(asked.session, patient, first, before, asked.limit):
        yield began_ns, queries.totals_of(asked.session, patient, began_ns, DAY_NS)


def _af_burden(asked: Asked) -> Iterator[Found]:
    for began_ns, totals in days(asked):
        if totals.af_burden_percent is None:
            continue
        yield (
            began_ns,
            measured(
                Place(asked.patient.patient, "afb", began_ns),
                codes.AF_BURDEN,
                quantity(totals.af_burden_percent, "%"),
                ended_ns=began_ns + DAY_NS,
                node=queries.hours_of(asked.session, asked.patient.patient, began_ns, DAY_NS)[-1].node,
                final=began_ns + DAY_NS <= asked.now_ns,
                virtual=asked.patient.virtual,
            ),
        )


OBSERVATIONS = (
    Kind("hr", "Observation", (codes.HEART_RATE,), _heart_rates),
    Kind("hrv", "Observation", (codes.SDNN,), _hrv),
    _intervals("pr", codes.PR),
    _intervals("qrs", codes.QRS),
    _intervals("qt", codes.QT),
    _intervals("qtcb", codes.QTC_BAZETT, "Bazett: QT / RR^(1/2)"),
    _intervals("qtcf", codes.QTC_FRIDERICIA, "Fridericia: QT / RR^(1/3)"),
    Kind("ectopy", "Observation", (codes.VENTRICULAR_BEATS,), _ectopy),
    Kind("rhy", "Observation", (codes.RHYTHM,), _episodes),
    Kind("afb", "Observation", (codes.AF_BURDEN,), _af_burden),
    Kind("strip", "Observation", (codes.STRIP,), _strips),
)
