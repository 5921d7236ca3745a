from __future__ import annotations

from typing import Any

from cloud_backend.dashboard.parts import charts


def point(time_ns: int, **figures: Any) -> dict[str, Any]:
    names = ("latency_p50_ms", "latency_p99_ms", "outbox_events")
    return {"time_ns": time_ns, **dict.fromkeys(names), **figures}


def volume(day: str, kind: str, events: int, size: int = 0) -> dict[str, Any]:
    return {"day": day, "type": kind, "events": events, "bytes": size}


def test_latency_has_a_line_a_percentile_and_gaps_where_nothing_was_reported() -> None:
    points = [point(1_000_000_000, latency_p50_ms=0.22145, latency_p99_ms=6.5), point(2_000_000_000)]
    median, tail = charts.latency_over_time(points)["series"]
    assert median["data"] == [[1000, 0.221], [2000, None]]
    assert tail["data"] == [[1000, 6.5], [2000, None]]


def test_an_empty_chart_is_marked_until_it_has_data() -> None:
    for empty, full in (
        (charts.backlog_over_time([]), charts.backlog_over_time([point(1, outbox_events=3)])),
        (charts.volume_by_day([], "events"), charts.volume_by_day([volume("2026-11-24", "a", 1)], "events")),
    ):
        assert empty["title"]["show"]
        assert empty["title"]["text"]
        assert full["title"]["show"] is False


def test_days_without_anything_stand_between_the_others() -> None:
    found = [volume("2026-03-02", "a", 5), volume("2026-02-27", "a", 7)]
    options = charts.volume_by_day(found, "events")
    assert options["xAxis"]["data"] == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert options["series"][0]["data"] == [7, 0, 0, 5]


def test_what_is_beyond_the_largest_types_is_added_up() -> None:
    found = [volume("2026-11-24", f"type-{number:02}", 100 - number) for number in range(20)]
    series = charts.volume_by_day(found, "events")["series"]
    assert len(series) == charts.SERIES_LIMIT
    assert series[0]["name"] == "type-00"
    assert series[-1]["name"] == charts.OTHERS
    assert sum(each["data"][0] for each in series) == sum(each["events"] for each in found)


def test_bytes_are_shown_in_a_unit_that_fits() -> None:
    options = charts.volume_by_day([volume("2026-11-24", "a", 1, 4_600_000)], "bytes")
    assert options["series"][0]["data"] == [4.6]
    assert options["yAxis"]["axisLabel"]["formatter"] == "{value} MB"
    small = charts.volume_by_day([volume("2026-11-24", "a", 1, 512)], "bytes")
    assert small["yAxis"]["axisLabel"]["formatter"] == "{value} B"


def test_tooltips_are_drawn_as_text() -> None:
    for options in (
        charts.latency_over_time([]),
        charts.backlog_over_time([]),
        charts.volume_by_day([], "bytes"),
    ):
        assert options["tooltip"]["renderMode"] == "richText"
        assert "formatter" not in options["tooltip"]
