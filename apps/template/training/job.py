"""Training of the template app: a logistic regression as one ONNX graph, and how it is judged.

::

    values (rows, channels) ──> risk (rows,), in [0, 1]; novelty (rows,), above 1 for 1 % of known rows
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.template.domain import CHANNELS
from apps.template.training.dataset import Rows, field_rows, joined, virtual_rows
from common.app.training import Figure, GateRule, LabelledSample, Metrics, TrainContext
from common.bundle import (
    Bundle,
    DriftSpec,
    Limits,
    Manifest,
    TensorSpec,
    seal,
    write_golden,
)
from common.model.inference import load_model
from common.model.profile import find_profile
from common.training.graph import GraphBuilder
from common.training.lineage import lineage_of

Floats = NDArray[np.float64]
gate = GateRule("accuracy", higher_is_better=True, min_gain=0.02, slice_tolerance=0.05)
TRAINING_SEED, EVALUATION_SEED = 1_000, 2_000
RIDGE = 1e-3
NOVEL_RATE = 0.01
NOVELTY_BOUND = 1e6


def train(context: TrainContext) -> Bundle:
    """Make a bundle in ``context.output`` from virtual machines and the labelled windows of the field."""
    known, field = virtual_rows(TRAINING_SEED + context.seed), field_rows(context.samples)
    context.progress(0.1, f"{len(known.values)} virtual rows, {len(field)} windows from the field")
    rows = joined([known, *field])
    weights = np.ones(len(rows.values))
    if field:  # The field counts as much as the virtual machines.
        weights[len(known.values) :] = len(known.values) / (len(rows.values) - len(known.values))
    center, spread = rows.values.mean(axis=0), rows.values.std(axis=0)
    scaled = (rows.values - center) / spread
    coefficients = _fit(np.column_stack([scaled, np.ones(len(scaled))]), rows.faulty, weights)
    limits = np.quantile(abs(scaled), 1 - NOVEL_RATE, axis=0)
    limits = limits * np.quantile((abs(scaled) / limits).max(axis=1), 1 - NOVEL_RATE)
    context.progress(0.8, "writing the bundle")

    graph = GraphBuilder()
    centred = graph.node("Sub", ["values", graph.constant("center", np.float32(center))], "centred")
    inputs = graph.node("Div", [centred, graph.constant("spread", np.float32(spread))], "scaled")
    weight = graph.constant("weight", np.float32(coefficients[:-1, np.newaxis]))
    bias = graph.constant("bias", np.float32(coefficients[-1:]))
    score = graph.node("Gemm", [inputs, weight, bias], "score")
    column = graph.node("Sigmoid", [score], "risk_column")
    graph.node("Squeeze", [column, graph.constant("columns", np.array([1]))], "risk")
    away = graph.node(
        "Div", [graph.node("Abs", [inputs], "size"), graph.constant("known", np.float32(limits))], "away"
    )
    graph.node("ReduceMax", [away], "novelty", axes=[1], keepdims=0)
    shapes = {"risk": ["rows"], "novelty": ["rows"]}
    graph.write(context.output / "model.onnx", "risk", {"values": ["rows", len(CHANNELS)]}, shapes)
    return _write(context, known, field)


def evaluate(bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:  # noqa: ARG001
    """Accuracy at a risk of 0.5, on virtual machines and on the held-out windows of the field.

    ``accuracy`` is the mean over these slices; ``accuracy_of_prior`` that of the more frequent answer.
    """
    windows = field_rows(samples)
    parts = {"virtual": virtual_rows(EVALUATION_SEED)} | ({"field": joined(windows)} if windows else {})
    model = load_model(bundle, find_profile("cpu"))
    accuracies: dict[str, float] = {}
    priors: dict[str, float] = {}
    for name, rows in parts.items():
        risk = model.run({"values": rows.values.astype(np.float32)})["risk"]
        accuracies[name] = float(np.mean((risk >= 0.5) == rows.faulty))
        priors[name] = float(max(rows.faulty.mean(), 1 - rows.faulty.mean()))
    unit = "mean over virtual machines" + (f" and {len(windows)} windows" if windows else "")
    return Metrics(
        {
            name: Figure(float(np.mean(list(values.values()))), unit=unit, virtual=not windows)
            for name, values in (("accuracy", accuracies), ("accuracy_of_prior", priors))
        },
        {name: Figure(value, virtual=name == "virtual") for name, value in accuracies.items()},
        evidence={"windows": len(windows)},
    )


def _fit(columns: Floats, faulty: NDArray[np.bool_], weights: Floats) -> Floats:
    """Coefficients of a ridge logistic regression, by Newton's method."""
    found = np.zeros(columns.shape[1])
    for _ in range(25):
        risk = 1 / (1 + np.exp(-np.clip(columns @ found, -30, 30)))
        curvature = weights * np.maximum(risk * (1 - risk), 1e-6)
        slope = columns.T @ (weights * (risk - faulty)) + RIDGE * found
        found -= np.linalg.solve((columns.T * curvature) @ columns + RIDGE * np.eye(len(found)), slope)
    return found


def _write(context: TrainContext, known: Rows, field: Sequence[Rows]) -> Bundle:
    """Golden cases and manifest of the model in ``context.output``."""
    manifest = Manifest(
        app="template",
        version=context.version,
        task="risk of a fault, and novelty",
        inputs=[
            TensorSpec(name="values", dtype="float32", shape=[None, len(CHANNELS)], columns=list(CHANNELS))
        ],
        outputs=[TensorSpec(name=name, dtype="float32", shape=[None]) for name in ("risk", "novelty")],
        precision="float32",
        licence="Apache-2.0",
        limits=Limits(latency_ms=5.0),
        lineage=lineage_of(
            context,
            {"virtual": _digest([known])} | ({"windows": _digest(field)} if field else {}),
        ),
        tolerance={"risk": 0.01, "novelty": 0.01},
        drift=DriftSpec(output="novelty", threshold=1.0, rate=NOVEL_RATE),
        parameters={"output_bounds": {"risk": [0.0, 1.0], "novelty": [0.0, NOVELTY_BOUND]}},
    )
    cases = {"values": known.values[:: len(known.values) // 16].astype(np.float32)}
    outputs = load_model(Bundle(context.output, manifest), find_profile("cpu")).run(cases)
    write_golden(context.output, cases, outputs)
    return seal(context.output, manifest)


def _digest(rows: Sequence[Rows]) -> str:
    return hashlib.sha256(b"".join(r.values.tobytes() + r.faulty.tobytes() for r in rows)).hexdigest()
