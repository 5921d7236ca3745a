"""The model's graph: it computes the trees and the corrections for any number of rows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from apps.ecg.edge.beats import FEATURES, KINDS
from apps.ecg.edge.rhythm import RHYTHM_FEATURES
from apps.ecg.training.boosting import Recipe, Trees, fit_trees, joined, scores
from apps.ecg.training.evaluation import scorer_of
from apps.ecg.training.full_recipe import softmax
from apps.ecg.training.graph import (
    Correction,
    Corrections,
    Novelty,
    Scale,
    read_corrections,
    with_corrections,
    write_graph,
)
from common.errors import TrainingError

ROWS = 400


def needs_lightgbm() -> None:
    try:
        import lightgbm  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"LightGBM cannot be loaded: {error}")


def grown(features: int, classes: int, seed: int) -> tuple[np.ndarray, Trees]:
    needs_lightgbm()
    random = np.random.default_rng(seed)
    rows = random.standard_normal((ROWS, features)).astype(np.float32)
    truth = (rows[:, :classes].argmax(axis=1)) if classes > 2 else (rows[:, 0] + rows[:, 3] > 0).astype(int)
    recipe = Recipe(rounds=8, min_rows=5)
    columns = np.arange(features - 2)
    return rows, joined(
        [fit_trees(rows, truth, np.ones(ROWS), classes, recipe, k, columns) for k in range(2)]
    )


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, Trees, np.ndarray, Trees]:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    beats, beat = grown(FEATURES, len(KINDS), 0)
    rhythms, rhythm = grown(RHYTHM_FEATURES, 2, 1)

    def scale(features: int) -> Scale:
        return Scale(np.zeros(features, np.float32), np.full(features, 2.0, np.float32))

    def zero(features: int, targets: int) -> Correction:
        return Correction(np.zeros((features, targets), np.float32), np.zeros(targets, np.float32))

    corrections = Corrections(
        scale(FEATURES), zero(FEATURES, len(KINDS)), scale(RHYTHM_FEATURES), zero(RHYTHM_FEATURES, 1)
    )
    axes = np.random.default_rng(2).standard_normal((FEATURES, 24)).astype(np.float32)
    novelty = Novelty(axes, np.ones(24, np.float32))
    write_graph(path, beat, rhythm, corrections, novelty)
    return path, beats, beat, rhythms, rhythm


def test_the_graph_gives_what_the_trees_give(
    graph: tuple[Path, np.ndarray, Trees, np.ndarray, Trees],
) -> None:
    path, beats, beat, rhythms, rhythm = graph
    found = scorer_of(path, {}).run(beats, rhythms)
    assert np.allclose(found["beat_p"], softmax(scores(beat, beats)), atol=1e-5)
    assert np.allclose(found["rhythm_p"], 1 / (1 + np.exp(-scores(rhythm, rhythms)[:, 0])), atol=1e-5)
    axes = np.random.default_rng(2).standard_normal((FEATURES, 24))
    distance = np.sum((np.clip(beats / 2, -4, 4) @ axes + 1) ** 2, axis=1)
    assert np.allclose(found["novelty"], distance, rtol=1e-4)
    assert np.mean(found["beat_p"].argmax(axis=1) == beats[:, :5].argmax(axis=1)) > 0.6


def test_without_lightgbm_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    rows, truth = np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1])
    with pytest.raises(TrainingError, match="edgeloop\\[train\\]"):
        fit_trees(rows, truth, np.ones(4), 2, Recipe(), 0, np.arange(2))


def test_columns_left_out_do_not_count(graph: tuple[Path, np.ndarray, Trees, np.ndarray, Trees]) -> None:
    _, _, beat, _, _ = graph
    assert beat.feature.max() < FEATURES - 2


def test_rows_one_by_one_give_the_same_bits(
    graph: tuple[Path, np.ndarray, Trees, np.ndarray, Trees], tmp_path: Path
) -> None:
    path, beats, _, rhythms, _ = graph
    random = np.random.default_rng(3)
    beat, rhythm = (
        Correction(random.standard_normal((n, k)).astype(np.float32), np.ones(k, np.float32))
        for n, k in ((FEATURES, len(KINDS)), (RHYTHM_FEATURES, 1))
    )
    with_corrections(path, tmp_path / "model.onnx", beat, rhythm)
    scorer = scorer_of(tmp_path / "model.onnx", {})
    whole = scorer.run(beats[:50], rhythms[:50])
    for size in (1, 2, 7):
        for begin in range(0, 50 - size, size):
            part = scorer.run(beats[begin : begin + size], rhythms[begin : begin + size])
            for name, value in part.items():
                assert np.array_equal(value, whole[name][begin : begin + size]), (name, size)


def test_no_rows_are_fine(graph: tuple[Path, np.ndarray, Trees, np.ndarray, Trees]) -> None:
    path, beats, _, rhythms, _ = graph
    scorer = scorer_of(path, {})
    assert scorer.run(beats[:0], rhythms[:3])["beat_p"].shape == (0, len(KINDS))
    assert scorer.run(beats[:2], rhythms[:0])["rhythm_p"].shape == (0,)


def test_corrections_come_back_and_count(
    graph: tuple[Path, np.ndarray, Trees, np.ndarray, Trees], tmp_path: Path
) -> None:
    path, beats, _, rhythms, _ = graph
    before = read_corrections(path)
    assert not before.beat.weights.any()
    beat = Correction(before.beat.weights, np.array([0, 0, 50, 0, 0], np.float32))
    rhythm = Correction(before.rhythm.weights, np.array([-50], np.float32))
    with_corrections(path, tmp_path / "other.onnx", beat, rhythm)
    found = scorer_of(tmp_path / "other.onnx", {}).run(beats, rhythms)
    assert np.all(found["beat_p"].argmax(axis=1) == 2)
    assert np.all(found["rhythm_p"] < 0.01)
    assert read_corrections(tmp_path / "other.onnx").beat.bias[2] == 50


def test_another_graph_has_no_corrections() -> None:
    from apps.industrial.app import SPEC

    with pytest.raises(TrainingError, match="no graph with corrections"):
        read_corrections(SPEC.starter / "model.onnx")
