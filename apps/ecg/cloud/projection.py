"""Projection of the ECG app's events into its tables. A reference application, not a medical device.

Idempotent: rows (`apps.ecg.cloud.tables`) are inserted with conflict handling, and hourly sums grow by new
windows only. Malformed event data raises `MessageError` before any write; the cloud then quarantines that
event and projects the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter
from sqlmodel import Session, SQLModel, col

from apps.ecg import events as data
from apps.ecg.cloud.fhir.api import make_mount
from apps.ecg.cloud.fhir.export import EcgCloudSettings, export_tasks
from apps.ecg.cloud.hours import add_to_hours, more_doubtful
from apps.ecg.cloud.reviews import project_labels
from apps.ecg.cloud.routes import make_router
from apps.ecg.cloud.strips import reason_of
from apps.ecg.cloud.tables import (
    DAY_NS,
    HOUR_NS,
    NEVER_NS,
    OPEN_STATES,
    TABLES,
    Device,
    Episode,
    Finding,
    HrvWindow,
    IntervalWindow,
    Patient,
    Pending,
    QualityChange,
    RaisedAlarm,
    RateWindow,
    Strip,
)
from common.app.cloud import CloudContext, Mount, PeriodicTask, ReceivedEvent, RouteDeps
from common.app.projection import insert_into
from common.app.training import Label
from common.config.loader import convert
from common.time_notes import doubt_of

Decoded = tuple[ReceivedEvent, Any]
"""An event with its decoded data."""
Row = dict[str, Any]
PatientTime = tuple[str, int]
"""A patient and a time."""
_STATES = {"raised": 0, "latched": 1, "ended": 2, "reset": 3}


class EcgCloud:
    """`common.app.cloud.CloudApp` of the ECG app."""

    schema_version = 4

    def tables(self) -> Sequence[type[SQLModel]]:
        return TABLES

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        decoded: dict[type, list[Decoded]] = defaultdict(list)
        for event in events:
            if (found := data.decode(event)) is not None:
                decoded[type(found)].append((event, found))
        if not decoded:
            return
        _patients_and_devices(session, [each for of_type in decoded.values() for each in of_type])
        changed: set[PatientTime] = set()
        changed |= _rates(session, decoded[data.Rates])
        changed |= _episodes(session, decoded[data.Rhythm])
        changed |= _windows(session, HrvWindow, decoded[data.Hrv])
        changed |= _windows(session, IntervalWindow, decoded[data.Intervals])
        changed |= _strips(session, decoded[data.Strip])
        _alarms(session, decoded[data.Alarm])
        _insert_new(session, QualityChange, [_quality(*each) for each in decoded[data.Quality]])
        _insert_new(session, Finding, [_finding(*each) for each in decoded[data.Finding]])
        mark_changed(session, changed)

    def project_labels(self, session: Session, labels: Sequence[Label]) -> None:
        """Update the review queue (`common.app.cloud.LabelProjection`)."""
        mark_changed(session, project_labels(session, labels))

    def router(self, deps: RouteDeps) -> APIRouter:
        return make_router(deps, self.project_labels)

    def mounts(self, deps: RouteDeps) -> Mapping[str, Mount]:
        """FHIR at ``/fhir`` (`common.app.cloud.RootMounts`)."""
        settings = convert(EcgCloudSettings, deps.settings.get("ecg", {}), "apps.ecg")
        return {"/fhir": make_mount(deps, public_metadata=settings.fhir_public_metadata)}

    def periodic_tasks(self, context: CloudContext) -> Sequence[PeriodicTask]:
        """The export to the hospital's FHIR server, if configured (`common.app.cloud.CloudPeriodicTasks`)."""
        return export_tasks(context)


def mark_changed(session: Session, times: Iterable[PatientTime]) -> None:
    """Queue the hours and days around ``times`` for export to the medical record."""
    spans = {(patient, span, at_ns - at_ns % span) for patient, at_ns in times for span in (HOUR_NS, DAY_NS)}
    rows = [
        {"patient": patient, "seconds": span // 10**9, "began_ns": began_ns}
        for patient, span, began_ns in sorted(spans)
    ]
    if rows:
        insert = insert_into(session, Pending).values(
            revision=1, taken_revision=0, not_before_ns=0, refusals=0, problem=""
        )
        session.connection().execute(
            insert.on_conflict_do_update(
                index_elements=["patient", "seconds", "began_ns"],
                set_={"revision": col(Pending.revision) + 1},
            ),
            rows,
        )


def _patients_and_devices(session: Session, decoded: Sequence[Decoded]) -> None:
    """Latest state of patients, and the devices that sent it."""
    patients: dict[str, Row] = {}
    devices: dict[tuple[str, str], Row] = {}
    for event, found in decoded:
        row = {
            "patient": event.subject,
            "site": event.site,
            "node": event.node,
            "version": found.version,
            "virtual": found.virtual,
            "first_ns": event.time_ns,
            "last_ns": event.time_ns,
            "rated_ns": NEVER_NS,
            "heart_rate_bpm": None,
            "rhythm": "unknown",
            "good_share": 0.0,
        }
        if isinstance(found, data.Rates):
            latest = {name: getattr(found, name) for name in ("heart_rate_bpm", "rhythm", "good_share")}
            row |= latest | {"rated_ns": found.began_ns + round(found.seconds * 1e9)}
            row["first_ns"] = min(event.time_ns, found.began_ns)
        before = patients.get(event.subject, row)
        newer = row if row["rated_ns"] >= before["rated_ns"] else before
        patients[event.subject] = newer | {
            "first_ns": min(row["first_ns"], before["first_ns"]),
            "last_ns": max(row["last_ns"], before["last_ns"]),
        }
        node = {"kind": "node", "name": event.node, "site": event.site, "virtual": found.virtual}
        model = {"kind": "model", "name": found.version, "site": "", "virtual": False}
        devices[("node", event.node)], devices[("model", found.version)] = node, model
    insert = insert_into(session, Patient)
    new: Any = insert.excluded
    newer_there = new.rated_ns >= col(Patient.rated_ns)
    set_ = {
        name: sa.case((newer_there, new[name]), else_=getattr(Patient, name))
        for name in Patient.model_fields
        if name not in ("patient", "first_ns", "last_ns")
    }
    set_["first_ns"] = sa.case(
        (new.first_ns < col(Patient.first_ns), new.first_ns), else_=col(Patient.first_ns)
    )
    set_["last_ns"] = sa.case((new.last_ns > col(Patient.last_ns), new.last_ns), else_=col(Patient.last_ns))
    session.connection().execute(
        insert.on_conflict_do_update(index_elements=["patient"], set_=set_), list(patients.values())
    )
    _insert_new(session, Device, list(devices.values()))


def _rates(session: Session, decoded: Sequence[Decoded]) -> set[PatientTime]:
    """Windows of rates, added to their hours."""
    rows = {
        (event.subject, rates.began_ns): {
            "patient": event.subject,
            "began_ns": rates.began_ns,
            "seconds": rates.seconds,
            "heart_rate_bpm": rates.heart_rate_bpm,
            "good_share": rates.good_share,
            "rhythm": rates.rhythm,
            **{kind: getattr(rates.beats, kind) for kind in "nsvfq"},
        }
        for event, rates in reversed(decoded)  # the first event of a window counts, as in the table
    }
    origins = {
        (event.subject, rates.began_ns): {
            "node": event.node,
            "version": rates.version,
            "time_quality": doubt_of(event.time_quality),
        }
        for event, rates in decoded
    }
    added = _insert_new(session, RateWindow, list(rows.values()))
    return add_to_hours(session, [rows[window] | origins[window] for window in sorted(added)])


def _episodes(session: Session, decoded: Sequence[Decoded]) -> set[PatientTime]:
    changed: set[PatientTime] = set()
    insert = insert_into(session, Episode)
    new: Any = insert.excluded
    ends = sa.and_(col(Episode.ended_ns).is_(None), new.ended_ns.is_not(None))
    set_ = {name: new[name] for name in ("ended_ns", "beats", "heart_rate_bpm", "version")}
    set_["time_quality"] = more_doubtful(Episode, new)
    statement = insert.on_conflict_do_update(
        index_elements=["patient", "episode"], set_=set_, where=ends
    ).returning(col(Episode.began_ns))
    for event, rhythm in decoded:  # one at a time: an episode may begin and end in one batch
        row = {
            "patient": event.subject,
            "episode": rhythm.episode,
            "label": rhythm.label,
            "began_ns": rhythm.began_ns,
            "ended_ns": rhythm.ended_ns,
            "beats": rhythm.beats,
            "heart_rate_bpm": rhythm.heart_rate_bpm,
            "node": event.node,
            "version": rhythm.version,
            "time_quality": doubt_of(event.time_quality),
        }
        if session.connection().execute(statement, row).first() is not None:
            changed.add((event.subject, rhythm.began_ns))
    return changed


def _windows(session: Session, table: type[SQLModel], decoded: Sequence[Decoded]) -> set[PatientTime]:
    others = ("patient", "node", "version", "time_quality")
    names = [name for name in table.model_fields if name not in others]
    rows = [
        {"patient": event.subject, "node": event.node, "version": window.version}
        | {"time_quality": doubt_of(event.time_quality)}
        | {name: getattr(window, name) for name in names}
        for event, window in decoded
    ]
    return _insert_new(session, table, rows)


def _strips(session: Session, decoded: Sequence[Decoded]) -> set[PatientTime]:
    rows = []
    for event, strip in decoded:
        samples = len(strip.samples_b64) // (2 * len(strip.leads))
        rows.append(
            {
                "patient": event.subject,
                "began_ns": strip.began_ns,
                "ended_ns": strip.began_ns + round(samples / strip.rate_hz * 1e9),
                "rate_hz": strip.rate_hz,
                "leads": strip.leads,
                "lsb_mv": strip.lsb_mv,
                "beats": [
                    {"at_ms": b.at_ms, "kind": b.kind, "probability": b.probability} for b in strip.beats
                ],
                "alarm": strip.alarm,
                "rhythm": strip.rhythm,
                "reason": reason_of(strip.alarm, [beat.probability for beat in strip.beats]),
                "node": event.node,
                "version": strip.version,
                "time_quality": doubt_of(event.time_quality),
                "samples": strip.samples_b64,
                "reviewed_by": "",
                "verdict": "",
                "true_rhythm": "",
                "note": "",
            }
        )
    return _insert_new(session, Strip, rows)


def _alarms(session: Session, decoded: Sequence[Decoded]) -> None:
    """State changes of alarms; a new raise ends an earlier one that is still open.

    A change with an unknown ``raised_ns`` belongs to the open alarm of the same node: the node's clock was
    set in between.
    """
    order = sa.case(_STATES, value=col(RaisedAlarm.state))
    insert = insert_into(session, RaisedAlarm)
    new: Any = insert.excluded
    set_ = {name: new[name] for name in ("state", "version")}
    set_["ended_ns"] = sa.func.coalesce(col(RaisedAlarm.ended_ns), new.ended_ns)
    set_["time_quality"] = more_doubtful(RaisedAlarm, new)
    statement = insert.on_conflict_do_update(
        index_elements=["patient", "alarm", "raised_ns"],
        set_=set_,
        where=sa.case(_STATES, value=new.state) > order,
    )
    for event, alarm in decoded:
        raised_ns = alarm.raised_ns if alarm.state == "raised" else _raised_ns(session, event, alarm)
        row = {
            "patient": event.subject,
            "alarm": alarm.alarm,
            "raised_ns": raised_ns,
            "priority": alarm.priority,
            "state": alarm.state,
            "ended_ns": None if alarm.state == "raised" else max(event.time_ns, raised_ns),
            "delay_s": alarm.delay_s,
            "value": alarm.value,
            "limit": alarm.limit,
            "text": alarm.text,
            "node": event.node,
            "version": alarm.version,
            "time_quality": doubt_of(event.time_quality),
        }
        session.connection().execute(statement, row)
        if alarm.state == "raised":
            earlier = (
                sa.update(RaisedAlarm)
                .where(col(RaisedAlarm.patient) == event.subject, col(RaisedAlarm.alarm) == alarm.alarm)
                .where(col(RaisedAlarm.raised_ns) < alarm.raised_ns, order < _STATES["ended"])
                .values(state="ended", ended_ns=sa.func.coalesce(col(RaisedAlarm.ended_ns), alarm.raised_ns))
            )
            session.connection().execute(earlier)


def _raised_ns(session: Session, event: ReceivedEvent, alarm: data.Alarm) -> int:
    """The ``raised_ns`` of the stored alarm that a state change belongs to."""
    if session.get(RaisedAlarm, (event.subject, alarm.alarm, alarm.raised_ns)) is not None:
        return alarm.raised_ns
    which = (col(RaisedAlarm.patient) == event.subject, col(RaisedAlarm.alarm) == alarm.alarm)
    open_ = col(RaisedAlarm.state).in_(OPEN_STATES)
    query = sa.select(col(RaisedAlarm.raised_ns)).where(
        *which, col(RaisedAlarm.node) == event.node, sa.or_(open_, col(RaisedAlarm.ended_ns) == event.time_ns)
    )
    found = session.scalar(query.order_by(sa.desc(col(RaisedAlarm.raised_ns))).limit(1))
    return alarm.raised_ns if found is None else found


def _quality(event: ReceivedEvent, quality: data.Quality) -> Row:
    return {
        "patient": event.subject,
        "at_ns": event.time_ns,
        "lead": quality.lead,
        "good": quality.good,
        "reasons": quality.reasons,
        "time_quality": doubt_of(event.time_quality),
    }


def _finding(event: ReceivedEvent, finding: data.Finding) -> Row:
    return {
        "patient": event.subject,
        "at_ns": event.time_ns,
        "finding": finding.finding,
        "lead": finding.lead or "",
        "text": finding.text,
        "time_quality": doubt_of(event.time_quality),
    }


def _insert_new(session: Session, table: type[SQLModel], rows: Sequence[Row]) -> set[Any]:
    """Insert new rows; the first two key columns of those inserted."""
    if not rows:
        return set()
    key = list(sa.inspect(table).primary_key)
    statement = insert_into(session, table).on_conflict_do_nothing().returning(*key[:2])
    return {tuple(row) for row in session.connection().execute(statement, list(rows))}
