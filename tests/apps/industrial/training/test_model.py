"""The parts of the model: augmentation, folds, graph, intervals, novelty, network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps.industrial.domain import CHANNELS
from apps.industrial.edge.features import features_of_runs
from apps.industrial.training.calibration import Interval, fit_interval, fit_novelty
from apps.industrial.training.dataset import Run, features_of
from apps.industrial.training.evaluation import (
    estimator_of,
    virtual_runs,
)
from apps.industrial.training.graph import read_ensemble, write_graph
from apps.industrial.training.regression import (
    FOLDS,
    Network,
    Recipe,
    TrainingRun,
    augmented,
    fit_ensemble,
    fold_of,
)
from common.errors import TrainingError

TINY = Recipe(hidden=(16,), epochs=2)


def test_copies_are_like_their_original_and_live_longer_or_shorter() -> None:
    run = virtual_runs("hpc", 1, 9)[0]
    copies = augmented(run, 30, 0.3, np.random.default_rng(0))
    lives = np.array([len(copy.values) for copy in copies]) / len(run.values)
    assert 0.7 < lives.min() < 0.85
    assert 1.15 < lives.max() < 1.4
    column = CHANNELS.index("T50")
    for copy in copies:
        assert abs(copy.values[-10:, column].mean() - run.values[-10:, column].mean()) < 10
        assert 0.7 < np.diff(copy.values[:, column]).std() / np.diff(run.values[:, column]).std() < 1.4
    half = Run("half", run.values[: len(run.values) // 2], 80)
    stretched = augmented(half, 5, 0.3, np.random.default_rng(0))
    for copy in stretched:
        assert copy.remaining_cycles == pytest.approx(80 * len(copy.values) / len(half.values), abs=1.5)


def test_a_member_never_sees_its_fold() -> None:
    """The members of a fold do not depend on that fold's runs."""
    runs = virtual_runs("hpc", 20, 10)
    fold = fold_of(runs[0].name)
    lied = [replace(r, remaining_cycles=100) if fold_of(r.name) == fold else r for r in runs]
    honest = fit_ensemble([TrainingRun(r) for r in runs], TINY, 0)
    misled = fit_ensemble([TrainingRun(r) for r in lied], TINY, 0)
    for number in range(FOLDS):
        same = np.array_equal(honest.members[number].weights[0], misled.members[number].weights[0])
        assert same == (number == fold)


def test_the_graph_gives_what_its_parts_give_and_can_be_read_back(tmp_path: Path) -> None:
    runs = virtual_runs("hpc", 20, 11)
    ensemble = fit_ensemble([TrainingRun(r) for r in runs], TINY, 0)
    features = features_of_runs([r.values for r in runs])
    interval = fit_interval([ensemble.predict(f) for f in features], [r.rul_cycles() for r in runs])
    late = Interval(2 * interval.low - 1.0, 2 * interval.high + 1.0)
    novelty = fit_novelty(features, [fold_of(r.name) for r in runs])
    path = tmp_path / "model.onnx"
    write_graph(path, ensemble, interval, late, novelty)
    found = estimator_of(path)(runs[:1])[0]
    rul = np.clip(ensemble.predict(features[0]), 0, 125)
    lower, upper = interval.bounds(rul)
    np.testing.assert_allclose(found.rul, rul, atol=1e-3)
    np.testing.assert_allclose(found.lower, lower, atol=2e-3)
    np.testing.assert_allclose(found.upper, upper, atol=2e-3)
    np.testing.assert_allclose(found.novelty, novelty.measure(features[0]), rtol=1e-3, atol=1e-3)
    part = runs[0].part(np.arange(60, len(runs[0].values)))
    (of_part,) = features_of([part])
    found = estimator_of(path)([part])[0]
    lower, upper = late.bounds(np.clip(ensemble.predict(of_part), 0, 125))
    np.testing.assert_allclose(found.lower, lower, atol=2e-3)
    np.testing.assert_allclose(found.upper, upper, atol=2e-3)
    back = read_ensemble(path)
    assert len(back.members) == FOLDS
    assert np.array_equal(back.predict(features[0]), ensemble.predict(features[0]))
    path.write_bytes((tmp_path / "model.onnx").read_bytes().replace(b"member0.weight0", b"menber0.weight0"))
    with pytest.raises(TrainingError, match="no ensemble"):
        read_ensemble(path)


def test_intervals_cover_what_they_promise_where_errors_differ() -> None:
    random = np.random.default_rng(0)

    def series(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        predictions = [random.uniform(20, 90, size=100) for _ in range(count)]
        return predictions, [p + random.normal(size=100) * p / 10 for p in predictions]

    interval = fit_interval(*series(200))
    predictions, truths = (np.concatenate(part) for part in series(100))
    lower, upper = interval.bounds(predictions)
    inside = (lower <= truths) & (truths <= upper)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)
    for part in (predictions < 40, predictions > 70):
        assert np.mean(inside[part]) == pytest.approx(0.9, abs=0.05)
    assert np.mean((upper - lower)[predictions > 80]) > 2 * np.mean((upper - lower)[predictions < 30])


def test_one_percent_of_unseen_known_engines_is_novel() -> None:
    def measured(fault: str, seed: int) -> list[np.ndarray]:
        return features_of_runs([r.values for r in virtual_runs(fault, 60, seed)])

    known = measured("hpc", 12)
    novelty = fit_novelty(known, [k % FOLDS for k in range(60)])
    fresh = np.concatenate([novelty.measure(f) for f in measured("hpc", 13)])
    assert 0.002 < np.mean(fresh > 1) < 0.04
    old = np.concatenate([novelty.measure(f[-20:]) for f in measured("hpc", 13)])
    assert np.mean(old > 1) < 0.06, "ageing by a known fault must not look novel"
    for fault in ("fan", "lpt", "bearing"):
        assert np.mean([np.mean(novelty.measure(f[-50:]) > 1) for f in measured(fault, 13)[:15]]) > 0.95


def test_the_network_learns_a_curve() -> None:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(6000, 3)).astype(np.float32)
    targets = np.abs(inputs[:, 0]) + 0.5 * inputs[:, 1]
    from apps.industrial.training.regression import fit_network

    recipe = Recipe(hidden=(24, 24), epochs=15, batch=256, decay=0.0)
    network = fit_network(inputs, targets, np.ones(6000, np.float32), recipe, random)
    assert isinstance(network, Network)
    assert np.sqrt(np.mean((network.predict(inputs) - targets) ** 2)) < 0.06
