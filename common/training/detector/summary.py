"""Summary outputs of a detector's graph, for golden cases, the trial of a new model, and drift.

``strongest``  (1, classes): greatest score of each class over all anchors
``novelty``    (1,): distance of the picture from those of training; 1 at the quantile of `RATE`

The distance has two parts, each Mahalanobis' (Lee et al., arXiv:1807.03888, without classes) and 1 at that
quantile: of the means over the class branch's feature maps, in their leading principal components, and of
brightness and contrast, which fog and darkness change most while the features are much alike. The class
branch itself changes neither, so a fine-tuned one keeps its parent's drift output.
"""

# ONNX is partly typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import TrainingError
from common.training.detector.export import INPUT, OUTPUT
from common.training.detector.last_layers import GREY_STEP_PX, feature_names
from common.vision.detections import CLASSES

STRONGEST, NOVELTY = "strongest", "novelty"
PREFIX = "summary/"
"""Beginning of the names of the nodes that are added here."""
COMPONENTS = 24
MIN_DEVIATION = 1e-3
"""Components of less deviation than this share of the greatest are noise of the arithmetic."""
RATE = 0.01
"""Share of training pictures beyond a novelty of 1."""
MIN_PICTURES = 4 * COMPONENTS
PICTURE_FEATURES = 2


@dataclass(frozen=True, slots=True)
class Novelty:
    """Mean ``(features,)`` and projection ``(features, components)`` to coordinates of unit variance, divided
    by the quantiles of their distance. The last two features are brightness and contrast."""

    mean: NDArray[np.float32]
    projection: NDArray[np.float32]


def fit_novelty(pooled: NDArray[np.float32]) -> Novelty:
    """The novelty of pictures with features ``(pictures, features)`` of `FeatureReader.pooled`.

    Components are fitted on even rows, quantiles are taken on odd ones. Raises `TrainingError` for fewer
    than `MIN_PICTURES`.
    """
    if len(pooled) < MIN_PICTURES:
        raise TrainingError(f"novelty needs at least {MIN_PICTURES} pictures, not {len(pooled)}")
    values = pooled.astype(np.float64)
    mean = values[::2].mean(axis=0)
    fitted, others = values[::2] - mean, values[1::2] - mean
    parts: list[NDArray[np.float64]] = []
    for columns in (slice(None, -PICTURE_FEATURES), slice(-PICTURE_FEATURES, None)):
        whitening = _whitening(fitted[:, columns])
        part = np.zeros((values.shape[1], whitening.shape[1]))
        part[columns] = whitening
        parts.append(part / _quantile(others @ part))
    projection = np.concatenate(parts, axis=1)
    projection /= _quantile(others @ projection)
    return Novelty(mean.astype(np.float32), projection.astype(np.float32))


def _whitening(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Projection ``(features, components)`` to the leading components with unit variance."""
    _, spreads, components = np.linalg.svd(centred, full_matrices=False)
    deviations = spreads[:COMPONENTS] / np.sqrt(len(centred) - 1)
    kept = deviations > MIN_DEVIATION * deviations[0]
    return components[:COMPONENTS][kept].T / deviations[kept]


def _quantile(placed: NDArray[np.float64]) -> float:
    return float(np.quantile(np.linalg.norm(placed, axis=1), 1 - RATE))


def novelty_of(novelty: Novelty, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
    """Novelty ``(pictures,)`` of features ``(pictures, features)``, as the graph computes it."""
    return np.sqrt(np.sum(((pooled - novelty.mean) @ novelty.projection) ** 2, axis=1))


def write_novelty(path: Path, novelty: Novelty) -> None:
    """Replace the novelty of a graph with summary outputs. Raises `TrainingError` for one without them."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    wanted = {PREFIX + "pooled_mean": novelty.mean, PREFIX + "projection": novelty.projection}
    for tensor in model.graph.initializer:
        if tensor.name in wanted:
            value = np.ascontiguousarray(wanted.pop(tensor.name))
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    if wanted:
        raise TrainingError(f"{path} has no {', '.join(sorted(wanted))}: it has no summary outputs")
    path.write_bytes(model.SerializeToString(deterministic=True))


def add_summary(source: Path, target: Path, novelty: Novelty) -> None:
    """Write the exported graph at ``source`` with the summary outputs to ``target``.

    Raises `TrainingError` for a graph without class branch.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    graph = model.graph

    def constant(name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), PREFIX + name))
        return PREFIX + name

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        name = output if output in (STRONGEST, NOVELTY) else PREFIX + output
        graph.node.append(helper.make_node(operator, inputs, [name], name=PREFIX + output, **attributes))
        return name

    begin, end = constant("first", np.array([4])), constant("last", np.array([4 + len(CLASSES)]))
    scores = node("Slice", [OUTPUT, begin, end, constant("axis", np.array([1]))], "scores")
    node("ReduceMax", [scores], STRONGEST, axes=[2], keepdims=0)
    means = [
        node("ReduceMean", [name], f"mean_{index}", axes=[2, 3], keepdims=0)
        for index, name in enumerate(feature_names(model))
    ]
    picture = _picture_nodes(node, constant, graph.input[0].type.tensor_type.shape.dim[1].dim_value)
    pooled = node("Concat", [*means, picture], "pooled", axis=1)
    centred = node("Sub", [pooled, constant("pooled_mean", novelty.mean)], "centred")
    placed = node("MatMul", [centred, constant("projection", novelty.projection)], "placed")
    node("ReduceL2", [placed], NOVELTY, axes=[1], keepdims=0)
    graph.output.extend(
        [
            helper.make_tensor_value_info(STRONGEST, TensorProto.FLOAT, [1, len(CLASSES)]),
            helper.make_tensor_value_info(NOVELTY, TensorProto.FLOAT, [1]),
        ]
    )
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _picture_nodes(node: Callable[..., str], constant: Callable[..., str], side_px: int) -> str:
    """Brightness and contrast ``(1, 2)``, as `last_layers.brightness_and_contrast` computes them."""
    from onnx import TensorProto

    begin, end = side_px // 4, side_px - side_px // 4
    places = constant("begin", np.array([begin] * 2)), constant("end", np.array([end] * 2))
    axes, steps = constant("sides", np.array([1, 2])), constant("steps", np.array([GREY_STEP_PX] * 2))
    middle = node("Slice", [INPUT, *places, axes, steps], "middle")
    pixels = node("Cast", [middle], "pixels", to=TensorProto.FLOAT)
    grey = node("ReduceMean", [pixels], "grey", axes=[3], keepdims=0)
    brightness = node("ReduceMean", [grey], "brightness", axes=[1, 2], keepdims=1)
    deviations = node("Sub", [grey, brightness], "deviations")
    squares = node("Mul", [deviations, deviations], "squares")
    variance = node("ReduceMean", [squares], "variance", axes=[1, 2], keepdims=1)
    contrast = node("Sqrt", [variance], "contrast")
    levels = node("Concat", [brightness, contrast], "levels", axis=2)
    raised = node("Add", [levels, constant("one", np.ones(1, np.float32))], "raised")
    return node("Squeeze", [node("Log", [raised], "logarithms"), constant("flat", np.array([1]))], "picture")
