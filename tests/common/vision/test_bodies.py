"""Whole bodies behind partial boxes: heights learnt from boxes, and feet that hold while they are hidden."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from common.vision.bodies import PersonHeights, hidden_feet, parts_of_others
from common.vision.detections import Detections
from common.vision.lines import Crossing, Line
from common.vision.scene import Scene
from common.vision.tracker import Tracker

FRAME_NS = 100_000_000
SLOPE, OFFSET_PX = 0.5, -30.0
DOOR = Line(name="door", start=(100, 280), end=(540, 280))
Box = tuple[float, float, float, float]


def height_at(y: float, ratio: float = 1.0) -> float:
    return ratio * (SLOPE * y + OFFSET_PX)


def body(x: float, y: float, shown: float = 1.0, ratio: float = 1.0) -> Box:
    """A person who stands at (x, y), of whom the upper part ``shown`` is seen."""
    height = height_at(y, ratio)
    return x - 0.15 * height, y - height, x + 0.15 * height, y - (1 - shown) * height


def training_walks() -> Iterator[list[Box]]:
    """People who walk through the picture, seen whole."""
    for x in (150.0, 300.0, 450.0):
        for y in range(180, 440, 8):
            yield [body(x, float(y))]
        for _ in range(25):
            yield []


class Camera:
    """A tracker and its decisions; ``frames`` seen so far."""

    def __init__(self) -> None:
        self.tracker, self.scene = Tracker(frame_height_px=480), Scene([DOOR], [], 640, 480)
        self.frames = 0
        self.crossings: list[Crossing] = []
        for boxes in training_walks():
            self.see(boxes)
        self.crossings.clear()

    def see(self, boxes: list[Box], scores: list[float] | None = None) -> Detections:
        self.frames += 1
        detections = Detections.of(boxes or np.empty((0, 4)), scores or [0.8] * len(boxes))
        tracks = self.tracker.update(detections, self.frames * FRAME_NS)
        decided = self.scene.update(tracks, self.frames * FRAME_NS)
        self.crossings += decided.crossings
        return decided.tracks


@pytest.fixture
def camera() -> Camera:
    return Camera()


def test_heights_are_learnt_though_a_third_of_the_boxes_is_short() -> None:
    rng, heights = np.random.default_rng(2), PersonHeights()
    for _ in range(40):
        feet = rng.uniform(180, 440, 10)
        shown = np.where(rng.random(10) < 0.33, rng.uniform(0.4, 0.9, 10), 1.0)
        true = (SLOPE * feet + OFFSET_PX) * rng.normal(1, 0.05, 10)
        heights.learn(feet - (1 - shown) * true, shown * true)
    assert heights.ready
    places = np.array([220.0, 300.0, 400.0])
    np.testing.assert_allclose(heights.at(places), SLOPE * places + OFFSET_PX, rtol=0.07)
    tops = places - 1.1 * heights.at(places)
    np.testing.assert_allclose(heights.feet_below(tops, np.full(3, 1.1)), places)


def test_heights_that_differ_at_one_place_are_not_used() -> None:
    rng, heights = np.random.default_rng(2), PersonHeights()
    heights.learn(rng.uniform(100, 400, 29), rng.uniform(20, 200, 29))
    assert not heights.ready
    heights.learn(np.array([300.0]), np.array([400.0]))
    assert not heights.ready


def test_a_restored_state_is_the_same() -> None:
    heights, again = PersonHeights(), PersonHeights()
    heights.learn(np.linspace(200, 400, 50), SLOPE * np.linspace(200, 400, 50) + OFFSET_PX)
    again.restore(heights.snapshot())
    assert (again.slope, again.offset_px, again.ready) == (heights.slope, heights.offset_px, True)


def test_feet_are_hidden_by_a_box_that_reaches_lower_and_not_by_one_behind() -> None:
    front, behind, beside = (100, 100, 140, 260), (110, 60, 150, 180), (300, 60, 340, 180)
    assert hidden_feet(np.array([front, behind, beside], float)).tolist() == [False, True, False]


def test_half_a_person_has_the_head_of_the_whole_person_and_a_neighbour_has_not() -> None:
    boxes = np.array([body(200, 300), body(260, 300), body(200, 300, shown=0.5)])
    scores, reach = np.array([0.8, 0.7, 0.5]), np.full(3, 0.1 * height_at(300))
    assert parts_of_others(boxes, scores, reach, 0.95).tolist() == [False, False, True]


def test_a_person_whose_feet_get_hidden_stays_in_place(camera: Camera) -> None:
    feet: list[float] = []
    for frame in range(60):
        shown = 0.45 if 15 <= frame < 45 else 1.0
        boxes = [body(300, 320, shown)] + ([body(310, 360)] if shown < 1 else [])
        tracks = camera.see(boxes)
        feet += [float(y) for x, y in tracks.foot_points_px.tolist() if abs(x - 300) < 5]
    assert len(feet) >= 57
    assert np.abs(np.array(feet) - 320).max() < 0.1 * height_at(320)
    assert not camera.crossings


def test_a_box_that_ends_at_the_waist_for_half_a_second_is_no_crossing(camera: Camera) -> None:
    for frame in range(60):
        camera.see([body(300, 310, 0.5 if 20 <= frame < 25 else 1.0)])
    assert not camera.crossings


def test_people_who_queue_behind_each_other_cross_once_each(camera: Camera) -> None:
    for frame in range(160):
        boxes: list[Box] = []
        for number in range(3):
            y = 220 + 1.5 * frame - 30 * number
            if 205 < y < 430:
                boxes.append(body(300 + 4 * number, y, 1.0 if not number else 0.5))
        camera.see(boxes)
    camera.see([])
    assert [each.direction for each in camera.crossings] == ["in"] * 3


def test_a_person_who_comes_in_over_the_lower_edge_is_not_taken_for_a_short_one(camera: Camera) -> None:
    tracks = Detections.empty()
    for frame in range(45):
        left, top, right, bottom = body(300, 560 - 5.5 * frame, ratio=1.1)
        tracks = camera.see([(left, top, right, min(bottom, 480.0))])
    (foot,) = tracks.foot_points_px.tolist()
    assert foot[1] == pytest.approx(560 - 5.5 * 44, abs=0.1 * height_at(318))


def test_a_tracker_that_knows_heights_decides_the_same_after_a_restart(camera: Camera) -> None:
    again = Tracker(frame_height_px=480)
    again.restore(camera.tracker.snapshot())
    for frame in range(30):
        detections = Detections.of([body(300, 250 + 3 * frame, 0.5 + 0.5 * (frame % 3 == 0))], [0.8])
        time_ns = (camera.frames + frame + 1) * FRAME_NS
        expected, found = (each.update(detections, time_ns) for each in (camera.tracker, again))
        np.testing.assert_array_equal(expected.whole_boxes_px, found.whole_boxes_px)
        np.testing.assert_array_equal(expected.track_ids, found.track_ids)
