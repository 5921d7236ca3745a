"""A detector of red squares in a graph of the exported form: features are mean colours of cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from common.training.detector.evaluation import Truth
from common.training.detector.export import INPUT, OPSET, OUTPUT, STRIDES, bias_name, weights_name
from common.training.detector.last_layers import anchor_centres
from common.vision.detections import CLASSES, PERSON

SIZE_PX = 96
SIDES = [(SIZE_PX // stride, SIZE_PX // stride) for stride in STRIDES]


def write_tiny_detector(path: Path) -> None:
    """Scores of persons rise with the share of red; boxes are squares of two strides around each cell."""
    constants: list[Any] = []
    nodes: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    frames = node("Cast", [INPUT], "float", to=TensorProto.FLOAT)
    planes = node("Transpose", [frames], "planes", perm=[0, 3, 1, 2])
    scaled = node("Mul", [planes, constant("scale", np.float32(1 / 255))], "scaled")
    rows: list[str] = []
    for stride in STRIDES:
        features = node(
            "AveragePool", [scaled], f"features_{stride}", kernel_shape=[stride] * 2, strides=[stride] * 2
        )
        weights = np.zeros((len(CLASSES), 3, 1, 1), np.float32)
        weights[PERSON, :, 0, 0] = (-12, -12, 18)
        weights_constant = constant(weights_name(stride), weights)
        bias = constant(bias_name(stride), np.full(len(CLASSES), -8, np.float32))
        logits = node("Conv", [features, weights_constant, bias], f"logits_{stride}")
        shape = constant(f"shape_{stride}", np.array([1, len(CLASSES), -1], np.int64))
        rows.append(node("Reshape", [logits, shape], f"rows_{stride}"))
    logits = node("Concat", rows, "logits", axis=2)
    scores = node("Sigmoid", [logits], "scores")
    centres = anchor_centres(SIDES)
    sizes = np.repeat([2.0 * stride for stride in STRIDES], [rows * columns for rows, columns in SIDES])
    boxes = np.concatenate([centres.T, np.stack([sizes, sizes])])[None].astype(np.float32)
    node("Concat", [constant("places", boxes), scores], OUTPUT, axis=1)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [1, SIZE_PX, SIZE_PX, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, 4 + len(CLASSES), len(centres)])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def red_squares(
    seed: int, images: int, *, fog: float = 0.0, side_px: int = 16
) -> list[tuple[NDArray[np.uint8], Truth]]:
    """Frames of one red square on grey, each a person; ``fog`` mixes in that share of white."""
    rng = np.random.default_rng(seed)
    found: list[tuple[NDArray[np.uint8], Truth]] = []
    for _ in range(images):
        frame = rng.normal(120, 8, (SIZE_PX, SIZE_PX, 3))
        left, top = (rng.integers(0, (SIZE_PX - side_px) // 8 + 1, 2) * 8).tolist()
        frame[top : top + side_px, left : left + side_px] = (30, 30, 220)
        frame = frame * (1 - fog) + 230 * fog
        box = np.array([[left, top, left + side_px, top + side_px]], np.float32)
        found.append((np.clip(frame, 0, 255).astype(np.uint8), Truth(box, np.array([PERSON], np.int16))))
    return found
