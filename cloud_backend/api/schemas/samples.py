"""Samples: announcement, upload state, stored samples, upload counts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from cloud_backend.api.schemas.base import Name, RequestBody, Text, TimeNs
from cloud_backend.store import tables


class AnnounceSample(RequestBody):
    """A sample to upload: metadata, size in bytes, SHA-256 in hex."""

    app: Name
    subject: Text
    group: Text
    captured_ns: TimeNs
    reasons: Annotated[dict[Text, Annotated[float, Field(ge=0, le=1)]], Field(max_length=20)]
    attributes: Annotated[dict[Text, Any], Field(max_length=100)] = {}
    size: Annotated[int, Field(ge=1, lt=2**53)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    recorded: bool = False
    """Whether its times are those of a recording; others are corrected by the known clock error."""


class UploadPublic(BaseModel):
    """State of an upload; the next piece starts at ``offset``."""

    id: str
    offset: int
    size: int
    complete: bool


class SamplePublic(BaseModel):
    """A stored sample."""

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
    """Samples received from a node since its enrolment."""

    node: str
    samples: int
    bytes_received: int
    bytes_stored: int
    refused: int

    @classmethod
    def of(cls, row: tables.UploadCount) -> UploadCountPublic:
        return cls(**row.model_dump())
