"""INT8 by NNCF with an accuracy gate: of several mixed precisions, the fastest that loses little enough.

The graph is quantized after training (Jacob et al., arXiv:1712.05877) into QDQ nodes, which ONNX Runtime and
OpenVINO both read. The last convolutions of the head and what decodes boxes stay in float in every `Level`,
so that `common.training.detector.last_layers` writes the same class branch into both graphs. Needs the extra
``train-vision``.
"""

# NNCF is imported where it is installed; it and ONNX are partly typed.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import TrainingError
from common.training.detector.export import INPUT
from common.training.detector.summary import PREFIX
from common.vision.preprocessing import ImageInput, Letterbox

MAX_LOSS = 0.005
"""Most AP50-95 that INT8 may lose on any set: half a point."""
HEAD = r".*/model\.23/"


@dataclass(frozen=True, slots=True)
class Level:
    """A mixed precision: nodes whose names match one of the patterns stay in float."""

    name: str
    float_nodes: tuple[str, ...]


_DECODING = (
    rf"{HEAD}(?!cv[23]\.).*",
    rf"{HEAD}cv[23]\.\d/cv[23]\.\d\.2/Conv",
    rf"{PREFIX}.*",
)
LEVELS = (
    Level("body and head", _DECODING),
    Level("without attention", (*_DECODING, r".*/model\.10/.*")),
    Level("without attention and head", (*_DECODING, r".*/model\.10/.*", rf"{HEAD}.*")),
    Level(
        "without attention, head and the first layers",
        (*_DECODING, r".*/model\.10/.*", rf"{HEAD}.*", r".*/model\.[0-2]/.*"),
    ),
)
"""From the fastest to the most accurate."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """The level that passed, and what each level that was tried lost by set."""

    level: str
    losses: tuple[tuple[str, Mapping[str, float]], ...]


def quantize(
    source: Path,
    target: Path,
    frames: Iterable[NDArray[np.uint8]],
    accuracy: Callable[[Path], Mapping[str, float]],
    *,
    levels: Sequence[Level] = LEVELS,
    max_loss: float = MAX_LOSS,
    progress: Callable[[float, str], None] = lambda _fraction, _message: None,
) -> Quantized:
    """Write the first of ``levels`` that loses at most ``max_loss`` of the ``accuracy`` of ``source`` on each
    of its sets.

    ``frames`` calibrate the ranges. Raises `TrainingError` where no level passes, with what each lost, and
    without the extra.
    """
    calibration = _inputs(source, frames)
    reference = accuracy(source)
    losses: list[tuple[str, Mapping[str, float]]] = []
    for index, level in enumerate(levels):
        progress(index / len(levels), f"INT8 {level.name}")
        _quantize_once(source, target, calibration, level)
        found = accuracy(target)
        losses.append((level.name, {name: value - found[name] for name, value in reference.items()}))
        if max(losses[-1][1].values()) <= max_loss:
            return Quantized(level.name, tuple(losses))
    target.unlink()
    tried = "; ".join(
        f"{level}: " + ", ".join(f"{loss:.4f} on {name}" for name, loss in by_set.items())
        for level, by_set in losses
    )
    raise TrainingError(f"INT8 loses more than {max_loss:g} of AP50-95 at every level ({tried})")


def _inputs(source: Path, frames: Iterable[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    import onnx

    shape: list[int | None] = [
        axis.dim_value for axis in onnx.load(source).graph.input[0].type.tensor_type.shape.dim
    ]
    letterbox = Letterbox(ImageInput(), shape, "uint8")
    return [letterbox.write(frame)[0].copy() for frame in frames]


def _quantize_once(source: Path, target: Path, frames: Sequence[NDArray[np.uint8]], level: Level) -> None:
    import onnx

    with redirect_stdout(sys.stderr):  # NNCF's log and progress; results are on stdout.
        try:
            import nncf
        except ImportError as error:
            raise TrainingError(
                f"{error}: quantization needs the extra: pip install 'edgeloop[train-vision]'"
            ) from None
        quantized = nncf.quantize(
            onnx.load(source),
            nncf.Dataset([{INPUT: frame} for frame in frames]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(frames),
            ignored_scope=nncf.IgnoredScope(patterns=list(level.float_nodes), validate=False),
        )
    make_activations_unsigned(quantized)
    target.write_bytes(quantized.SerializeToString(deterministic=True))


def make_activations_unsigned(model: Any) -> None:
    """Shift the INT8 activations of a QDQ graph by 128 to UINT8, with their zero points: the same function.

    OpenVINO (2026.4) computes convolutions of UINT8 activations in integers, those of INT8 ones with a zero
    point in float.
    """
    import onnx
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    quantized = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    zero_points = {
        node.input[2]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
        or (node.op_type == "DequantizeLinear" and node.input[0] in quantized)
    }
    for name in sorted(zero_points):
        if tensors[name].data_type == onnx.TensorProto.INT8:
            shifted = numpy_helper.to_array(tensors[name]).astype(np.int16) + 128
            tensors[name].CopyFrom(numpy_helper.from_array(shifted.astype(np.uint8), name))
    del model.graph.value_info[:]  # It names the types from before.
    onnx.checker.check_model(model, full_check=True)
