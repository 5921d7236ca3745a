"""Evaluation: the data of each figure, its interval, and what a node publishes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from apps.industrial.benchmarks.baselines import figures_over_seeds
from apps.industrial.benchmarks.starter import measure_seed
from apps.industrial.training.dataset import FILES, Run
from apps.industrial.training.evaluation import (
    cut_runs,
    evaluate,
    nasa_score,
    virtual_runs,
)
from common.app.training import Figure
from common.bundle import Bundle
from common.errors import TrainingError
from tests.apps.industrial.training.test_dataset import write_set
from tests.datasets import cmapss_folder


def test_a_figure_names_the_data_it_was_measured_on(starter: Bundle, tmp_path: Path) -> None:
    metrics = evaluate(starter, (), write_set(tmp_path))
    unit = metrics.figures["rul_rmse"].unit
    assert unit.startswith("cycles, 2 engines of test_FD001.txt, not the published file")
    assert "not the published files" in metrics.data
    assert str(tmp_path) in metrics.data
    assert not metrics.figures["rul_rmse"].virtual
    assert metrics.figures["rul_fleet_rmse"].virtual
    assert not any(figure.recorded for figure in metrics.figures.values())
    for file in FILES:
        (tmp_path / file).rename(tmp_path / file.replace("FD001", "FD002"))
    assert "test_FD002.txt" in evaluate(starter, (), tmp_path).figures["rul_rmse"].unit


def _write_engines(folder: Path, name: str, engines: Sequence[Run]) -> None:
    """``engines`` as the test engines of the set ``name``, in NASA's layout."""
    rows = [
        " ".join(f"{value:.4f}" for value in (unit, cycle, *values))
        for unit, run in enumerate(engines, start=1)
        for cycle, values in enumerate(run.values, start=1)
    ]
    (folder / f"test_{name}.txt").write_text("\n".join(rows) + "\n")
    (folder / f"RUL_{name}.txt").write_text("".join(f"{run.remaining_cycles}\n" for run in engines))


def test_what_a_node_publishes_is_measured_beside_the_model(starter: Bundle, tmp_path: Path) -> None:
    engines = cut_runs(virtual_runs("hpc", 6, 5), 1)
    _write_engines(tmp_path, "FD001", engines)
    figures = evaluate(starter, (), tmp_path).figures
    assert figures["rul_withheld_share"].value < 0.02
    assert figures["rul_published_rmse"].value < 15
    assert 0.7 < figures["rul_published_coverage"].value <= 1
    assert "that are not withheld" in figures["rul_published_rmse"].unit


def test_engines_of_other_regimes_are_withheld_and_have_no_error(starter: Bundle, tmp_path: Path) -> None:
    engines = cut_runs(virtual_runs("hpc", 3, 5), 1)
    for run in engines:
        run.values[:, 0] = 20.0
    _write_engines(tmp_path, "FD002", engines)
    figures = evaluate(starter, (), tmp_path).figures
    assert figures["rul_withheld_share"].value == 1
    assert figures["rul_rmse"].unit.endswith("model alone")
    assert not {name for name in figures if name.startswith("rul_published")}


def test_a_bundle_of_another_seed_is_not_measured_as_this_one(starter: Bundle, tmp_path: Path) -> None:
    data = write_set(tmp_path / "data")
    shutil.copytree(starter.path, tmp_path / "seed-3")
    with pytest.raises(TrainingError, match="not trained with seed 3"):
        measure_seed(3, "9.1.0", data, tmp_path / "seed-3")


def test_figures_over_seeds_have_mean_range_and_the_mean_interval() -> None:
    seeds = [{"rmse": Figure(8.0, 7.0, 9.0, unit="cycles")}, {"rmse": Figure(9.0, 8.0, 11.0)}]
    assert list(figures_over_seeds(seeds)) == [
        {"figure": "rmse", "mean": 8.5, "min": 8.0, "max": 9.0, "lower": 7.5, "upper": 10.0, "seeds": 2,
         "unit": "cycles"}
    ]  # fmt: skip


@pytest.mark.slow
def test_figures_of_the_manifest_on_fd001_are_marked_as_recorded(starter: Bundle) -> None:
    figures = evaluate(starter, (), cmapss_folder()).figures
    recorded = {name for name, figure in figures.items() if figure.recorded}
    assert recorded == {
        "rul_rmse_mean_of_seeds",
        "rul_interval_coverage_by_folds",
        "rul_interval_width_by_folds",
        "rul_rmse_by_folds",
    }
    assert all("recorded, not measured now" in figures[name].unit for name in recorded)
    assert figures["rul_rmse"].unit == "cycles, 100 FD001 test engines"


def test_evaluation_gives_every_promised_figure_with_its_interval(starter: Bundle) -> None:
    figures = evaluate(starter, (), None).figures
    for name in (
        "rul_rmse",
        "rul_interval_coverage",
        "rul_interval_width",
        "rul_rmse_of_mean",
        "rul_rmse_of_age",
    ):
        figure = figures[name]
        assert figure.lower is not None
        assert figure.upper is not None
        assert figure.lower < figure.value < figure.upper
        assert figure.count == 100
        assert "virtual" in figure.unit
    assert figures["rul_rmse"].value < 0.5 * figures["rul_rmse_of_mean"].value
    assert figures["rul_nasa_score"].value > 0


def test_the_nasa_score_is_the_published_one() -> None:
    assert nasa_score(np.array([0.0])) == 0
    assert nasa_score(np.array([-13.0])) == pytest.approx(np.e - 1)
    assert nasa_score(np.array([10.0, 10.0])) == pytest.approx(2 * (np.e - 1))


def test_cut_runs_keep_their_truth() -> None:
    runs = virtual_runs("hpc", 20, 8)
    for cut, run in zip(cut_runs(runs, 1), runs, strict=True):
        assert 7 <= cut.remaining_cycles <= 145
        assert np.array_equal(cut.values, run.values[: len(cut.values)])
        assert len(cut.values) + cut.remaining_cycles == len(run.values)
