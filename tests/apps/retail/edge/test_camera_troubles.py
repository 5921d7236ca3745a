"""A camera's troubles: reported in time, minutes marked, the other cameras untouched."""

from __future__ import annotations

import numpy as np
import pytest

from apps.retail.events import CameraHealthChanged, LineMinute
from common.errors import CapacityReached
from tests.apps.retail.scripted import DOOR, SIDE_PX, STEP_NS, Store, layout, upward

BLACK = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)


def test_a_black_camera_is_reported_within_ten_seconds_and_its_minute_is_incomplete() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(10.0)
    begun_ns = store.time_ns["door"]
    for step in range(100):
        store.frame(picture=BLACK + np.uint8(step % 3))
    store.wait(130.0)
    changes = [event for event in store.events if isinstance(event.data, CameraHealthChanged)]
    first, last = changes[0], changes[-1]
    assert isinstance(first.data, CameraHealthChanged)
    assert isinstance(last.data, CameraHealthChanged)
    assert "black" in first.data.troubles
    assert first.time_ns - begun_ns <= 10 * 10**9
    assert last.data.troubles == []
    minutes = store.of(LineMinute)
    assert "black" in minutes[0].troubles
    assert [each.complete for each in minutes[:2]] == [False, True]


def test_a_camera_that_gives_no_frames_is_gone_while_the_others_count() -> None:
    door = layout(lines=[DOOR])
    store = Store(cameras={"front": door, "back": door})
    for _ in range(50):
        store.frame(camera="front")
        store.frame(camera="back")
    for _ in range(2):
        store.walk(*upward(), camera="back")
    gone = [event for event in store.events if isinstance(event.data, CameraHealthChanged)]
    assert [event.subject for event in gone] == ["front"]
    assert [each.troubles for each in store.of(CameraHealthChanged)] == [["gone"]]
    assert gone[0].time_ns - store.time_ns["front"] <= 10 * 10**9
    store.frame(camera="front", step_ns=20 * 10**9)
    assert store.of(CameraHealthChanged)[-1].troubles == []


def test_the_only_camera_is_gone_within_ten_seconds_and_comes_back() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(10.0)
    assert store.pass_time(4) == []
    begun_ns = store.time_ns["door"]
    store.pass_time(10, begin_ns=begun_ns + 4 * 10**9)
    (gone,) = [event for event in store.events if isinstance(event.data, CameraHealthChanged)]
    assert isinstance(gone.data, CameraHealthChanged)
    assert gone.data.troubles == ["gone"]
    assert gone.time_ns - begun_ns <= 10 * 10**9
    store.frame(step_ns=20 * 10**9)
    assert store.of(CameraHealthChanged)[-1].troubles == []


def test_the_last_minute_of_a_camera_that_is_gone_ends_incomplete_and_is_given_once() -> None:
    store = Store(layout(lines=[DOOR]))
    store.walk(*upward())
    store.pass_time(90)
    (minute,) = store.of(LineMinute)
    assert (minute.entered, minute.complete, minute.troubles) == (1, False, ["gone"])
    store.wait(65.0)  # Frames that were held up on their way, of the minute that is closed.
    store.wait(60.0)
    assert [each.entered for each in store.of(LineMinute)].count(1) == 1
    times = [event.time_ns for event in store.events if isinstance(event.data, LineMinute)]
    assert len(set(times)) == len(times)


def test_a_camera_that_vanished_while_the_node_was_off_is_gone() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(1.0)
    store.restart()
    store.pass_time(8, begin_ns=store.time_ns["door"] + 3600 * 10**9)
    assert [each.troubles for each in store.of(CameraHealthChanged)] == [["gone"]]


def test_a_recording_is_not_gone_by_the_time_of_the_node() -> None:
    store = Store(layout(lines=[DOOR]))
    for _ in range(20):
        store.frame(recorded=True)
    assert store.pass_time(60) == []


def test_a_jump_of_the_node_s_clock_makes_no_camera_gone() -> None:
    store = Store(layout(lines=[DOOR]))
    store.wait(3.0)
    store.pass_time(2)
    assert store.pass_time(2, begin_ns=store.time_ns["door"] + 86_400 * 10**9) == []


def test_the_camera_beyond_the_limit_is_refused_by_name_and_the_others_count() -> None:
    store = Store(cameras={"camera-0": layout(lines=[DOOR])}, max_cameras=100)
    small = np.zeros((32, 32, 3), np.uint8)
    for number in range(1, 100):
        store.frame(camera=f"camera-{number}", picture=small)
    store.walk(*upward(), camera="camera-0")
    with pytest.raises(CapacityReached, match=r"one-more is refused.*max_cameras is 100"):
        store.frame(camera="one-more", picture=small)
    store.walk(*upward(), camera="camera-0")
    store.wait(60.0, camera="camera-0")
    assert sum(each.entered for each in store.of(LineMinute)) == 2


def test_one_wrong_clock_makes_no_camera_gone() -> None:
    door = layout(lines=[DOOR])
    store = Store(cameras={"front": door, "back": door})
    for index in range(80):
        store.frame(camera="front", step_ns=3600 * 10**9 if index == 40 else STEP_NS)
        store.frame(camera="back")
    assert store.of(CameraHealthChanged) == []
