"""Signing roles of the update repository."""

from __future__ import annotations

from pydantic import BaseModel, Field


class RolePublic(BaseModel):
    """A role of the update repository."""

    role: str
    keys: list[str] = Field(description="ids of the valid public keys")
    version: int = Field(description="version of its metadata")
