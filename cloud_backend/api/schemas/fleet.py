"""Figures of the fleet: totals, daily counts of received events, transfer totals of each node."""

from __future__ import annotations

from pydantic import BaseModel, Field


class FleetPublic(BaseModel):
    """Totals of the fleet. Byte and reading counts are since each node's last start."""

    nodes: int
    states: dict[str, int] = Field(description="nodes by state: online, offline, unknown")
    apps: dict[str, int] = Field(description="nodes by app; empty for those that have not reported yet")
    sites: dict[str, int] = Field(description="nodes by site")
    versions: dict[str, dict[str, int]] = Field(description="per app, nodes by live version")
    virtual: int = Field(description="nodes whose readings are simulated")
    drifting: int = Field(description="nodes whose readings are unlike training")
    without_updates: int = Field(description="nodes that cannot check for updates")
    retired: int = Field(description="retired nodes; all other figures exclude them")
    outbox_events: int = Field(description="events in the nodes' outboxes, as last reported")
    bytes_sent: int = Field(description="bytes sent by nodes")
    bytes_raw: int = Field(description="bytes of all readings, as if all were sent")
    readings: int
    open_alarms: int = Field(description="alarms without acknowledgement")
    samples: int = Field(description="samples received since the nodes' enrolment")
    sample_bytes: int


class VolumePublic(BaseModel):
    """Events of one type received on a UTC day."""

    day: str = Field(description="YYYY-MM-DD")
    type: str
    events: int
    bytes: int = Field(description="stored size of the events' data")


class TransferPublic(BaseModel):
    """Data that a node transferred, compared with all its readings."""

    node: str
    site: str
    app: str
    virtual: bool
    events: int = Field(description="events received in the requested days")
    event_bytes: int = Field(description="stored size of their data")
    samples: int = Field(description="samples received since the node's enrolment")
    sample_bytes: int
    samples_refused: int
    bytes_sent: int = Field(description="bytes sent since the node's last start, by its own count")
    bytes_raw: int = Field(description="bytes of all its readings since its last start")
