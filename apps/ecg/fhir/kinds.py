"""All kinds of resources: Observations, the report of a day, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from apps.ecg import queries
from apps.ecg.fhir import codes, resources
from apps.ecg.fhir.asked import LATEST_NS, Asked, Dates, Found, Kind
from apps.ecg.fhir.codes import Json
from apps.ecg.fhir.ids import Place
from apps.ecg.fhir.observations import INTERVALS, LONGEST_WINDOW_NS, OBSERVATIONS, days, hours
from apps.ecg.reviews import unreviewed
from apps.ecg.tables import DAY_NS, HOUR_NS, Episode, HrvWindow, Patient, Strip

RESULT_LIMIT = 500
"""Most results of one kind in a day's report, most targets of one kind of a Provenance."""


def observation_ids(session: Session, patient: str, began_ns: int, length_ns: int) -> list[Place]:
    """Observations that began in a span and are over; `RESULT_LIMIT` of a kind at most."""
    found = []
    for hour in queries.hours_of(session, patient, began_ns, length_ns):
        found += [Place(patient, "hr", hour.began_ns)] if hour.rated_seconds else []
        beats = hour.n + hour.s + hour.v + hour.f + hour.q
        found += [Place(patient, "ectopy", hour.began_ns)] if beats else []
    for means in queries.intervals_of(session, patient, began_ns, length_ns):
        found += [
            Place(patient, name, means.began_ns)
            for name, measure in INTERVALS.items()
            if getattr(means, measure) is not None
        ]
    tables: tuple[tuple[Any, Any], ...] = ((Episode, Episode.label), (HrvWindow, None), (Strip, None))
    for table, label in tables:
        query = sa.select(table.began_ns, label if label is not None else sa.literal("")).where(
            table.patient == patient, table.began_ns >= began_ns, table.began_ns < began_ns + length_ns
        )
        if table is Episode:
            query = query.where(Episode.ended_ns.is_not(None))  # type: ignore[union-attr]
        for at_ns, label_ in session.execute(query.order_by(table.began_ns).limit(RESULT_LIMIT)):
            name = {Episode: f"rhy-{label_}", HrvWindow: "hrv", Strip: "strip"}[table]
            found.append(Place(patient, name, at_ns))
    return found


def _reports(asked: Asked) -> Iterator[Found]:
    for began_ns, totals in days(asked):
        ended_ns = began_ns + DAY_NS
        patient = asked.patient.patient
        results = observation_ids(asked.session, patient, began_ns, DAY_NS)
        if totals.af_burden_percent is not None:
            results.append(Place(patient, "afb", began_ns))
        looked_at = not unreviewed(asked.session, patient, began_ns, ended_ns)
        over = "final" if looked_at else "preliminary"
        report = resources.report_resource(
            Place(patient, "day", began_ns),
            ended_ns=ended_ns,
            totals=totals,
            results=results,
            status=over if ended_ns <= asked.now_ns else "partial",
            virtual=asked.patient.virtual,
        )
        yield began_ns, report


def _made_hours(asked: Asked) -> Iterator[Found]:
    for hour in hours(asked):
        targets = observation_ids(asked.session, hour.patient, hour.began_ns, HOUR_NS)
        if targets:
            yield (
                hour.began_ns,
                resources.provenance_resource(
                    Place(hour.patient, "made-hour", hour.began_ns),
                    [f"Observation/{target}" for target in targets],
                    recorded_ns=hour.began_ns + HOUR_NS,
                    agents=[
                        resources.device_agent("node", hour.node),
                        resources.device_agent("model", hour.version),
                    ],
                    virtual=asked.patient.virtual,
                ),
            )


def _made_days(asked: Asked) -> Iterator[Found]:
    patient = asked.patient.patient
    for began_ns, totals in days(asked):
        hours = queries.hours_of(asked.session, patient, began_ns, DAY_NS)
        targets = [f"DiagnosticReport/{Place(patient, 'day', began_ns)}"]
        if totals.af_burden_percent is not None:
            targets.append(f"Observation/{Place(patient, 'afb', began_ns)}")
        devices = sorted({("node", hour.node) for hour in hours} | {("model", h.version) for h in hours})
        yield (
            began_ns,
            resources.provenance_resource(
                Place(patient, "made-day", began_ns),
                targets,
                recorded_ns=began_ns + DAY_NS,
                agents=[resources.device_agent(*device) for device in reversed(devices)],
                virtual=asked.patient.virtual,
            ),
        )


def _reviews(asked: Asked) -> Iterator[Found]:
    for row in asked.within(Strip, Strip.ended_ns, LONGEST_WINDOW_NS, Strip.reviewed_ns.is_not(None)):  # type: ignore[union-attr]
        yield (
            row.began_ns,
            resources.provenance_resource(
                Place(row.patient, "review", row.began_ns),
                [f"Observation/{Place(row.patient, 'strip', row.began_ns)}"],
                recorded_ns=row.reviewed_ns,
                agents=[resources.person_agent(row.reviewed_by)],
                virtual=asked.patient.virtual,
            ),
        )


REPORTS = (Kind("day", "DiagnosticReport", (codes.HOLTER,), _reports),)
PROVENANCES = (
    Kind("made-hour", "Provenance", (), _made_hours),
    Kind("made-day", "Provenance", (), _made_days),
    Kind("review", "Provenance", (), _reviews),
)
KINDS = (*OBSERVATIONS, *REPORTS, *PROVENANCES)


def read(session: Session, place: Place, now_ns: int) -> Json | None:
    """The resource at a place, whatever its type; None where there is none."""
    kind = next((kind for kind in KINDS if kind.matches(place.kind)), None)
    patient = session.get(Patient, place.patient) if kind else None
    if kind is None or patient is None or place.began_ns >= LATEST_NS:
        return None
    dates = Dates(began_from=place.began_ns, began_before=place.began_ns + 1)
    limit = len(codes.RHYTHMS) + 10 if kind.name == "rhy" else 1
    found = kind.find(Asked(session, patient, dates, limit, now_ns))
    return next((resource for _, resource in found if resource["id"] == str(place)), None)


def makers_of(type_: str, place: Place) -> list[Place]:
    """Where the Provenances about a resource would be."""
    day = Place(place.patient, "made-day", place.began_ns - place.began_ns % DAY_NS)
    hour = Place(place.patient, "made-hour", place.began_ns - place.began_ns % HOUR_NS)
    if type_ == "DiagnosticReport":
        return [day]
    if type_ != "Observation":
        return []
    review = [Place(place.patient, "review", place.began_ns)] if place.kind == "strip" else []
    return [day if place.kind == "afb" else hour, *review]
