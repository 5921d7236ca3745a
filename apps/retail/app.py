"""The retail app, as edge and cloud find it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from apps.retail.domain import CameraLayout
from apps.retail.events import ZoneLimitKept
from common.app.spec import AppSpec
from common.vision.camera_health import HealthSettings
from common.vision.tracker import TrackerSettings


class RetailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the retail app."""

    cameras: dict[str, CameraLayout] = {}
    """Lines, zones and floor plan by camera. A camera that is not named here counts nothing, unless its
    source brings a layout, as the virtual camera does."""
    tracker: TrackerSettings = TrackerSettings()
    """Association of detections over time."""
    health: HealthSettings = HealthSettings()
    """Limits of camera health."""
    samples: bool = False
    """Privacy: whether pictures with blurred heads may be offered for learning. Without it, no picture leaves
    the node and none is stored."""
    stills: bool = False
    """Privacy: whether a still of each camera with blurred heads may be sent, to draw lines and zones on:
    when its layout changes, and every ``still_hours``. Decided in the node's own settings file only, as
    ``samples`` is."""
    still_hours: Annotated[float, msgspec.Meta(ge=0.1, le=8760)] = 24.0
    """Time after which another still of a camera is sent."""
    sample_interval_s: Annotated[float, msgspec.Meta(ge=1)] = 60.0
    """Least time between two samples of a camera."""
    heat_map_minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = 15
    """Period of a heat map."""
    max_cameras: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    """Cameras followed at a time, about 0.5 MB of memory each; newcomers beyond that are refused."""
    forget_camera_after_days: Annotated[float, msgspec.Meta(gt=0, le=3650)] = 7.0
    """Days without frames after which a camera is forgotten."""


SPEC = AppSpec(
    name="retail",
    title="Visitors of stores",
    settings=RetailSettings,
    starter=Path(__file__).with_name("starter"),
    edge="apps.retail.edge.app:RetailEdge",
    cloud="apps.retail.cloud.projection:RetailCloud",
    train="apps.retail.training.job",
    virtual="apps.retail.virtual.cameras:open_source",
    virtual_kinds=("entrance", "aisle", "crowd", "queue", "doorway"),
    events="apps.retail.events:EVENTS",
    pages="apps.retail.pages.chain:add_pages",
    capacity="max_cameras",
    alarm_ends=(ZoneLimitKept.TYPE,),
    own_settings=("samples", "stills"),
    check_source={"size": "320x240", "people": "busy"},
)
