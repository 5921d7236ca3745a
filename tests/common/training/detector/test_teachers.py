"""Teacher labels: what two detectors agree on and a data set lacks; PicoDet's boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.training.detector.dataset import store_frames
from common.training.detector.teachers import (
    COCO_COLUMNS,
    SIZE_PX,
    Agreement,
    add_agreed_labels,
    agreed,
    picodet_boxes,
    unlabelled,
    yolox_manifest,
)
from common.vision.detections import CAR, CLASSES, PERSON, Detections
from common.vision.detector import read_spec

RULE = Agreement(min_score=0.35, min_iou=0.6, max_labelled_iou=0.3)
BOX = [10.0, 10.0, 30.0, 50.0]


def test_a_box_of_both_teachers_is_their_weighted_mean_with_the_lesser_score() -> None:
    found = agreed(Detections.of([BOX], [0.9]), Detections.of([[12, 10, 32, 50]], [0.45]), RULE)
    assert found.scores.tolist() == pytest.approx([0.45])
    assert found.boxes_xyxy_px[0].tolist() == pytest.approx([10 + 2 / 3, 10, 30 + 2 / 3, 50])


@pytest.mark.parametrize(
    "second",
    [
        Detections.empty(),
        Detections.of([BOX], [0.3]),
        Detections.of([BOX], [0.9], [CAR]),
        Detections.of([[25, 10, 45, 50]], [0.9]),
    ],
    ids=["nothing", "a low score", "another class", "little overlap"],
)
def test_one_teacher_alone_makes_no_label(second: Detections) -> None:
    assert len(agreed(Detections.of([BOX], [0.9]), second, RULE)) == 0
    assert len(agreed(second, Detections.of([BOX], [0.9]), RULE)) == 0


def test_each_box_agrees_with_one_other_at_most() -> None:
    pair = Detections.of([BOX, [11, 10, 31, 50]], [0.9, 0.8])
    assert len(agreed(pair, Detections.of([BOX], [0.9]), RULE)) == 1
    assert len(agreed(pair, pair, RULE)) == 2


def test_an_object_that_is_labelled_is_not_added_again() -> None:
    found = Detections.of([BOX, [100, 100, 140, 180]], [0.9, 0.9])
    labelled = np.array([[12, 12, 33, 52]], np.float32)
    assert unlabelled(found, labelled, RULE).boxes_xyxy_px[:, 0].tolist() == [100]
    assert len(unlabelled(found, np.empty((0, 4), np.float32), RULE)) == 2


class Fixed:
    def __init__(self, found: Detections) -> None:
        self._found = found

    def detect(self, frame_bgr: NDArray[np.uint8], min_score: float) -> Detections:
        return self._found


def test_missing_people_are_added_and_labels_stay(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV reads the images: extra vision")
    frame = np.zeros((100, 200, 3), np.uint8)
    images = store_frames([(frame, np.array([BOX]), np.array([PERSON]))], tmp_path, prefix="a")
    teacher = Fixed(Detections.of([BOX, [100, 20, 120, 80]], [0.9, 0.8]))
    (image,) = add_agreed_labels(images, teacher, teacher, RULE)
    truth = image.truth(100, 200)
    assert truth.boxes_xyxy_px == pytest.approx(np.array([BOX, [100, 20, 120, 80]]))
    assert truth.classes.tolist() == [PERSON, PERSON]


def test_picodet_distances_are_the_means_of_their_distributions() -> None:
    logits = np.full((7 * 7, 4, 8), -50.0)
    logits[:, :, 2] = 50.0  # two strides to every side
    boxes = picodet_boxes(logits.reshape(49, 32), 64)
    assert boxes[8].tolist() == pytest.approx([96 - 128, 96 - 128, 96 + 128, 96 + 128])
    assert -(-SIZE_PX // 64) == 7


def test_yolox_is_described_as_a_detector_of_our_classes() -> None:
    manifest = yolox_manifest("1", "0" * 64)
    assert set(CLASSES) <= set(manifest.classes)
    assert (manifest.classes[0], manifest.classes[7], manifest.classes[4]) == ("person", "truck", "")
    assert len(COCO_COLUMNS) == 80
    assert read_spec(manifest).head == "yolox"
