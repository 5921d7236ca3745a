"""The job that made the starter bundle, and the figures that it is described by.

::

    python -m apps.industrial.benchmarks.starter --data DIR --output DIR [--seeds 5] [--rivals 5]

trains the full recipe with ``--seeds`` seeds, one bundle each in ``seed-N`` below the output folder (a bundle
of that seed that is there already is measured, not trained again), evaluates all of them, and writes the
figures of the first and the means over seeds into its manifest. Beside them the trivial baselines and, with
``--rivals`` seeds, gradient boosting. Prints one JSON line a figure and seed, and one line a figure over all
seeds: the mean, minimum and maximum of the seeds, and the mean of their 95 % intervals over engines. *By
folds*: predictions on FD001's training engines by members that had not seen them, at cycles like those of the
test set (`apps.industrial.training.evaluation.like_test`), with the interval calibrated on the other folds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from apps.industrial.benchmarks.baselines import boosting_over_seeds, figures_over_seeds
from apps.industrial.domain import RUL_CAP_CYCLES
from apps.industrial.training import job as training
from apps.industrial.training.calibration import fit_interval
from apps.industrial.training.dataset import Run, features_of
from apps.industrial.training.evaluation import bootstrapped, evaluate, like_test, mean, nasa_score, root_mean
from apps.industrial.training.graph import read_ensemble
from apps.industrial.training.regression import FOLDS, fold_of
from common.app.training import Figure, TrainContext
from common.bundle import Bundle, open_bundle, seal
from common.errors import TrainingError

LEFT_CYCLES = ((7, 30), (30, 70), (70, 110), (110, 146))
"""Remaining life, from and to under, by which coverage is given as well."""


@dataclass(frozen=True, slots=True)
class SeedResult:
    """Results of one training seed: figures of the bundle, and by folds over training engines."""

    seed: int
    seconds: float
    """Of training; 0 for a bundle that was there already."""
    figures: Mapping[str, Figure]
    slices: Mapping[str, Figure]
    by_folds: Mapping[str, Figure]


def by_folds(bundle: Bundle, known: training.Known) -> dict[str, Figure]:
    """RMSE, NASA score per 100 engines, coverage and width on FD001's training engines, each unseen.

    Coverage is also given by fold, over the whole life, and by `LEFT_CYCLES`. Every engine counts the same.
    """
    ensemble = read_ensemble(bundle.model_path())
    runs: Sequence[Run] = [*known.real, *known.virtual]
    unseen = training.unseen_predictions(ensemble, runs, features_of(runs))
    truths = [run.rul_cycles() for run in runs]
    found: dict[str, list[float]] = {}
    of_folds: dict[int, list[float]] = {}
    for fold in range(FOLDS):
        others = [i for i, run in enumerate(runs) if fold_of(run.name) != fold]
        interval = fit_interval([unseen[i] for i in others], [truths[i] for i in others])
        for run, raw, truth in zip(known.real, unseen, truths, strict=False):
            if fold_of(run.name) != fold:
                continue
            rul = np.clip(raw, 0, RUL_CAP_CYCLES)
            lower, upper = interval.bounds(rul)
            inside = (lower <= truth) & (truth <= upper)
            rows = like_test(len(truth))
            errors = (rul - truth)[rows]
            left = run.life_cycles() - run.numbers()
            of_run = {
                "rmse": np.mean(errors**2),
                "nasa_score": 100 * nasa_score(errors) / len(errors),
                "interval_coverage": inside[rows].mean(),
                "interval_width": (upper - lower)[rows].mean(),
                "interval_coverage_whole_life": inside.mean(),
            }
            for low, high in LEFT_CYCLES:
                band = (low <= left) & (left < high)
                if band.any():
                    of_run[f"interval_coverage_{low}_to_{high - 1}_left"] = inside[band].mean()
            of_folds.setdefault(fold, []).append(float(inside[rows].mean()))
            for name, value in of_run.items():
                found.setdefault(name, []).append(float(value))
    unit = f"{len(known.real)} FD001 training engines by folds"
    figures = {
        f"rul_{name}": bootstrapped(np.array(values), root_mean if name == "rmse" else mean, unit)
        for name, values in found.items()
    }
    coverages = [float(np.mean(shares)) for shares in of_folds.values()]
    return figures | {
        "rul_interval_coverage_min_fold": Figure(min(coverages), unit=unit),
        "rul_interval_coverage_max_fold": Figure(max(coverages), unit=unit),
    }


def measure_seed(seed: int, version: str, data_path: Path, output: Path) -> tuple[Bundle, SeedResult]:
    """Train with ``seed`` into ``output``, or open what is there, and measure.

    Raises `TrainingError` for a bundle in ``output`` that another seed or a retraining made.
    """
    output.mkdir(parents=True, exist_ok=True)
    context = TrainContext(version, None, (), output, data_path, seed, {}, lambda _share, _message: None)
    known = training.known_runs(context)
    started = time.perf_counter()
    if any(output.iterdir()):
        bundle, seconds = open_bundle(output, app="industrial"), 0.0
        lineage = bundle.manifest.lineage
        if lineage.seed != seed or lineage.parent or lineage.data != known.digests:
            raise TrainingError(f"{output} has a bundle that was not trained with seed {seed} on this data")
    else:
        bundle = training.train(context)
        seconds = time.perf_counter() - started
    metrics = evaluate(bundle, (), data_path)
    figures = {name: figure for name, figure in metrics.figures.items() if not figure.recorded}
    return bundle, SeedResult(seed, seconds, figures, metrics.slices, by_folds(bundle, known))


def record(bundle: Bundle, results: Sequence[SeedResult]) -> Bundle:
    """Put the figures of the first result and the means over all of them into the manifest."""
    trained = [result.seconds for result in results if result.seconds]
    earlier = bundle.manifest.parameters.get("measured", {})
    measured = {
        "command": "python -m apps.industrial.benchmarks.starter --data DIR --output FOLDER",
        "seeds": [result.seed for result in results],
        "mean_over_seeds": _means([result.figures for result in results]),
        "rul_rmse_of_seeds": [round(result.figures["rul_rmse"].value, 3) for result in results],
        "by_folds_over_training_engines": _means([result.by_folds for result in results]),
        "training_s": round(float(np.mean(trained)), 1) if trained else earlier.get("training_s"),
    }
    manifest = msgspec.structs.replace(
        bundle.manifest,
        figures={name: round(figure.value, 4) for name, figure in results[0].figures.items()},
        slices={name: round(figure.value, 4) for name, figure in results[0].slices.items()},
        parameters=bundle.manifest.parameters | {"measured": measured},
    )
    return seal(bundle.path, manifest)


def _means(rows: Sequence[Mapping[str, Figure]]) -> dict[str, float]:
    return {name: round(float(np.mean([row[name].value for row in rows])), 4) for name in rows[0]}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this job."""
    parser = argparse.ArgumentParser(
        prog="apps.industrial.benchmarks.starter", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with C-MAPSS FD001")
    parser.add_argument("--output", type=Path, required=True, help="folder for the bundles, one a seed")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rivals", type=int, help="seeds of the rival; as --seeds by default")
    options = parser.parse_args(arguments)
    seeds = range(options.seeds)
    measured = [
        measure_seed(seed, options.version, options.data, options.output / f"seed-{seed}") for seed in seeds
    ]
    results = [result for _, result in measured]
    record(measured[0][0], results)
    for group in ("figures", "by_folds"):
        rows = [getattr(result, group) for result in results]
        for seed, row in zip(seeds, rows, strict=True):
            for name, figure in row.items():
                _print({"figure": name, "value": figure.value, "seed": seed, "of": group})
        for line in figures_over_seeds(rows):
            _print(line | {"of": group})
    count = options.seeds if options.rivals is None else options.rivals
    if count:
        for line in boosting_over_seeds(options.data, count):
            _print(line | {"of": "gradient boosting"})
    return 0


def _print(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
