"""The virtual cameras: their layout fits their truth, readings repeat, and time goes by the frame rate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("cv2")

from apps.retail.app import SPEC
from apps.retail.training.counting import score
from apps.retail.training.virtual_scenes import FRAMES_PER_S, VirtualScene, layout_of_scene
from apps.retail.virtual.cameras import SCENES, open_source
from common.errors import ConfigError, SourceError
from common.vision.crossing_matches import TimedCrossing
from common.vision.detections import Detections
from common.vision.scene import Scene
from common.vision.tracker import Tracker


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPEC.virtual_kinds)
def test_true_boxes_give_the_true_crossings(kind: str) -> None:
    frames = 900
    scene = VirtualScene(kind, kind, (("seed", "3"), ("effects", "plain")))
    camera = scene.open()
    layout = layout_of_scene(camera)
    tracker, counting = Tracker(frame_height_px=480), Scene(layout.lines, layout.zones, 640, 480)
    counted: list[TimedCrossing] = []
    truth: list[TimedCrossing] = []
    for frame in range(frames):
        shot = camera.shot(frame)
        truth += [each for each in camera.crossings_in(shot.world) if each.time_s > 0]
        visible = shot.visible
        seen = (visible.visibility > 0.2) & (visible.classes == 0)
        boxes = np.clip(visible.full_boxes_px[seen], 0, (640, 480, 640, 480))
        time_ns = frame * 10**9 // FRAMES_PER_S
        tracks = tracker.update(Detections.of(boxes), time_ns)
        for crossing in counting.update(tracks, time_ns).crossings:
            counted.append(TimedCrossing(crossing.line, crossing.direction, crossing.time_ns / 1e9))
    result = score(counted, truth)
    assert truth
    assert result.precision >= 0.85, (result, counted, truth)
    assert result.recall >= 0.85, (result, counted, truth)


def test_the_same_seed_gives_the_same_frames_and_a_position_is_resumed() -> None:
    first, again = (open_source("entrance", {"seed": "4", "effects": "plain"}, 0.0) for _ in range(2))
    readings = list(itertools.islice(first.readings(None), 8))
    rest = list(itertools.islice(again.readings(4), 3))
    assert [each.position for each in rest] == [5, 6, 7]
    assert all(np.array_equal(a.values, b.values) for a, b in zip(readings[5:], rest, strict=True))
    steps = np.diff([each.captured_ns for each in readings])
    assert set(steps.tolist()) == {100_000_000}


def test_a_camera_has_the_name_that_it_is_given() -> None:
    (reading,) = itertools.islice(
        open_source("aisle", {"name": "aisle-7", "effects": "plain"}, 0.0).readings(None), 1
    )
    assert reading.subject == "aisle-7"
    assert "lines" in reading.attributes["layout"]


def test_an_unknown_scene_or_parameter_is_refused_with_those_that_are_known() -> None:
    assert set(SCENES) == set(SPEC.virtual_kinds)
    with pytest.raises(SourceError, match="entrance"):
        open_source("garden", {}, 0.0)
    with pytest.raises(ConfigError, match="people"):
        open_source("entrance", {"peple": "busy"}, 0.0)
