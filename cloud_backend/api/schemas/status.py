"""State of the cloud."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class AppStatus(BaseModel):
    """State of one app."""

    title: str
    production: str
    serial: int
    nodes: int
    rollout: str | None


class DatabaseStatus(BaseModel):
    """The database and its latency."""

    kind: str
    latency_ms: float


class StatusPublic(BaseModel):
    """State of the cloud's parts and apps."""

    edgeloop: str
    database: DatabaseStatus
    broker: dict[str, Any]
    ingest: dict[str, Any]
    counts: dict[str, int]
    apps: dict[str, AppStatus]
    app_problems: dict[str, str] = {}
    """Errors of installed apps that the cloud has left out, by app."""


class Health(BaseModel):
    """Health of the cloud."""

    status: str
