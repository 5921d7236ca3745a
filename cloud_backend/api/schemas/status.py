"""State of the cloud."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class AppStatus(BaseModel):
    """What the cloud knows once per app."""

    title: str
    production: str
    serial: int
    nodes: int
    rollout: str | None


class DatabaseStatus(BaseModel):
    """The database, and how long it takes to answer."""

    kind: str
    latency_ms: float


class StatusPublic(BaseModel):
    """The state of the cloud in one look."""

    edgeloop: str
    database: DatabaseStatus
    broker: dict[str, Any]
    ingest: dict[str, Any]
    counts: dict[str, int]
    apps: dict[str, AppStatus]


class Health(BaseModel):
    """Whether the cloud works."""

    status: str
