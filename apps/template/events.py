"""Events of the template app. The subject of each is a machine; ``version`` is that of the model."""

from __future__ import annotations

from typing import Annotated

import msgspec

from common.app.events import EventData, EventTypes
from common.messages import Priority

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Risk(EventData, frozen=True, kw_only=True):
    """Probability of a fault, with each reading."""

    TYPE = "template.risk"
    PRIORITY = Priority.TELEMETRY
    risk: Share
    novelty: float
    """1: the 99th percentile of the readings that the model was trained on"""
    version: str


class Alarm(EventData, frozen=True, kw_only=True):
    """The risk has been at the threshold for the readings in a row that confirm it."""

    TYPE = "template.alarm"
    PRIORITY = Priority.ALARM
    risk: Share
    version: str


class AlarmCleared(EventData, frozen=True, kw_only=True):
    """The risk has been at half of the threshold, or below, for as many readings."""

    TYPE = "template.alarm_cleared"
    PRIORITY = Priority.EVENT
    risk: Share
    version: str


class MachineForgotten(EventData, frozen=True, kw_only=True):
    """No reading for `forget_machine_after_days`; an alarm that is up stays up in the cloud."""

    TYPE = "template.machine_forgotten"
    PRIORITY = Priority.EVENT
    version: str


EVENTS = EventTypes("template", Risk, Alarm, AlarmCleared, MachineForgotten)
