"""Nodes: enrolment, the public form of a node, hints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from cloud_backend.api.dependencies import NAME
from cloud_backend.api.schemas.base import Name, RequestBody
from cloud_backend.store import tables


class EnrolNode(RequestBody):
    """Enrol a node, or replace its credentials."""

    node: Name
    site: Name
    allow_loopback: bool = Field(
        default=False,
        description="enrol even if this cloud's addresses are reachable from its own machine only",
    )


class ReplaceNode(RequestBody):
    """Replace the device of a node."""

    name: Name | None = Field(default=None, description="name of the new device; default: the same name")
    allow_loopback: bool = False


class EnrolmentPublic(BaseModel):
    """`common.config.node.Enrolment`; token and password are shown only here."""

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
    """A kind of problem with a node as seen by the cloud; ``detail`` is that of the last one."""

    kind: str
    count: int
    detail: str
    first_ns: int
    last_ns: int

    @classmethod
    def of(cls, row: tables.NodeProblem) -> ProblemPublic:
        return cls(**row.model_dump(exclude={"node"}))


class NodePublic(BaseModel):
    """A node with its enrolment and its last report."""

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
    update_problem: str = Field(description="why the node cannot check for updates; empty if it can")
    retired_ns: int = Field(description="time of retirement; 0 for a node in service")
    replaced_by: str
    health: dict[str, Any]
    problems: list[ProblemPublic] = Field(
        default=[], description="problems as seen by the cloud, newest first"
    )

    @classmethod
    def of(cls, row: tables.Node, problems: Sequence[tables.NodeProblem] = ()) -> NodePublic:
        fields = row.model_dump(include=set(cls.model_fields) - {"node", "problems"})
        shown = sorted(map(ProblemPublic.of, problems), key=lambda problem: -problem.last_ns)
        return cls(node=row.name, problems=shown, **fields)


class Hint(RequestBody):
    """A command to a node: check for a ``deployment``, run the live model's ``golden`` cases, or ``revert``.

    ``version`` is the model to leave by ``revert``, by default the one that the node last reported; a node
    that runs another one by then ignores the command.
    """

    action: Literal["deployment", "golden", "revert"] = "deployment"
    version: Annotated[str, Field(pattern=rf"^({NAME[1:-1]})?$")] = ""
