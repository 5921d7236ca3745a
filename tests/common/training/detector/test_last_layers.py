"""Fine-tuning of the class branch in NumPy: what it learns, keeps and leaves alone; equal inputs, equal
bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from common.errors import TrainingError
from common.training.detector.evaluation import Truth
from common.training.detector.export import INPUT, OUTPUT
from common.training.detector.last_layers import (
    FeatureReader,
    Fit,
    anchor_centres,
    assign_targets,
    fit_class_branch,
    read_class_branch,
    read_examples,
    write_class_branch,
)
from common.vision.detections import BUS, CAR, CLASSES, PERSON
from tests.common.training.detector.tiny_detector import SIDES, red_squares, write_tiny_detector

FOG = 0.6
FOUND = 0.25
"""Score of a found square: its best anchor has a target of 0.39, the overlap of its box."""


@pytest.fixture(scope="module", autouse=True)
def _opencv() -> None:
    pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    path = tmp_path / "parent.onnx"
    write_tiny_detector(path)
    return path


def scores_on(path: Path, images: list[tuple[NDArray[np.uint8], Truth]]) -> NDArray[np.float32]:
    """Best person score of each image."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = [np.asarray(session.run([OUTPUT], {INPUT: frame[None]})[0]) for frame, _ in images]
    return np.array([row[0, 4 + PERSON].max() for row in rows])


def fitted(parent: Path, target: Path, seed: int = 1) -> Path:
    reader = FeatureReader(parent)
    examples = read_examples(reader, [*red_squares(seed, 40, fog=FOG), *red_squares(seed + 1, 40)])
    branch = fit_class_branch(examples, read_class_branch(parent), Fit(ridge=1e-4))
    write_class_branch(parent, branch, target)
    return target


def test_people_in_fog_are_found_and_those_in_clear_air_still_are(parent: Path, tmp_path: Path) -> None:
    foggy, clear = red_squares(8, 30, fog=FOG), red_squares(9, 30)
    before = scores_on(parent, foggy)
    child = fitted(parent, tmp_path / "child.onnx")
    assert np.mean(before > FOUND) < 0.1
    assert np.mean(scores_on(child, foggy) > FOUND) > 0.9
    assert np.mean(scores_on(child, clear) > FOUND) > 0.9


def test_equal_images_give_equal_bytes(parent: Path, tmp_path: Path) -> None:
    first, second = fitted(parent, tmp_path / "a.onnx"), fitted(parent, tmp_path / "b.onnx")
    assert first.read_bytes() == second.read_bytes()


def test_classes_without_true_boxes_keep_their_weights(parent: Path, tmp_path: Path) -> None:
    before = read_class_branch(parent)
    after = read_class_branch(fitted(parent, tmp_path / "child.onnx"))
    for old, new in zip(before.weights, after.weights, strict=True):
        others = [each for each in range(len(CLASSES)) if each != PERSON]
        assert np.array_equal(old[others], new[others])
    assert not np.array_equal(before.weights[0][PERSON], after.weights[0][PERSON])


def test_a_strong_ridge_keeps_the_parent(parent: Path) -> None:
    examples = read_examples(FeatureReader(parent), red_squares(1, 20, fog=FOG))
    before = read_class_branch(parent)
    near, far = (fit_class_branch(examples, before, Fit(ridge=ridge)) for ridge in (1e6, 1e-3))
    assert near.weights[0] == pytest.approx(before.weights[0], abs=1e-3)
    assert np.abs(far.weights[0] - before.weights[0]).max() > 0.1


def test_images_without_people_are_refused(parent: Path) -> None:
    empty = [
        (frame, Truth(np.empty((0, 4), np.float32), np.empty(0, np.int16))) for frame, _ in red_squares(1, 3)
    ]
    examples = read_examples(FeatureReader(parent), empty)
    with pytest.raises(TrainingError, match="fewer than 5 true boxes"):
        fit_class_branch(examples, read_class_branch(parent))


def test_a_graph_that_is_no_exported_detector_is_refused(parent: Path, tmp_path: Path) -> None:
    from common.training.graph import GraphBuilder

    graph = GraphBuilder()
    graph.node("Abs", ["x"], "y")
    other = tmp_path / "other.onnx"
    graph.write(other, "other", {"x": [1]}, {"y": [1]})
    with pytest.raises(TrainingError, match="not an exported detector"):
        read_class_branch(other)
    with pytest.raises(TrainingError, match="not an exported detector"):
        write_class_branch(other, read_class_branch(parent), other)


def output_with(boxes_xywh: NDArray[np.float32], scores: dict[int, float]) -> NDArray[np.float32]:
    rows = np.zeros((4 + len(CLASSES), len(boxes_xywh)), np.float32)
    rows[:4] = boxes_xywh.T
    for each, score in scores.items():
        rows[4 + each] = score
    return rows


def test_the_anchors_that_fit_a_box_best_are_its_targets() -> None:
    centres = anchor_centres(SIDES)
    boxes = np.concatenate([centres, np.full((len(centres), 2), 16, np.float32)], axis=1)
    true = Truth(np.array([[32, 32, 48, 48]], np.float32), np.array([CAR], np.int16))
    targets = assign_targets(output_with(boxes, {CAR: 0.4}), centres, true)
    chosen = np.flatnonzero(targets[:, CAR])
    assert 0 < len(chosen) <= 10
    assert np.all((centres[chosen] > 32) & (centres[chosen] < 48))
    assert targets[:, CAR].max() == pytest.approx(1.0), "the anchor at its centre has its box exactly"
    assert not targets[:, [each for each in range(len(CLASSES)) if each != CAR]].any()


def test_an_anchor_in_two_boxes_belongs_to_one() -> None:
    centres = anchor_centres(SIDES)
    boxes = np.concatenate([centres, np.full((len(centres), 2), 20, np.float32)], axis=1)
    true = Truth(
        np.array([[32, 32, 52, 52], [36, 32, 56, 52]], np.float32), np.array([PERSON, BUS], np.int16)
    )
    targets = assign_targets(output_with(boxes, {PERSON: 0.4, BUS: 0.4}), centres, true)
    assert np.count_nonzero(targets[:, [PERSON, BUS]], axis=1).max() == 1
    assert targets[:, PERSON].any()
    assert targets[:, BUS].any()
