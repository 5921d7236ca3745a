"""The model as one ONNX graph, and back: standardization, ensemble, interval and novelty.

::

    features (rows, FEATURES) ──> rul, lower, upper (cycles), novelty; each (rows,)

The weights are initializers named by `_weight` and `_bias`, so that a training job can read an ensemble
out of its parent's graph and go on from there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import RUL_CAP_CYCLES
from apps.industrial.edge.features import DELAY, FEATURES, LATE_CYCLES, SEEN
from apps.industrial.training.calibration import KNOTS, LEVEL, SETTLED_CYCLES, Interval, Novelty
from apps.industrial.training.regression import Ensemble, Network
from common.errors import TrainingError
from common.training.graph import GraphBuilder, read_constants

OUTPUTS = ("rul", "lower", "upper", "novelty")


def _weight(member: int, layer: int) -> str:
    return f"member{member}.weight{layer}"


def _bias(member: int, layer: int) -> str:
    return f"member{member}.bias{layer}"


def write_graph(path: Path, ensemble: Ensemble, interval: Interval, late: Interval, novelty: Novelty) -> None:
    """Write the model to ``path``; ``late`` is the interval for histories that began late."""
    draw = GraphBuilder()
    _draw_rul(draw, ensemble)
    delay = draw.node(
        "Gather", ["features", draw.constant("delay_column", np.array([DELAY]))], "delay", axis=1
    )
    limit = draw.constant("late_delay", np.array(LATE_CYCLES / 100, np.float32))
    draw.node("Greater", [delay, limit], "began_late")
    _draw_bound(draw, "lower", interval.low, late.low)
    _draw_bound(draw, "upper", interval.high, late.high)
    _draw_novelty(draw, novelty)
    draw.write(path, "turbofan_rul", {"features": ["rows", FEATURES]}, {name: ["rows"] for name in OUTPUTS})


def _draw_rul(draw: GraphBuilder, ensemble: Ensemble) -> None:
    float32 = np.float32
    draw.constant("center", ensemble.center.astype(float32))
    draw.constant("spread", ensemble.spread.astype(float32))
    inputs = draw.node("Div", [draw.node("Sub", ["features", "center"], "centered"), "spread"], "inputs")
    votes: list[str] = []
    for number, member in enumerate(ensemble.members):
        value = inputs
        for layer, (weight, bias) in enumerate(zip(member.weights, member.biases, strict=True)):
            names = [draw.constant(_weight(number, layer), weight), draw.constant(_bias(number, layer), bias)]
            value = draw.node("Gemm", [value, *names], f"member{number}.layer{layer}")
            if layer < len(member.weights) - 1:
                value = draw.node("Relu", [value], f"{value}.relu")
        votes.append(value)
    draw.constant("rul_cap", np.array(RUL_CAP_CYCLES, float32))
    draw.constant("zero", np.array(0.0, float32))
    draw.constant("columns", np.array([1], np.int64))
    mean = draw.node("Mean", votes, "mean_vote") if len(votes) > 1 else votes[0]
    scaled = draw.node("Mul", [mean, "rul_cap"], "unclipped")
    column = draw.node("Clip", [scaled, "zero", "rul_cap"], "rul_column")
    draw.node("Squeeze", [column, "columns"], "rul")


def _draw_bound(
    draw: GraphBuilder, name: str, offsets: NDArray[np.float64], late: NDArray[np.float64]
) -> None:
    """``name = clip(rul + f(rul))``; ``f`` is one for whole histories and one for those that began late."""
    shifts = [
        _draw_piecewise(draw, f"{name}_late", late),
        _draw_piecewise(draw, f"{name}_whole", offsets),
    ]
    shift = draw.node("Where", ["began_late", *shifts], f"{name}_offset")
    moved = draw.node("Add", ["rul_column", shift], f"{name}_unclipped")
    clipped = draw.node("Clip", [moved, "zero", "rul_cap"], f"{name}_column")
    draw.node("Squeeze", [clipped, "columns"], name)


def _draw_piecewise(draw: GraphBuilder, name: str, offsets: NDArray[np.float64]) -> str:
    """A function of the RUL that is linear between `KNOTS`: a sum of ramps that begin there."""
    slopes = np.diff(offsets) / np.diff(KNOTS)
    changes = np.diff(slopes, prepend=0.0).astype(np.float32)
    begins = draw.constant(f"{name}_knots", KNOTS[:-1].astype(np.float32)[np.newaxis])
    ramps = draw.node("Relu", [draw.node("Sub", ["rul_column", begins], f"{name}_past")], f"{name}_ramps")
    weights = draw.constant(f"{name}_slopes", changes[:, np.newaxis])
    first = draw.constant(f"{name}_first", np.array([offsets[0]], np.float32))
    return draw.node("Gemm", [ramps, weights, first], f"{name}_offset")


def _draw_novelty(draw: GraphBuilder, novelty: Novelty) -> None:
    where = np.arange(LEVEL.start, LEVEL.stop, dtype=np.int64)
    level = draw.node("Gather", ["features", draw.constant("level_columns", where)], "level", axis=1)
    axes = draw.constant("novelty_axes", novelty.axes.astype(np.float32))
    shift = draw.constant("novelty_shift", (-novelty.center @ novelty.axes).astype(np.float32))
    off = draw.node("Gemm", [level, axes, shift], "off_known")
    squared = draw.node("ReduceSumSquare", [off], "off_distance", axes=[1], keepdims=1)
    seen = draw.node("Gather", ["features", draw.constant("seen_column", np.array([SEEN]))], "seen", axis=1)
    pace = draw.constant("settling_pace", np.array(100 / SETTLED_CYCLES, np.float32))
    one = draw.constant("one", np.array(1.0, np.float32))
    settled = draw.node("Min", [draw.node("Mul", [seen, pace], "settling"), one], "settled")
    column = draw.node("Mul", [squared, settled], "novelty_column")
    draw.node("Squeeze", [column, "columns"], "novelty")


def read_ensemble(path: Path) -> Ensemble:
    """The ensemble in a graph by `write_graph`. Raises `TrainingError` if it is another kind of graph."""
    found = read_constants(path)
    members: list[Network] = []
    while _weight(len(members), 0) in found:
        number, depth = len(members), 0
        while _weight(number, depth) in found:
            depth += 1
        members.append(
            Network(
                tuple(found[_weight(number, layer)] for layer in range(depth)),
                tuple(found[_bias(number, layer)] for layer in range(depth)),
            )
        )
    if not members or found.get("center", np.empty(0)).shape != (FEATURES,):
        raise TrainingError(f"{path} holds no ensemble for these {FEATURES} features")
    return Ensemble(found["center"], found["spread"], tuple(members))
