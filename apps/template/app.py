"""The template app, as edge and cloud find it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from apps.template.domain import CHANNELS
from apps.template.events import AlarmCleared
from common.app.spec import AppSpec


class TemplateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the template app."""

    alarm_risk: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.8
    """Risk at which the alarm is raised; it ends at half of it."""
    alarm_confirm_readings: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    """Consecutive readings beyond the threshold before the alarm is raised or ended."""
    max_machines: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 256
    """Machines followed at a time, 1 kB of memory each; newcomers beyond that are refused."""
    forget_machine_after_days: Annotated[float, msgspec.Meta(gt=0, le=3650)] = 30.0
    """Days without readings after which a machine is forgotten."""


SPEC = AppSpec(
    name="template",
    title="Template: machines by risk",
    settings=TemplateSettings,
    starter=Path(__file__).with_name("starter"),
    edge="apps.template.edge.app:TemplateEdge",
    cloud="apps.template.cloud.projection:TemplateCloud",
    train="apps.template.training.job",
    virtual="apps.template.virtual.machine:open_source",
    virtual_kinds=("machine",),
    events="apps.template.events:EVENTS",
    pages="apps.template.pages.machines:add_pages",
    capacity="max_machines",
    channels=CHANNELS.names,
    alarm_ends=(AlarmCleared.TYPE,),
)
