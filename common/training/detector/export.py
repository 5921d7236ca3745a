"""Weights of an Ultralytics detector as an ONNX graph that takes frames as they come from a camera.

Input ``frames`` uint8 ``(1, height, width, 3)`` in BGR; the order of colours and the division by 255 are
folded into the first convolution. Output ``boxes`` float32 ``(1, 4 + classes, anchors)``: centre, width and
height in the input's pixels, then a score by class (head ``ultralytics`` of `common.vision.heads`).

The last convolutions of the class branch keep names by stride, `weights_name` and `bias_name`, in the float
graph and after quantization, so that `common.training.detector.last_layers` finds them. Needs the extra
``train-vision``.
"""

# PyTorch and Ultralytics are imported where they are installed, and are partly typed.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from common.errors import TrainingError
from common.vision.detections import CLASSES

INPUT, OUTPUT = "frames", "boxes"
OPSET = 17
STRIDES = (8, 16, 32)
SIZE_PX = 416
_CLASS_CONV = re.compile(r"(.*\.cv3\.(\d)\.2)\.(weight|bias)$")


def weights_name(stride: int) -> str:
    """Initializer of the class branch's last convolution at a stride, ``(classes, channels, 1, 1)``."""
    return f"class_weights_{stride}"


def bias_name(stride: int) -> str:
    """Initializer of its bias, ``(classes,)``."""
    return f"class_bias_{stride}"


def export_onnx(weights: Path, target: Path, *, size_px: int = SIZE_PX) -> None:
    """Write the graph of an Ultralytics checkpoint.

    Raises `TrainingError` for a checkpoint that is no detector of `CLASSES` at `STRIDES`, or without the
    extra.
    """
    try:
        import torch
        from ultralytics import YOLO
    except ImportError as error:
        raise TrainingError(
            f"{error}: export needs the extra: pip install 'edgeloop[train-vision]'"
        ) from None

    network: Any = YOLO(str(weights)).model
    names = tuple(network.names[index] for index in sorted(network.names))
    strides = tuple(int(stride) for stride in network.stride)
    if names != CLASSES or strides != STRIDES:
        raise TrainingError(
            f"{weights} detects {names} at strides {strides}; needed are {CLASSES}, {STRIDES}"
        )
    network = network.float().fuse(verbose=False).eval()
    network.requires_grad_(False)
    head = network.model[-1]
    head.export, head.format, head.dynamic = True, "onnx", False
    first = network.model[0].conv
    first.weight.data = first.weight.data[:, [2, 1, 0]] / 255

    class FromCamera(torch.nn.Module):
        """The network behind the layout of a camera's frames."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, frames: Any) -> Any:
            found = self.network(frames.permute(0, 3, 1, 2).float())
            return found[0] if isinstance(found, (tuple, list)) else found

    frames = torch.zeros((1, size_px, size_px, 3), dtype=torch.uint8)
    torch.onnx.export(
        FromCamera().eval(),
        (frames,),
        str(target),
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        dynamo=False,
    )
    _finish(target)


def _finish(path: Path) -> None:
    """Name the class branch's last convolutions by stride, drop torch's notes, check and write the graph."""
    import onnx

    model = onnx.load(path)
    renamed: dict[str, str] = {}
    for tensor in model.graph.initializer:
        found = _CLASS_CONV.match(tensor.name)
        if found:
            stride = STRIDES[int(found.group(2))]
            renamed[tensor.name] = weights_name(stride) if found.group(3) == "weight" else bias_name(stride)
    if len(renamed) != 2 * len(STRIDES):
        raise TrainingError(f"{path} has {len(renamed)} tensors of the class branch, not {2 * len(STRIDES)}")
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = renamed.get(name, name)
        node.ClearField("doc_string")
    model.producer_name, model.producer_version = "edgeloop", ""
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
