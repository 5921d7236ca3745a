"""mAP: the protocol on cases worked out by hand, against COCO's own code, and bootstrap intervals."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from common.training.detector.evaluation import (
    IOU_THRESHOLDS,
    Truth,
    evaluate_detector,
    match_detections,
)
from common.vision.detections import CAR, PERSON, Detections


def truth(boxes: Sequence[Sequence[float]], classes: list[int] | None = None) -> Truth:
    return Truth(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(classes if classes is not None else [PERSON] * len(boxes), np.int16),
    )


def random_set(seed: int, images: int = 30) -> tuple[list[Detections], list[Truth]]:
    rng = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(images):
        count = int(rng.integers(0, 7))
        corners = rng.uniform(0, 300, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(20, 120, (count, 2))], axis=1)
        classes = rng.integers(0, 3, count)
        seen = rng.random(count) < 0.8
        near = boxes[seen] + rng.normal(0, 6, (int(seen.sum()), 4))
        extra = rng.uniform(0, 300, (4, 2))
        wrong = np.concatenate([extra, extra + rng.uniform(20, 90, (4, 2))], axis=1)
        every = np.concatenate([near, near + 3, wrong])
        kinds = np.concatenate([classes[seen], classes[seen], rng.integers(0, 3, 4)])
        found.append(Detections.of(every, rng.random(len(every)), kinds))
        truths.append(truth(boxes.tolist(), classes.tolist()))
    return found, truths


def test_boxes_found_exactly_have_an_ap_of_one() -> None:
    boxes = [[0, 0, 10, 20], [50, 50, 90, 90]]
    found = match_detections([Detections.of(boxes, [0.9, 0.3])], [truth(boxes)]).accuracy()
    assert found.map50_95 == pytest.approx(1.0)
    assert found.figures()["person_ap50"] == pytest.approx(1.0)


def test_a_false_box_of_higher_score_halves_the_precision_of_a_true_one() -> None:
    found = Detections.of([[200, 200, 220, 220], [0, 0, 10, 20]], [0.9, 0.5])
    assert match_detections([found], [truth([[0, 0, 10, 20]])]).accuracy().map50 == pytest.approx(0.5)


def test_a_second_box_on_one_object_is_false() -> None:
    found = Detections.of([[0, 0, 10, 20], [0, 0, 10, 20], [50, 50, 60, 60]], [0.9, 0.8, 0.7])
    ap50 = match_detections([found], [truth([[0, 0, 10, 20], [50, 50, 60, 60]])]).accuracy().map50
    assert ap50 == pytest.approx((51 * 1.0 + 50 * 2 / 3) / 101)


def test_a_box_counts_up_to_its_overlap() -> None:
    found = Detections.of([[0, 0, 100, 72]], [0.9])  # IoU 0.72
    ap = match_detections([found], [truth([[0, 0, 100, 100]])]).accuracy().ap[PERSON]
    assert ap.tolist() == pytest.approx((IOU_THRESHOLDS < 0.72).astype(float).tolist())


def test_a_class_without_true_boxes_is_left_out_and_one_not_found_counts_as_zero() -> None:
    found = Detections.of([[0, 0, 10, 20], [40, 40, 60, 60]], [0.9, 0.9], [PERSON, 4])
    figures = match_detections([found], [truth([[0, 0, 10, 20], [70, 70, 90, 90]], [PERSON, CAR])]).accuracy()
    assert set(figures.ap) == {PERSON, CAR}
    assert figures.map50 == pytest.approx(0.5)


def test_a_set_without_any_box_has_no_figures() -> None:
    found = match_detections([Detections.empty()], [truth([])])
    assert np.isnan(found.accuracy().map50)
    assert found.intervals(resamples=5) == {}


def test_an_image_counted_twice_is_like_the_image_twice() -> None:
    found, truths = random_set(3)
    weights = np.ones(len(found))
    weights[[2, 5]] = 2
    once = match_detections(found, truths).accuracy(weights)
    twice = match_detections([*found, found[2], found[5]], [*truths, truths[2], truths[5]]).accuracy()
    assert once.map50_95 == pytest.approx(twice.map50_95, abs=1e-9)


def test_the_interval_holds_the_figure_and_narrows_with_more_images() -> None:
    few, many = (match_detections(*random_set(1, images)) for images in (20, 200))
    low, high = few.intervals(resamples=60)["detection_map50"]
    assert low < few.accuracy().map50 < high
    narrow = many.intervals(resamples=60)["detection_map50"]
    assert narrow[1] - narrow[0] < high - low


def test_a_detector_is_run_on_every_image() -> None:
    frames = [np.full((40, 40, 3), value, np.uint8) for value in (10, 200)]
    answer = {10: Detections.of([[0, 0, 10, 20]]), 200: Detections.empty()}
    images = [(frame, truth([[0, 0, 10, 20]])) for frame in frames]
    found = evaluate_detector(lambda frame: answer[int(frame[0, 0, 0])], images)
    assert found.images == 2
    assert found.accuracy().map50 == pytest.approx(51 / 101)


@pytest.mark.skipif(
    importlib.util.find_spec("pycocotools") is None, reason="pycocotools is not installed: the reference"
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figures_are_those_of_cocos_own_code(seed: int) -> None:
    # Optional, and without types.
    from pycocotools.coco import COCO  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    from pycocotools.cocoeval import COCOeval  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

    found, truths = random_set(seed)
    annotations, results = [], []
    for image, (detections, true) in enumerate(zip(found, truths, strict=True), start=1):
        for (x, y, right, bottom), each in zip(true.boxes_xyxy_px.tolist(), true.classes, strict=True):
            box = [x, y, right - x, bottom - y]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(each),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
        for row in range(len(detections)):
            x, y, right, bottom = detections.boxes_xyxy_px[row].tolist()
            results.append(
                {
                    "image_id": image,
                    "category_id": int(detections.classes[row]),
                    "bbox": [x, y, right - x, bottom - y],
                    "score": float(detections.scores[row]),
                }
            )
    reference: Any = COCO()
    reference.dataset = {
        "info": {},
        "images": [{"id": image + 1} for image in range(len(found))],
        "categories": [{"id": each} for each in range(3)],
        "annotations": annotations,
    }
    reference.createIndex()
    judged = COCOeval(reference, reference.loadRes(results), "bbox")
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    ours = match_detections(found, truths).accuracy()
    assert ours.map50_95 == pytest.approx(judged.stats[0], abs=1e-6)
    assert ours.map50 == pytest.approx(judged.stats[1], abs=1e-6)
