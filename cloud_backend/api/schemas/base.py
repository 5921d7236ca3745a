"""Shared parts of request and response bodies. No schema exposes a table row or a secret."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cloud_backend.api.dependencies import NAME

Name = Annotated[str, Field(pattern=NAME)]
TimeNs = Annotated[int, Field(ge=0, lt=2**63, description="UTC nanoseconds")]
Text = Annotated[str, Field(max_length=200)]


class RequestBody(BaseModel):
    """A request body; unknown members are refused."""

    model_config = ConfigDict(extra="forbid")


class Done(BaseModel):
    """Confirmation; ``id`` names the object of the action."""

    id: str
