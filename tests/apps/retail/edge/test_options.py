"""Options of counting: groups, people who come back, staff by zone and by uniform."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.retail.events import CameraBegun, Crossed, LineMinute, ZoneMinute
from tests.apps.retail.scripted import DOOR, WALKER, Store, layout, scenery, upward

TABLE = {"name": "table", "polygon": [(100, 200), (220, 200), (220, 318), (100, 318)]}
BLUE, RED = (200, 80, 20), (30, 30, 190)


def dressed(feet: tuple[float, float], colour: tuple[int, int, int], seed: int = 0) -> NDArray[np.uint8]:
    """The scenery with a person in clothes of one colour (blue, green, red)."""
    picture = scenery(seed).copy()
    left, top = round(feet[0] - WALKER[0] / 2), round(feet[1] - WALKER[1])
    picture[max(0, top) : round(feet[1]), left : left + round(WALKER[0])] = colour
    return picture


def pass_door(store: Store, colour: tuple[int, int, int], *, inward: bool) -> None:
    """Somebody in clothes of a colour goes through the door."""
    steps = np.arange(280.0, 80.0, -6.0)
    for y in steps if inward else steps[::-1]:
        store.frame((160.0, float(y)), picture=dressed((160.0, float(y)), colour))
    store.wait(2.5)


def side_by_side(store: Store, *columns: float, lag: int = 0) -> None:
    """People walk in, each ``lag`` frames after the one before."""
    ways = [np.concatenate((np.full(lag * index, 280.0), np.arange(280.0, 80.0, -6.0))) for index in range(4)]
    for step in range(len(ways[0]) + lag * (len(columns) - 1)):
        at = [(x, float(way[step])) for x, way in zip(columns, ways, strict=False) if step < len(way)]
        store.frame(*at)
    store.wait(2.5)


def minute_of(store: Store) -> LineMinute:
    store.wait(70.0)
    return store.of(LineMinute)[0]


def test_a_family_is_one_group_and_a_stranger_another() -> None:
    store = Store(layout(lines=[DOOR | {"group_s": 2.0}]))
    side_by_side(store, 130.0, 165.0, 200.0, lag=4)
    store.walk(*upward())
    assert (minute := minute_of(store)).entered == 4
    assert minute.groups == 2


def test_people_at_both_ends_of_a_wide_door_are_no_group() -> None:
    store = Store(layout(lines=[DOOR | {"group_s": 2.0}]))
    side_by_side(store, 60.0, 260.0)
    assert minute_of(store).groups == 2


def test_an_endless_row_of_people_is_no_endless_group() -> None:
    store = Store(layout(lines=[DOOR | {"group_s": 2.0}]))
    for _ in range(4):
        side_by_side(store, 120.0, 160.0, 200.0, lag=12)
    minute = minute_of(store)
    assert minute.groups is not None
    assert minute.groups >= 4


def test_groups_are_unknown_where_nobody_asked_for_them() -> None:
    store = Store(layout(lines=[DOOR]))
    store.walk(*upward())
    assert minute_of(store).groups is None


def test_somebody_who_comes_back_in_the_same_clothes_returned_and_others_did_not() -> None:
    store = Store(layout(lines=[DOOR | {"reentry_s": 60.0}]))
    pass_door(store, BLUE, inward=True)
    pass_door(store, BLUE, inward=False)
    pass_door(store, RED, inward=True)
    pass_door(store, BLUE, inward=True)
    pass_door(store, BLUE, inward=True)
    ins = [each.returned for each in store.of(Crossed) if each.direction == "in"]
    assert ins == [False, False, True, False]
    assert minute_of(store).returned == 1


def test_somebody_who_comes_back_after_the_window_is_a_new_visit() -> None:
    store = Store(layout(lines=[DOOR | {"reentry_s": 5.0}]))
    pass_door(store, BLUE, inward=False)
    store.wait(6.0)
    pass_door(store, BLUE, inward=True)
    assert [each.returned for each in store.of(Crossed)] == [False, False]


def test_the_colours_of_those_who_left_are_in_memory_only() -> None:
    store = Store(layout(lines=[DOOR | {"reentry_s": 60.0}]))
    pass_door(store, BLUE, inward=False)
    store.restart()
    pass_door(store, BLUE, inward=True)
    assert [each.returned for each in store.of(Crossed)] == [False, False]


def test_the_memory_of_those_who_left_is_bounded() -> None:
    from apps.retail.domain import CountingLine
    from apps.retail.edge.entries import LEFT_LIMIT, Entries, Person
    from common.vision.lines import Crossing

    line = CountingLine(name="door", start=(0, 0), end=(1, 0), reentry_s=3600, group_s=60)
    entries = Entries(line)
    for number in range(400):
        for direction in ("out", "in"):
            crossing = Crossing("door", number, direction, number, (200.0 * number, 0.0))
            entries.cross(crossing, Person(60.0, np.full(6, 10.0 * number + 100 * (direction == "in"))))
    assert len(entries._left) <= LEFT_LIMIT
    assert len(entries._groups) <= 50


def test_staff_by_zone_needs_its_time_there() -> None:
    zone = TABLE | {"staff": True, "staff_after_s": 5.0}
    store = Store(layout(lines=[DOOR], zones=[zone]))
    store.walk((160, 260), (160, 80))
    store.wait(7.0, (160.0, 260.0))
    store.walk((160, 260), (160, 80))
    assert [each.direction for each in store.of(Crossed)] == ["in"]


def test_somebody_in_a_uniform_is_counted_on_no_line_and_in_no_visitors_queue() -> None:
    uniform = {"colour": "#1450c8"}
    store = Store(layout(lines=[DOOR], zones=[TABLE | {"queue_s": 3.0}], uniforms=[uniform]))
    pass_door(store, BLUE, inward=True)
    blue, green, red = BLUE
    pass_door(store, (blue // 2, green // 2, red // 2), inward=True)  # In a shadow.
    assert store.of(Crossed) == []
    for step in range(60):
        store.frame((160.0, 260.0), picture=dressed((160.0, 260.0), BLUE, step))
    store.restart()
    for step in range(20):
        store.frame((160.0, 260.0), picture=dressed((160.0, 260.0), BLUE, step))
    store.wait(3.0)
    pass_door(store, RED, inward=True)
    assert [each.direction for each in store.of(Crossed)] == ["in"]
    store.wait(70.0)
    assert max(each.max_queue for each in store.of(ZoneMinute)) == 0


def test_a_grey_uniform_is_a_problem_of_the_layout_and_the_rest_counts() -> None:
    store = Store(layout(lines=[DOOR], uniforms=[{"colour": "#202020"}]))
    store.walk(*upward())
    (begun,) = store.of(CameraBegun)
    assert begun.problems == ["the uniform #202020 is near grey, which cannot be told from ordinary clothes"]
    assert len(store.of(Crossed)) == 1


@pytest.mark.parametrize("size", [(160, 160), (640, 640)])
def test_a_uniform_is_seen_in_frames_of_another_size(size: tuple[int, int]) -> None:
    store = Store(layout(lines=[DOOR], uniforms=[{"colour": "#1450c8"}], size_px=(320, 320)))
    for y in np.arange(280.0, 80.0, -6.0):
        picture = dressed((160.0, float(y)), BLUE)
        factor = size[0] / 320
        rows = (np.arange(size[0]) / factor).astype(int)
        store.frame((160.0, float(y)), picture=picture[np.ix_(rows, rows)])
    assert store.of(Crossed) == []
