"""A bundle fitted to new frames: it finds what its parent missed, keeps the rest, and is a bundle like it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from common.bundle import Bundle, Lineage
from common.model.golden import check_golden
from common.model.inference import load_model
from common.model.profile import Profile
from common.training.detector.bundle import INT8_MODEL, MODEL, run_onnx, write_detector_bundle
from common.training.detector.evaluation import Truth
from common.training.detector.export import INPUT
from common.training.detector.last_layers import FeatureReader, Fit, read_class_branch
from common.training.detector.refit import refit_bundle
from common.training.detector.summary import MIN_PICTURES, NOVELTY, STRONGEST, add_summary, fit_novelty
from common.vision.detections import PERSON
from tests.common.training.detector.tiny_detector import red_squares, write_tiny_detector

CPU = Profile("cpu", ("CPUExecutionProvider",), 1, "float32", lambda: True)
LINEAGE = Lineage(data={}, code="test")
FOUND = 0.25


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Parent, of clear air, and the bundle fitted to frames in fog."""
    pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")
    folder = tmp_path_factory.mktemp("bundles")
    clear = red_squares(1, MIN_PICTURES)
    plain = folder / "plain.onnx"
    write_tiny_detector(plain)
    reader = FeatureReader(plain)
    (folder / "parent").mkdir()
    novelty = fit_novelty(np.stack([reader.pooled(frame) for frame, _ in clear]))
    add_summary(plain, folder / "parent" / MODEL, novelty)
    (folder / "parent" / INT8_MODEL).write_bytes((folder / "parent" / MODEL).read_bytes())
    golden = [frame for frame, _ in red_squares(7, 2)]
    parent = write_detector_bundle(
        folder / "parent", golden, app="retail", version="1", lineage=LINEAGE, int8_run=run_onnx
    )
    child = refit_bundle(
        parent,
        folder / "child",
        red_squares(2, 40, fog=0.6),
        clear,
        version="2",
        lineage=LINEAGE,
        settings=Fit(ridge=1e-4),
    )
    return parent, child


def outputs(bundle: Bundle, name: str, images: list[tuple[NDArray[np.uint8], Truth]]) -> NDArray[np.float32]:
    return np.array(
        [run_onnx(bundle.model_path(), {INPUT: frame[None]})[name].ravel() for frame, _ in images]
    )


def test_it_finds_people_in_fog_and_still_those_in_clear_air(bundles: tuple[Bundle, Bundle]) -> None:
    parent, child = bundles
    foggy, clear = red_squares(8, 20, fog=0.6), red_squares(9, 20)
    assert np.mean(outputs(parent, STRONGEST, foggy)[:, PERSON] > FOUND) < 0.1
    assert np.mean(outputs(child, STRONGEST, foggy)[:, PERSON] > FOUND) > 0.9
    assert np.mean(outputs(child, STRONGEST, clear)[:, PERSON] > FOUND) > 0.9


def test_what_it_learnt_is_no_longer_novel(bundles: tuple[Bundle, Bundle]) -> None:
    parent, child = bundles
    foggy = red_squares(8, 20, fog=0.6)
    assert np.mean(outputs(parent, NOVELTY, foggy) > 1) > 0.9
    assert np.mean(outputs(child, NOVELTY, foggy) > 1) < 0.2


def test_all_its_model_files_have_the_new_class_branch_and_pass_its_golden_cases(
    bundles: tuple[Bundle, Bundle],
) -> None:
    parent, child = bundles
    assert child.version == "2"
    assert [each.file for each in child.manifest.model_files()] == [MODEL, INT8_MODEL]
    first, second = (read_class_branch(child.path / each) for each in (MODEL, INT8_MODEL))
    assert np.array_equal(first.weights[0], second.weights[0])
    assert not np.array_equal(first.weights[0], read_class_branch(parent.model_path()).weights[0])
    assert check_golden(child, load_model(child, CPU)).cases == 2
