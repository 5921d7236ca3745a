"""All tables of the cloud itself. Apps bring their own projections (`common.app.cloud.CloudApp.tables`).

Times are UTC nanoseconds. JSON columns hold what the contracts in ``common`` define. Secrets are
stored as SHA-256 only, and no table class is ever returned by the API: ``cloud_backend.api.schemas``
has the public forms.
"""

# SQLModel declares ``__tablename__`` as a declared attribute; a name is what it takes.
# pyright: reportAssignmentType=false

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, LargeBinary, MetaData, String, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from common.messages import Priority

ALERT_SQL = f"priority = {int(Priority.ALARM)} OR type = 'edgeloop.drift' OR type = 'edgeloop.adoption'"
"""Events among which alerts are looked for, by an index of their own: few of all."""
ALARM_SQL = f"priority = {int(Priority.ALARM)}"
"""Alarms; they are counted by an index that holds all that this takes."""
NOTABLE_SQL = f"priority >= {int(Priority.EVENT)}"
"""What is more than telemetry: few of all events, so that an index of the newest costs ingest little."""


def _added(kind: Any, default: str) -> Column[Any]:
    """A column that a migration added to a table with rows."""
    return Column(kind, nullable=False, server_default=text(default))


class Stream(SQLModel, table=True):
    """One epoch of one node, and how far it is committed."""

    __tablename__ = "stream"
    __table_args__ = (UniqueConstraint("site", "node", "epoch"),)
    id: int | None = Field(default=None, primary_key=True)
    site: str
    node: str = Field(index=True)
    epoch: str
    high_water_mark: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_ns: int = Field(sa_column=Column(BigInteger, nullable=False))


class StoredEvent(SQLModel, table=True):
    """A committed event. Its place in its stream is its identity, so inserting is idempotent.

    ``stream_id`` is no foreign key: checking it for each row costs a fifth of the ingest rate, and rows
    are only written by the transaction that has just read the stream.
    """

    __tablename__ = "event"
    __table_args__ = (
        Index(
            "event_alerts",
            "time_ns",
            "stream_id",
            "seq",
            sqlite_where=text(ALERT_SQL),
            postgresql_where=text(ALERT_SQL),
        ),
        Index(
            "event_notable",
            "received_ns",
            "stream_id",
            "seq",
            sqlite_where=text(NOTABLE_SQL),
            postgresql_where=text(NOTABLE_SQL),
        ),
        Index(
            "event_alarm_keys",
            "stream_id",
            "seq",
            "priority",
            sqlite_where=text(ALARM_SQL),
            postgresql_where=text(ALARM_SQL),
        ),
        {"sqlite_with_rowid": False},
    )
    stream_id: int = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    type: str
    subject: str
    time_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    received_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    priority: int
    clock_offset_ms: int | None = Field(default=None, sa_column=Column(BigInteger))
    """Correction that was applied to ``time_ns`` because the node's clock was wrong."""
    time_quality: str | None = None
    """`common.messages.TimeQuality` of ``time_ns`` where it is doubtful, or was before it was corrected."""
    body: str
    """The event's data as JSON text."""


class Quarantined(SQLModel, table=True):
    """A refused message or event, with its reason. Bounded by `cloud_backend.ingest`."""

    __tablename__ = "quarantine"
    id: int | None = Field(default=None, primary_key=True)
    site: str
    node: str = Field(index=True)
    digest: str = Field(index=True, unique=True)
    reason: str
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    count: int = 1


class Node(SQLModel, table=True):
    """A node as it was enrolled and as it last reported."""

    __tablename__ = "node"
    name: str = Field(primary_key=True)
    site: str
    token_digest: str = Field(default="", index=True)
    mqtt_password_digest: str = ""
    enrolled_ns: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    state: str = "unknown"
    """``online`` or ``offline`` by its status topic; ``unknown`` before the first."""
    app: str = Field(default="", index=True)
    profile: str = ""
    tags: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    virtual: bool = False
    version: str = ""
    slot: str = ""
    step: str = ""
    """Step of adoption that the node is in; ``confirmed`` once its soak is over."""
    confirmed: bool = False
    last_seen_ns: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    health: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    clock_offset_ms: int | None = Field(default=None, sa_column=Column(BigInteger))
    retired_ns: int = Field(default=0, sa_column=_added(BigInteger, "0"))
    """Time of the final revocation of its credentials; 0 for a node in service."""
    replaced_by: str = Field(default="", sa_column=_added(String, "''"))
    """The node that took the place of a retired one."""
    rollout: str = Field(default="", sa_column=_added(String, "''"))
    """Rollout that brought the live model."""
    update_problem: str = Field(default="", sa_column=_added(String, "''"))
    """Reason of failed checks for updates, one of `common.errors.UpdateRefused`."""
    metadata_version: int = Field(default=0, sa_column=_added(BigInteger, "0"))
    """Highest version of timestamp and snapshot metadata that the node trusts."""
    root_version: int = Field(default=0, sa_column=_added(BigInteger, "0"))
    deployment_serial: int = Field(default=0, sa_column=_added(BigInteger, "0"))


class NodeProblem(SQLModel, table=True):
    """A problem of a node that the cloud detected, by kind (`cloud_backend.ingest.node_problems`)."""

    __tablename__ = "node_problem"
    node: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    count: int = Field(sa_column=Column(BigInteger, nullable=False))
    detail: str
    """Of the last one."""
    first_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    last_ns: int = Field(sa_column=Column(BigInteger, nullable=False))


class NodeSettings(SQLModel, table=True):
    """The newest change of the app's settings on one node, and the node's answer."""

    __tablename__ = "node_settings"
    node: str = Field(primary_key=True)
    app: str = ""
    version: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    settings: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    actor: str = ""
    created_ns: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    sent_ns: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    outcome: str = ""
    """``sent``, or the answer: ``applied``, ``waiting``, ``refused``."""
    reason: str = ""
    detail: str = ""
    held_version: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    """Version that the node last reported to hold."""
    answered_ns: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class Adoption(SQLModel, table=True):
    """Log of the adoption of models by nodes (``edgeloop.adoption`` events)."""

    __tablename__ = "adoption"
    stream_id: int = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    node: str = Field(index=True)
    app: str
    version: str
    from_version: str = ""
    step: str
    ok: bool
    reason: str = ""
    serial: int = 0
    rollout: str = Field(default="", index=True)
    time_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    received_ns: int = Field(sa_column=Column(BigInteger, nullable=False))


class ModelVersion(SQLModel, table=True):
    """A model in the registry. Immutable but for its state."""

    __tablename__ = "model_version"
    app: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    state: str
    """``candidate``, ``approved``, ``refused``, ``production`` or ``retired``."""
    manifest: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    manifest_digest: str
    parent: str = ""
    job: str = ""
    approved_by: str = ""
    """``gate``, or the person who approved by hand."""
    approval_reason: str = Field(default="", sa_column_kwargs={"server_default": text("''")})
    """Reason of an approval by a person; empty for the gate."""
    created_ns: int = Field(sa_column=Column(BigInteger, nullable=False))


class RolloutRow(SQLModel, table=True):
    """A rollout of one version in waves."""

    __tablename__ = "rollout"
    id: str = Field(primary_key=True)
    app: str = Field(index=True)
    version: str
    previous_version: str
    state: str
    """``running``, ``done``, ``halted`` or ``reverted``."""
    wave: int = 0
    waves: list[float] = Field(sa_column=Column(JSON, nullable=False))
    constraint: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    settings: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    soak_s: float
    serial: int = 0
    reason: str = ""
    created_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    wave_started_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    ended_ns: int | None = Field(default=None, sa_column=Column(BigInteger))


class AppState(SQLModel, table=True):
    """State of an app: its production version, deployment serial, and projection version."""

    __tablename__ = "app_state"
    app: str = Field(primary_key=True)
    production: str = ""
    serial: int = 0
    schema_version: int = 0
    schema_digest: str = Field(default="", sa_column=_added(String, "''"))
    """Digest of the app's tables as they were built (`cloud_backend.ingest.app_tables`)."""


class JobRow(SQLModel, table=True):
    """A training job."""

    __tablename__ = "job"
    id: str = Field(primary_key=True)
    app: str = Field(index=True)
    state: str
    """``queued``, ``running``, ``done``, ``failed``, ``refused`` (by the gate) or ``cancelled``."""
    attempts: int = 0
    """Number of starts; an interrupted job is started once more."""
    progress: float = 0.0
    message: str = ""
    seed: int = 0
    parameters: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    version: str = ""
    parent: str = ""
    gate: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    started_ns: int | None = Field(default=None, sa_column=Column(BigInteger))
    ended_ns: int | None = Field(default=None, sa_column=Column(BigInteger))


class SampleRow(SQLModel, table=True):
    """An uploaded (or partly uploaded) sample; its content lies in the sample store under its digest."""

    __tablename__ = "sample"
    __table_args__ = (
        Index("sample_newest", "received_ns", "digest"),
        Index("sample_newest_of_app", "app", "received_ns", "digest"),
    )
    digest: str = Field(primary_key=True)
    app: str = Field(index=True)
    node: str
    subject: str
    group: str = Field(index=True)
    captured_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    reasons: dict[str, float] = Field(sa_column=Column(JSON, nullable=False))
    attributes: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    size: int
    offset: int = 0
    complete: bool = False
    received_ns: int = Field(sa_column=Column(BigInteger, nullable=False))


class UploadCount(SQLModel, table=True):
    """Samples that a node has uploaded since its enrolment: the account of data that left it."""

    __tablename__ = "upload_count"
    node: str = Field(primary_key=True)
    samples: int = 0
    bytes_received: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    bytes_stored: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    refused: int = 0


class LabelRow(SQLModel, table=True):
    """Ground truth (`common.app.training.Label`)."""

    __tablename__ = "label"
    id: int | None = Field(default=None, primary_key=True)
    app: str = Field(index=True)
    subject: str
    group: str = Field(index=True)
    kind: str
    body: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    source: str
    created_ns: int = Field(sa_column=Column(BigInteger, nullable=False))


class AlertAck(SQLModel, table=True):
    """That a person has seen an alert; the first acknowledgement stays."""

    __tablename__ = "alert_ack"
    stream_id: int = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    by: str
    note: str = ""
    acked_ns: int = Field(sa_column=Column(BigInteger, nullable=False))


class DailyCount(SQLModel, table=True):
    """Events received from a node on a UTC day, by type: the account of data that left it.

    Types beyond `cloud_backend.ingest.daily_counts.TYPES_LIMIT` a node and day are counted as ``other``.
    """

    __tablename__ = "daily_count"
    __table_args__ = ({"sqlite_with_rowid": False},)
    day: int = Field(primary_key=True)
    """Days since 1970-01-01, by when the events arrived."""
    node: str = Field(primary_key=True)
    type: str = Field(primary_key=True)
    events: int = Field(sa_column=Column(BigInteger, nullable=False))
    bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    """Of the events' data, as it is stored."""


class WebSession(SQLModel, table=True):
    """A person who is signed in; ``digest`` is that of the session's token."""

    __tablename__ = "web_session"
    digest: str = Field(primary_key=True)
    name: str
    created_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    used_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_ns: int = Field(sa_column=Column(BigInteger, nullable=False))


class NodeSubject(SQLModel, table=True):
    """A subject that a node has reported events of; it may upload samples of these only."""

    __tablename__ = "node_subject"
    __table_args__ = ({"sqlite_with_rowid": False},)
    node: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)


class AuditRow(SQLModel, table=True):
    """Action of an operator. Rows are only added; the database refuses to change or delete one."""

    __tablename__ = "audit_trail"
    id: int | None = Field(default=None, primary_key=True)
    time_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    actor: str = Field(index=True)
    action: str = Field(index=True)
    subject: str
    outcome: str
    address: str
    details: str
    """A JSON object."""


def cloud_metadata() -> MetaData:
    """The tables of this module only; apps that are imported add theirs to SQLModel's shared metadata."""
    metadata = MetaData()
    for value in list(globals().values()):
        if isinstance(value, type) and issubclass(value, SQLModel) and value is not SQLModel:
            value.metadata.tables[str(value.__tablename__)].to_metadata(metadata)
    return metadata
