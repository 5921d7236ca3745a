"""Fine-tuning of the detector's class branch in NumPy: its last convolutions, on features of the ONNX graph.

The last 1 x 1 convolution of the class branch at each stride is a logistic regression on 64 features of each
anchor. Backbone, neck and box branch stay as they are, so the boxes of every image are known beforehand, and
with them the targets. What remains is convex: it is solved by Newton's method with a ridge towards the
parent's weights (iteratively reweighted least squares; Hastie, Tibshirani, Friedman 2009, 4.4.1), so equal
images give equal weights, without learning rate or random order.

Targets are those of the parent's training (task-aligned assignment, Feng et al., arXiv:2108.07755): of the
anchors whose centres lie in a true box, the ten of greatest ``score^0.5 * IoU^6``, with soft targets up to
the best IoU. Images of the base set, replayed beside the new ones, keep what the parent knows. A class is
changed only where the images have true boxes of it.
"""

# ONNX and ONNX Runtime are partly typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import TrainingError
from common.model.inference import open_session
from common.training.detector.evaluation import Truth
from common.training.detector.export import INPUT, OUTPUT, STRIDES, bias_name, weights_name
from common.vision.detections import CLASSES, intersection_over_union
from common.vision.preprocessing import ImageInput, Letterbox

Floats = NDArray[np.float32]
ASSIGNED_ANCHORS = 10
SCORE_POWER, IOU_POWER = 0.5, 6.0
MIN_TRUE_BOXES = 5
"""True boxes of a class from which it is fitted."""
EASY_SCORE, EASY_STEP = 0.005, 8
CHUNK_ROWS = 65_536
GREY_STEP_PX = 4
"""Pixels between two grey levels of which brightness and contrast are taken."""


@dataclass(frozen=True, slots=True)
class ClassBranch:
    """Last convolutions of the class branch by stride: ``(classes, channels)`` and ``(classes,)``."""

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """An image as the class branch sees it, by stride, and the number of its true boxes by class.

    Features ``(cells, channels)``, targets ``(cells, classes)`` and counts ``(cells,)`` of the cells: easy
    cells, of no box and no score above `EASY_SCORE`, are thinned to one of `EASY_STEP`, counted for all.
    ``pooled`` ``(features,)`` are those of `FeatureReader.pooled`.
    """

    features: tuple[Floats, ...]
    targets: tuple[Floats, ...]
    counts: tuple[Floats, ...]
    true_boxes: NDArray[np.intp]
    pooled: Floats


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings of `fit_class_branch`. ``ridge`` is the pull to the parent's weights, in squared loss for each
    true box; ``iterations`` bounds Newton's steps, which end once the loss falls by less than
    ``tolerance``."""

    ridge: float = 1e-3
    iterations: int = 12
    tolerance: float = 1e-4


def read_class_branch(path: Path) -> ClassBranch:
    """The class branch of an exported graph. Raises `TrainingError` for a graph without it."""
    found = _initializers(path)
    return ClassBranch(
        tuple(found[weights_name(stride)][:, :, 0, 0].astype(np.float32) for stride in STRIDES),
        tuple(found[bias_name(stride)].astype(np.float32) for stride in STRIDES),
    )


def write_class_branch(source: Path, branch: ClassBranch, target: Path) -> None:
    """Write the graph at ``source`` with ``branch`` in it to ``target``; they may be one file.

    Raises `TrainingError` for a graph without a class branch of this shape.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    wanted: dict[str, Floats] = {}
    for stride, weights, bias in zip(STRIDES, branch.weights, branch.biases, strict=True):
        wanted[weights_name(stride)] = weights[:, :, None, None]
        wanted[bias_name(stride)] = bias
    for tensor in model.graph.initializer:
        if tensor.name not in wanted:
            continue
        value = wanted.pop(tensor.name)
        if list(tensor.dims) != list(value.shape):
            raise TrainingError(
                f"{source}: {tensor.name} has shape {list(tensor.dims)}, not {list(value.shape)}"
            )
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    if wanted:
        raise TrainingError(f"{source} has no {', '.join(sorted(wanted))}: it is not an exported detector")
    target.write_bytes(model.SerializeToString(deterministic=True))


def feature_names(model: Any) -> list[str]:
    """Names of the class branch's feature maps by stride in a loaded graph. Raises `TrainingError`."""
    inputs = {node.input[1]: node.input[0] for node in model.graph.node if node.op_type == "Conv"}
    lacking = [weights_name(stride) for stride in STRIDES if weights_name(stride) not in inputs]
    if lacking:
        raise TrainingError(f"no convolution has {', '.join(lacking)}: this is not an exported detector")
    return [inputs[weights_name(stride)] for stride in STRIDES]


class FeatureReader:
    """Runs an exported detector up to the features of its class branch."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Raises `TrainingError` for a graph without class branch."""
        import onnx

        model = onnx.load(path)
        branch = read_class_branch(path)
        self._names = feature_names(model)
        known = {value.name for value in model.graph.output}
        for name, weights in zip(self._names, branch.weights, strict=True):
            if name not in known:
                shape = [1, weights.shape[1], None, None]
                model.graph.output.append(
                    onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
                )
        shape: list[int | None] = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
        self._letterbox = Letterbox(ImageInput(), shape, "uint8")
        with tempfile.TemporaryDirectory() as folder:
            extended = Path(folder) / "features.onnx"
            extended.write_bytes(model.SerializeToString())
            self._session = open_session(extended, threads=threads)

    def pooled(self, frame_bgr: NDArray[np.uint8]) -> Floats:
        """Means over the feature maps of a frame, its brightness and its contrast: ``(features,)``."""
        tensor, _ = self._letterbox.write(frame_bgr)
        maps = self._session.run(self._names, {INPUT: tensor})
        return _pooled(maps, tensor)

    def example(self, frame_bgr: NDArray[np.uint8], truth: Truth) -> Example:
        """Features and targets of a frame with its true boxes in the frame's pixels."""
        tensor, placement = self._letterbox.write(frame_bgr)
        boxes, *maps = self._session.run([OUTPUT, *self._names], {INPUT: tensor})
        sides = [values.shape[2:] for values in maps]
        placed = Truth(placement.to_input(truth.boxes_xyxy_px), truth.classes)
        targets = assign_targets(boxes[0], anchor_centres(sides), placed)
        easy = (boxes[0, 4:].max(axis=0) < EASY_SCORE) & ~targets.any(axis=1)
        kept = ~easy
        kept[np.flatnonzero(easy)[::EASY_STEP]] = True
        ends = np.cumsum([rows * columns for rows, columns in sides])[:-1]
        by_stride = np.split(kept, ends)
        features = [values[0].reshape(values.shape[1], -1).T for values in maps]
        counts = np.where(easy, EASY_STEP, 1).astype(np.float32)

        def chosen(columns: Sequence[NDArray[Any]]) -> tuple[Floats, ...]:
            return tuple(rows[mask].astype(np.float32) for rows, mask in zip(columns, by_stride, strict=True))

        return Example(
            chosen(features),
            chosen(np.split(targets, ends)),
            chosen(np.split(counts, ends)),
            np.bincount(truth.classes, minlength=len(CLASSES)),
            _pooled(maps, tensor),
        )


def anchor_centres(sides: Sequence[Sequence[int]]) -> Floats:
    """Centres ``(anchors, 2)`` in pixels of the cells of maps with ``(rows, columns)`` at `STRIDES`."""
    found: list[Floats] = []
    for (rows, columns), stride in zip(sides, STRIDES, strict=True):
        y, x = np.mgrid[0:rows, 0:columns]
        found.append(((np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * stride).astype(np.float32))
    return np.concatenate(found)


def assign_targets(output: NDArray[Any], centres_xy: Floats, truth: Truth) -> Floats:
    """Soft targets ``(anchors, classes)`` for a head's output ``(4 + classes, anchors)``.

    An anchor that several true boxes claim goes to the one of greatest IoU.
    """
    targets = np.zeros((output.shape[1], len(output) - 4), np.float32)
    if not len(truth.classes):
        return targets
    half = output[2:4].T / 2
    boxes = np.concatenate([output[:2].T - half, output[:2].T + half], axis=1)
    overlap = intersection_over_union(truth.boxes_xyxy_px, boxes)
    corners = truth.boxes_xyxy_px[:, None]
    inside = np.all((centres_xy > corners[..., :2]) & (centres_xy < corners[..., 2:]), axis=2)
    score = output[4 + truth.classes.astype(np.intp)]
    metric = np.where(inside, score**SCORE_POWER * overlap**IOU_POWER, 0.0)
    least = np.sort(metric, axis=1)[:, -min(ASSIGNED_ANCHORS, metric.shape[1]), None]
    claimed = (metric >= least) & (metric > 0)
    owner = np.where(claimed, overlap, -1.0).argmax(axis=0)
    mine = claimed & (owner == np.arange(len(overlap))[:, None])
    for row, each in enumerate(truth.classes):
        anchors = np.flatnonzero(mine[row])
        if len(anchors):
            share = metric[row, anchors] / metric[row, anchors].max()
            targets[anchors, each] = share * overlap[row, anchors].max()
    return targets


def fit_class_branch(
    examples: Sequence[Example],
    parent: ClassBranch,
    settings: Fit = Fit(),
    *,
    progress: Callable[[float, str], None] = lambda _fraction, _message: None,
) -> ClassBranch:
    """The parent's class branch fitted to ``examples``.

    Raises `TrainingError` without any class of at least `MIN_TRUE_BOXES` true boxes.
    """
    true_boxes = np.sum([example.true_boxes for example in examples], axis=0, initial=0)
    fitted = np.flatnonzero(np.atleast_1d(true_boxes) >= MIN_TRUE_BOXES)
    if not len(fitted):
        raise TrainingError(f"the images have fewer than {MIN_TRUE_BOXES} true boxes of every class")
    results: list[tuple[Floats, Floats]] = []
    for at in range(len(STRIDES)):
        rows = np.concatenate([example.features[at] for example in examples])
        targets = np.concatenate([example.targets[at] for example in examples])
        each = np.concatenate([example.counts[at] for example in examples]).astype(np.float64)
        new_weights, new_bias = parent.weights[at].copy(), parent.biases[at].copy()
        for place, column in enumerate(fitted):
            start = np.append(parent.weights[at][column], parent.biases[at][column]).astype(np.float64)
            found = _fit_logistic(rows, targets[:, column], each, start, settings)
            new_weights[column], new_bias[column] = found[:-1], found[-1]
            progress(
                (at + (place + 1) / len(fitted)) / len(STRIDES), f"{CLASSES[column]} at stride {STRIDES[at]}"
            )
        results.append((new_weights, new_bias))
    return ClassBranch(tuple(each[0] for each in results), tuple(each[1] for each in results))


def read_examples(reader: FeatureReader, images: Iterable[tuple[NDArray[np.uint8], Truth]]) -> list[Example]:
    """Examples of ``images`` (frame, truth)."""
    return [reader.example(frame, truth) for frame, truth in images]


def brightness_and_contrast(tensor: NDArray[np.uint8]) -> Floats:
    """``(2,)``: logarithms of the mean and the standard deviation of the grey levels in the middle of an
    input ``(1, side, side, 3)``, a quarter of it, where a letterbox puts no border."""
    middle = slice(tensor.shape[1] // 4, tensor.shape[1] - tensor.shape[1] // 4, GREY_STEP_PX)
    grey = tensor[0, middle, middle].astype(np.float32).mean(axis=2)
    return np.log(1 + np.array([grey.mean(), grey.std()], np.float32))


def _pooled(maps: Sequence[NDArray[Any]], tensor: NDArray[np.uint8]) -> Floats:
    means = [values[0].mean(axis=(1, 2)) for values in maps]
    return np.concatenate([*means, brightness_and_contrast(tensor)])


def _fit_logistic(
    rows: Floats, targets: Floats, counts: NDArray[np.float64], start: NDArray[np.float64], settings: Fit
) -> NDArray[np.float64]:
    """Weights and bias ``(channels + 1,)`` of least loss, by damped Newton steps from ``start``."""
    total = max(float(counts @ targets), 1.0)
    scale = np.append(np.sqrt(np.mean(np.square(rows), axis=0)) + 1e-6, 1.0)
    ridge = settings.ridge * np.square(scale)

    def loss(solution: NDArray[np.float64]) -> float:
        logits = rows @ solution[:-1].astype(np.float32) + np.float32(solution[-1])
        each = np.logaddexp(0, logits) - targets * logits
        return float(counts @ each) / total + 0.5 * float(ridge @ np.square(solution - start))

    solution, best = start, loss(start)
    for _ in range(settings.iterations):
        gradient, hessian = _derivatives(rows, targets, counts, solution)
        gradient = gradient / total + ridge * (solution - start)
        step = np.linalg.solve(hessian / total + np.diag(ridge), gradient)
        for damping in (1.0, 0.5, 0.25, 0.1, 0.01):
            value = loss(solution - damping * step)
            if value < best:
                break
        else:
            break
        gain, best, solution = best - value, value, solution - damping * step
        if gain < settings.tolerance * best:
            break
    return solution


def _derivatives(
    rows: Floats, targets: Floats, counts: NDArray[np.float64], solution: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    width = rows.shape[1] + 1
    gradient, hessian = np.zeros(width), np.zeros((width, width))
    for begin in range(0, len(rows), CHUNK_ROWS):
        part = slice(begin, begin + CHUNK_ROWS)
        inner = np.append(rows[part], np.ones((len(rows[part]), 1), np.float32), axis=1)
        likely = 1 / (1 + np.exp(-np.clip(inner @ solution.astype(np.float32), -30, 30)))
        gradient += inner.T @ ((likely - targets[part]) * counts[part])
        hessian += (inner * (likely * (1 - likely) * counts[part])[:, None].astype(np.float32)).T @ inner
    return gradient, hessian


def _initializers(path: Path) -> dict[str, NDArray[Any]]:
    from common.training.graph import read_constants

    found = read_constants(path)
    lacking = [name for s in STRIDES for name in (weights_name(s), bias_name(s)) if name not in found]
    if lacking:
        raise TrainingError(f"{path} has no {', '.join(lacking)}: it is not an exported detector")
    return found
