"""A detector's graph as Ultralytics loads it: the same weights behind the input and metadata that it knows.

Our graphs take a camera's frames, uint8 ``(1, height, width, 3)`` in BGR; Ultralytics gives float32
``(1, 3, height, width)`` in RGB, divided by 255. The nodes in front of the graph undo exactly that.
"""

# ONNX is partly typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.training.detector.export import INPUT, OUTPUT, STRIDES
from common.vision.detections import CLASSES

IMAGES = "images"


def write_ultralytics_graph(source: Path, target: Path) -> None:
    """Write the float graph at ``source`` for ``ultralytics.YOLO``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph
    (frames,) = graph.input
    _, height, width, _ = (axis.dim_value for axis in frames.type.tensor_type.shape.dim)
    front = [
        helper.make_node("Mul", [IMAGES, "ultralytics/255"], ["ultralytics/scaled"]),
        helper.make_node("Round", ["ultralytics/scaled"], ["ultralytics/whole"]),
        helper.make_node("Gather", ["ultralytics/whole", "ultralytics/bgr"], ["ultralytics/planes"], axis=1),
        helper.make_node("Transpose", ["ultralytics/planes"], ["ultralytics/pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["ultralytics/pixels"], [INPUT], to=TensorProto.UINT8),
    ]
    nodes = [*front, *graph.node]
    boxes = [output for output in graph.output if output.name == OUTPUT]
    images = helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, [1, 3, height, width])
    for field in ("node", "input", "output"):
        graph.ClearField(field)
    graph.node.extend(nodes)
    graph.input.append(images)
    graph.output.extend(boxes)
    constants = {
        "ultralytics/255": np.array(255, np.float32),
        "ultralytics/bgr": np.array([2, 1, 0], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    metadata = {
        "task": "detect",
        "stride": str(STRIDES[-1]),
        "batch": "1",
        "imgsz": str([height, width]),
        "names": str(dict(enumerate(CLASSES))),
    }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString())
