"""Crossings of a line: what is one and what is none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.vision.detections import Detections
from common.vision.lines import Crossing, Line, LineCounter, Occupancy
from common.vision.scene import Scene

FRAME_NS = 100_000_000
HEIGHT = 100.0
# From left to right: in is downwards on the picture, from y < 200 to y > 200.
DOOR = Line(name="door", start=(100, 200), end=(300, 200))
ABOVE, BELOW = 180.0, 220.0


def person(x: float, y: float, track_id: int = 1) -> Detections:
    return Detections.of([[x - 20, y - HEIGHT, x + 20, y]], track_ids=[track_id])


def walk(counter: LineCounter, points: Sequence[tuple[float, float]], track_id: int = 1) -> list[Crossing]:
    """Crossings of a track with these foot points, and of its end."""
    crossings: list[Crossing] = []
    for index, (x, y) in enumerate(points):
        crossings += counter.update(person(x, y, track_id), index * FRAME_NS)
    return crossings + counter.update(Detections.empty(), (len(points) + 100) * FRAME_NS)


def test_a_crossing_has_its_direction_place_and_time() -> None:
    counter = LineCounter(DOOR)
    (crossing,) = walk(counter, [(200, y) for y in range(150, 260, 20)])
    assert crossing == Crossing("door", 1, "in", 2 * FRAME_NS + FRAME_NS // 2, (200.0, 200.0))
    (crossing,) = walk(counter, [(200, y) for y in range(250, 140, -20)])
    assert crossing.direction == "out"
    assert (counter.entered, counter.left) == (1, 1)


def test_a_line_drawn_the_other_way_swaps_in_and_out() -> None:
    counter = LineCounter(Line(name="door", start=DOOR.end, end=DOOR.start))
    assert [each.direction for each in walk(counter, [(200, y) for y in range(150, 260, 20)])] == ["out"]


def test_one_stray_box_on_the_other_side_is_no_crossing() -> None:
    assert not walk(LineCounter(DOOR), [(200, y) for y in [ABOVE] * 3 + [BELOW] + [ABOVE] * 3])


def test_a_jump_over_the_band_in_one_frame_is_one_crossing() -> None:
    assert len(walk(LineCounter(DOOR), [(200, y) for y in [ABOVE] * 3 + [BELOW] * 3])) == 1
    assert len(walk(LineCounter(DOOR), [(200, ABOVE), (200, BELOW), (200, BELOW)])) == 1


def test_a_track_that_ends_right_behind_the_line_has_crossed() -> None:
    assert len(walk(LineCounter(DOOR), [(200, ABOVE), (200, ABOVE), (200, BELOW)])) == 1


def test_jitter_on_the_line_is_no_crossing() -> None:
    rng = np.random.default_rng(5)
    assert not walk(LineCounter(DOOR), [(200, 200 + float(y)) for y in rng.uniform(-6, 6, 500)])


@pytest.mark.parametrize("seed", range(5))
def test_jitter_on_the_line_with_a_new_id_every_11_frames_is_at_most_one_crossing(seed: int) -> None:
    scene = Scene([DOOR], [], 640, 480)
    rng = np.random.default_rng(seed)
    crossings: list[Crossing] = []
    for frame in range(1100):
        x, y = 200 + rng.normal(0, 4), 200 + rng.normal(0, 4)
        crossings += scene.update(person(x, y, 1 + frame // 11), frame * FRAME_NS).crossings
    assert len(crossings) <= 1


def test_a_person_who_gets_a_new_id_on_the_line_crosses_once() -> None:
    scene = Scene([DOOR], [], 640, 480)
    crossings: list[Crossing] = []
    for frame, y in enumerate(range(150, 260, 6)):
        if frame in (7, 8, 9):  # Not seen while the tracker confirms the new track.
            continue
        tracks = person(200, y, 1 if frame < 8 else 2)
        crossings += scene.update(tracks, frame * FRAME_NS).crossings
    assert [each.direction for each in crossings] == ["in"]


def test_two_people_far_apart_who_swap_ids_do_not_cross() -> None:
    scene = Scene([DOOR], [], 640, 480)
    crossings: list[Crossing] = []
    for frame in range(20):
        first, second = (1, 2) if frame < 10 else (2, 1)
        tracks = Detections.of([[130, 40, 150, 100], [250, 240, 270, 300]], track_ids=[first, second])
        crossings += scene.update(tracks, frame * FRAME_NS).crossings
    assert not crossings


def test_unconfirmed_tracks_are_nobody() -> None:
    counter = LineCounter(DOOR)
    for frame, y in enumerate(range(150, 260, 10)):
        boxes = [[x - 20, y - HEIGHT, x + 20, y] for x in (150, 200, 250)]
        assert not counter.update(Detections.of(boxes, track_ids=[-1] * 3), frame * FRAME_NS)
    assert len(counter) == 0


@pytest.mark.parametrize("x", [99.0, 301.0, 500.0])
def test_a_crossing_outside_of_the_segment_is_none(x: float) -> None:
    assert not walk(LineCounter(DOOR), [(x, y) for y in range(150, 260, 10)])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_a_walk_through_the_common_end_of_two_lines_in_a_row_crosses_one(turned: bool, other: bool) -> None:
    ends = ((100.0, 200.0), (200.0, 200.0)), ((200.0, 200.0), (300.0, 200.0))
    lines = [
        Line(name="door", start=a, end=b) if not swap else Line(name="door", start=b, end=a)
        for (a, b), swap in zip(ends, (turned, other), strict=True)
    ]
    assert sum(len(walk(LineCounter(line), [(200, y) for y in range(150, 260, 20)])) for line in lines) == 1


def test_a_person_who_walks_around_an_end_and_back_through_the_segment_crosses_once() -> None:
    around = [(350, y) for y in range(150, 260, 10)]
    back = [(x, 250) for x in range(350, 200, -20)] + [(200, y) for y in range(250, 140, -10)]
    assert [each.direction for each in walk(LineCounter(DOOR), around + back)] == ["out"]


def test_state_is_bounded_by_the_tracks_in_view() -> None:
    counter = LineCounter(DOOR)
    for frame in range(5000):
        counter.update(person(200, ABOVE, frame), frame * FRAME_NS)
    assert len(counter) <= counter.LOST_S * 1e9 / FRAME_NS + 1


def test_a_line_of_one_point_is_refused() -> None:
    with pytest.raises(ValueError, match="two points"):
        LineCounter(Line(name="door", start=(1, 1), end=(1, 1)))


@given(
    st.lists(st.tuples(st.floats(0, 400), st.floats(100, 300)), min_size=2, max_size=40),
    st.integers(0, 39),
)
def test_a_restored_counter_decides_the_same(points: list[tuple[float, float]], cut: int) -> None:
    whole, before, after = (LineCounter(DOOR) for _ in range(3))
    expected = walk(whole, points)
    crossings: list[Crossing] = []
    counter = before
    for index, (x, y) in enumerate(points):
        if index == cut:
            after.restore(before.snapshot())
            counter = after
        crossings += counter.update(person(x, y), index * FRAME_NS)
    crossings += counter.update(Detections.empty(), (len(points) + 100) * FRAME_NS)
    assert crossings == expected


@given(st.lists(st.tuples(st.floats(101, 299), st.floats(0, 400)), min_size=1, max_size=60))
def test_crossings_of_one_track_alternate(points: list[tuple[float, float]]) -> None:
    directions = [each.direction for each in walk(LineCounter(DOOR), points)]
    assert all(first != second for first, second in pairwise(directions))


def test_occupancy_is_never_negative_and_reports_the_contradiction() -> None:
    occupancy = Occupancy()
    assert [occupancy.add(each) for each in ("out", "out", "in")] == [False, False, True]
    assert (occupancy.people, occupancy.contradictions) == (1, 2)
