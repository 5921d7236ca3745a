"""The starter: errors, interval and novelty on virtual engines and on FD001."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from apps.industrial.edge.features import contributions, features_of_runs
from apps.industrial.training.evaluation import (
    estimator_of,
    evaluate,
    virtual_runs,
)
from apps.industrial.training.graph import OUTPUTS
from apps.industrial.training.replay import published_rul
from common.app.edge import Arrays
from common.bundle import Bundle, Manifest
from common.model.inference import load_model
from common.model.profile import find_profile
from tests.apps.industrial.training.contexts import novelty_rate, rmse
from tests.datasets import cmapss_folder


def test_the_starter_knows_its_fault_and_knows_what_it_does_not_know(starter: Bundle) -> None:
    known, other = virtual_runs("hpc", 25, 1), virtual_runs("fan", 10, 1)
    assert rmse(starter, known) < 11
    assert rmse(starter, other) > 40
    assert novelty_rate(starter, known) < 0.03
    assert novelty_rate(starter, other) > 0.5


def test_the_starter_keeps_its_interval_on_virtual_engines(starter: Bundle) -> None:
    runs = virtual_runs("hpc", 60, 2)
    found = estimator_of(starter.model_path())(runs)
    inside = [
        np.mean((e.lower <= r.rul_cycles()) & (r.rul_cycles() <= e.upper))
        for e, r in zip(found, runs, strict=True)
    ]
    assert 0.84 < np.mean(inside) < 0.97
    for estimates in found:
        assert np.all(estimates.lower <= estimates.rul)
        assert np.all(estimates.rul <= estimates.upper)
        assert estimates.lower.min() >= 0
        assert estimates.upper.max() <= 125


@pytest.mark.slow
def test_the_starter_on_fd001_is_as_good_as_in_its_manifest(starter: Bundle) -> None:
    figures = evaluate(starter, (), cmapss_folder()).figures
    for name in ("rul_rmse", "rul_nasa_score", "rul_interval_coverage", "rul_interval_width"):
        assert figures[name].value == pytest.approx(starter.manifest.figures[name], rel=1e-3)
    assert figures["rul_rmse"].value < 11
    assert 0.85 <= figures["rul_interval_coverage"].value <= 0.95
    assert figures["rul_rmse"].value < 0.4 * figures["rul_rmse_of_age"].value
    assert starter.manifest.parameters["measured"]["mean_over_seeds"]["rul_rmse"] < 11


def test_contributions_through_the_graph_name_sensors_of_the_fault(starter: Bundle) -> None:
    class GraphModel:
        manifest: Manifest = starter.manifest

        def run(self, inputs: Arrays) -> Arrays:
            import onnxruntime

            session = onnxruntime.InferenceSession(starter.model_path())
            outputs: list[Any] = list(session.run(list(OUTPUTS), dict(inputs)))
            return dict(zip(OUTPUTS, outputs, strict=True))

    features = features_of_runs([virtual_runs("hpc", 1, 3)[0].values])[0]
    named = contributions(GraphModel(), features[-3])
    assert {name for name, _ in named[:3]} <= {"T50", "Ps30", "phi", "P30", "Nf", "NRf", "BPR", "T24", "T30",
                                               "htBleed", "W31", "W32", "Nc", "NRc"}  # fmt: skip
    assert named[0][1] > 1
    assert abs(dict(named)["epr"]) < 1


def test_a_replayed_part_of_a_run_keeps_its_cycle_numbers(starter: Bundle) -> None:
    run = virtual_runs("hpc", 1, 5)[0].part(np.arange(30, 70))
    rows = list(published_rul(run, load_model(starter, find_profile("cpu"))))
    assert len(rows) == 40
    assert rows[0] is None, "as a history that begins late"
    assert rows[-1] is not None
