"""The light recipe: a bundle fitted to rendered frames and the field, and refusals of bad parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apps.retail.training import job
from common.app.edge import Sample
from common.app.training import Label, LabelledSample, TrainContext
from common.bundle import Bundle, Lineage
from common.errors import TrainingError
from common.training.detector.bundle import MODEL, write_detector_bundle
from common.training.detector.last_layers import FeatureReader, read_class_branch
from common.training.detector.summary import MIN_PICTURES, add_summary, fit_novelty
from tests.common.training.detector.tiny_detector import red_squares, write_tiny_detector

cv2 = pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")

QUICK = job.check_parameters


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("parent")
    plain = folder / "plain"
    write_tiny_detector(plain)
    reader = FeatureReader(plain)
    novelty = fit_novelty(np.stack([reader.pooled(frame) for frame, _ in red_squares(1, MIN_PICTURES)]))
    output = folder / "bundle"
    output.mkdir()
    add_summary(plain, output / MODEL, novelty)
    golden = [frame for frame, _ in red_squares(7, 2)]
    lineage = Lineage(data={"made": "up"}, code="test")
    return write_detector_bundle(output, golden, app="retail", version="1", lineage=lineage)


def context(
    output: Path, parent: Bundle | None, samples: list[LabelledSample], parameters: Mapping[str, Any]
) -> TrainContext:
    output.mkdir(exist_ok=True)
    return TrainContext("2", parent, samples, output, None, 0, parameters, lambda _share, _text: None)


def labelled(number: int, jpeg: Any) -> LabelledSample:
    boxes = [[10.0, 10.0, 60.0, 90.0]]
    label = Label("retail", "door", f"g{number}", "boxes", {"boxes_xyxy_px": boxes}, "reviewer", number)
    sample = Sample("door", f"g{number}", number, {"novelty": 1.0}, {"jpeg": jpeg}, {})
    return LabelledSample(f"digest{number}", sample, [label], held_out=False)


def test_the_light_recipe_fits_the_parent_to_rendered_frames(parent: Bundle, tmp_path: Path) -> None:
    made = job.train(context(tmp_path / "a", parent, [], QUICK))
    assert made.version == "2"
    assert made.manifest.lineage.parent == "1"
    assert set(made.manifest.lineage.data) == {"rendered"}
    before, after = (read_class_branch(each.model_path()).weights[0] for each in (parent, made))
    assert not np.array_equal(before, after)


def test_pictures_of_the_field_change_the_model_and_stand_in_its_lineage(
    parent: Bundle, tmp_path: Path
) -> None:
    _, jpeg = cv2.imencode(".jpg", np.full((96, 96, 3), (20, 20, 200), np.uint8))
    samples = [labelled(number, jpeg.ravel()) for number in range(8)]
    bare = job.train(context(tmp_path / "bare", parent, [], QUICK))
    made = job.train(context(tmp_path / "field", parent, samples, QUICK))
    assert set(made.manifest.lineage.data) == {"rendered", "field"}
    assert made.model_path().read_bytes() != bare.model_path().read_bytes()


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"recipe": "magic"}, "neither last_layers nor full nor yolox"),
        ({"recipe": "yolox"}, "needs the parameter weights"),
        ({"recipe": "yolox", "weights": "absent.onnx"}, "there is no file 'absent.onnx'"),
        ({"frames": 0}, "frames is 0"),
        ({"frames": "many"}, "frames is 'many'"),
        ({"light": "dusk"}, "light is 'dusk'; it is one of day, fog, night"),
        ({"scene": "roof"}, "scene is 'roof'"),
        ({"recipe": "full", "epochs": -1}, "epochs is -1"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_name(
    parent: Bundle, tmp_path: Path, parameters: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(TrainingError, match=complaint):
        job.train(context(tmp_path / "o", parent, [], parameters))


def test_the_light_recipe_needs_a_parent(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="train the first one with recipe=full"):
        job.train(context(tmp_path / "o", None, [], {"recipe": "last_layers"}))
