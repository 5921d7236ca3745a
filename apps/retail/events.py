"""Events of the retail app: of a node about a camera, and of the cloud itself about a store.

The subject is the camera or the store; ``version`` is that of the model.

No event holds a picture or anything about a single person beyond the time and place of a crossing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from common.app.events import EventData, EventTypes
from common.messages import Priority

Whole = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
"""An integer in the range of a database column."""
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Name = Annotated[str, msgspec.Meta(max_length=64)]
Names = Annotated[list[Name], msgspec.Meta(max_length=16)]
Text = Annotated[str, msgspec.Meta(max_length=500)]
PictureKinds = Annotated[list[Literal["samples", "stills"]], msgspec.Meta(max_length=2)]
PERIODS_LIMIT = 104
"""Periods of a day: quarters of 26 hours."""
Time = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Day = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
Daily = Annotated[list[float | None], msgspec.Meta(max_length=31)]
"""One value a day; null where unknown."""


class CameraBegun(EventData, frozen=True, kw_only=True):
    """Counting begins: a camera's first frame, or the first one with another layout."""

    TYPE = "retail.camera_begun"
    PRIORITY = Priority.EVENT
    width_px: Whole
    height_px: Whole
    lines: Annotated[list[Name], msgspec.Meta(max_length=64)]
    zones: Annotated[list[Name], msgspec.Meta(max_length=64)]
    layout: Name = ""
    """version of the layout"""
    problems: Annotated[list[Text], msgspec.Meta(max_length=3)] = []
    """lines, zones or plan that cannot be used, and why; the rest counts"""
    more_problems: Whole = 0
    pictures: PictureKinds | None = None
    """those that the node's own settings allow to leave it; absent: unknown"""
    version: str


class CameraLayoutUsed(EventData, frozen=True, kw_only=True):
    """The lines, zones and floor plan that are used from now on, as numbers: what an editor begins with."""

    TYPE = "retail.layout"
    PRIORITY = Priority.EVENT
    layout: dict[str, Any]
    """as in the settings (`cameras`)"""
    version: str


class Crossed(EventData, frozen=True, kw_only=True):
    """One person crossed a line, at the time of the event."""

    TYPE = "retail.crossed"
    PRIORITY = Priority.TELEMETRY
    line: Name
    direction: Literal["in", "out"]
    area: Name = ""
    """area behind the line; absent: the camera's own"""
    people: Whole | None = None
    """in the area after it, from the crossings since the count began; never negative; absent: no entrance"""
    returned: bool = False
    """whether somebody alike went out within the line's `reentry_s`"""
    layout: Name = ""
    version: str


class Contradiction(EventData, frozen=True, kw_only=True):
    """Somebody left an area in which nobody was left: somebody was missed on the way in, or the count began
    with people inside."""

    TYPE = "retail.contradiction"
    PRIORITY = Priority.EVENT
    line: Name
    area: Name = ""
    total: Whole
    """contradictions of the area since its count began"""
    version: str


class LineMinute(EventData, frozen=True, kw_only=True):
    """People who crossed a line in the minute that begins at the time of the event."""

    TYPE = "retail.line_minute"
    PRIORITY = Priority.TELEMETRY
    line: Name
    entrance: bool
    """whether those who entered are visits of the store"""
    entered: Whole
    left: Whole
    returned: Whole = 0
    """of those who entered: no new visits, where the line has `reentry_s`"""
    groups: Whole | None = None
    """of those who entered, where the line has `group_s`; a group counts in the minute of its first member"""
    observed_s: Seconds
    """time of the minute with frames"""
    complete: bool
    """whether the whole minute was observed by a camera without trouble"""
    troubles: Names = []
    """as in `retail.camera_health`"""
    dropped: Whole = 0
    """frames that a live source dropped"""
    layout: Name = ""
    version: str

    def __post_init__(self) -> None:
        if max(self.returned, self.groups or 0) > self.entered:
            raise ValueError(
                f"{self.entered} entered, {self.returned} of them returned, {self.groups} groups"
            )


class ZoneMinute(EventData, frozen=True, kw_only=True):
    """People in a zone in the minute that begins at the time of the event."""

    TYPE = "retail.zone_minute"
    PRIORITY = Priority.TELEMETRY
    zone: Name
    people_s: Seconds
    """person-seconds in the zone; the mean occupancy is this by `observed_s`"""
    max_people: Whole
    visits: Whole
    """that ended in the minute"""
    dwell_s: Seconds
    """sum over these visits"""
    dwell_classes: Annotated[list[Whole], msgspec.Meta(max_length=10)] = []
    """visits by class of dwell time: under 5, 10, 20, 30, 60, 120, 300, 600, 1800 s, and longer"""
    queue_s: Seconds = 0.0
    """person-seconds of waiting; the mean queue length is this by `observed_s`"""
    max_queue: Whole = 0
    waited: Whole = 0
    """visits that were a wait in the queue and ended"""
    wait_s: Seconds = 0.0
    """sum over these"""
    longest_wait_s: Seconds = 0.0
    """of those who waited in the minute, ended or not"""
    observed_s: Seconds
    complete: bool
    troubles: Names = []
    layout: Name = ""
    version: str


class ZoneLimitExceeded(EventData, frozen=True, kw_only=True):
    """A zone has more people, or a longer queue, than its limit."""

    TYPE = "retail.zone_limit_exceeded"
    PRIORITY = Priority.ALARM
    zone: Name
    what: Literal["people", "queue"]
    count: Whole
    limit: Whole
    version: str


class ZoneLimitKept(EventData, frozen=True, kw_only=True):
    """A zone is within its limit again, for 10 seconds."""

    TYPE = "retail.zone_limit_kept"
    PRIORITY = Priority.EVENT
    zone: Name
    what: Literal["people", "queue"]
    count: Whole
    limit: Whole
    version: str


class HeatMap(EventData, frozen=True, kw_only=True):
    """Dwell on the floor plan since the last heat map, up to the time of the event: cells with somebody."""

    TYPE = "retail.heat_map"
    PRIORITY = Priority.TELEMETRY
    from_ns: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    """beginning of the period"""
    part: Whole
    """number of the event within the period: a map of many cells is sent in parts"""
    cell_m: float
    rows: Whole
    columns: Whole
    cells: Annotated[list[Whole], msgspec.Meta(max_length=200)]
    """row times `columns` plus column"""
    tenths_s: Annotated[list[Whole], msgspec.Meta(max_length=200)]
    """person-time in each of them, in tenths of a second"""
    layout: Name = ""
    version: str

    def __post_init__(self) -> None:
        if len(self.cells) != len(self.tenths_s):
            raise ValueError(f"{len(self.cells)} cells with {len(self.tenths_s)} times")


class CameraHealthChanged(EventData, frozen=True, kw_only=True):
    """The troubles of a camera have changed; while there are any, its counts are incomplete."""

    TYPE = "retail.camera_health"
    PRIORITY = Priority.EVENT
    troubles: Names
    """`gone`, `black`, `blinded`, `frozen`, `out_of_focus`, `moved`, `resolution`; none: all is well"""
    version: str


class CameraForgotten(EventData, frozen=True, kw_only=True):
    """A camera without frames is followed no more."""

    TYPE = "retail.camera_forgotten"
    PRIORITY = Priority.EVENT
    version: str


class StoreLimitExceeded(EventData, frozen=True, kw_only=True):
    """More people are in a store than its limit: the sum over its entrances."""

    TYPE = "retail.store_limit_exceeded"
    PRIORITY = Priority.ALARM
    people: Whole
    limit: Whole


class StoreLimitKept(EventData, frozen=True, kw_only=True):
    """A store is within its limit again, for 10 seconds."""

    TYPE = "retail.store_limit_kept"
    PRIORITY = Priority.EVENT
    people: Whole
    limit: Whole


class Sales(EventData, frozen=True, kw_only=True):
    """Sales of a store's day from its point of sale: new and corrected periods."""

    TYPE = "retail.sales"
    PRIORITY = Priority.TELEMETRY
    day: Day
    period: Literal["quarter", "hour", "day"]
    """length of each; periods of another length of the day are replaced by these"""
    day_begin_ns: Time
    day_end_ns: Time
    begins_ns: Annotated[list[Time], msgspec.Meta(max_length=PERIODS_LIMIT)]
    ends_ns: Annotated[list[Time], msgspec.Meta(max_length=PERIODS_LIMIT)]
    transactions: Annotated[list[Whole], msgspec.Meta(max_length=PERIODS_LIMIT)]
    revenues: Annotated[list[float | None], msgspec.Meta(max_length=PERIODS_LIMIT)]
    """null where unknown"""

    def __post_init__(self) -> None:
        lengths = {len(each) for each in (self.begins_ns, self.ends_ns, self.transactions, self.revenues)}
        if len(lengths) != 1:
            raise ValueError("periods, transactions and revenues are not equally many")


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a forecast model on a store's own history; null without a day to judge."""

    model: Annotated[str, msgspec.Meta(max_length=64)]
    wape_percent: float | None
    coverage_percent: float | None
    days: Whole


class Forecasted(EventData, frozen=True, kw_only=True):
    """Expected daily visits of a store from ``day`` on, by the model that did best in its back-test."""

    TYPE = "retail.forecast"
    PRIORITY = Priority.TELEMETRY
    day: Day
    model: Annotated[str, msgspec.Meta(max_length=64)]
    """empty: no forecast, for the reason in `note`"""
    expected: Daily
    lower: Daily
    """of the interval"""
    upper: Daily
    backtests: Annotated[list[Backtest], msgspec.Meta(max_length=16)]
    note: Annotated[str, msgspec.Meta(max_length=300)] = ""

    def __post_init__(self) -> None:
        if not len(self.expected) == len(self.lower) == len(self.upper):
            raise ValueError("expected, lower and upper are not equally many")


class ReportSent(EventData, frozen=True, kw_only=True):
    """The mail server took a report for all of its recipients. The subject is the report's name."""

    TYPE = "retail.report_sent"
    PRIORITY = Priority.EVENT
    first_day: Day
    last_day: Day
    recipients: Whole
    rows: Whole


class ReportFailed(EventData, frozen=True, kw_only=True):
    """A report was not delivered. The subject is the report's name."""

    TYPE = "retail.report_failed"
    PRIORITY = Priority.ALARM
    first_day: Day
    last_day: Day
    attempt: Whole
    reason: Annotated[str, msgspec.Meta(max_length=300)]


CLOUD_EVENTS: tuple[type[EventData], ...] = (
    StoreLimitExceeded,
    StoreLimitKept,
    Sales,
    Forecasted,
    ReportSent,
    ReportFailed,
)
"""Events that the cloud itself records, with the node `common.app.cloud.CLOUD_NODE`."""

EVENTS = EventTypes(
    "retail",
    CameraBegun,
    CameraLayoutUsed,
    Crossed,
    Contradiction,
    LineMinute,
    ZoneMinute,
    ZoneLimitExceeded,
    ZoneLimitKept,
    HeatMap,
    CameraHealthChanged,
    CameraForgotten,
    *CLOUD_EVENTS,
)
