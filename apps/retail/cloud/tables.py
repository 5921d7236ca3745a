"""The retail app's projections. A store is a site of the fleet; a camera's name is unique within it.

Minutes are rows by the event that brought them, quarters of an hour (UTC) are their sums: a part of a minute
that comes from another instance of a node adds to it. ``complete`` counts minutes that were observed whole.
"""

# SQLModel declares ``__tablename__`` as a declared attribute; a name is what it takes.
# pyright: reportAssignmentType=false

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlmodel import Field as Column
from sqlmodel import SQLModel


def _time(*, key: bool = False) -> int:
    if key:
        return Column(primary_key=True, sa_type=sa.BigInteger)
    return Column(default=0, sa_type=sa.BigInteger)


class CameraStatus(SQLModel, table=True):
    """The latest state of one camera."""

    __tablename__ = "retail_camera"
    site: str = Column(primary_key=True)
    camera: str = Column(primary_key=True)
    node: str
    version: str
    layout: str = ""
    lines: list[str] = Column(default_factory=list, sa_type=sa.JSON)
    zones: list[str] = Column(default_factory=list, sa_type=sa.JSON)
    problems: list[str] = Column(default_factory=list, sa_type=sa.JSON)
    """Parts of the layout that cannot be used, and why."""
    pictures: list[str] | None = Column(default=None, sa_type=sa.JSON)
    """Kinds of pictures that may leave its node by that one's own settings; None: unknown."""
    begun_ns: int = _time()
    troubles: list[str] = Column(default_factory=list, sa_type=sa.JSON)
    """Names of its current troubles."""
    troubled: bool = False
    """Whether there are any."""
    health_ns: int = _time()
    forgotten_ns: int = _time()
    last_ns: int = _time()
    """Newest time of its events."""
    time_quality: str = ""
    """`common.messages.TimeQuality` of it."""


class Area(SQLModel, table=True):
    """People behind entrances: of an area by its name, or of one camera (``camera`` then has its name)."""

    __tablename__ = "retail_area"
    site: str = Column(primary_key=True)
    node: str = Column(primary_key=True)
    area: str = Column(primary_key=True)
    camera: str = Column(primary_key=True)
    people: int
    contradictions: int = 0
    time_ns: int = _time()


class AreaQuarter(SQLModel, table=True):
    """The edge's count of people behind entrances in a quarter of an hour, from its crossings.

    The people since any time are the newest ``people`` less the lowest ``min_people`` since then: a count
    that begins at 0 at that time and never falls below it.
    """

    __tablename__ = "retail_area_quarter"
    __table_args__ = (sa.Index("retail_area_quarter_time", "site", "quarter_ns"),)
    site: str = Column(primary_key=True)
    node: str = Column(primary_key=True)
    area: str = Column(primary_key=True)
    camera: str = Column(primary_key=True)
    quarter_ns: int = _time(key=True)
    people: int
    """After the last crossing."""
    time_ns: int = _time()
    """Time of it."""
    min_people: int
    """Lowest count, that before each person who came in included."""


class StoreLimit(SQLModel, table=True):
    """Whether a store has more people than its limit, by the newest alarm or its end."""

    __tablename__ = "retail_store_limit"
    site: str = Column(primary_key=True)
    exceeded: bool
    people: int
    limit: int
    time_ns: int = _time()


class Sale(SQLModel, table=True):
    """Sales in one period of a store's day, from its point of sale."""

    __tablename__ = "retail_sale"
    site: str = Column(primary_key=True)
    begin_ns: int = _time(key=True)
    end_ns: int = _time()
    period: str
    """``quarter``, ``hour`` or ``day``."""
    transactions: int
    revenue: float | None = None
    seq: int = _time()
    """Of the event that brought it."""


class ForecastState(SQLModel, table=True):
    """The newest forecast of a store."""

    __tablename__ = "retail_forecast"
    site: str = Column(primary_key=True)
    day: str
    """Local day on which it was made, and the first of its days."""
    model: str
    note: str
    backtests: list[dict[str, Any]] = Column(default_factory=list, sa_type=sa.JSON)
    """Figures of each model, as `apps.retail.events.Backtest`."""


class ForecastDay(SQLModel, table=True):
    """Visits of a store's local day as they were expected by the last forecast before it was over."""

    __tablename__ = "retail_forecast_day"
    site: str = Column(primary_key=True)
    day: str = Column(primary_key=True)
    made_day: str
    expected: float | None
    lower: float | None
    upper: float | None


class Delivery(SQLModel, table=True):
    """The last delivery of a scheduled report."""

    __tablename__ = "retail_delivery"
    name: str = Column(primary_key=True)
    first_day: str
    last_day: str
    sent: bool
    attempts: int
    reason: str
    """Of the last failure; empty for a delivery."""
    time_ns: int = _time()


class Retention(SQLModel, table=True):
    """Deletion of minutes for their age; one row."""

    __tablename__ = "retail_retention"
    id: int = Column(primary_key=True)
    kept_from_ns: int = _time()
    """Minutes before it were deleted."""


class LineMinute(SQLModel, table=True):
    """Crossings of a line in one minute, as one event has them."""

    __tablename__ = "retail_line_minute"
    __table_args__ = {"sqlite_with_rowid": False}
    site: str = Column(primary_key=True)
    camera: str = Column(primary_key=True)
    line: str = Column(primary_key=True)
    minute_ns: int = _time(key=True)
    epoch: str = Column(primary_key=True)
    seq: int = _time(key=True)
    entrance: bool
    entered: int
    left: int
    returned: int = 0
    groups: int | None = None
    observed_s: float
    complete: bool
    layout: str = ""


class LineQuarter(SQLModel, table=True):
    """Crossings of a line in a quarter of an hour; ``groups`` is null unless all of its minutes have them."""

    __tablename__ = "retail_line_quarter"
    __table_args__ = (sa.Index("retail_line_quarter_time", "site", "quarter_ns"),)
    site: str = Column(primary_key=True)
    camera: str = Column(primary_key=True)
    line: str = Column(primary_key=True)
    quarter_ns: int = _time(key=True)
    entrance: bool
    entered: int
    left: int
    returned: int = 0
    groups: int | None = None
    minutes: int
    complete: int

    @property
    def visits(self) -> int:
        """Those who entered without those who came back."""
        return self.entered - self.returned


class _ZoneFigures(SQLModel):
    """Columns of both tables of zones, named as the fields of `retail.zone_minute`."""

    people_s: float
    max_people: int
    visits: int
    dwell_s: float
    dwell_classes: list[int] = Column(default_factory=list, sa_type=sa.JSON)
    queue_s: float
    max_queue: int
    waited: int
    wait_s: float
    longest_wait_s: float
    observed_s: float


class ZoneMinute(_ZoneFigures, table=True):
    """A zone in one minute, as one event has it."""

    __tablename__ = "retail_zone_minute"
    __table_args__ = {"sqlite_with_rowid": False}
    site: str = Column(primary_key=True)
    camera: str = Column(primary_key=True)
    zone: str = Column(primary_key=True)
    minute_ns: int = _time(key=True)
    epoch: str = Column(primary_key=True)
    seq: int = _time(key=True)
    complete: bool


class ZoneQuarter(_ZoneFigures, table=True):
    """A zone in a quarter of an hour: sums and greatest values of its minutes."""

    __tablename__ = "retail_zone_quarter"
    __table_args__ = (sa.Index("retail_zone_quarter_time", "site", "quarter_ns"),)
    site: str = Column(primary_key=True)
    camera: str = Column(primary_key=True)
    zone: str = Column(primary_key=True)
    quarter_ns: int = _time(key=True)
    minutes: int
    complete: int


class HeatPart(SQLModel, table=True):
    """Part of a heat map: person-time by cell of the floor plan, in tenths of a second."""

    __tablename__ = "retail_heat"
    site: str = Column(primary_key=True)
    camera: str = Column(primary_key=True)
    from_ns: int = _time(key=True)
    part: int = Column(primary_key=True)
    time_ns: int = _time()
    """End of the period."""
    cell_m: float
    rows: int
    columns: int
    cells: list[int] = Column(default_factory=list, sa_type=sa.JSON)
    tenths_s: list[int] = Column(default_factory=list, sa_type=sa.JSON)
