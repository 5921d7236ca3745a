"""Training jobs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from cloud_backend.api.schemas.base import RequestBody
from cloud_backend.store import tables


class SubmitJob(RequestBody):
    """Train a candidate from the production model, the samples and their labels."""

    parameters: Annotated[dict[str, Any], Field(max_length=100)] = {}
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class JobPublic(BaseModel):
    """A training job; ``gate`` is the gate's report, empty before its verdict."""

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
