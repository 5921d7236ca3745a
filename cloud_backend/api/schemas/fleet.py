"""Figures of the fleet: totals, daily counts of received events, transfer totals of each node."""

from __future__ import annotations

from pydantic import BaseModel, Field


class FleetPublic(BaseModel):
    """The fleet as a whole. Counts of what nodes did are since each node's last start."""

    nodes: int
    states: dict[str, int] = Field(description="nodes by state: online, offline, unknown")
    apps: dict[str, int] = Field(description="nodes by app; empty for those that have not reported yet")
    sites: dict[str, int] = Field(description="nodes by site")
    versions: dict[str, dict[str, int]] = Field(description="per app, nodes by the version that is live")
    virtual: int = Field(description="nodes whose readings are simulated")
    drifting: int = Field(description="nodes whose readings are unlike training")
    without_updates: int = Field(description="nodes that cannot check for updates")
    retired: int = Field(description="nodes that were retired; no other figure counts them")
    outbox_events: int = Field(description="events that wait on nodes, as last reported")
    bytes_sent: int = Field(description="bytes that nodes sent")
    bytes_raw: int = Field(description="bytes of all readings: what sending everything would have cost")
    readings: int
    open_alarms: int = Field(description="alarms that nobody has acknowledged")
    samples: int = Field(description="samples that arrived since nodes were enrolled")
    sample_bytes: int


class VolumePublic(BaseModel):
    """What arrived on a UTC day, of one event type."""

    day: str = Field(description="YYYY-MM-DD")
    type: str
    events: int
    bytes: int = Field(description="of the events' data, as they are stored")


class AccountPublic(BaseModel):
    """What left a node, against what it has seen."""

    node: str
    site: str
    app: str
    virtual: bool
    events: int = Field(description="events that arrived in the days asked for")
    event_bytes: int = Field(description="of their data, as they are stored")
    samples: int = Field(description="samples that arrived since the node was enrolled")
    sample_bytes: int
    samples_refused: int
    bytes_sent: int = Field(description="bytes that the node sent since its last start, as it counts them")
    bytes_raw: int = Field(description="bytes of all its readings since its last start")
