"""Summary outputs: greatest scores, and the distance of a picture from those of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import TrainingError
from common.training.detector.bundle import run_onnx
from common.training.detector.export import INPUT, OUTPUT
from common.training.detector.last_layers import FeatureReader, read_class_branch, write_class_branch
from common.training.detector.summary import (
    MIN_PICTURES,
    NOVELTY,
    STRONGEST,
    Novelty,
    add_summary,
    fit_novelty,
    novelty_of,
)
from common.vision.detections import PERSON
from tests.common.training.detector.tiny_detector import red_squares, write_tiny_detector


def features(seed: int, count: int, width: int = 30) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    spread = np.random.default_rng(0).normal(size=(8, width))
    return (rng.normal(size=(count, 8)) @ spread + 0.1 * rng.normal(size=(count, width))).astype(np.float32)


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    return fit_novelty(features(1, 4000))


def test_a_novelty_of_one_is_as_rare_in_training_as_documented(novelty: Novelty) -> None:
    assert np.mean(novelty_of(novelty, features(2, 4000)) > 1) == pytest.approx(0.01, abs=0.008)


def test_pictures_unlike_training_are_novel(novelty: Novelty) -> None:
    assert np.all(novelty_of(novelty, features(2, 50) + 5) > 1)


def test_brightness_and_contrast_alone_make_a_picture_novel(novelty: Novelty) -> None:
    pictures = features(2, 50)
    pictures[:, -2:] += 5 * features(1, 4000)[:, -2:].std(axis=0)
    assert np.all(novelty_of(novelty, pictures) > 1)


def test_few_pictures_are_refused() -> None:
    with pytest.raises(TrainingError, match="at least"):
        fit_novelty(features(1, MIN_PICTURES - 1))


def test_the_graph_computes_the_same_and_keeps_its_boxes(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")
    plain, extended = tmp_path / "plain.onnx", tmp_path / "extended.onnx"
    write_tiny_detector(plain)
    reader = FeatureReader(plain)
    pooled = np.stack([reader.pooled(frame) for frame, _ in red_squares(1, MIN_PICTURES)])
    fitted = fit_novelty(pooled)
    add_summary(plain, extended, fitted)
    for frame, _ in (*red_squares(2, 3), *red_squares(3, 3, fog=0.5)):
        outputs = run_onnx(extended, {INPUT: frame[None]})
        expected = novelty_of(fitted, reader.pooled(frame)[None])
        assert outputs[NOVELTY] == pytest.approx(expected, rel=1e-3)
        assert np.array_equal(outputs[OUTPUT], run_onnx(plain, {INPUT: frame[None]})[OUTPUT])
        assert outputs[STRONGEST].shape == (1, 6)
        assert outputs[STRONGEST][0, PERSON] == outputs[OUTPUT][0, 4 + PERSON].max()


def test_another_class_branch_leaves_novelty_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")
    plain, extended = tmp_path / "plain.onnx", tmp_path / "extended.onnx"
    write_tiny_detector(plain)
    reader = FeatureReader(plain)
    add_summary(
        plain,
        extended,
        fit_novelty(np.stack([reader.pooled(frame) for frame, _ in red_squares(1, MIN_PICTURES)])),
    )
    frame = red_squares(2, 1)[0][0][None]
    before = run_onnx(extended, {INPUT: frame})
    branch = read_class_branch(extended)
    for weights in branch.weights:
        weights *= 2
    write_class_branch(extended, branch, extended)
    after = run_onnx(extended, {INPUT: frame})
    assert after[NOVELTY] == before[NOVELTY]
    assert not np.array_equal(after[STRONGEST], before[STRONGEST])
