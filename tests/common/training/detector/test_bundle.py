"""Detector bundles: what they hold and promise, in the same detector on the device."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from common.bundle import Bundle, Lineage
from common.datasets import find_folders
from common.errors import DatasetError
from common.model.golden import check_golden
from common.model.inference import load_model
from common.model.profile import Profile
from common.training.detector.bundle import (
    INT8_MODEL,
    MODEL,
    write_detector_bundle,
    write_yolox_bundle,
)
from common.training.detector.last_layers import FeatureReader
from common.training.detector.summary import MIN_PICTURES, NOVELTY, add_summary, fit_novelty
from common.vision.detector import Detector
from tests.common.training.detector.tiny_detector import red_squares, write_tiny_detector

GOLDEN = [frame for frame, _ in red_squares(7, 3)]
CPU = Profile("cpu", ("CPUExecutionProvider",), 1, "float32", lambda: True)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")
    output = tmp_path / "bundle"
    output.mkdir()
    write_tiny_detector(tmp_path / "plain.onnx")
    reader = FeatureReader(tmp_path / "plain.onnx")
    pooled = np.stack([reader.pooled(frame) for frame, _ in red_squares(1, MIN_PICTURES)])
    add_summary(tmp_path / "plain.onnx", output / MODEL, fit_novelty(pooled))
    (output / INT8_MODEL).write_bytes((output / MODEL).read_bytes())
    lineage = Lineage(data={"detect": "0" * 64}, code="test")
    return write_detector_bundle(output, GOLDEN, app="retail", version="1", lineage=lineage)


def test_the_golden_cases_pass_and_the_detector_runs(bundle: Bundle) -> None:
    model = load_model(bundle, CPU)
    assert check_golden(bundle, model).cases == len(GOLDEN)
    frame, truth = red_squares(5, 1)[0]
    found = Detector(model).detect(frame, 0.3)
    assert len(found) >= 1
    centre = (truth.boxes_xyxy_px[0, :2] + truth.boxes_xyxy_px[0, 2:]) / 2
    nearest = (found.boxes_xyxy_px[0, :2] + found.boxes_xyxy_px[0, 2:]) / 2
    assert np.abs(nearest - centre).max() <= 16


def test_the_manifest_names_licence_lineage_variants_drift_and_bounds(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.licence == "AGPL-3.0"
    assert manifest.lineage.data == {"detect": "0" * 64}
    assert [(each.file, each.precision, each.runtime) for each in manifest.variants] == [
        (INT8_MODEL, "int8", "openvino")
    ]
    assert manifest.drift is not None
    assert manifest.drift.output == NOVELTY
    assert set(manifest.parameters["output_bounds"]) == {spec.name for spec in manifest.outputs}


def test_a_file_that_is_not_the_published_yolox_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "yolox_nano.onnx"
    other.write_bytes(b"other")
    with pytest.raises(DatasetError, match="edgeloop data get yolox_nano"):
        write_yolox_bundle(other, tmp_path / "out", GOLDEN, app="retail", version="1", code="test")


def test_the_published_yolox_runs_in_the_same_detector(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")
    root = os.environ.get("EDGELOOP_DATA", "")
    folders = find_folders(Path(root), "yolox_nano", ["yolox_nano.onnx"]) if root else []
    if not folders:
        pytest.skip("yolox_nano.onnx is not under EDGELOOP_DATA (see datasets/yolox_nano.md)")
    made = write_yolox_bundle(
        folders[0] / "yolox_nano.onnx", tmp_path, GOLDEN, app="retail", version="1", code="test"
    )
    assert made.manifest.licence == "Apache-2.0"
    model = load_model(made, CPU)
    assert check_golden(made, model).cases == len(GOLDEN)
    assert len(Detector(model).detect(GOLDEN[0], 0.9)) == 0
