"""All kinds of resources: Observations, daily reports and Provenances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from apps.ecg.cloud import queries
from apps.ecg.cloud.fhir import codes, resources
from apps.ecg.cloud.fhir.codes import Json
from apps.ecg.cloud.fhir.criteria import Context, Criteria, Dates, Found, Kind
from apps.ecg.cloud.fhir.ids import ResourceId
from apps.ecg.cloud.fhir.observations import (
    HAS_BEATS,
    HAS_RATE,
    INTERVALS,
    LONGEST_WINDOW_NS,
    OBSERVATIONS,
    days,
    hours,
)
from apps.ecg.cloud.reviews import unreviewed
from apps.ecg.cloud.tables import DAY_NS, HOUR_NS, Episode, Hour, HrvWindow, IntervalWindow, Patient, Strip

RESULT_LIMIT = 500
"""Limit of results of one kind in a daily report, and of targets of one kind in a Provenance."""
DAY_LIMIT = 20_000
"""Limit of rows of one kind in a day that a lookup by key reads."""
ANY_DATES = Dates()
_EVENT_TABLES: tuple[tuple[Any, Any], ...] = (
    (Episode, col(Episode.label)),
    (HrvWindow, None),
    (Strip, None),
)
"""Tables with a row for each Observation, and the column of the label in its id."""


def observation_ids(session: Session, patient: str, began_ns: int, length_ns: int) -> list[ResourceId]:
    """Observations that began in a span and have ended; up to `RESULT_LIMIT` of a kind."""
    found = []
    for hour in queries.hours_of(session, patient, began_ns, length_ns):
        found += [ResourceId(patient, "hr", hour.began_ns)] if hour.rated_seconds else []
        beats = hour.n + hour.s + hour.v + hour.f + hour.q
        found += [ResourceId(patient, "ectopy", hour.began_ns)] if beats else []
    for means in queries.intervals_of(session, patient, began_ns, length_ns):
        found += [
            ResourceId(patient, name, means.began_ns)
            for name, measure in INTERVALS.items()
            if getattr(means, measure) is not None
        ]
    for table, label in _EVENT_TABLES:
        query: Any = sa.select(table.began_ns, sa.literal("") if label is None else label).where(
            table.patient == patient, table.began_ns >= began_ns, table.began_ns < began_ns + length_ns
        )
        if table is HrvWindow:
            query = query.where(queries.SINUS_HRV)
        if table is Episode:
            query = query.where(col(Episode.ended_ns).is_not(None))
        for at_ns, label_ in session.execute(query.order_by(table.began_ns).limit(RESULT_LIMIT)):
            name = {Episode: f"rhy-{label_}", HrvWindow: "hrv", Strip: "strip"}[table]
            found.append(ResourceId(patient, name, at_ns))
    return found


def _report(context: Context, row: Any) -> Json:
    session, patient, began_ns = context.session, row.patient, row.began_ns
    ended_ns = began_ns + DAY_NS
    totals = queries.totals_of(session, patient, began_ns, DAY_NS)
    results = observation_ids(session, patient, began_ns, DAY_NS)
    if totals.af_burden_percent is not None:
        results.append(ResourceId(patient, "afb", began_ns))
    over = "preliminary" if unreviewed(session, patient, began_ns, ended_ns) else "final"
    return resources.report_resource(
        ResourceId(patient, "day", began_ns),
        ended_ns=ended_ns,
        totals=totals,
        results=results,
        status=over if resources.is_over(ended_ns, context.now_ns) else "partial",
        virtual=context.is_virtual(row.patient),
    )


def _made_hours(criteria: Criteria) -> Any:
    """Hours with an Observation."""

    def begun(table: Any, which: Any) -> Any:
        in_hour = sa.and_(table.began_ns >= col(Hour.began_ns), table.began_ns < col(Hour.began_ns) + HOUR_NS)
        return sa.exists().where(table.patient == col(Hour.patient), in_hour, which)

    means = [getattr(IntervalWindow, measure).is_not(None) for measure in INTERVALS.values()]
    any_ = sa.or_(
        HAS_RATE,
        HAS_BEATS,
        begun(IntervalWindow, sa.and_(col(IntervalWindow.beats) > 0, sa.or_(*means))),
        begun(Episode, col(Episode.ended_ns).is_not(None)),
        begun(HrvWindow, queries.SINUS_HRV),
        begun(Strip, sa.true()),
    )
    return hours(criteria, any_)


def _made_hour(context: Context, hour: Any) -> Json:
    targets = observation_ids(context.session, hour.patient, hour.began_ns, HOUR_NS)
    return resources.provenance_resource(
        ResourceId(hour.patient, "made-hour", hour.began_ns),
        [f"Observation/{target}" for target in targets],
        recorded_ns=hour.began_ns + HOUR_NS,
        agents=[
            resources.device_agent("node", hour.node),
            resources.device_agent("model", hour.version),
        ],
        virtual=context.is_virtual(hour.patient),
    )


def _made_day(context: Context, row: Any) -> Json:
    patient, began_ns = row.patient, row.began_ns
    hours = queries.hours_of(context.session, patient, began_ns, DAY_NS)
    targets = [f"DiagnosticReport/{ResourceId(patient, 'day', began_ns)}"]
    if any(hour.good_seconds for hour in hours):
        targets.append(f"Observation/{ResourceId(patient, 'afb', began_ns)}")
    devices = sorted({("node", hour.node) for hour in hours} | {("model", h.version) for h in hours})
    return resources.provenance_resource(
        ResourceId(patient, "made-day", began_ns),
        targets,
        recorded_ns=began_ns + DAY_NS,
        agents=[resources.device_agent(*device) for device in reversed(devices)],
        virtual=context.is_virtual(row.patient),
    )


def _reviewed(criteria: Criteria) -> Any:
    return sa.select(
        col(Strip.patient), col(Strip.began_ns), col(Strip.reviewed_ns), col(Strip.reviewed_by)
    ).where(
        criteria.within(Strip, col(Strip.ended_ns), LONGEST_WINDOW_NS),
        col(Strip.reviewed_ns).is_not(None),
    )


def _review(context: Context, row: Any) -> Json:
    return resources.provenance_resource(
        ResourceId(row.patient, "review", row.began_ns),
        [f"Observation/{ResourceId(row.patient, 'strip', row.began_ns)}"],
        recorded_ns=row.reviewed_ns,
        agents=[resources.person_agent(row.reviewed_by)],
        virtual=context.is_virtual(row.patient),
    )


REPORTS = (Kind("day", "DiagnosticReport", (codes.HOLTER,), days, _report),)
PROVENANCES = (
    Kind("made-hour", "Provenance", (), _made_hours, _made_hour),
    Kind("made-day", "Provenance", (), days, _made_day),
    Kind("review", "Provenance", (), _reviewed, _review),
)
KINDS = (*OBSERVATIONS, *REPORTS, *PROVENANCES)


def kind_of(key: ResourceId) -> Kind | None:
    """The kind of a key; None for an unknown one."""
    return next((kind for kind in KINDS if kind.matches(key.kind)), None)


def find_by_key(
    session: Session, keys: Iterable[ResourceId], now_ns: int, dates: Dates = ANY_DATES
) -> Iterator[Found]:
    """Resources of some keys within dates, of any type; one query for each day and kind."""
    of_days: dict[tuple[str, str, int], tuple[Kind, set[ResourceId]]] = {}
    for key in keys:
        kind = kind_of(key)
        if kind is not None:
            day = (key.patient, kind.name, key.began_ns // DAY_NS)
            of_days.setdefault(day, (kind, set()))[1].add(key)
    for (patient, _, _), (kind, together) in of_days.items():
        row = session.get(Patient, patient)
        begins = [key.began_ns for key in together]
        between = Dates(began_from=min(begins), began_before=max(begins) + 1).both(dates)
        if row is not None:
            found = kind.find(Context(session, {patient: row}, now_ns), between, DAY_LIMIT)
            yield from (each for each in found if each.key in together)


def makers_of(type_: str, key: ResourceId) -> list[ResourceId]:
    """Keys of the possible Provenances of a resource."""
    day = ResourceId(key.patient, "made-day", key.began_ns - key.began_ns % DAY_NS)
    hour = ResourceId(key.patient, "made-hour", key.began_ns - key.began_ns % HOUR_NS)
    if type_ == "DiagnosticReport":
        return [day]
    if type_ != "Observation":
        return []
    review = [ResourceId(key.patient, "review", key.began_ns)] if key.kind == "strip" else []
    return [day if key.kind == "afb" else hour, *review]
