"""The industrial app, as edge and cloud find it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from apps.industrial.domain import USED_CHANNELS
from apps.industrial.events import MaintenanceCleared
from common.app.spec import AppSpec


class IndustrialSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the industrial app."""

    maintenance_horizon_cycles: Annotated[float, msgspec.Meta(gt=0, le=125)] = 30.0
    """Alarm when the lower bound of the remaining useful life falls under this."""
    alarm_hysteresis_cycles: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    """The alarm ends when the lower bound is this far above the horizon again."""
    alarm_confirm_cycles: Annotated[int, msgspec.Meta(ge=1)] = 3
    """Consecutive cycles under the horizon before the alarm is raised."""
    explanation_sensors: Annotated[int, msgspec.Meta(ge=1, le=21)] = 3
    """Number of sensors named in an explanation."""
    max_machines: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 256
    """Machines followed at a time, 75 kB of memory each; newcomers beyond that are refused."""
    forget_machine_after_days: Annotated[float, msgspec.Meta(gt=0, le=3650)] = 90.0
    """Days without readings after which a machine is forgotten."""


SPEC = AppSpec(
    name="industrial",
    title="Turbofan remaining useful life",
    settings=IndustrialSettings,
    starter=Path(__file__).with_name("starter"),
    edge="apps.industrial.edge.app:IndustrialEdge",
    cloud="apps.industrial.cloud.projection:IndustrialCloud",
    train="apps.industrial.training.job",
    virtual="apps.industrial.virtual.turbofan:open_source",
    virtual_kinds=("turbofan",),
    events="apps.industrial.events:EVENTS",
    pages="apps.industrial.pages.machines:add_pages",
    capacity="max_machines",
    ranges="apps.industrial.domain:RANGES",
    channels=USED_CHANNELS,
    alarm_ends=(MaintenanceCleared.TYPE,),
)
