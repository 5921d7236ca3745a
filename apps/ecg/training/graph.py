"""The model as one ONNX graph with two heads, and its corrections from field labels.

::

    beats (n, FEATURES) ──> trees + correction ──> beat_p (n, 5); novelty (n,)
    rhythm (m, RHYTHM_FEATURES) ──> trees + correction ──> rhythm_p (m,), probability of AF

A correction is linear in the standardized features, zero in a first model. Training on few samples moves
the corrections only (`read_corrections`, `with_corrections`), so the trees, trained on a data set that may be
absent, stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import FEATURES, KINDS
from apps.ecg.edge.rhythm import RHYTHM_FEATURES
from apps.ecg.training.boosting import Trees
from common.errors import TrainingError
from common.training.graph import GraphBuilder, read_constants

Floats = NDArray[np.float32]

MAX_SPREADS = 4.0
"""Standardized features are bounded by this."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Standardization: ``clip((features - center) / spread, -MAX_SPREADS, MAX_SPREADS)``."""

    center: Floats
    spread: Floats

    def apply(self, rows: NDArray[Any]) -> Floats:
        return np.clip((rows - self.center) / self.spread, -MAX_SPREADS, MAX_SPREADS).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Correction:
    """``scaled @ weights + bias`` is added to the scores; ``(features, targets)``, ``(targets,)``."""

    weights: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Corrections:
    """The corrections of both heads, with the standardizations that they are made for."""

    beat_scale: Scale
    beat: Correction
    rhythm_scale: Scale
    rhythm: Correction


@dataclass(frozen=True, slots=True)
class Novelty:
    """``novelty = sum((scaled @ axes + shift) ** 2)``; axes ``(FEATURES, k)``."""

    axes: Floats
    shift: Floats


class _Drawing(GraphBuilder):
    """A graph with trees and heads."""

    def trees(self, rows: str, trees: Trees, output: str) -> str:
        leaf = trees.feature < 0
        return self.node(
            "TreeEnsembleRegressor",
            [rows],
            output,
            domain="ai.onnx.ml",
            n_targets=trees.targets,
            nodes_treeids=trees.tree.tolist(),
            nodes_nodeids=trees.node.tolist(),
            nodes_featureids=np.maximum(trees.feature, 0).tolist(),
            nodes_values=trees.threshold.tolist(),
            nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
            nodes_truenodeids=trees.yes.tolist(),
            nodes_falsenodeids=trees.no.tolist(),
            target_treeids=trees.tree[leaf].tolist(),
            target_nodeids=trees.node[leaf].tolist(),
            target_ids=trees.target[leaf].tolist(),
            target_weights=trees.value[leaf].tolist(),
        )

    def head(self, name: str, trees: Trees, scale: Scale, correction: Correction) -> tuple[str, str]:
        """Names of the standardized rows and of the scores."""
        centred = self.node("Sub", [name, self.constant(f"{name}_center", scale.center)], f"{name}_centred")
        divided = self.node(
            "Div", [centred, self.constant(f"{name}_spread", scale.spread)], f"{name}_divided"
        )
        scaled = self.node("Clip", [divided, "least", "most"], f"{name}_scaled")
        weights = self.constant(f"{name}_correction", correction.weights)
        bias = self.constant(f"{name}_correction_bias", correction.bias)
        moved = self.node("Gemm", [scaled, weights, bias], f"{name}_moved")
        grown = self.trees(name, trees, f"{name}_grown")
        return scaled, self.node("Add", [grown, moved], f"{name}_scores")


def write_graph(path: Path, beat: Trees, rhythm: Trees, corrections: Corrections, novelty: Novelty) -> None:
    """Write the model to ``path``."""
    draw = _Drawing()
    draw.constant("least", np.float32(-MAX_SPREADS))
    draw.constant("most", np.float32(MAX_SPREADS))
    draw.constant("second_axis", np.array([1], np.int64))
    scaled, scored = draw.head("beats", beat, corrections.beat_scale, corrections.beat)
    draw.node("Softmax", [scored], "beat_p", axis=1)
    axes = [draw.constant("novelty_axes", novelty.axes), draw.constant("novelty_shift", novelty.shift)]
    off = draw.node("Gemm", [scaled, *axes], "off_known")
    draw.node("ReduceSumSquare", [off], "novelty", axes=[1], keepdims=0)
    _, scored = draw.head("rhythm", rhythm, corrections.rhythm_scale, corrections.rhythm)
    column = draw.node("Sigmoid", [scored], "rhythm_column")
    draw.node("Squeeze", [column, "second_axis"], "rhythm_p")
    draw.write(
        path,
        "ecg_beats_and_rhythm",
        {"beats": ["n", FEATURES], "rhythm": ["m", RHYTHM_FEATURES]},
        {"beat_p": ["n", len(KINDS)], "rhythm_p": ["m"], "novelty": ["n"]},
    )


def read_corrections(path: Path) -> Corrections:
    """The corrections in a graph by `write_graph`. Raises `TrainingError` if it is another kind of graph."""
    found = read_constants(path)
    try:
        heads = [
            (
                Scale(found[f"{name}_center"], found[f"{name}_spread"]),
                Correction(found[f"{name}_correction"], found[f"{name}_correction_bias"]),
            )
            for name in ("beats", "rhythm")
        ]
    except KeyError as error:
        raise TrainingError(f"{path} has no {error}: it is no graph with corrections") from error
    sizes = tuple(scale.center.shape for scale, _ in heads)
    if sizes != ((FEATURES,), (RHYTHM_FEATURES,)):
        raise TrainingError(f"{path} is made for {sizes} features, not {FEATURES} and {RHYTHM_FEATURES}")
    return Corrections(*heads[0], *heads[1])


def with_corrections(source: Path, target: Path, beat: Correction, rhythm: Correction) -> None:
    """Write the graph ``source`` with other corrections to ``target``."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    changed = {"beats": beat, "rhythm": rhythm}
    values = {f"{name}_correction": head.weights for name, head in changed.items()}
    values |= {f"{name}_correction_bias": head.bias for name, head in changed.items()}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name].astype(np.float32), tensor.name))
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))
