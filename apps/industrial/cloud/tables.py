"""The industrial app's projections: one row a cycle, one a machine, and one an alarm.

``time_quality`` is `common.messages.TimeQuality` of a time, empty where nothing speaks against it.
"""

# SQLModel declares ``__tablename__`` as a declared attribute; a name is what it takes.
# pyright: reportAssignmentType=false

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Field as Column
from sqlmodel import SQLModel

UNKNOWN_RANK = -1.0
"""Machines of unknown remaining life come before all others."""


class RulPoint(SQLModel, table=True):
    """The prediction for one cycle of one run; no RUL and no interval if it was ``withheld``."""

    __tablename__ = "industrial_rul"
    __table_args__ = {"sqlite_with_rowid": False}
    machine: str = Column(primary_key=True)
    run: int = Column(primary_key=True)
    cycle: int = Column(primary_key=True)
    rul_cycles: float | None
    lower_cycles: float | None
    upper_cycles: float | None
    novelty: float
    withheld: str = ""
    """Reason of a withheld RUL: ``regime``, ``novel``, ``history``, ``sensors``; empty where one was."""
    version: str
    time_ns: int = Column(sa_type=sa.BigInteger)
    time_quality: str = ""


class Machine(SQLModel, table=True):
    """The latest state of one machine."""

    __tablename__ = "industrial_machine"
    __table_args__ = (sa.Index("industrial_machine_horizon", "rank", "machine"),)
    machine: str = Column(primary_key=True)
    site: str
    node: str
    run: int
    cycle: int
    rul_cycles: float | None
    lower_cycles: float | None
    upper_cycles: float | None
    rank: float
    """Order by horizon: the lower bound, `UNKNOWN_RANK` where the remaining life is not known."""
    novelty: float
    withheld: str = ""
    """Reason of a withheld RUL in the last cycle (as in `RulPoint`), and in a sentence."""
    reason: str = ""
    sensor_faults: dict[str, str] = Column(default_factory=dict, sa_type=sa.JSON)
    """Present sensor faults, by sensor."""
    version: str
    due: bool = False
    """Whether the maintenance alarm is open."""
    explanation: str = ""
    """Sensors behind the standing alarm, strongest first."""
    horizon_cycles: float | None = None
    """The maintenance horizon of its node, from its newest alarm."""
    time_ns: int = Column(sa_type=sa.BigInteger)
    time_quality: str = ""


class MaintenanceAlarm(SQLModel, table=True):
    """A maintenance alarm: where in a run it was raised and ended, and the sensors behind it."""

    __tablename__ = "industrial_alarm"
    __table_args__ = {"sqlite_with_rowid": False}
    machine: str = Column(primary_key=True)
    run: int = Column(primary_key=True)
    cycle: int = Column(primary_key=True)
    horizon_cycles: float
    sensors: dict[str, float] = Column(sa_type=sa.JSON)
    """Cycles of remaining life that each sensor takes off, strongest first."""
    version: str
    cleared_cycle: int | None = None
    reason: str = ""
    """Reason of the end."""
    time_ns: int = Column(sa_type=sa.BigInteger)
    time_quality: str = ""
