"""Nodes: enrolment, the public form of a node, hints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from cloud_backend.api.dependencies import NAME
from cloud_backend.api.schemas.base import Name, RequestBody
from cloud_backend.store import tables


class EnrolNode(RequestBody):
    """Enrol a node, or give one new credentials."""

    node: Name
    site: Name
    allow_loopback: bool = Field(
        default=False, description="enrol even where other machines cannot reach this cloud's addresses"
    )


class ReplaceNode(RequestBody):
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


class Hint(RequestBody):
    """What a node should do now: look for a ``deployment``, run the live model's ``golden`` cases, or
    ``revert`` to the model before. ``version`` is the model that is to be left; by default the one that the
    node last reported. A node that runs another by then stays with it."""

    action: Literal["deployment", "golden", "revert"] = "deployment"
    version: Annotated[str, Field(pattern=rf"^({NAME[1:-1]})?$")] = ""
