"""Layouts and cameras that invite wrong counts: a clear message, or one count where one person walked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.retail.events import CameraBegun, CameraHealthChanged, Contradiction, Crossed, ZoneMinute
from tests.apps.retail.scripted import DOOR, SIDE_PX, Store, layout, scenery, upward

Frame = NDArray[np.uint8]
SECOND_NS = 10**9
ASLANT = {"name": "aslant", "start": (60.0, 60.0), "end": (300.0, 300.0)}
BLOCKS: Mapping[str, Callable[[Frame], Frame]] = {
    "blinded": lambda frame: np.where(np.arange(SIDE_PX)[None, :, None] < 200, np.uint8(255), frame),
    "frozen": lambda _: np.broadcast_to(
        100 + np.arange(SIDE_PX, dtype=np.uint8)[None, :, None] // 4, (SIDE_PX, SIDE_PX, 3)
    ).copy(),
    "moved": lambda frame: np.ascontiguousarray(frame.transpose(1, 0, 2)[:, ::-1]),
    "resolution": lambda frame: np.ascontiguousarray(frame[: SIDE_PX // 2]),
}


def crossed(store: Store) -> list[tuple[str, str]]:
    return [(each.line, each.direction) for each in store.of(Crossed)]


def test_entrances_that_cross_are_named_and_go_on_counting() -> None:
    store = Store(layout(lines=[DOOR, ASLANT]))
    store.walk(*upward())
    (begun,) = store.of(CameraBegun)
    assert begun.lines == ["door", "aslant"]
    assert begun.problems == ["the entrances 'door' and 'aslant' cross: who passes both is counted on both"]
    assert [line for line, _ in crossed(store)].count("door") == 1


def test_entrances_that_meet_at_an_end_and_crossing_lines_inside_are_no_problem() -> None:
    corner = {"name": "corner", "start": DOOR["end"], "end": (10.0, 310.0)}
    inner = ASLANT | {"entrance": False}
    store = Store(layout(lines=[DOOR, corner, inner]))
    store.frame()
    assert store.of(CameraBegun)[0].problems == []


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_line_with_a_point_that_is_no_number_is_named_and_the_rest_counts(number: float) -> None:
    wrong = {"name": "wrong", "start": (number, 100.0), "end": (200.0, 100.0)}
    store = Store(layout(lines=[wrong, DOOR]))
    store.walk(*upward())
    assert store.of(CameraBegun)[0].problems == ["the line 'wrong' has a point that is not finite"]
    assert [line for line, _ in crossed(store)] == ["door"]


def test_a_jump_over_two_lines_in_one_frame_is_one_crossing_of_each() -> None:
    (x1, y1), (x2, y2) = DOOR["start"], DOOR["end"]
    second = {"name": "second", "start": (x1, y1 - 12), "end": (x2, y2 - 12), "entrance": False}
    store = Store(layout(lines=[DOOR, second]))
    for y in (*[y1 + 14] * 5, *[y1 - 24] * 5):
        store.frame(((x1 + x2) / 2, y))
    store.wait(3.0)
    names = [line for line, _ in crossed(store)]
    assert sorted(names) == ["door", "second"]


def test_an_id_is_not_given_again_after_a_restart() -> None:
    zone = {"name": "table", "polygon": [(0, 0), (SIDE_PX, 0), (SIDE_PX, SIDE_PX), (0, SIDE_PX)]}
    store = Store(layout(lines=[DOOR], zones=[zone]))
    for _ in range(10):
        store.frame((80.0, 280.0))
    store.wait(5.0)
    store.restart()
    for _ in range(10):
        store.frame((240.0, 100.0))
    store.wait(70.0)
    assert crossed(store) == [], "somebody else on the other side of the line is no crossing"
    assert sum(each.visits for each in store.of(ZoneMinute)) == 2


def test_cameras_of_one_name_with_another_case_or_space_are_two() -> None:
    store = Store(cameras={"door": layout(lines=[DOOR]), "Door": layout(lines=[DOOR])})
    for camera in ("door", "Door"):
        store.walk(*upward(), camera=camera)
    assert [event.subject for event in store.events if isinstance(event.data, Crossed)] == ["door", "Door"]
    assert store.of(Contradiction) == []


@pytest.mark.parametrize("trouble", BLOCKS)
def test_a_camera_in_trouble_is_named_within_ten_seconds_and_the_other_counts(trouble: str) -> None:
    door = layout(lines=[DOOR])
    store = Store(cameras={"front": door, "back": door})
    step: dict[str, Any] = {"camera": "front", "step_ns": SECOND_NS // 4}
    for _ in range(80):
        store.frame(**step)
    begun_ns = store.time_ns["front"]
    for _ in range(48):
        store.frame(picture=BLOCKS[trouble](scenery(store.time_ns["front"] + SECOND_NS // 4)), **step)
    changes = [event for event in store.events if isinstance(event.data, CameraHealthChanged)]
    named = [event for event in changes if trouble in getattr(event.data, "troubles", ())]
    assert named
    assert {event.subject for event in named} == {"front"}
    assert named[0].time_ns - begun_ns <= 10 * SECOND_NS
    store.walk(*upward(), camera="back")
    assert [event.subject for event in store.events if isinstance(event.data, Crossed)] == ["back"]
