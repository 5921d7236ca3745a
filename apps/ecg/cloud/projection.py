"""The cloud's side of the ECG app: a reference application, not a medical device.

Events become rows (`apps.ecg.cloud.tables`) by conflict-tolerant inserts, so projecting again changes
nothing. Sums over an hour grow only by windows that were not there before. An event whose data is malformed
raises `MessageError` before anything is written; the cloud then sets that one aside and projects the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter
from sqlmodel import Session, SQLModel

from apps.ecg import events as data
from apps.ecg.cloud.fhir.api import make_mount
from apps.ecg.cloud.fhir.export import EcgCloudSettings, export_tasks
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
    Hour,
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

Told = tuple[ReceivedEvent, Any]
"""An event with its data."""
Row = dict[str, Any]
PatientTime = tuple[str, int]
"""A patient and a time."""
_STATES = {"raised": 0, "latched": 1, "ended": 2, "reset": 3}


class EcgCloud:
    """`common.app.cloud.CloudApp` of the ECG app."""

    schema_version = 3

    def tables(self) -> Sequence[type[SQLModel]]:
        return TABLES

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        told: dict[type, list[Told]] = defaultdict(list)
        for event in events:
            if (found := data.read(event)) is not None:
                told[type(found)].append((event, found))
        if not told:
            return
        _see(session, [each for of_type in told.values() for each in of_type])
        changed: set[PatientTime] = set()
        changed |= _rates(session, told[data.Rates])
        changed |= _episodes(session, told[data.Rhythm])
        changed |= _windows(session, HrvWindow, told[data.Hrv])
        changed |= _windows(session, IntervalWindow, told[data.Intervals])
        changed |= _strips(session, told[data.StripData])
        _alarms(session, told[data.Alarm])
        _keep(session, QualityChange, [_quality(*each) for each in told[data.Quality]])
        _keep(session, Finding, [_finding(*each) for each in told[data.FindingData]])
        mark_changed(session, changed)

    def project_labels(self, session: Session, labels: Sequence[Label]) -> None:
        """Bring the review queue up to date (`common.app.cloud.LabelProjection`)."""
        mark_changed(session, project_labels(session, labels))

    def router(self, deps: RouteDeps) -> APIRouter:
        return make_router(deps, self.project_labels)

    def mounts(self, deps: RouteDeps) -> Mapping[str, Mount]:
        """FHIR at ``/fhir`` (`common.app.cloud.RootMounts`)."""
        settings = convert(EcgCloudSettings, deps.settings.get("ecg", {}), "apps.ecg")
        return {"/fhir": make_mount(deps, public_metadata=settings.fhir_public_metadata)}

    def periodic_tasks(self, context: CloudContext) -> Sequence[PeriodicTask]:
        """The export to the hospital's FHIR server, if there is one (`CloudPeriodicTasks`)."""
        return export_tasks(context)


def mark_changed(session: Session, places: Iterable[PatientTime]) -> None:
    """Have the hours and days around ``places`` told to the medical record again."""
    spans = {(patient, span, at_ns - at_ns % span) for patient, at_ns in places for span in (HOUR_NS, DAY_NS)}
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
                index_elements=["patient", "seconds", "began_ns"], set_={"revision": Pending.revision + 1}
            ),
            rows,
        )


def _see(session: Session, told: Sequence[Told]) -> None:
    """The latest state of patients, and the devices behind it."""
    patients: dict[str, Row] = {}
    devices: dict[tuple[str, str], Row] = {}
    for event, found in told:
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
    newer_there = new.rated_ns >= Patient.rated_ns
    set_ = {
        name: sa.case((newer_there, new[name]), else_=getattr(Patient, name))
        for name in Patient.model_fields
        if name not in ("patient", "first_ns", "last_ns")
    }
    set_["first_ns"] = sa.case((new.first_ns < Patient.first_ns, new.first_ns), else_=Patient.first_ns)
    set_["last_ns"] = sa.case((new.last_ns > Patient.last_ns, new.last_ns), else_=Patient.last_ns)
    session.connection().execute(
        insert.on_conflict_do_update(index_elements=["patient"], set_=set_), list(patients.values())
    )
    _keep(session, Device, list(devices.values()))


def _rates(session: Session, told: Sequence[Told]) -> set[PatientTime]:
    """Windows of rates, and the hours that they add to."""
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
        for event, rates in reversed(told)  # of the same window the first counts, as in the table
    }
    origins = {
        (event.subject, rates.began_ns): {
            "node": event.node,
            "version": rates.version,
            "time_quality": doubt_of(event.time_quality),
        }
        for event, rates in told
    }
    hours: dict[PatientTime, Row] = {}
    for place in sorted(_keep(session, RateWindow, list(rows.values()))):
        hour = (place[0], place[1] - place[1] % HOUR_NS)
        hours[hour] = _add(hours.get(hour), _as_hour(rows[place], hour[1]) | origins[place])
    _add_hours(session, list(hours.values()))
    return set(hours)


def _as_hour(row: Row, began_ns: int) -> Row:
    good_s, bpm = row["seconds"] * row["good_share"], row["heart_rate_bpm"]
    rated_s = 0.0 if bpm is None else row["seconds"]
    return {
        "patient": row["patient"],
        "began_ns": began_ns,
        "seconds": row["seconds"],
        "good_seconds": good_s,
        "af_seconds": good_s if row["rhythm"] == "AF" else 0.0,
        "rated_seconds": rated_s,
        "bpm_seconds": (bpm or 0.0) * rated_s,
        "least_bpm": bpm,
        "most_bpm": bpm,
        **{kind: row[kind] for kind in "nsvfq"},
    }


_SUMS = ("seconds", "good_seconds", "af_seconds", "rated_seconds", "bpm_seconds", "n", "s", "v", "f", "q")


def _add(hour: Row | None, other: Row) -> Row:
    if hour is None:
        return other
    rates = [bpm for bpm in (hour["least_bpm"], other["least_bpm"]) if bpm is not None]
    peaks = [bpm for bpm in (hour["most_bpm"], other["most_bpm"]) if bpm is not None]
    sums = {name: hour[name] + other[name] for name in _SUMS}
    worst = {"time_quality": max(hour["time_quality"], other["time_quality"])}
    ends = {"least_bpm": min(rates, default=None), "most_bpm": max(peaks, default=None)}
    return other | sums | ends | worst


def _add_hours(session: Session, hours: Sequence[Row]) -> None:
    if not hours:
        return
    insert = insert_into(session, Hour)
    new: Any = insert.excluded
    set_ = {name: getattr(Hour, name) + new[name] for name in _SUMS} | {
        "node": new.node,
        "version": new.version,
        "time_quality": _worst(Hour, new),
    }
    for name, beyond in (
        ("least_bpm", new.least_bpm < Hour.least_bpm),
        ("most_bpm", new.most_bpm > Hour.most_bpm),
    ):
        known = getattr(Hour, name)
        set_[name] = sa.case(
            (sa.or_(known.is_(None), beyond), sa.func.coalesce(new[name], known)), else_=known
        )
    session.connection().execute(
        insert.on_conflict_do_update(index_elements=["patient", "began_ns"], set_=set_), hours
    )


def _episodes(session: Session, told: Sequence[Told]) -> set[PatientTime]:
    changed: set[PatientTime] = set()
    insert = insert_into(session, Episode)
    new: Any = insert.excluded
    ends = sa.and_(Episode.ended_ns.is_(None), new.ended_ns.is_not(None))  # type: ignore[union-attr]
    set_ = {name: new[name] for name in ("ended_ns", "beats", "heart_rate_bpm", "version")}
    set_["time_quality"] = _worst(Episode, new)
    statement = insert.on_conflict_do_update(
        index_elements=["patient", "episode"], set_=set_, where=ends
    ).returning(Episode.began_ns)  # type: ignore[call-overload]
    for event, rhythm in told:  # one by one: an episode may begin and end in one batch
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


def _windows(session: Session, table: type[SQLModel], told: Sequence[Told]) -> set[PatientTime]:
    others = ("patient", "node", "version", "time_quality")
    names = [name for name in table.model_fields if name not in others]
    rows = [
        {"patient": event.subject, "node": event.node, "version": window.version}
        | {"time_quality": doubt_of(event.time_quality)}
        | {name: getattr(window, name) for name in names}
        for event, window in told
    ]
    return _keep(session, table, rows)


def _strips(session: Session, told: Sequence[Told]) -> set[PatientTime]:
    rows = []
    for event, strip in told:
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
    return _keep(session, Strip, rows)


def _alarms(session: Session, told: Sequence[Told]) -> None:
    """Steps of alarms; one that is raised again ends what was left of it before.

    A step that names no known beginning belongs to what the same node has open of the alarm: the node's clock
    was set meanwhile.
    """
    order = sa.case(_STATES, value=RaisedAlarm.state)
    insert = insert_into(session, RaisedAlarm)
    new: Any = insert.excluded
    set_ = {name: new[name] for name in ("state", "version")}
    set_["ended_ns"] = sa.func.coalesce(RaisedAlarm.ended_ns, new.ended_ns)
    set_["time_quality"] = _worst(RaisedAlarm, new)
    statement = insert.on_conflict_do_update(
        index_elements=["patient", "alarm", "raised_ns"],
        set_=set_,
        where=sa.case(_STATES, value=new.state) > order,
    )
    for event, alarm in told:
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
                .where(RaisedAlarm.patient == event.subject, RaisedAlarm.alarm == alarm.alarm)  # type: ignore[arg-type]
                .where(RaisedAlarm.raised_ns < alarm.raised_ns, order < _STATES["ended"])  # type: ignore[arg-type]
                .values(state="ended", ended_ns=sa.func.coalesce(RaisedAlarm.ended_ns, alarm.raised_ns))
            )
            session.connection().execute(earlier)


def _raised_ns(session: Session, event: ReceivedEvent, alarm: data.Alarm) -> int:
    """When the alarm was raised of which a further step is told."""
    if session.get(RaisedAlarm, (event.subject, alarm.alarm, alarm.raised_ns)) is not None:
        return alarm.raised_ns
    which = (RaisedAlarm.patient == event.subject, RaisedAlarm.alarm == alarm.alarm)
    open_ = RaisedAlarm.state.in_(OPEN_STATES)  # type: ignore[attr-defined]
    query = sa.select(RaisedAlarm.raised_ns).where(  # type: ignore[call-overload]
        *which, RaisedAlarm.node == event.node, sa.or_(open_, RaisedAlarm.ended_ns == event.time_ns)
    )
    found = session.scalar(query.order_by(sa.desc(RaisedAlarm.raised_ns)).limit(1))  # type: ignore[arg-type]
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


def _finding(event: ReceivedEvent, finding: data.FindingData) -> Row:
    return {
        "patient": event.subject,
        "at_ns": event.time_ns,
        "finding": finding.finding,
        "lead": finding.lead or "",
        "text": finding.text,
        "time_quality": doubt_of(event.time_quality),
    }


def _worst(table: Any, new: Any) -> Any:
    """SQL of the more doubtful of two qualities of times."""
    return sa.case((new.time_quality > table.time_quality, new.time_quality), else_=table.time_quality)


def _keep(session: Session, table: type[SQLModel], rows: Sequence[Row]) -> set[Any]:
    """Insert what is not there yet; the first two columns of the key of what was not."""
    if not rows:
        return set()
    key = list(table.__table__.primary_key)[:2]  # type: ignore[attr-defined]
    statement = insert_into(session, table).on_conflict_do_nothing().returning(*key[:2])
    return {tuple(row) for row in session.connection().execute(statement, list(rows))}
