"""Events of the industrial app. The subject of each is a machine; ``run`` is its life between two overhauls,
``cycle`` its age within the run, ``version`` that of the model."""

from __future__ import annotations

from typing import Annotated

import msgspec

from common.app.events import EventData, EventTypes
from common.messages import Priority

Whole = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
"""An integer in the range of a database column."""
Names = Annotated[list[Annotated[str, msgspec.Meta(max_length=100)]], msgspec.Meta(max_length=24)]


class Rul(EventData, frozen=True, kw_only=True):
    """Remaining useful life after each cycle, with its 90 % interval; null where it is withheld."""

    TYPE = "industrial.rul"
    PRIORITY = Priority.TELEMETRY
    run: Whole
    cycle: Whole
    rul_cycles: float | None
    """capped at 125"""
    lower_cycles: float | None
    upper_cycles: float | None
    novelty: float
    """1: the 99th percentile of known runs"""
    withheld: str = ""
    """`regime`, `novel`, `history` or `sensors`"""
    reason: str = ""
    """the same in a sentence"""
    version: str


class RulWithheld(EventData, frozen=True, kw_only=True):
    """The remaining useful life is withheld from here on, or for a further reason."""

    TYPE = "industrial.rul_withheld"
    PRIORITY = Priority.EVENT
    run: Whole
    cycle: Whole
    withheld: str
    """as in `industrial.rul`"""
    reason: str
    version: str


class RulResumed(EventData, frozen=True, kw_only=True):
    """The remaining useful life is known again, for 5 cycles in a row."""

    TYPE = "industrial.rul_resumed"
    PRIORITY = Priority.EVENT
    run: Whole
    cycle: Whole
    version: str


class MaintenanceDue(EventData, frozen=True, kw_only=True):
    """The lower bound has been under the maintenance horizon for the cycles in a row that confirm it."""

    TYPE = "industrial.maintenance_due"
    PRIORITY = Priority.ALARM
    run: Whole
    cycle: Whole
    rul_cycles: float
    lower_cycles: float
    upper_cycles: float
    novelty: float
    horizon_cycles: float
    sensors: Names
    """those that explain it, strongest first"""
    sensor_cycles: Annotated[list[float], msgspec.Meta(max_length=24)]
    """remaining life that each of them takes off"""
    version: str

    def __post_init__(self) -> None:
        if len(self.sensors) != len(self.sensor_cycles):
            raise ValueError(f"{len(self.sensors)} sensors with {len(self.sensor_cycles)} sensor_cycles")


class MaintenanceCleared(EventData, frozen=True, kw_only=True):
    """The alarm ends: the lower bound has recovered (values of that cycle), or the run has ended."""

    TYPE = "industrial.maintenance_cleared"
    PRIORITY = Priority.EVENT
    run: Whole
    cycle: Whole
    rul_cycles: float | None = None
    lower_cycles: float | None = None
    upper_cycles: float | None = None
    novelty: float | None = None
    reason: str
    """`recovered` or `run ended`"""
    version: str


class SensorFaultBegan(EventData, frozen=True, kw_only=True):
    """A sensor gives impossible values, which are not used."""

    TYPE = "industrial.sensor_fault"
    PRIORITY = Priority.EVENT
    run: Whole
    cycle: Whole
    sensor: str
    why: str
    """`missing`, `range`, `rate` or `stuck`"""
    value: float | None
    """in the sensor's unit; null where it is no number"""
    since_cycle: Whole
    text: str
    version: str


class SensorFaultEnded(EventData, frozen=True, kw_only=True):
    """The sensor gives possible values again, or the run has ended."""

    TYPE = "industrial.sensor_fault_ended"
    PRIORITY = Priority.EVENT
    run: Whole
    cycle: Whole
    reason: str = ""
    """`run ended`, or absent"""
    sensor: str
    why: str
    since_cycle: Whole
    version: str


class RunRestarted(EventData, frozen=True, kw_only=True):
    """The cycle numbers start again within the run that the source names: a new run has begun."""

    TYPE = "industrial.run_restarted"
    PRIORITY = Priority.EVENT
    run: Whole
    """the new one"""
    cycle: Whole
    ended_run: Whole
    ended_cycle: Whole
    text: str
    version: str


class MachineForgotten(EventData, frozen=True, kw_only=True):
    """A machine without readings is followed no more; an alarm that stands remains."""

    TYPE = "industrial.machine_forgotten"
    PRIORITY = Priority.EVENT
    run: Whole
    """its last one"""
    cycle: Whole
    alarm: bool
    """whether one stands"""
    version: str


EVENTS = EventTypes(
    "industrial",
    Rul,
    RulWithheld,
    RulResumed,
    MaintenanceDue,
    MaintenanceCleared,
    SensorFaultBegan,
    SensorFaultEnded,
    RunRestarted,
    MachineForgotten,
)
