"""The choice of what is shipped, and the detector of an exported graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import DatasetError
from common.training.detector import pipeline
from common.training.detector.dataset import LabelledImage, Splits, store_frames
from common.training.detector.last_layers import ClassBranch, Fit, read_class_branch, write_class_branch
from common.training.detector.pipeline import choose, find_sources, fitting_mix
from tests.common.training.detector.tiny_detector import SIZE_PX, red_squares, write_tiny_detector


@pytest.fixture
def splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Splits:
    """Images in fog, and exports of "checkpoints" that are text: the gain of the class branch in percent."""
    pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")
    monkeypatch.setattr(pipeline, "SIZE_PX", SIZE_PX)

    def export(weights: Path, target: Path) -> None:
        write_tiny_detector(target)
        gain = np.float32(int(weights.read_text()) / 100)
        branch = read_class_branch(target)
        scaled = ClassBranch(tuple(each * gain for each in branch.weights), branch.biases)
        write_class_branch(target, scaled, target)

    monkeypatch.setattr(pipeline, "export_onnx", export)

    def images(seed: int, fog: float) -> tuple[LabelledImage, ...]:
        frames = [(frame, t.boxes_xyxy_px, t.classes) for frame, t in red_squares(seed, 24, fog=fog)]
        return store_frames(frames, tmp_path / f"images_{seed}", prefix="a")

    return Splits(images(1, 0.5), images(2, 0.5), images(3, 0.5), ())


def checkpoint(folder: Path, name: str, gain: int) -> Path:
    path = folder / f"{name}.pt"
    path.write_text(str(gain))
    return path


def test_the_better_checkpoint_is_fitted_and_shipped(splits: Splits, tmp_path: Path) -> None:
    candidates = [checkpoint(tmp_path, "start", 100), checkpoint(tmp_path, "epoch0", 0)]
    chosen = choose(candidates, splits, tmp_path, 0, lambda _fraction, _message: None)
    assert set(chosen.scores) >= {"start", "epoch0"}
    assert chosen.scores["start"] > chosen.scores["epoch0"]
    assert chosen.name.startswith("start")
    assert "epoch0_ridge_0.1" not in chosen.scores
    assert chosen.scores[chosen.name] == max(chosen.scores.values())


def test_training_that_does_not_help_ships_the_start_weights(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(_examples: object, parent: ClassBranch, _settings: Fit) -> ClassBranch:
        return ClassBranch(tuple(-each for each in parent.weights), parent.biases)

    monkeypatch.setattr(pipeline, "fit_class_branch", spoil)
    candidates = [checkpoint(tmp_path, "start", 100), checkpoint(tmp_path, "epoch0", 0)]
    assert choose(candidates, splits, tmp_path, 0, lambda _fraction, _message: None).name == "start"


def test_the_mix_has_every_image_of_people_and_one_of_three_of_roads() -> None:
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int16)
    names = [*(f"hw_{number}" for number in range(7)), "coco_1", "shop_1"]
    images = [LabelledImage(Path(f"{name}.jpg"), *empty) for name in names]
    assert [image.name for image in fitting_mix(images)] == ["coco_1", "shop_1", "hw_0", "hw_3", "hw_6"]


def test_a_folder_without_the_start_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="yolo11n_six64"):
        find_sources(tmp_path)
