"""Builders of the retail app's events as the cloud receives them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from apps.retail.events import CameraBegun, CameraHealthChanged, Crossed, HeatMap, LineMinute, ZoneMinute
from common.app.cloud import ReceivedEvent
from common.app.events import EventData


def local_ns(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> int:
    """Nanoseconds of a local time such as ``2026-03-29 01:30``."""
    time = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(time.timestamp()) * 10**9


def received(
    seq: int, data: EventData, time_ns: int, site: str = "berlin", camera: str = "door", epoch: str = "e1"
) -> ReceivedEvent:
    return ReceivedEvent(
        site=site,
        node="node-1",
        epoch=epoch,
        seq=seq,
        type=data.TYPE,
        subject=camera,
        time_ns=time_ns,
        priority=data.PRIORITY,
        body=msgspec.json.encode(data),
    )


def begun(seq: int, time_ns: int, site: str = "berlin", camera: str = "door", **values: Any) -> ReceivedEvent:
    whole = {"width_px": 640, "height_px": 480, "lines": ["door"], "zones": ["table"], "version": "v1"}
    return received(seq, CameraBegun(**(whole | values)), time_ns, site, camera)


def minute(
    seq: int, time_ns: int, entered: int, left: int = 0, complete: bool = True, line: str = "door",
    entrance: bool = True, returned: int = 0, groups: int | None = None, **where: Any,
) -> ReceivedEvent:  # fmt: skip
    data = LineMinute(
        line=line,
        entrance=entrance,
        entered=entered,
        left=left,
        returned=returned,
        groups=groups,
        observed_s=60.0,
        complete=complete,
        version="v1",
    )
    return received(seq, data, time_ns, **where)


def zone_minute(seq: int, time_ns: int, camera: str = "door", **values: Any) -> ReceivedEvent:
    whole: dict[str, Any] = {
        "zone": "table", "people_s": 90.0, "max_people": 3, "visits": 2, "dwell_s": 50.0,
        "dwell_classes": [0, 1, 0, 1, 0, 0, 0, 0, 0, 0], "observed_s": 60.0, "complete": True,
        "version": "v1",
    }  # fmt: skip
    return received(seq, ZoneMinute(**(whole | values)), time_ns, camera=camera)


def crossed(seq: int, time_ns: int, people: int, direction: Any = "in", **where: Any) -> ReceivedEvent:
    return received(
        seq, Crossed(line="door", direction=direction, people=people, version="v1"), time_ns, **where
    )


def health(seq: int, time_ns: int, *troubles: str, **where: Any) -> ReceivedEvent:
    return received(seq, CameraHealthChanged(troubles=list(troubles), version="v1"), time_ns, **where)


def heat(
    seq: int, from_ns: int, time_ns: int, cells: dict[int, int], part: int = 0, **where: Any
) -> ReceivedEvent:
    data = HeatMap(
        from_ns=from_ns, part=part, cell_m=0.5, rows=2, columns=3, cells=list(cells),
        tenths_s=list(cells.values()), version="v1",
    )  # fmt: skip
    return received(seq, data, time_ns, **where)
