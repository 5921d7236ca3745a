"""The accuracy gate of INT8: which level is taken, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from common.errors import TrainingError
from common.training.detector import quantization
from common.training.detector.bundle import run_onnx
from common.training.detector.last_layers import read_class_branch
from common.training.detector.quantization import LEVELS, quantize
from tests.common.training.detector.tiny_detector import red_squares, write_tiny_detector

FRAMES = [frame for frame, _ in red_squares(0, 2)]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A graph whose quantization writes the name of its level instead of a graph."""
    pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")

    def write_level(_source: Path, target: Path, _frames: Sequence[Any], level: quantization.Level) -> None:
        target.write_text(level.name)

    monkeypatch.setattr(quantization, "_quantize_once", write_level)
    path = tmp_path / "model.onnx"
    write_tiny_detector(path)
    return path


def accuracy_of(losses: dict[str, float], source: Path) -> Any:
    return lambda path: {"all": 0.5, "people": 0.4 if path == source else 0.4 - losses[path.read_text()]}


def test_the_first_level_that_loses_little_enough_is_taken(source: Path, tmp_path: Path) -> None:
    losses = {LEVELS[0].name: 0.02, LEVELS[1].name: 0.004, LEVELS[2].name: 0.0}
    found = quantize(source, tmp_path / "int8.onnx", FRAMES, accuracy_of(losses, source))
    assert found.level == LEVELS[1].name
    assert [name for name, _ in found.losses] == [LEVELS[0].name, LEVELS[1].name]
    assert [by_set["people"] for _, by_set in found.losses] == pytest.approx([0.02, 0.004])
    assert (tmp_path / "int8.onnx").read_text() == LEVELS[1].name


def test_a_level_that_loses_too_much_on_one_set_is_not_taken_for_its_gain_on_another(
    source: Path, tmp_path: Path
) -> None:
    def accuracy(path: Path) -> dict[str, float]:
        first = path != source and path.read_text() == LEVELS[0].name
        return {"all": 0.6 if first else 0.5, "people": 0.39 if first else 0.4}

    assert quantize(source, tmp_path / "int8.onnx", FRAMES, accuracy).level == LEVELS[1].name


def test_a_network_that_loses_too_much_at_every_level_has_no_int8(source: Path, tmp_path: Path) -> None:
    losses = {level.name: 0.01 for level in LEVELS}
    with pytest.raises(TrainingError, match=r"loses more than 0\.005.*0\.0100 on people"):
        quantize(source, tmp_path / "int8.onnx", FRAMES, accuracy_of(losses, source))
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_the_last_convolutions_and_the_decoding_stay_in_float_at_every_level(level: Any) -> None:
    head = "/network/model.23"
    for name in (
        f"{head}/cv3.0/cv3.0.2/Conv",
        f"{head}/cv2.2/cv2.2.2/Conv",
        f"{head}/dfl/conv/Conv",
        f"{head}/Concat_7",
        "summary/pooled",
    ):
        assert any(re.fullmatch(pattern, name) for pattern in level.float_nodes), name
    assert not any(re.fullmatch(p, "/network/model.4/cv1/conv/Conv") for p in level.float_nodes)


def test_nncf_leaves_the_class_branch_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="NNCF quantizes: extra train-vision")
    pytest.importorskip("cv2", reason="OpenCV scales the frames: extra vision")
    source, target = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    write_tiny_detector(source)
    level = quantization.Level("all but the class branch", ("logits_.*", "logits", "scores", "boxes"))
    found = quantize(source, target, FRAMES, lambda _path: {"all": 1.0}, levels=[level])
    assert found.level == level.name
    before, after = read_class_branch(source), read_class_branch(target)
    for old, new in zip(before.weights, after.weights, strict=True):
        assert np.array_equal(old, new)


def test_unsigned_activations_compute_the_same(tmp_path: Path) -> None:
    def tensor(name: str, value: Any) -> Any:
        return numpy_helper.from_array(np.asarray(value), name)

    scale, zero = ["scale", "zero"], tensor("zero", np.int8(-40))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *scale], ["q"]),
        helper.make_node("DequantizeLinear", ["q", *scale], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["weights"]),
        helper.make_node("MatMul", ["d", "weights"], ["y"]),
    ]
    constants = [
        tensor("scale", np.float32(0.02)),
        zero,
        tensor("w", np.arange(-6, 6, dtype=np.int8).reshape(4, 3)),
        tensor("w_scale", np.float32(0.1)),
        tensor("w_zero", np.int8(0)),
    ]
    takes, gives = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])]
        for name, width in (("x", 4), ("y", 3))
    )
    graph = helper.make_graph(nodes, "qdq", takes, gives, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.random.default_rng(0).uniform(-1, 3, (5, 4)).astype(np.float32)
    (tmp_path / "signed.onnx").write_bytes(model.SerializeToString())
    quantization.make_activations_unsigned(model)
    (tmp_path / "unsigned.onnx").write_bytes(model.SerializeToString())
    types = {each.name: each.data_type for each in model.graph.initializer}
    assert (types["zero"], types["w_zero"], types["w"]) == (
        TensorProto.UINT8,
        TensorProto.INT8,
        TensorProto.INT8,
    )
    signed, unsigned = (run_onnx(tmp_path / f"{name}.onnx", {"x": x})["y"] for name in ("signed", "unsigned"))
    assert unsigned == pytest.approx(signed, abs=1e-6)
