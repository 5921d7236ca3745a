"""An app that learns: its model's gain is the mean of its labels. For tests of training.

``parameters`` of a job make it misbehave: ``gain`` (take this one), ``wait`` (report progress until it is
cancelled), ``hang`` (never report), ``die`` (end without a word), ``raise``, ``other_version``, ``noise``.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.app.spec import AppSpec
from common.app.training import Figure, GateRule, LabelledSample, Metrics, TrainContext
from common.bundle import Bundle
from common.errors import DatasetError, TrainingError
from common.model.inference import load_model
from common.model.profile import find_profile
from tests.builders import WIDTH, make_app, make_bundle

NAME = "learner"
ENTRY = "tests.cloud_backend.learner:SPEC"
gate = GateRule(figure="error", higher_is_better=False, min_gain=0.05, slice_tolerance=0.1)


def make_learner(starter: Path) -> AppSpec:
    """The app with its starter (gain 1) in ``starter``."""
    return dataclasses.replace(make_app(starter, NAME), train="tests.cloud_backend.learner")


def train(context: TrainContext) -> Bundle:
    parameters = context.parameters
    print("training with", dict(parameters), flush=True)
    if parameters.get("raise"):
        raise TrainingError("there is nothing to learn from")
    if parameters.get("set") and context.data_path is not None:
        raise DatasetError(f"{context.data_path} has no such set")
    if parameters.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if parameters.get("noise"):
        sys.stdout.write("x" * int(parameters["noise"]))
        sys.stdout.flush()
    while parameters.get("hang"):
        time.sleep(0.05)
    while parameters.get("wait"):
        context.progress(0.5, "waiting")
        time.sleep(0.01)
    gains = [label.body["gain"] for sample in context.samples for label in sample.labels]
    context.progress(0.9, f"{len(gains)} labels")
    gain = float(parameters.get("gain", np.mean(gains) if gains else 1.0))
    version = "other" if parameters.get("other_version") else context.version
    return make_bundle(context.output, version=version, app=NAME, gain=gain)


def evaluate(bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:
    ones = np.ones((1, WIDTH), np.float32)
    gain = float(load_model(bundle, find_profile("cpu")).run({"x": ones})["y"][0, 0]) / WIDTH
    errors = {
        sample.sample.group: abs(gain - float(label.body["gain"])) + 0 * len(sample.sample.arrays["values"])
        for sample in samples
        for label in sample.labels
    }
    error = float(np.mean(list(errors.values()))) if errors else abs(gain - 2.0)
    return Metrics(
        {"error": Figure(error, count=len(errors)), "error_of_nothing": Figure(2.0)},
        {group: Figure(value) for group, value in errors.items()},
    )


def __getattr__(name: str) -> AppSpec:
    """``SPEC``, made when a worker loads it; its starter is in the folder of the test."""
    if name != "SPEC":
        raise AttributeError(name)
    return make_learner(Path(os.environ["LEARNER_STARTER"]))
