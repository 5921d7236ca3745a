"""The template app's projection: one row a machine."""

# SQLModel declares ``__tablename__`` as a declared attribute; a name is what it takes.
# pyright: reportAssignmentType=false

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Field as Column
from sqlmodel import SQLModel


class Machine(SQLModel, table=True):
    """The latest state of one machine."""

    __tablename__ = "template_machine"
    machine: str = Column(primary_key=True)
    site: str
    node: str
    risk: float = 0.0
    novelty: float = 0.0
    version: str
    alarm: bool = False
    time_ns: int = Column(default=0, sa_type=sa.BigInteger)
    time_quality: str = ""
    """`common.messages.TimeQuality` of ``time_ns``."""
    alarm_ns: int = Column(default=0, sa_type=sa.BigInteger)
    """Time of the event that raised or ended the alarm last."""
