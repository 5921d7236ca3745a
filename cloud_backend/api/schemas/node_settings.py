"""Settings of the app on one node."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from cloud_backend.api.schemas.base import RequestBody
from cloud_backend.store.tables import NodeSettings


class ChangeSettings(RequestBody):
    """A change of the app's settings on one node; it replaces the one before as a whole."""

    settings: dict[str, Any] = Field(
        description="JSON Merge Patch (RFC 7396) on what the node's file and the deployment say"
    )
    base: int | None = Field(
        default=None, ge=0, description="version that it was made from; refused where there is another by now"
    )


class NodeSettingsPublic(BaseModel):
    """The newest change of the app's settings on one node, and the node's answer; version 0 for none."""

    node: str
    app: str
    version: int
    settings: dict[str, Any]
    actor: str
    created_ns: int
    outcome: str = Field(description="`sent`, or the answer: `applied`, `waiting` (for a trial), `refused`")
    reason: str
    detail: str
    held_version: int = Field(description="version that the node last reported")
    answered_ns: int

    @classmethod
    def of(cls, row: NodeSettings) -> NodeSettingsPublic:
        return cls(**row.model_dump(include=set(cls.model_fields)))
