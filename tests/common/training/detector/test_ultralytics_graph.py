"""Our graph behind the input that Ultralytics gives: the same boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from common.training.detector.bundle import run_onnx
from common.training.detector.export import INPUT, OUTPUT
from common.training.detector.ultralytics_graph import IMAGES, write_ultralytics_graph
from common.vision.detections import CLASSES
from tests.common.training.detector.tiny_detector import SIZE_PX, write_tiny_detector


def test_gives_the_same_boxes_for_the_same_pixels(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.onnx", tmp_path / "theirs.onnx"
    write_tiny_detector(ours)
    write_ultralytics_graph(ours, theirs)
    frame_bgr = np.random.default_rng(0).integers(0, 256, (1, SIZE_PX, SIZE_PX, 3), np.uint8)
    image_rgb = np.ascontiguousarray(frame_bgr[..., ::-1].transpose(0, 3, 1, 2), np.float32) / 255
    found = run_onnx(theirs, {IMAGES: image_rgb})
    assert list(found) == [OUTPUT]
    assert np.array_equal(found[OUTPUT], run_onnx(ours, {INPUT: frame_bgr})[OUTPUT])


def test_carries_what_ultralytics_reads_of_a_model(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.onnx", tmp_path / "theirs.onnx"
    write_tiny_detector(ours)
    write_ultralytics_graph(ours, theirs)
    known = {each.key: each.value for each in onnx.load(theirs).metadata_props}
    assert known["task"] == "detect"
    assert known["imgsz"] == f"[{SIZE_PX}, {SIZE_PX}]"
    assert known["names"] == str(dict(enumerate(CLASSES)))
