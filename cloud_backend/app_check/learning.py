"""Training and evaluation: a tiny training, and the figure that the gate judges by."""

from __future__ import annotations

import math

from cloud_backend.training.gate import judge
from common.app.training import GateRule, Metrics, TrainContext
from common.authoring.check import AppUnderCheck, Check, require
from common.bundle import Bundle, open_bundle
from common.model.golden import check_golden
from common.model.inference import load_model
from common.model.profile import find_profile

VERSION = "check-1"


def _evaluation(app: AppUnderCheck) -> None:
    training = app.spec.load_train()
    metrics = training.evaluate(app.starter, [], None)
    _require_figure(training.gate, metrics)
    verdict = judge(training.gate, metrics, metrics)
    unusable = [reason for reason in verdict.reasons if "missing" in reason]
    require(not unusable, "; ".join(unusable))


def _require_figure(rule: GateRule, metrics: Metrics) -> None:
    figure = metrics.figures.get(rule.figure)
    known = ", ".join(sorted(metrics.figures)) or "none"
    require(figure is not None, f"the gate judges by {rule.figure!r}, which evaluate does not give: {known}")
    if figure is not None:
        require(math.isfinite(figure.value), f"{rule.figure} of the starter is {figure.value}")
        require(not figure.recorded, f"{rule.figure} is recorded, not measured: the gate does not look at it")


def _training(app: AppUnderCheck) -> None:
    training = app.spec.load_train()
    output = app.folder / "trained"
    output.mkdir()
    parameters = dict(getattr(training, "check_parameters", {}))
    context = TrainContext(VERSION, app.starter, (), output, None, 0, parameters, lambda _share, _text: None)
    made = training.train(context)
    require(isinstance(made, Bundle), f"train returns a {type(made).__name__}, not a Bundle")
    bundle = open_bundle(output, app=app.spec.name)
    require(bundle.version == VERSION, f"train makes version {bundle.version!r} instead of {VERSION!r}")
    lineage = bundle.manifest.lineage
    require(lineage.data, "the lineage of the trained model names no data")
    require(
        lineage.parent == app.starter.version,
        f"the lineage names the parent {lineage.parent!r}, not {app.starter.version!r}",
    )
    model = load_model(bundle, find_profile("cpu"))
    check_golden(bundle, model)
    drift = bundle.manifest.drift
    outputs = {spec.name for spec in bundle.manifest.outputs}
    require(
        drift is None or drift.output in outputs, f"the drift output {drift and drift.output!r} is no output"
    )
    edge = app.spec.load_edge()(type(app.context)(app.context.settings, model))
    for reading in app.readings[:20]:
        list(edge.process(reading, reading.captured_ns))
    _require_figure(training.gate, training.evaluate(bundle, [], None))


CHECKS = [
    Check("evaluation", "evaluate measures the figure that the gate judges by", _evaluation),
    Check(
        "training", "train makes a bundle with lineage that the node runs and the gate can judge", _training
    ),
]
