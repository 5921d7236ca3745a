"""The public forms of things: what the API takes and gives. No table leaves it, and no secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud_backend.api.dependencies import NAME
from cloud_backend.store import tables
from common import json_bounds
from common.messages import Priority, moved_stamps

Name = Annotated[str, Field(pattern=NAME)]
TimeNs = Annotated[int, Field(ge=0, lt=2**63, description="UTC nanoseconds")]
Text = Annotated[str, Field(max_length=200)]


class Asked(BaseModel):
    """A request body: unknown members are an error."""

    model_config = ConfigDict(extra="forbid")


class Done(BaseModel):
    """Something was done; ``id`` names what it was done to."""

    id: str


# ------------------------------------------------------------------------------------------- the fleet


class EnrolNode(Asked):
    """Enrol a node, or give one new credentials."""

    node: Name
    site: Name
    allow_loopback: bool = Field(
        default=False, description="enrol even where other machines cannot reach this cloud's addresses"
    )


class ReplaceNode(Asked):
    """Give the place of a node to a new device."""

    name: Name | None = Field(default=None, description="name of the new device; by default the same name")
    allow_loopback: bool = False


class EnrolmentPublic(BaseModel):
    """`common.config.node.Enrolment`: the only time that the token and the password are shown."""

    node: str
    site: str
    cloud_url: str
    mqtt_host: str
    mqtt_port: int
    mqtt_password: str
    token: str
    tuf_root: dict[str, Any]
    wire_key: str
    mqtt_tls: bool = False
    mqtt_ca: str = ""


class ProblemPublic(BaseModel):
    """What the cloud saw go wrong with a node, of one kind; ``detail`` is of the last one."""

    kind: str
    count: int
    detail: str
    first_ns: int
    last_ns: int

    @classmethod
    def of(cls, row: tables.NodeProblem) -> ProblemPublic:
        return cls(**row.model_dump(exclude={"node"}))


class NodePublic(BaseModel):
    """A node as it was enrolled and as it last reported."""

    node: str
    site: str
    state: str
    app: str
    profile: str
    tags: list[str]
    virtual: bool
    version: str
    slot: str
    step: str
    confirmed: bool
    enrolled_ns: int
    last_seen_ns: int
    clock_offset_ms: int | None
    update_problem: str = Field(description="why the node cannot check for updates, empty where it can")
    retired_ns: int = Field(description="when it was retired; 0 for a node in service")
    replaced_by: str
    health: dict[str, Any]
    problems: list[ProblemPublic] = Field(default=[], description="what the cloud saw go wrong, newest first")

    @classmethod
    def of(cls, row: tables.Node, problems: Sequence[tables.NodeProblem] = ()) -> NodePublic:
        fields = row.model_dump(include=set(cls.model_fields) - {"node", "problems"})
        shown = sorted(map(ProblemPublic.of, problems), key=lambda problem: -problem.last_ns)
        return cls(node=row.name, problems=shown, **fields)


class Hint(Asked):
    """What a node should do now: look for a ``deployment``, run the live model's ``golden`` cases, or
    ``revert`` to the model before. ``version`` is the model that is to be left; by default the one that the
    node last reported. A node that runs another by then stays with it."""

    action: Literal["deployment", "golden", "revert"] = "deployment"
    version: Annotated[str, Field(pattern=rf"^({NAME[1:-1]})?$")] = ""


class EventPublic(BaseModel):
    """A committed event; (node, epoch, seq) is its identity."""

    site: str
    node: str
    epoch: str
    seq: int
    type: str
    subject: str
    time_ns: int
    received_ns: int
    priority: str
    clock_offset_ms: int | None
    time_quality: str | None = Field(
        description="null where nothing speaks against the time; corrected (the node's clock was wrong and "
        "its error is known), unsynchronised or unknown (by a clock that was not set: not a time to use), "
        "recorded (as the recording has it, not by the node's clock)"
    )
    data: Any

    @classmethod
    def of(cls, event: tables.StoredEvent, stream: tables.Stream) -> EventPublic:
        return cls(
            site=stream.site,
            node=stream.node,
            epoch=stream.epoch,
            seq=event.seq,
            type=event.type,
            subject=event.subject,
            time_ns=event.time_ns,
            received_ns=event.received_ns,
            priority=Priority(event.priority).name.lower(),
            clock_offset_ms=event.clock_offset_ms,
            time_quality=event.time_quality,
            data=json_bounds.shown(
                moved_stamps(event.body.encode(), (event.clock_offset_ms or 0) * 1_000_000)
            ),
        )


class AcknowledgedPublic(BaseModel):
    """Who saw an alert first, and when."""

    by: str
    at_ns: int
    note: str


class AlertPublic(EventPublic):
    """An event that a person should look at; ``acknowledged`` is null while nobody did."""

    acknowledged: AcknowledgedPublic | None = None

    @classmethod
    def about(
        cls, event: tables.StoredEvent, stream: tables.Stream, ack: tables.AlertAck | None
    ) -> AlertPublic:
        alert = cls(**EventPublic.of(event, stream).model_dump())
        if ack is not None:
            alert.acknowledged = AcknowledgedPublic(by=ack.by, at_ns=ack.acked_ns, note=ack.note)
        return alert


class Acknowledge(Asked):
    """Say that an alert was seen."""

    note: Annotated[str, Field(max_length=500)] = ""


class QuarantinedPublic(BaseModel):
    """What arrived and could not be taken; ``head`` is the start of it, as text where it is text."""

    id: int
    site: str
    node: str
    digest: str
    reason: str
    head: str
    size_bytes: int
    count: int
    received_ns: int

    @classmethod
    def of(cls, row: tables.Quarantined) -> QuarantinedPublic:
        return cls(
            head=row.body[:500].decode("utf-8", "replace"),
            size_bytes=len(row.body),
            **row.model_dump(exclude={"body"}),
        )


# ------------------------------------------------------------------------------------ models, rollouts


class ModelPublic(BaseModel):
    """A version in the registry."""

    app: str
    version: str
    state: str
    parent: str
    job: str
    approved_by: str
    approval_reason: str
    created_ns: int
    manifest_digest: str
    figures: dict[str, float]
    slices: dict[str, float]

    @classmethod
    def of(cls, row: tables.ModelVersion) -> ModelPublic:
        return cls(**_model_fields(row))


class ModelFull(ModelPublic):
    """A version with its whole manifest."""

    manifest: dict[str, Any]

    @classmethod
    def of(cls, row: tables.ModelVersion) -> ModelFull:
        return cls(manifest=row.manifest, **_model_fields(row))


def _model_fields(row: tables.ModelVersion) -> dict[str, Any]:
    return row.model_dump(exclude={"manifest"}) | {
        "figures": row.manifest.get("figures", {}),
        "slices": row.manifest.get("slices", {}),
    }


class AddModel(Asked):
    """Take over the bundle whose files were sent before."""

    version: Name


class Promote(Asked):
    """Approve a version by hand."""

    by: Annotated[
        str | None,
        Field(min_length=1, max_length=100, pattern=r"\S", description="who approves; by default who asks"),
    ] = None
    reason: Annotated[
        str,
        Field(min_length=1, max_length=500, pattern=r"\S", description="why it is approved by hand"),
    ]


class Ancestor(BaseModel):
    """One link of a lineage; where ``known`` is False the registry has nothing but the name."""

    version: str
    known: bool
    state: str = ""
    parent: str = ""
    job: str = ""
    approved_by: str = ""
    approval_reason: str = ""
    data: dict[str, str] = {}
    code: str = ""
    seed: int = 0
    trained_at: str = ""
    manifest_digest: str = ""
    created_ns: int = 0


class LineagePublic(BaseModel):
    """Where a version came from, nearest ancestor first."""

    app: str
    version: str
    chain: list[Ancestor]


class ConstraintShape(Asked):
    """Which nodes may be in the waves (`common.deployment.Constraint`); empty means everybody."""

    sites: Annotated[list[Name], Field(max_length=1000)] = []
    profiles: Annotated[list[Name], Field(max_length=1000)] = []
    tags: Annotated[list[Text], Field(max_length=1000)] = []
    nodes: Annotated[list[Name], Field(max_length=1000)] = []


class StartRollout(Asked):
    """Roll a version out in waves, each the share of nodes that it has reached at its end."""

    version: Name
    waves: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=20)] = [
        0.34,
        1.0,
    ]
    soak_s: Annotated[float | None, Field(gt=0, le=30 * 86400)] = None
    constraint: ConstraintShape | None = None


class Reason(Asked):
    """Why."""

    reason: Annotated[str, Field(max_length=500)] = "by hand"


class RolloutPublic(BaseModel):
    """A rollout and how far it is."""

    id: str
    app: str
    version: str
    previous_version: str
    state: str
    wave: int
    waves: list[float]
    constraint: dict[str, Any]
    settings: dict[str, Any]
    soak_s: float
    serial: int
    reason: str
    created_ns: int
    wave_started_ns: int
    ended_ns: int | None

    @classmethod
    def of(cls, row: tables.RolloutRow) -> RolloutPublic:
        return cls(**row.model_dump(include=set(cls.model_fields)))


class AdoptionPublic(BaseModel):
    """One step that a node reported about adopting a version."""

    node: str
    app: str
    version: str
    from_version: str
    step: str
    ok: bool
    reason: str
    serial: int
    rollout: str
    time_ns: int
    received_ns: int

    @classmethod
    def of(cls, row: tables.Adoption) -> AdoptionPublic:
        return cls(**row.model_dump(include=set(cls.model_fields)))


# -------------------------------------------------------------------------------------------- learning


class SubmitJob(Asked):
    """Train a candidate from the production model, the samples and their labels."""

    parameters: Annotated[dict[str, Any], Field(max_length=100)] = {}
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class JobPublic(BaseModel):
    """A training job; ``gate`` is the gate's report once it has judged."""

    id: str
    app: str
    state: str
    progress: float
    message: str
    seed: int
    parameters: dict[str, Any]
    version: str
    parent: str
    attempts: int
    gate: dict[str, Any]
    created_ns: int
    started_ns: int | None
    ended_ns: int | None

    @classmethod
    def of(cls, row: tables.JobRow) -> JobPublic:
        return cls(**row.model_dump(include=set(cls.model_fields)))


class AnnounceSample(Asked):
    """A sample that is about to be uploaded: what it is, its size in bytes, and its SHA-256 in hex."""

    app: Name
    subject: Text
    group: Text
    captured_ns: TimeNs
    reasons: Annotated[dict[Text, Annotated[float, Field(ge=0, le=1)]], Field(max_length=20)]
    attributes: Annotated[dict[Text, Any], Field(max_length=100)] = {}
    size: Annotated[int, Field(ge=1, lt=2**53)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    recorded: bool = False
    """Whether its times are a recording's. Those of a node's clock are moved by its known error."""


class UploadPublic(BaseModel):
    """How far an upload is; send the next piece at ``offset``."""

    id: str
    offset: int
    size: int
    complete: bool


class SamplePublic(BaseModel):
    """A sample that is stored."""

    id: str
    app: str
    node: str
    subject: str
    group: str
    captured_ns: int
    reasons: dict[str, float]
    attributes: dict[str, Any]
    size: int
    received_ns: int
    labels: Annotated[int, Field(description="labels of its group")] = 0

    @classmethod
    def of(cls, row: tables.SampleRow, labels: int = 0) -> SamplePublic:
        fields = row.model_dump(include=set(cls.model_fields) - {"id", "labels"})
        return cls(id=row.digest, labels=labels, **fields)


class SampleContent(BaseModel):
    """The arrays of a sample by name, as nested lists; NaN and infinity are null."""

    id: str
    arrays: dict[str, Any]


class UploadCountPublic(BaseModel):
    """What a node has sent as samples since it was enrolled."""

    node: str
    samples: int
    bytes_received: int
    bytes_stored: int
    refused: int

    @classmethod
    def of(cls, row: tables.UploadCount) -> UploadCountPublic:
        return cls(**row.model_dump())


class AddLabel(Asked):
    """What turned out to be true about a subject in a group (`common.app.training.Label`)."""

    subject: Text
    group: Text
    kind: Annotated[str, Field(min_length=1, max_length=100)]
    body: Annotated[dict[str, Any], Field(max_length=100)]
    source: Annotated[
        str | None, Field(min_length=1, max_length=100, description="by default ``person:`` and who asks")
    ] = None


class LabelPublic(BaseModel):
    """A label."""

    id: int
    app: str
    subject: str
    group: str
    kind: str
    body: dict[str, Any]
    source: str
    created_ns: int

    @classmethod
    def of(cls, row: tables.LabelRow) -> LabelPublic:
        return cls(**row.model_dump())


# ---------------------------------------------------------------------------------------------- status


class AppStatus(BaseModel):
    """What the cloud knows once per app."""

    title: str
    production: str
    serial: int
    nodes: int
    rollout: str | None


class DatabaseStatus(BaseModel):
    """The database, and how long it takes to answer."""

    kind: str
    latency_ms: float


class StatusPublic(BaseModel):
    """The state of the cloud in one look."""

    edgeloop: str
    database: DatabaseStatus
    broker: dict[str, Any]
    ingest: dict[str, Any]
    counts: dict[str, int]
    apps: dict[str, AppStatus]


class Health(BaseModel):
    """Whether the cloud works."""

    status: str
