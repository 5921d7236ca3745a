"""The truth of the virtual cameras, scores of counts against it, and which boxes a reviewer accepts."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the virtual camera needs OpenCV: extra vision")

from apps.demo.story.stores.reviewer import kept_boxes
from apps.demo.story.stores.store_fleet import TrueCrossings, score_counts
from common.vision.crossing_matches import TimedCrossing
from hardware.virtual_camera.source import VirtualCamera, read_options

BUSY = {"seed": "1", "fps": "5", "people": "busy"}


def test_a_true_crossing_is_found_once_by_the_nearest_count_of_its_line_and_direction() -> None:
    true = [
        TimedCrossing("door", "in", 10.0),
        TimedCrossing("door", "out", 10.0),
        TimedCrossing("door", "in", 20.0),
    ]
    counted = [
        TimedCrossing("door", "in", 9.2),
        TimedCrossing("door", "in", 10.1),
        TimedCrossing("door", "in", 21.1),
    ]
    score = score_counts(counted, true, 5.0, 30.0)
    assert (score.true, score.counted, score.right) == (3, 3, 1)
    assert score_counts([], [], 0.0, 10.0).recall == 0


def test_a_count_just_outside_of_the_time_is_right_but_not_counted_in_it() -> None:
    score = score_counts([TimedCrossing("door", "in", 9.8)], [TimedCrossing("door", "in", 10.2)], 10.0, 20.0)
    assert (score.true, score.counted, score.right) == (1, 0, 1)


def test_true_crossings_are_those_of_the_world_however_often_they_are_asked_for() -> None:
    camera = VirtualCamera(read_options("entrance", BUSY))
    world = [each for frame in range(1, 101) for each in camera.world(frame).crossings]
    truth = TrueCrossings(VirtualCamera(read_options("entrance", BUSY)))
    early = len(truth.until(8.0))
    assert 0 < early < len(world)
    assert truth.until(4.0) == truth.until(8.0)
    assert [each.direction for each in truth.until(20.0)] == [each.direction for each in world]


def test_a_reviewer_accepts_one_box_of_each_person() -> None:
    people = np.array([[0, 0, 10, 20], [50, 0, 60, 20]], np.float32)
    proposed = np.array([[0, 1, 10, 20], [1, 0, 10, 20], [80, 0, 90, 20]], np.float32)
    assert kept_boxes(proposed, people) == 1
    assert kept_boxes(people, people) == 2
    assert kept_boxes(proposed[:0], people) == 0
