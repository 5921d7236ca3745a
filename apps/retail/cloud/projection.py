"""The cloud's side of the retail app: cameras, minutes, quarters of an hour, areas, heat maps.

Rows of minutes are inserted once by the event that brings them; the quarters that they touch are then summed
again, so late data find their place and projecting again changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from fastapi import APIRouter
from sqlmodel import Session, SQLModel, col, select

from apps.retail import events
from apps.retail.cloud.comparison import comparison_router
from apps.retail.cloud.counts import sum_known
from apps.retail.cloud.forecast.routes import forecast_router
from apps.retail.cloud.forecast.task import Forecasts
from apps.retail.cloud.live import live_router
from apps.retail.cloud.occupancy import StoreLimits
from apps.retail.cloud.reports.routes import reports_router
from apps.retail.cloud.reports.schedule import Reports
from apps.retail.cloud.retention import MinuteRetention, kept_from_ns
from apps.retail.cloud.routes import make_router
from apps.retail.cloud.sales_routes import sales_router
from apps.retail.cloud.store_projection import Row, project_store, put
from apps.retail.cloud.stores import QUARTER_NS, Stores
from apps.retail.cloud.tables import (
    Area,
    AreaQuarter,
    CameraStatus,
    Delivery,
    ForecastDay,
    ForecastState,
    HeatPart,
    LineMinute,
    LineQuarter,
    Retention,
    Sale,
    StoreLimit,
    ZoneMinute,
    ZoneQuarter,
)
from apps.retail.cloud.teachers import teachers_router
from apps.retail.domain import MINUTE_NS
from apps.retail.events import CLOUD_EVENTS, EVENTS
from common.app.cloud import CLOUD_NODE, CloudContext, PeriodicTask, ReceivedEvent, RouteDeps
from common.app.events import EventData
from common.app.projection import insert_into
from common.clock import Clock
from common.messages import Event

APP = "retail"
LIMITS_S = 1.0
"""Interval at which the people of stores are compared with their limits."""
RETENTION_S = 6 * 3600.0
"""Interval at which minutes beyond the age limit are deleted."""
REPORTS_S = 30.0
"""Interval at which reports that are due are sent."""
FORECASTS_S = 5.0
"""Interval at which a forecast is begun or collected."""
Minute = TypeVar("Minute", LineMinute, ZoneMinute)
SUMS = ("people_s", "visits", "dwell_s", "queue_s", "waited", "wait_s", "observed_s")
TABLES = (
    CameraStatus,
    Area,
    AreaQuarter,
    LineMinute,
    LineQuarter,
    ZoneMinute,
    ZoneQuarter,
    HeatPart,
    StoreLimit,
    Sale,
    ForecastState,
    ForecastDay,
    Delivery,
    Retention,
)
GREATEST = ("max_people", "max_queue", "longest_wait_s")


class RetailCloud:
    """`common.app.cloud.CloudApp` of the retail app."""

    schema_version = 4

    def tables(self) -> Sequence[type[SQLModel]]:
        return TABLES

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        decoded = [(event, data) for event in events if (data := EVENTS.decode(event)) is not None]
        for event, data in decoded:
            if isinstance(data, CLOUD_EVENTS):
                if event.node == CLOUD_NODE:
                    project_store(session, event, data)
            else:
                _project_camera(session, event, data)
        kept_ns = kept_from_ns(session)
        kept = [(event, data) for event, data in decoded if _minute_ns(event) >= kept_ns]
        _project_lines(session, kept)
        _project_zones(session, kept)
        session.flush()

    def router(self, deps: RouteDeps, clock: Clock = time.time_ns) -> APIRouter:
        stores = Stores(deps.settings.get("retail", {}))
        router = make_router(deps, stores, clock)

        def record(session: Session, site: str, events: Sequence[Event]) -> None:
            deps.record(session, APP, self, site, events)

        router.include_router(sales_router(deps, stores, clock, record))
        router.include_router(forecast_router(deps, stores, clock))
        router.include_router(comparison_router(deps, stores, clock))
        router.include_router(live_router(deps, stores, clock))
        router.include_router(teachers_router(deps, stores.settings.teachers))
        router.include_router(reports_router(deps, stores, clock))
        return router

    def periodic_tasks(self, context: CloudContext) -> Sequence[PeriodicTask]:
        """Work in the background (`common.app.cloud.CloudPeriodicTasks`). Raises `ConfigError`."""
        stores = Stores(context.settings)
        tasks = [
            PeriodicTask("store-limits", LIMITS_S, StoreLimits(context, stores).check),
            PeriodicTask("forecasts", FORECASTS_S, Forecasts(context, stores).turn),
            PeriodicTask("reports", REPORTS_S, Reports(context, stores).turn),
        ]
        if days := stores.settings.keep_minutes_days:
            tasks.append(PeriodicTask("retention", RETENTION_S, MinuteRetention(context, days).turn))
        return tasks


def _project_camera(session: Session, event: ReceivedEvent, data: EventData) -> None:
    camera = session.get(CameraStatus, (event.site, event.subject))
    if camera is None:
        camera = CameraStatus(site=event.site, camera=event.subject, node=event.node, version="")
        session.add(camera)
    if event.time_ns >= camera.last_ns:
        camera.last_ns, camera.time_quality = event.time_ns, event.time_quality
        camera.node, camera.version = event.node, getattr(data, "version", "")
    match data:
        case events.CameraBegun():
            if event.time_ns >= camera.begun_ns:
                camera.begun_ns, camera.layout = event.time_ns, data.layout
                camera.lines, camera.zones = list(data.lines), list(data.zones)
                camera.problems = list(data.problems)
                camera.pictures = None if data.pictures is None else list(data.pictures)
        case events.CameraHealthChanged():
            if event.time_ns >= camera.health_ns:
                camera.health_ns, camera.troubles = event.time_ns, list(data.troubles)
                camera.troubled = bool(data.troubles)
        case events.CameraForgotten():
            camera.forgotten_ns = max(camera.forgotten_ns, event.time_ns)
        case events.Crossed(people=int()):
            _count_people(session, event, data)
        case events.Contradiction():
            area = _area(session, event, data.area)
            area.contradictions = max(area.contradictions, data.total)
        case events.HeatMap():
            _insert_heat(session, event, data)
        case _:
            pass


def _count_people(session: Session, event: ReceivedEvent, data: events.Crossed) -> None:
    people = data.people or 0
    area = _area(session, event, data.area)
    if event.time_ns >= area.time_ns:
        area.people, area.time_ns = people, event.time_ns
    quarter_ns = event.time_ns // QUARTER_NS * QUARTER_NS
    lowest = max(0, people - 1) if data.direction == "in" else people
    quarter = session.get(AreaQuarter, (area.site, area.node, area.area, area.camera, quarter_ns))
    if quarter is None:
        quarter = AreaQuarter(
            site=area.site,
            node=area.node,
            area=area.area,
            camera=area.camera,
            quarter_ns=quarter_ns,
            people=people,
            min_people=lowest,
        )
        session.add(quarter)
    if event.time_ns >= quarter.time_ns:
        quarter.people, quarter.time_ns = people, event.time_ns
    quarter.min_people = min(quarter.min_people, lowest)


def _area(session: Session, event: ReceivedEvent, name: str) -> Area:
    camera = "" if name else event.subject
    area = session.get(Area, (event.site, event.node, name, camera))
    if area is None:
        area = Area(site=event.site, node=event.node, area=name, camera=camera, people=0)
        session.add(area)
    return area


def _insert_heat(session: Session, event: ReceivedEvent, data: events.HeatMap) -> None:
    row = {
        "site": event.site,
        "camera": event.subject,
        "from_ns": data.from_ns,
        "part": data.part,
        "time_ns": event.time_ns,
        "cell_m": data.cell_m,
        "rows": data.rows,
        "columns": data.columns,
        "cells": data.cells,
        "tenths_s": data.tenths_s,
    }
    session.execute(insert_into(session, HeatPart).values(**row).on_conflict_do_nothing())


def _project_lines(session: Session, decoded: Sequence[tuple[ReceivedEvent, EventData]]) -> None:
    rows = [
        _minute_key(event)
        | {
            "line": data.line,
            "entrance": data.entrance,
            "entered": data.entered,
            "left": data.left,
            "returned": data.returned,
            "groups": data.groups,
            "observed_s": data.observed_s,
            "complete": data.complete,
            "layout": data.layout,
        }
        for event, data in decoded
        if isinstance(data, events.LineMinute)
    ]
    if not rows:
        return
    connection = session.connection()
    connection.execute(insert_into(session, LineMinute).on_conflict_do_nothing(), rows)
    for key, found in _quarters(session, LineMinute, "line", rows):
        newest = max(found, key=lambda row: (row.minute_ns, row.epoch, row.seq))
        values = {
            "entrance": newest.entrance,
            "entered": sum(row.entered for row in found),
            "left": sum(row.left for row in found),
            "returned": sum(row.returned for row in found),
            "groups": sum_known(row.groups for row in found),
        }
        put(session, LineQuarter, key, values | _known_minutes(found))


def _project_zones(session: Session, decoded: Sequence[tuple[ReceivedEvent, EventData]]) -> None:
    names = (*SUMS, *GREATEST, "zone", "dwell_classes", "complete")
    rows = [
        _minute_key(event) | {name: getattr(data, name) for name in names}
        for event, data in decoded
        if isinstance(data, events.ZoneMinute)
    ]
    if not rows:
        return
    session.connection().execute(insert_into(session, ZoneMinute).on_conflict_do_nothing(), rows)
    for key, found in _quarters(session, ZoneMinute, "zone", rows):
        values: Row = {name: sum(getattr(row, name) for row in found) for name in SUMS}
        values |= {name: max(getattr(row, name) for row in found) for name in GREATEST}
        values["dwell_classes"] = add_classes([row.dwell_classes for row in found])
        values |= _known_minutes(found)
        put(
            session,
            ZoneQuarter,
            key,
            {k: round(v, 3) if isinstance(v, float) else v for k, v in values.items()},
        )


def add_classes(rows: Sequence[Sequence[int]]) -> list[int]:
    """The sum of histograms, of which some are empty."""
    return [sum(row[at] for row in rows if at < len(row)) for at in range(max(map(len, rows), default=0))]


def _minute_key(event: ReceivedEvent) -> Row:
    """Site, camera, and the minute, which a corrected clock has moved by a part of one at most."""
    return {
        "site": event.site,
        "camera": event.subject,
        "minute_ns": _minute_ns(event),
        "epoch": event.epoch,
        "seq": event.seq,
    }


def _minute_ns(event: ReceivedEvent) -> int:
    return (event.time_ns + MINUTE_NS // 2) // MINUTE_NS * MINUTE_NS


def _quarters(
    session: Session, table: type[Minute], part: str, rows: Sequence[Row]
) -> Iterator[tuple[Row, Sequence[Minute]]]:
    """Of each quarter of an hour that ``rows`` change, its key and all of its minutes."""
    names = ("site", "camera", part)
    keys = {(*(row[name] for name in names), row["minute_ns"] // QUARTER_NS * QUARTER_NS) for row in rows}
    for *place, quarter_ns in sorted(keys):
        key = dict(zip(names, place, strict=True))
        found = session.exec(
            select(table).where(
                *(col(getattr(table, name)) == value for name, value in key.items()),
                col(table.minute_ns) >= quarter_ns,
                col(table.minute_ns) < quarter_ns + QUARTER_NS,
            )
        ).all()
        yield key | {"quarter_ns": quarter_ns}, found


def _known_minutes(found: Sequence[LineMinute] | Sequence[ZoneMinute]) -> Row:
    return {
        "minutes": len({row.minute_ns for row in found}),
        "complete": len({row.minute_ns for row in found if row.complete}),
    }
