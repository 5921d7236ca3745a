"""Sums over a store's quarters of an hour: visits by part of a day, zones, and a camera's heat map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlmodel import Session, col, select

from apps.retail.cloud.stores import HOUR_NS, QUARTER_NS, Bucket, Stores
from apps.retail.cloud.tables import CameraStatus, HeatPart, LineMinute, LineQuarter, ZoneQuarter
from apps.retail.domain import MINUTE_NS

DAY_NS = 24 * HOUR_NS
EXPECTED_DAYS = 7
"""An entrance that reported within these days before is expected, unless the settings name the entrances."""
SILENT_NS = 3 * MINUTE_NS
"""Age of a camera's newest event from which it is silent: with frames there is one each minute."""
SETTLE_NS = 2 * MINUTE_NS
"""Age from which a minute is expected to have arrived."""


class VisitCount(BaseModel):
    """Visits in a part of a day, or in several.

    ``visits`` are those who entered without those who came back (``returned``); ``outside`` are the visits
    outside of the opening hours. ``groups`` of those who entered are null unless all entrances count groups.
    ``complete_share`` is the share of the past minutes of its opening hours that the expected entrances
    observed whole; null without an expected entrance, or a past minute in the opening hours. ``local`` is
    the begin in the store's time with its offset.
    """

    local: str
    begin_ns: int
    end_ns: int
    entered: int
    left: int
    returned: int
    visits: int
    groups: int | None
    outside: int
    complete_share: float | None


class MinuteCount(BaseModel):
    """Crossings of a line in a minute; ``groups`` is null where they are not counted."""

    minute_ns: int
    entered: int
    left: int
    returned: int
    groups: int | None
    complete: bool


class LineCount(BaseModel):
    """Crossings of one line in a day; ``groups`` is null unless they were counted all the time."""

    camera: str
    line: str
    entrance: bool
    entered: int
    left: int
    returned: int
    groups: int | None
    minutes: int
    complete: int


class ZoneCount(BaseModel):
    """One zone in a day; means are null where nothing was observed or nobody was there."""

    camera: str
    zone: str
    mean_people: float | None
    max_people: int
    visits: int
    mean_dwell_s: float | None
    dwell_classes: list[int]
    mean_queue: float | None
    max_queue: int
    waited: int
    mean_wait_s: float | None
    longest_wait_s: float
    minutes: int
    complete: int


class Heat(BaseModel):
    """Person-time on a camera's plan: seconds by row and column of cells of ``cell_m``."""

    camera: str
    cell_m: float
    seconds: list[list[float]]


def visits_by(
    session: Session, stores: Stores, site: str, buckets: Sequence[Bucket], now_ns: int
) -> list[VisitCount]:
    """Visits of a store in each of ``buckets``, in order of time."""
    if not buckets:
        return []
    begin_ns, end_ns = buckets[0].begin_ns, buckets[-1].end_ns
    seen_from_ns = begin_ns - EXPECTED_DAYS * DAY_NS
    expected = stores.of(site).entrances or sorted(_reporting(session, site, seen_from_ns, end_ns))
    by_quarter: dict[int, list[LineQuarter]] = defaultdict(list)
    for row in quarters_of(session, LineQuarter, site, begin_ns, end_ns):
        if row.entrance:
            by_quarter[row.quarter_ns].append(row)
    past_ns = now_ns - SETTLE_NS
    return [_visits(stores, site, bucket, by_quarter, frozenset(expected), past_ns) for bucket in buckets]


def _visits(
    stores: Stores,
    site: str,
    bucket: Bucket,
    by_quarter: Mapping[int, Sequence[LineQuarter]],
    expected: frozenset[str],
    past_ns: int,
) -> VisitCount:
    entered = left = returned = outside = minutes = complete = 0
    groups: list[int | None] = []
    for quarter_ns in bucket.quarters():
        rows = by_quarter.get(quarter_ns, ())
        entered += sum(row.entered for row in rows)
        left += sum(row.left for row in rows)
        returned += sum(row.returned for row in rows)
        groups += [row.groups for row in rows]
        if stores.is_open(site, quarter_ns):
            minutes += max(0, min(QUARTER_NS, past_ns - quarter_ns)) // MINUTE_NS * len(expected)
            complete += sum(row.complete for row in rows if f"{row.camera}/{row.line}" in expected)
        else:
            outside += sum(row.visits for row in rows)
    return VisitCount(
        local=bucket.local,
        begin_ns=bucket.begin_ns,
        end_ns=bucket.end_ns,
        entered=entered,
        left=left,
        returned=returned,
        visits=entered - returned,
        groups=sum_known(groups),
        outside=outside,
        complete_share=min(1.0, complete / minutes) if minutes else None,
    )


def _reporting(session: Session, site: str, begin_ns: int, end_ns: int) -> set[str]:
    """Entrances, as ``camera/line``, with a count in a time."""
    query = sa.select(col(LineQuarter.camera), col(LineQuarter.line)).where(
        col(LineQuarter.site) == site,
        col(LineQuarter.entrance).is_(True),
        col(LineQuarter.quarter_ns) >= begin_ns,
        col(LineQuarter.quarter_ns) < end_ns,
    )
    return {f"{camera}/{line}" for camera, line in session.execute(query.distinct())}


def minutes_of(
    session: Session, site: str, camera: str, line: str, begin_ns: int, end_ns: int
) -> list[MinuteCount]:
    """Minutes of a line in order of time; parts of a minute are added."""
    minute, groups = col(LineMinute.minute_ns), col(LineMinute.groups)
    query = (
        sa.select(
            minute.label("minute_ns"),
            sa.func.sum(col(LineMinute.entered)).label("entered"),
            sa.func.sum(col(LineMinute.left)).label("left"),
            sa.func.sum(col(LineMinute.returned)).label("returned"),
            sa.case((sa.func.count(groups) == sa.func.count(), sa.func.sum(groups))).label("groups"),
            sa.func.max(sa.cast(col(LineMinute.complete), sa.Integer)).label("complete"),
        )
        .where(
            col(LineMinute.site) == site,
            col(LineMinute.camera) == camera,
            col(LineMinute.line) == line,
            minute >= begin_ns,
            minute < end_ns,
        )
        .group_by(minute)
        .order_by(minute)
    )
    return [MinuteCount.model_validate(row, from_attributes=True) for row in session.execute(query)]


def lines_of(session: Session, site: str, day: Bucket) -> list[LineCount]:
    """Crossings of each line of a store in a day."""
    by_line: dict[tuple[str, str], list[LineQuarter]] = {}
    for row in quarters_of(session, LineQuarter, site, day.begin_ns, day.end_ns):
        by_line.setdefault((row.camera, row.line), []).append(row)
    return [_line(camera, line, rows) for (camera, line), rows in sorted(by_line.items())]


def _line(camera: str, line: str, rows: Sequence[LineQuarter]) -> LineCount:
    return LineCount(
        camera=camera,
        line=line,
        entrance=max(rows, key=lambda row: row.quarter_ns).entrance,
        entered=sum(row.entered for row in rows),
        left=sum(row.left for row in rows),
        returned=sum(row.returned for row in rows),
        groups=sum_known(row.groups for row in rows),
        minutes=sum(row.minutes for row in rows),
        complete=sum(row.complete for row in rows),
    )


def zones_of(session: Session, site: str, day: Bucket) -> list[ZoneCount]:
    """Occupancy, dwell and queue of each zone of a store in a day."""
    by_zone: dict[tuple[str, str], list[ZoneQuarter]] = {}
    for row in quarters_of(session, ZoneQuarter, site, day.begin_ns, day.end_ns):
        by_zone.setdefault((row.camera, row.zone), []).append(row)
    return [_zone(camera, zone, rows) for (camera, zone), rows in sorted(by_zone.items())]


def _zone(camera: str, zone: str, rows: Sequence[ZoneQuarter]) -> ZoneCount:
    observed_s, visits = sum(row.observed_s for row in rows), sum(row.visits for row in rows)
    waited = sum(row.waited for row in rows)
    classes = [row.dwell_classes for row in rows]
    return ZoneCount(
        camera=camera,
        zone=zone,
        mean_people=sum(row.people_s for row in rows) / observed_s if observed_s else None,
        max_people=max(row.max_people for row in rows),
        visits=visits,
        mean_dwell_s=sum(row.dwell_s for row in rows) / visits if visits else None,
        dwell_classes=[
            sum(each[at] for each in classes if at < len(each))
            for at in range(max(map(len, classes), default=0))
        ],
        mean_queue=sum(row.queue_s for row in rows) / observed_s if observed_s else None,
        max_queue=max(row.max_queue for row in rows),
        waited=waited,
        mean_wait_s=sum(row.wait_s for row in rows) / waited if waited else None,
        longest_wait_s=max(row.longest_wait_s for row in rows),
        minutes=sum(row.minutes for row in rows),
        complete=sum(row.complete for row in rows),
    )


def heat_of(session: Session, site: str, camera: str, day: Bucket) -> Heat | None:
    """The heat map of a day, from the parts of its newest plan; None without one."""
    parts = session.exec(
        select(HeatPart)
        .where(
            col(HeatPart.site) == site,
            col(HeatPart.camera) == camera,
            col(HeatPart.time_ns) > day.begin_ns,
            col(HeatPart.time_ns) <= day.end_ns,
        )
        .order_by(col(HeatPart.time_ns))
    ).all()
    if not parts:
        return None
    plan = parts[-1].rows, parts[-1].columns, parts[-1].cell_m
    rows, columns, cell_m = plan
    seconds = [[0.0] * columns for _ in range(rows)]
    for part in parts:
        if (part.rows, part.columns, part.cell_m) == plan:
            for cell, tenths in zip(part.cells, part.tenths_s, strict=True):
                if cell < rows * columns:
                    seconds[cell // columns][cell % columns] += tenths / 10
    return Heat(camera=camera, cell_m=cell_m, seconds=seconds)


def sum_known(values: Iterable[int | None]) -> int | None:
    """The sum; None where a value is, or of no value."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if known and len(known) == len(found) else None


def is_forgotten(camera: CameraStatus) -> bool:
    """Whether a camera is followed no more."""
    return camera.forgotten_ns >= camera.last_ns > 0


def is_silent(camera: CameraStatus, now_ns: int) -> bool:
    """Whether nothing has come from a camera for `SILENT_NS`, and it is not forgotten."""
    return now_ns - camera.last_ns > SILENT_NS and not is_forgotten(camera)


def silent_cameras(now_ns: int) -> sa.ColumnElement[bool]:
    """`is_silent` as a condition of a query."""
    last_ns, forgotten_ns = col(CameraStatus.last_ns), col(CameraStatus.forgotten_ns)
    return (last_ns < now_ns - SILENT_NS) & ((forgotten_ns < last_ns) | (last_ns <= 0))


def cameras_of(session: Session, site: str) -> Sequence[CameraStatus]:
    """Cameras of a store by name."""
    return session.exec(
        select(CameraStatus).where(col(CameraStatus.site) == site).order_by(col(CameraStatus.camera))
    ).all()


def quarters_of(session: Session, table: Any, site: str, begin_ns: int, end_ns: int) -> Sequence[Any]:
    """Rows of a table of quarters of an hour of a store within a time."""
    return session.exec(
        select(table).where(
            col(table.site) == site,
            col(table.quarter_ns) >= begin_ns // QUARTER_NS * QUARTER_NS,
            col(table.quarter_ns) < end_ns,
        )
    ).all()
