"""Alerts and their acknowledgement."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from cloud_backend.api.schemas.base import RequestBody
from cloud_backend.api.schemas.events import EventPublic
from cloud_backend.store import tables


class AcknowledgedPublic(BaseModel):
    """The first acknowledgement of an alert."""

    by: str
    at_ns: int
    note: str


class AlertPublic(EventPublic):
    """An event that requires attention; ``acknowledged`` is null for an open alert."""

    acknowledged: AcknowledgedPublic | None = None

    @classmethod
    def about(
        cls, event: tables.StoredEvent, stream: tables.Stream, ack: tables.AlertAck | None
    ) -> AlertPublic:
        alert = cls(**EventPublic.of(event, stream).model_dump())
        if ack is not None:
            alert.acknowledged = AcknowledgedPublic(by=ack.by, at_ns=ack.acked_ns, note=ack.note)
        return alert


class Acknowledge(RequestBody):
    """Acknowledge an alert."""

    note: Annotated[str, Field(max_length=500)] = ""
