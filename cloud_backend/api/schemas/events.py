"""Committed events and quarantined messages."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from cloud_backend.store import tables
from common import json_bounds
from common.messages import Priority, moved_stamps


class EventPublic(BaseModel):
    """A committed event; (node, epoch, seq) is its identity."""

    site: str
    node: str
    epoch: str
    seq: int
    type: str
    subject: str
    time_ns: int
    received_ns: int
    priority: str
    clock_offset_ms: int | None
    time_quality: str | None = Field(
        description="null for a plausible time; corrected (the node's clock was wrong and "
        "its error is known), unsynchronised or unknown (the clock was not set: do not use the time), "
        "recorded (time of the recording, not of the node's clock)"
    )
    data: Any

    @classmethod
    def of(cls, event: tables.StoredEvent, stream: tables.Stream) -> EventPublic:
        return cls(
            site=stream.site,
            node=stream.node,
            epoch=stream.epoch,
            seq=event.seq,
            type=event.type,
            subject=event.subject,
            time_ns=event.time_ns,
            received_ns=event.received_ns,
            priority=Priority(event.priority).name.lower(),
            clock_offset_ms=event.clock_offset_ms,
            time_quality=event.time_quality,
            data=json_bounds.shown(
                moved_stamps(event.body.encode(), (event.clock_offset_ms or 0) * 1_000_000)
            ),
        )


class QuarantinedPublic(BaseModel):
    """A message that could not be processed; ``head`` is its beginning, decoded as UTF-8."""

    id: int
    site: str
    node: str
    digest: str
    reason: str
    head: str
    size_bytes: int
    count: int
    received_ns: int

    @classmethod
    def of(cls, row: tables.Quarantined) -> QuarantinedPublic:
        return cls(
            head=row.body[:500].decode("utf-8", "replace"),
            size_bytes=len(row.body),
            **row.model_dump(exclude={"body"}),
        )
