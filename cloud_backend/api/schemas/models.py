"""Versions in the model registry, their approval and lineage."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from cloud_backend.api.schemas.base import Name, RequestBody
from cloud_backend.store import tables


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


class AddModel(RequestBody):
    """Register the bundle whose files were uploaded before."""

    version: Name


class Promote(RequestBody):
    """Approve a version by hand."""

    by: Annotated[
        str | None,
        Field(
            min_length=1, max_length=100, pattern=r"\S", description="who approves; default: the principal"
        ),
    ] = None
    reason: Annotated[
        str,
        Field(min_length=1, max_length=500, pattern=r"\S", description="reason of the approval"),
    ]


class Ancestor(BaseModel):
    """A version of a lineage; if ``known`` is False, it is not in the registry."""

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
    """The lineage of a version, nearest ancestor first."""

    app: str
    version: str
    chain: list[Ancestor]
