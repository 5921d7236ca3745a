"""Labels."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from cloud_backend.api.schemas.base import RequestBody, Text
from cloud_backend.store import tables


class AddLabel(RequestBody):
    """The ground truth about a subject in a group (`common.app.training.Label`)."""

    subject: Text
    group: Text
    kind: Annotated[str, Field(min_length=1, max_length=100)]
    body: Annotated[dict[str, Any], Field(max_length=100)]
    source: Annotated[
        str | None,
        Field(min_length=1, max_length=100, description="default: ``person:`` and the name of the principal"),
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
