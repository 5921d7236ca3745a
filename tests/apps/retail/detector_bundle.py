"""A bundle of a detector that sees one uncertain person at one place in every frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from apps.retail.app import SPEC
from common.app.spec import AppSpec
from common.bundle import Bundle, seal, write_golden
from tests.apps.retail.scripted import ANCHORS, MANIFEST, SIDE_PX

PERSON_XYXY_PX = (130, 120, 190, 300)
"""In the picture of `SIDE_PX`."""
SCORE = 0.4


def write_detector(path: Path) -> Bundle:
    """The bundle in ``path``."""
    path.mkdir(parents=True)
    boxes = np.zeros(MANIFEST.outputs[0].shape, np.float32)  # type: ignore[arg-type]  no axis is free
    left, top, right, bottom = PERSON_XYXY_PX
    boxes[0, :4, 0] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    boxes[0, 4, 0] = SCORE
    nodes = [
        helper.make_node("Cast", ["frames"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "seen"], ["boxes"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((), np.float32), "nothing"),
        numpy_helper.from_array(boxes, "seen"),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, SIDE_PX, SIDE_PX, 3])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, boxes.shape[1], ANCHORS])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path / "model.onnx"))
    write_golden(path, {"frames": np.zeros((1, SIDE_PX, SIDE_PX, 3), np.uint8)}, {"boxes": boxes})
    return seal(path, msgspec.structs.replace(MANIFEST, tolerance={"boxes": 1e-4}))


def small_store(folder: Path) -> AppSpec:
    """The app with that detector as its starter."""
    write_detector(folder)
    return replace(SPEC, starter=folder)
