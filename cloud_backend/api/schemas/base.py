"""What the bodies of requests and answers share. No table and no secret leaves the API through a schema."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cloud_backend.api.dependencies import NAME

Name = Annotated[str, Field(pattern=NAME)]
TimeNs = Annotated[int, Field(ge=0, lt=2**63, description="UTC nanoseconds")]
Text = Annotated[str, Field(max_length=200)]


class RequestBody(BaseModel):
    """A request body: unknown members are an error."""

    model_config = ConfigDict(extra="forbid")


class Done(BaseModel):
    """Something was done; ``id`` names what it was done to."""

    id: str
