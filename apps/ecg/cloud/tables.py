"""Tables of the ECG app. All times are UTC nanoseconds; ``patient`` is a pseudonym made on the device.

``ecg_hour`` aggregates windows on arrival, so that a day is read from 24 rows; ``ecg_pending`` queues changed
hours and days for export to the medical record. ``time_quality`` is `common.messages.TimeQuality` of doubtful
times, the worst of those that a row aggregates, and empty for all others (`common.time_notes.doubt_of`).
"""

# SQLModel types ``__tablename__`` as a declared attribute; it accepts a name.
# pyright: reportAssignmentType=false

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlmodel import Field as Column
from sqlmodel import SQLModel

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
NEVER_NS = -(2**63 - 1)
"""Before every accepted time."""

OPEN_STATES = ("raised", "latched")
_OPEN = sa.text("state IN ('raised', 'latched')")
_UNREVIEWED = sa.text("reviewed_ns IS NULL")
_UNTAKEN = sa.text("revision > taken_revision")


class Patient(SQLModel, table=True):
    """The latest state of one patient, by the newest window of rates."""

    __tablename__ = "ecg_patient"
    __table_args__ = (sa.Index("ecg_patient_seen", "last_ns", "patient"),)
    patient: str = Column(primary_key=True)
    site: str
    node: str
    version: str
    virtual: bool = False
    first_ns: int = Column(sa_type=sa.BigInteger)
    last_ns: int = Column(sa_type=sa.BigInteger)
    """Time of the newest event."""
    rated_ns: int = Column(default=NEVER_NS, sa_type=sa.BigInteger)
    """End of the newest window of rates, source of the following columns; `NEVER_NS` before the first."""
    heart_rate_bpm: float | None = None
    rhythm: str = "unknown"
    good_share: float = 0.0


class Device(SQLModel, table=True):
    """A node or a model version that produced findings; ``kind`` is ``node`` or ``model``."""

    __tablename__ = "ecg_device"
    kind: str = Column(primary_key=True)
    name: str = Column(primary_key=True)
    site: str = ""
    virtual: bool = False


class RateWindow(SQLModel, table=True):
    """Heart rate, beats by AAMI class, and rhythm over 10 s of signal."""

    __tablename__ = "ecg_rates"
    __table_args__ = {"sqlite_with_rowid": False}
    patient: str = Column(primary_key=True)
    began_ns: int = Column(primary_key=True, sa_type=sa.BigInteger)
    seconds: float
    heart_rate_bpm: float | None
    n: int
    s: int
    v: int
    f: int
    q: int
    good_share: float
    rhythm: str


class Hour(SQLModel, table=True):
    """Sums over the windows of rates that began in one hour.

    ``bpm_seconds`` is the integral of the heart rate over the ``rated_seconds`` with one; ``af_seconds`` is
    the good signal in windows of atrial fibrillation.
    """

    __tablename__ = "ecg_hour"
    __table_args__ = {"sqlite_with_rowid": False}
    patient: str = Column(primary_key=True)
    began_ns: int = Column(primary_key=True, sa_type=sa.BigInteger)
    seconds: float
    good_seconds: float
    af_seconds: float
    rated_seconds: float
    bpm_seconds: float
    min_bpm: float | None
    max_bpm: float | None
    n: int
    s: int
    v: int
    f: int
    q: int
    node: str
    version: str
    time_quality: str = ""


class Episode(SQLModel, table=True):
    """An episode of rhythm; ``ended_ns`` is null while ongoing. ``episode`` is its id at the edge."""

    __tablename__ = "ecg_episode"
    __table_args__ = (sa.Index("ecg_episode_began", "patient", "began_ns"),)
    patient: str = Column(primary_key=True)
    episode: str = Column(primary_key=True)
    label: str
    began_ns: int = Column(sa_type=sa.BigInteger)
    ended_ns: int | None = Column(default=None, sa_type=sa.BigInteger)
    beats: int
    heart_rate_bpm: float | None
    node: str
    version: str
    time_quality: str = ""


class HrvWindow(SQLModel, table=True):
    """Heart rate variability over 5 minutes; powers are null without enough data for a spectrum."""

    __tablename__ = "ecg_hrv"
    __table_args__ = {"sqlite_with_rowid": False}
    patient: str = Column(primary_key=True)
    began_ns: int = Column(primary_key=True, sa_type=sa.BigInteger)
    seconds: float
    nn_count: int
    ectopic_share: float
    mean_nn_ms: float
    sdnn_ms: float
    rmssd_ms: float
    pnn50_percent: float
    vlf_ms2: float | None
    lf_ms2: float | None
    hf_ms2: float | None
    lf_hf: float | None
    node: str
    version: str
    time_quality: str = ""


class IntervalWindow(SQLModel, table=True):
    """Intervals of the averaged beat of a minute; null where a wave was not found."""

    __tablename__ = "ecg_intervals"
    __table_args__ = {"sqlite_with_rowid": False}
    patient: str = Column(primary_key=True)
    began_ns: int = Column(primary_key=True, sa_type=sa.BigInteger)
    seconds: float
    beats: int
    rr_ms: float
    pr_ms: float | None
    qrs_ms: float | None
    qt_ms: float | None
    qtc_bazett_ms: float | None
    qtc_fridericia_ms: float | None
    lead: str
    node: str
    version: str
    time_quality: str = ""


class QualityChange(SQLModel, table=True):
    """A change of a lead's signal quality, with its reasons."""

    __tablename__ = "ecg_quality"
    __table_args__ = {"sqlite_with_rowid": False}
    patient: str = Column(primary_key=True)
    at_ns: int = Column(primary_key=True, sa_type=sa.BigInteger)
    lead: str = Column(primary_key=True)
    good: bool
    time_quality: str = ""
    reasons: list[str] = Column(sa_type=sa.JSON)


class Finding(SQLModel, table=True):
    """A finding about the signal (leads swapped, a gap, an absurd gain, findings withheld).

    ``lead`` is empty for a finding about the whole recording or the source.
    """

    __tablename__ = "ecg_finding"
    __table_args__ = {"sqlite_with_rowid": False}
    patient: str = Column(primary_key=True)
    at_ns: int = Column(primary_key=True, sa_type=sa.BigInteger)
    finding: str = Column(primary_key=True)
    lead: str = Column(primary_key=True)
    time_quality: str = ""
    text: str


class RaisedAlarm(SQLModel, table=True):
    """An alarm with its latest state; ``state`` is ``raised``, ``latched``, ``ended`` or ``reset``."""

    __tablename__ = "ecg_alarm"
    __table_args__ = (
        sa.Index("ecg_alarm_raised", "patient", "raised_ns"),
        sa.Index("ecg_alarm_open", "patient", sqlite_where=_OPEN, postgresql_where=_OPEN),
    )
    patient: str = Column(primary_key=True)
    alarm: str = Column(primary_key=True)
    raised_ns: int = Column(primary_key=True, sa_type=sa.BigInteger)
    priority: str
    state: str
    ended_ns: int | None = Column(default=None, sa_type=sa.BigInteger)
    delay_s: float
    value: float | None
    limit: float | None
    text: str
    node: str
    version: str
    time_quality: str = ""


class Strip(SQLModel, table=True):
    """Signal around an alarm, with a clinician's review.

    ``samples`` are int16 ``(samples, leads)``, little-endian, in steps of ``lsb_mv``; -32768 is missing.
    ``reason`` ranks the review queue (`apps.ecg.cloud.strips.reason_of`).
    """

    __tablename__ = "ecg_strip"
    __table_args__ = (
        sa.Index(
            "ecg_strip_queue",
            "reason",
            "began_ns",
            "patient",
            sqlite_where=_UNREVIEWED,
            postgresql_where=_UNREVIEWED,
        ),
        sa.Index(
            "ecg_strip_unreviewed",
            "patient",
            "began_ns",
            sqlite_where=_UNREVIEWED,
            postgresql_where=_UNREVIEWED,
        ),
    )
    patient: str = Column(primary_key=True)
    began_ns: int = Column(primary_key=True, sa_type=sa.BigInteger)
    ended_ns: int = Column(sa_type=sa.BigInteger)
    rate_hz: float
    leads: list[str] = Column(sa_type=sa.JSON)
    lsb_mv: float
    beats: list[dict[str, Any]] = Column(sa_type=sa.JSON)
    alarm: str
    rhythm: str
    reason: float
    node: str
    version: str
    time_quality: str = ""
    reviewed_ns: int | None = Column(default=None, sa_type=sa.BigInteger)
    reviewed_by: str = ""
    verdict: str = ""
    """``confirmed``, ``corrected`` or ``unreadable``."""
    true_beats: list[dict[str, Any]] | None = Column(default=None, sa_type=sa.JSON)
    true_rhythm: str = ""
    note: str = ""
    samples: bytes = Column(sa_type=sa.LargeBinary)


class Pending(SQLModel, table=True):
    """An hour or a day of a patient in the queue for the medical record.

    ``revision`` counts its changes, ``taken_revision`` is the revision acknowledged by the hospital.
    ``seconds`` is the length of the span. A refused span is retried after ``not_before_ns``.
    """

    __tablename__ = "ecg_pending"
    __table_args__ = (
        sa.Index(
            "ecg_pending_untaken",
            "seconds",
            "began_ns",
            "patient",
            sqlite_where=_UNTAKEN,
            postgresql_where=_UNTAKEN,
        ),
    )
    patient: str = Column(primary_key=True)
    seconds: int = Column(primary_key=True)
    began_ns: int = Column(primary_key=True, sa_type=sa.BigInteger)
    revision: int = Column(default=1, sa_column_kwargs={"info": {"counts_projections": True}})
    taken_revision: int = 0
    not_before_ns: int = Column(default=0, sa_type=sa.BigInteger)
    refusals: int = 0
    problem: str = ""
    """Reason of the last refusal."""


TABLES: tuple[type[SQLModel], ...] = (
    Patient,
    Device,
    RateWindow,
    Hour,
    Episode,
    HrvWindow,
    IntervalWindow,
    QualityChange,
    Finding,
    RaisedAlarm,
    Strip,
    Pending,
)


def columns_of(table: type[SQLModel]) -> list[Any]:
    """All columns of a table."""
    return list(sa.inspect(table).local_table.c)


def begin_of(at_ns: Any, length_ns: int) -> Any:
    """SQL: begin of the hour, day or other UTC span that contains a time, also before 1970."""
    # A literal, as PostgreSQL compares GROUP BY expressions by text; % keeps the sign of the dividend.
    length = sa.literal_column(str(length_ns), sa.BigInteger)
    return at_ns - (at_ns % length + length) % length
