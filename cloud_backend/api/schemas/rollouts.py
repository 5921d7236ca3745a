"""Rollouts, and the adoption steps that nodes report."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from cloud_backend.api.schemas.base import Name, RequestBody, Text
from cloud_backend.store import tables


class NodeConstraint(RequestBody):
    """Nodes that a rollout includes (`common.deployment.Constraint`); an empty list does not restrict."""

    sites: Annotated[list[Name], Field(max_length=1000)] = []
    profiles: Annotated[list[Name], Field(max_length=1000)] = []
    tags: Annotated[list[Text], Field(max_length=1000)] = []
    nodes: Annotated[list[Name], Field(max_length=1000)] = []


class StartRollout(RequestBody):
    """Start a rollout in waves; each is the cumulative share of nodes at its end."""

    version: Name
    waves: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=20)] = [
        0.34,
        1.0,
    ]
    soak_s: Annotated[float | None, Field(gt=0, le=30 * 86400)] = None
    constraint: NodeConstraint | None = None


class Reason(RequestBody):
    """The reason of a change."""

    reason: Annotated[str, Field(max_length=500)] = "by hand"


class RolloutPublic(BaseModel):
    """A rollout and its state."""

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
    """An adoption step reported by a node."""

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
