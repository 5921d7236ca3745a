"""Frequent problems are reported rarely and always counted."""

from __future__ import annotations

from common.app.events import fields_of
from common.edge.problems import EVERY_NS, RARELY_NS, Problems


def test_the_first_is_reported_at_once_and_the_rest_once_a_minute() -> None:
    problems = Problems()
    now_ns = 10**18
    problems.add("unusable", "line 3", "engine-1")
    problems.add("unusable", "line 4", "engine-1")
    (first,) = problems.events(now_ns)
    assert first.data == {"problem": "unusable", "detail": "line 3", "count": 2}
    assert first.subject == "engine-1"
    for line in range(1000):
        problems.add("unusable", f"line {line + 5}", "engine-1")
        assert not problems.events(now_ns + EVERY_NS - 1)
    (second,) = problems.events(now_ns + EVERY_NS)
    assert second.data == {"problem": "unusable", "detail": "line 5", "count": 1002}
    assert not problems.events(now_ns + 5 * EVERY_NS), "nothing new"
    assert problems.count("unusable") == 1002


def test_kinds_do_not_hide_each_other_and_details_are_bounded() -> None:
    problems = Problems()
    problems.add("unusable", "x" * 10_000, "engine-1")
    problems.add("clock", "back", "engine-2")
    reported = problems.events(0)
    assert [fields_of(event)["problem"] for event in reported] == ["unusable", "clock"]
    assert len(fields_of(reported[0])["detail"]) == 500
    assert problems.count("unheard of") == 0


def test_what_is_lost_is_reported_once_an_hour_with_how_much() -> None:
    problems = Problems()
    problems.add("lost", "600 readings", "strap", count=600)
    assert [fields_of(event)["count"] for event in problems.events(0)] == [600]
    problems.add("lost", "7 readings", "strap", count=7)
    assert not problems.events(RARELY_NS - 1)
    assert [fields_of(event)["count"] for event in problems.events(RARELY_NS)] == [607]
