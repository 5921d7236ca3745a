"""Export and fine-tuning with the extra ``train-vision``: start weights, a few images, a run that goes on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from common.datasets import find_folders
from common.errors import TrainingError
from common.training.detector.bundle import run_onnx
from common.training.detector.dataset import store_frames, write_yolo
from common.training.detector.export import INPUT, OUTPUT, export_onnx
from common.training.detector.fine_tuning import Recipe, fine_tune
from common.training.detector.last_layers import read_class_branch
from tests.common.training.detector.tiny_detector import red_squares

pytestmark = pytest.mark.slow


@pytest.fixture
def start() -> Path:
    pytest.importorskip("ultralytics", reason="Ultralytics trains: extra train-vision")
    root = os.environ.get("EDGELOOP_DATA", "")
    folders = find_folders(Path(root), "models", ["yolo11n_six64.pt"]) if root else []
    if not folders:
        pytest.skip("yolo11n_six64.pt is not under EDGELOOP_DATA")
    return folders[0] / "yolo11n_six64.pt"


def test_the_graph_takes_camera_frames_and_names_its_class_branch(start: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    export_onnx(start, target)
    assert target.stat().st_size < 15e6
    frame = np.full((1, 416, 416, 3), 114, np.uint8)
    output = run_onnx(target, {INPUT: frame})[OUTPUT]
    assert output.shape == (1, 10, 3549)
    assert output[0, 4:].max() < 0.3
    assert [weights.shape for weights in read_class_branch(target).weights] == [(6, 64)] * 3


def test_a_run_that_was_cut_off_goes_on_after_its_last_epoch(start: Path, tmp_path: Path) -> None:
    frames = [(frame, truth.boxes_xyxy_px, truth.classes) for frame, truth in red_squares(1, 8)]
    images = store_frames(frames, tmp_path / "frames", prefix="a")
    write_yolo(images, tmp_path / "train")
    recipe = Recipe(epochs=2, images_per_epoch=4, batch=4, size_px=96)
    seen: list[str] = []

    def stop_in_second(_fraction: float, message: str) -> None:
        seen.append(message)
        if message.startswith("epoch 2"):
            raise TrainingError("cancelled")

    folders = tmp_path / "train", tmp_path / "train", tmp_path / "out"
    with pytest.raises(TrainingError, match="cancelled"):
        fine_tune(start, *folders, recipe, stop_in_second)
    resumed: list[str] = []
    checkpoints = fine_tune(start, *folders, recipe, lambda _fraction, message: resumed.append(message))
    assert [path.stem for path in checkpoints] == ["epoch0", "epoch1"]
    assert not [message for message in resumed if message.startswith("epoch 1")]
    assert fine_tune(start, *folders, recipe) == checkpoints
