"""Counting on the node: crossings, minutes, zones, queues, staff, occupancy, layouts, restarts."""

from __future__ import annotations

import msgspec
import pytest

from apps.retail.events import (
    CameraBegun,
    CameraForgotten,
    Contradiction,
    Crossed,
    HeatMap,
    LineMinute,
    ZoneLimitExceeded,
    ZoneLimitKept,
    ZoneMinute,
)
from common.errors import ReadingError
from tests.apps.retail.scripted import BEGIN_NS, DOOR, STEP_NS, Store, layout, scenery, upward

TABLE = {"name": "table", "polygon": [(100, 200), (220, 200), (220, 318), (100, 318)]}
PLAN = {
    "width_m": 4, "height_m": 4, "cell_m": 1.0,
    "image_points_px": [(0, 0), (320, 0), (320, 320), (0, 320)],
    "plan_points_m": [(0, 0), (4, 0), (4, 4), (0, 4)],
}  # fmt: skip


def test_a_person_who_walks_in_and_out_is_counted_once_each_way() -> None:
    store = Store(layout(lines=[DOOR]))
    store.walk(*upward())
    store.walk(*reversed(list(upward())))
    assert [(each.direction, each.people) for each in store.of(Crossed)] == [("in", 1), ("out", 0)]
    assert store.of(Contradiction) == []


def test_minutes_add_up_to_the_crossings_and_say_zero_where_nobody_came() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(56.0)
    for _ in range(4):
        store.walk(*upward())
    store.wait(130.0)
    minutes = store.of(LineMinute)
    assert sum(each.entered for each in minutes) == 4
    assert [each.entered for each in minutes][-1] == 0
    assert all(each.complete for each in minutes[1:])
    times = [event.time_ns for event in store.events if isinstance(event.data, LineMinute)]
    assert times == [BEGIN_NS + 60 * 10**9 * index for index in range(len(times))]


def test_a_minute_that_was_not_seen_whole_is_incomplete() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(30.0)
    store.frame(step_ns=40 * 10**9)
    store.wait(70.0)
    assert [(each.complete, each.observed_s < 35) for each in store.of(LineMinute)][:1] == [(False, True)]


def test_a_minute_without_frames_has_no_event() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(10.0)
    store.frame(step_ns=600 * 10**9)
    store.wait(120.0)
    begins = [event.time_ns for event in store.events if isinstance(event.data, LineMinute)]
    assert begins[1] - begins[0] == 600 * 10**9


def test_nobody_leaves_an_empty_store_and_the_contradiction_is_reported() -> None:
    store = Store(layout(lines=[DOOR]))
    for _ in range(2):
        store.walk(*reversed(list(upward())))
    store.walk(*upward())
    assert [each.people for each in store.of(Crossed)] == [0, 0, 1]
    assert [each.total for each in store.of(Contradiction)] == [1, 2]


def test_entrances_of_one_area_share_its_occupancy() -> None:
    door = layout(lines=[DOOR | {"area": "store"}])
    store = Store(cameras={"front": door, "back": door})
    store.walk(*upward(), camera="front")
    store.walk(*upward(), camera="back")
    store.walk(*reversed(list(upward())), camera="back")
    assert [each.people for each in store.of(Crossed)] == [1, 2, 1]


def test_a_line_inside_of_the_store_changes_no_occupancy() -> None:
    store = Store(layout(lines=[DOOR | {"entrance": False}]))
    store.walk(*reversed(list(upward())))
    assert [(each.direction, each.people) for each in store.of(Crossed)] == [("out", None)]
    assert store.of(Contradiction) == []


def test_a_zone_counts_people_dwell_and_visits() -> None:
    store = Store(layout(zones=[TABLE]))
    store.wait(12.0, (160.0, 260.0))
    store.wait(60.0)
    (first, *_) = store.of(ZoneMinute)
    assert (first.max_people, first.visits) == (1, 1)
    assert first.dwell_s == pytest.approx(12, abs=1.0)
    assert first.people_s == pytest.approx(12, abs=1.5)
    assert sum(first.dwell_classes) == 1
    assert first.dwell_classes[2] == 1


def test_a_queue_counts_those_who_wait_and_for_how_long() -> None:
    store = Store(layout(zones=[TABLE | {"queue_s": 5.0}]))
    store.wait(20.0, (130.0, 260.0), (190.0, 300.0))
    store.wait(60.0)
    (first, *_) = store.of(ZoneMinute)
    assert (first.max_queue, first.waited) == (2, 2)
    assert first.longest_wait_s == pytest.approx(20, abs=1.5)
    assert first.queue_s == pytest.approx(2 * 15, abs=3)


def test_too_many_people_in_a_zone_raise_one_alarm_that_ends_after_them() -> None:
    store = Store(layout(zones=[TABLE | {"max_people": 1}]))
    store.wait(3.0, (130.0, 260.0))
    assert store.of(ZoneLimitExceeded) == []
    store.wait(5.0, (130.0, 260.0), (190.0, 300.0))
    store.wait(4.0, (130.0, 260.0))
    store.wait(1.0, (130.0, 260.0), (190.0, 300.0))
    assert [(each.count, each.limit) for each in store.of(ZoneLimitExceeded)] == [(2, 1)]
    assert store.of(ZoneLimitKept) == []
    store.wait(15.0, (130.0, 260.0))
    assert len(store.of(ZoneLimitKept)) == 1


def test_somebody_from_the_staff_zone_is_counted_on_no_line() -> None:
    store = Store(layout(lines=[DOOR], zones=[TABLE | {"staff": True}]))
    store.walk((160, 260), (160, 80))
    store.walk((40, 260), (40, 80))
    assert [each.direction for each in store.of(Crossed)] == ["in"]


def test_the_heat_map_has_the_time_of_its_cells_in_parts_that_fit() -> None:
    store = Store(layout(plan=PLAN), heat_map_minutes=1)
    store.wait(30.0, (40.0, 200.0))
    store.wait(40.0)
    (heat,) = store.of(HeatMap)
    assert (heat.rows, heat.columns, heat.cells) == (4, 4, [8])
    assert heat.tenths_s[0] == pytest.approx(300, abs=10)


def test_parts_of_a_layout_that_cannot_be_used_are_reported_and_the_rest_counts() -> None:
    bad = {"name": "far", "polygon": [(900, 900), (950, 900), (950, 950)]}
    twisted = {"name": "twisted", "polygon": [(0, 0), (100, 100), (100, 0), (0, 100)]}
    outside = {"name": "outside", "start": (0, 900), "end": (300, 900)}
    plan = PLAN | {"plan_points_m": [(0, 0), (1, 0), (2, 0), (3, 0)]}
    store = Store(layout(lines=[DOOR, outside, DOOR], zones=[TABLE, bad, twisted], plan=plan))
    store.walk(*upward())
    (begun,) = store.of(CameraBegun)
    assert (begun.lines, begun.zones) == (["door"], ["table"])
    assert len(begun.problems) + begun.more_problems == 5
    assert "outside" in begun.problems[0]
    assert len(store.of(Crossed)) == 1


def test_a_camera_without_layout_counts_nothing_and_one_from_the_source_is_used() -> None:
    store = Store()
    store.walk(*upward())
    assert store.of(Crossed) == []
    other = Store()
    for _ in range(2):
        other.frame(layout={"lines": [DOOR]})
    assert other.of(CameraBegun)[0].lines == ["door"]


def test_an_unusable_layout_of_the_source_is_a_problem_and_no_failure() -> None:
    store = Store()
    begun, _ = store.frame(layout={"lines": [{"name": "x"}]})
    assert isinstance(begun, CameraBegun)
    assert "unusable" in begun.problems[0]


def test_frames_of_another_size_are_counted_as_the_same_view() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(5.0)
    path = [(160.0, 280.0 - 6 * step) for step in range(34)]
    for index, foot in enumerate(path):  # The network sees the same: the letterbox scales.
        store.frame(foot, picture=scenery(index * STEP_NS)[::2, ::2].copy())
    store.wait(3.0)
    assert [each.direction for each in store.of(Crossed)] == ["in"]


def test_counting_survives_a_restart_in_the_middle_of_a_crossing() -> None:
    paths = [(160.0, 280.0 - 6 * step) for step in range(34)]
    whole, cut = Store(layout(lines=[DOOR], zones=[TABLE])), Store(layout(lines=[DOOR], zones=[TABLE]))
    for index, foot in enumerate(paths):
        whole.frame(foot)
        if index % 5 == 0:
            cut.restart()
        cut.frame(foot)
    whole.wait(70.0)
    cut.wait(70.0)
    assert [event.data for event in cut.events] == [event.data for event in whole.events]
    assert len(whole.of(Crossed)) == 1


def test_another_layout_in_the_settings_begins_a_new_count_and_closes_the_old_one() -> None:
    store = Store(layout(lines=[DOOR], version="1"))
    store.walk(*upward())
    changed = layout(lines=[DOOR | {"name": "gate"}], version="2")
    store.settings = msgspec.structs.replace(store.settings, cameras={"door": changed})
    store.restart()
    store.walk(*upward())
    store.wait(70.0)
    assert [each.layout for each in store.of(CameraBegun)] == ["1", "2"]
    assert [(e.line, e.layout, e.entered) for e in store.of(LineMinute)][:2] == [
        ("door", "1", 1),
        ("gate", "2", 1),
    ]
    assert [each.people for each in store.of(Crossed)] == [1, 2]


def test_a_frame_that_comes_late_or_twice_is_refused_by_name() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(1.0)
    for back_ns in (0, -2 * STEP_NS):
        with pytest.raises(ReadingError, match="door"):
            store.frame(step_ns=back_ns)


def test_a_clock_that_was_set_back_goes_on_counting() -> None:
    store = Store(layout(lines=[DOOR]))
    store.walk(*upward())
    store.frame(step_ns=-3600 * 10**9)
    store.walk(*upward())
    assert [each.people for each in store.of(Crossed)] == [1, 2]


def test_a_camera_is_forgotten_with_its_open_counts_sent() -> None:
    store = Store(cameras={"old": layout(lines=[DOOR])}, max_cameras=1, forget_camera_after_days=0.001)
    store.walk(*upward(), camera="old")
    store.time_ns["new"] = store.time_ns["old"]
    for _ in range(5):
        with pytest.raises(ReadingError, match="max_cameras"):
            store.frame(camera="new", step_ns=20 * 10**9)
    store.frame(camera="new", step_ns=20 * 10**9)
    assert [each.entered for each in store.of(LineMinute)] == [1]
    assert len(store.of(CameraForgotten)) == 1


def test_events_of_a_recording_are_marked_so() -> None:
    store = Store(layout(lines=[DOOR]))
    store.frame(recorded=True)
    assert store.events
    assert all(event.recorded for event in store.events)
