"""Counts in the editor: what is new since the page was opened, of this camera alone."""

from __future__ import annotations

from typing import Any

import pytest

from apps.retail.pages.live_counts import LiveCounts, day_counts
from cloud_backend.api.schemas.events import EventPublic


def event(seq: int, subject: str = "door", **data: Any) -> dict[str, Any]:
    """An event in the form of the API."""
    return EventPublic(
        site="berlin", node="cam-1", epoch="e1", seq=seq, type="retail.x", subject=subject, time_ns=seq,
        received_ns=seq, priority="telemetry", clock_offset_ms=None, time_quality=None, data=data,
    ).model_dump()  # fmt: skip


def crossing(seq: int, direction: str = "in", subject: str = "door") -> dict[str, Any]:
    return event(seq, subject, line="line 1", direction=direction)


def test_crossings_count_from_the_opening_of_the_page_on() -> None:
    counts = LiveCounts("door")
    assert counts.take([crossing(2), crossing(1)], []) == frozenset()
    flashing = counts.take([crossing(5, "out"), crossing(4), crossing(3, subject="other"), crossing(2)], [])
    assert flashing == {"line 1"}
    assert counts.take([crossing(5, "out"), crossing(4), crossing(2)], []) == frozenset()
    assert counts.crossed == {("line 1", "in"): 1, ("line 1", "out"): 1}


@pytest.mark.parametrize("newest_first", [True, False])
def test_people_are_those_of_the_newest_minute(newest_first: bool) -> None:
    counts = LiveCounts("door")
    minutes = [event(9, zone="till", max_people=3), event(8, zone="till", max_people=7)]
    minutes.append(event(10, "other", zone="till", max_people=1))
    counts.take([], minutes if newest_first else minutes[::-1])
    assert counts.people == {"till": 3}


def test_the_day_has_its_minutes_and_the_crossings_after_them_each_once() -> None:
    lines = [{"line": "line 1", "entered": 7, "left": 2, "counted_to_ns": 60}]
    crossings = [crossing(61), crossing(60, "out"), crossing(59), crossing(70, subject="other")]
    assert day_counts("door", lines, crossings, 0) == {"line 1": (8, 3)}


def test_a_line_without_a_minute_today_counts_from_midnight_on() -> None:
    assert day_counts("door", [], [crossing(10), crossing(9)], 10) == {"line 1": (1, 0)}
