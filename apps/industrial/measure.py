"""The job that made the starter bundle, and the figures that it is described by.

::

    python -m apps.industrial.measure --data DIR --output FOLDER [--version V] [--seeds 5]

trains the full recipe with ``--seeds`` seeds, writes the bundle of the first, evaluates all of them, and
puts the figures of the bundle and the means over seeds into its manifest. Prints one JSON line a figure.
*By folds*: predictions on FD001's training engines by members that had not seen them, at cycles like
those of the test set (at least `LEAST_CYCLES` run, 7 to 145 left), with the interval calibrated on the
other folds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from apps.industrial import train as training
from apps.industrial.calibration import fit_interval
from apps.industrial.data import Run, features_of
from apps.industrial.evaluation import LEAST_CYCLES, evaluate, nasa_score
from apps.industrial.features import RUL_CAP_CYCLES
from apps.industrial.graph import read_ensemble
from apps.industrial.regression import FOLDS, fold_of
from common.app import TrainContext
from common.bundle import Bundle, seal


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What one training seed gave: figures of the bundle, and by folds over training engines."""

    seed: int
    seconds: float
    figures: Mapping[str, float]
    slices: Mapping[str, float]
    by_folds: Mapping[str, float]


def by_folds(bundle: Bundle, known: training.Known) -> dict[str, float]:
    """RMSE, NASA score per 100 engines, coverage and width on FD001's training engines, each unseen."""
    ensemble = read_ensemble(bundle.model_path())
    runs: Sequence[Run] = [*known.real, *known.virtual]
    unseen = training.unseen_predictions(ensemble, runs, features_of(runs))
    truths = [run.rul_cycles() for run in runs]
    squares, scores, covered, widths = [], [], {f: [] for f in range(FOLDS)}, []
    for fold in range(FOLDS):
        others = [i for i, run in enumerate(runs) if fold_of(run.name) != fold]
        interval = fit_interval([unseen[i] for i in others], [truths[i] for i in others])
        for run, raw, truth in zip(known.real, unseen, truths, strict=False):
            if fold_of(run.name) != fold:
                continue
            rows = like_test(len(truth))
            rul = np.clip(raw, 0, RUL_CAP_CYCLES)[rows]
            lower, upper = interval.bounds(rul)
            squares.append(np.mean((rul - truth[rows]) ** 2))
            scores.append(nasa_score(rul - truth[rows]) / len(rul))
            covered[fold].append(np.mean((lower <= truth[rows]) & (truth[rows] <= upper)))
            widths.append(np.mean(upper - lower))
    coverages = [float(np.mean(shares)) for shares in covered.values()]
    return {
        "rul_rmse": float(np.sqrt(np.mean(squares))),
        "rul_nasa_score": 100 * float(np.mean(scores)),
        "rul_interval_coverage": float(np.mean([s for shares in covered.values() for s in shares])),
        "rul_interval_coverage_least_fold": min(coverages),
        "rul_interval_coverage_most_fold": max(coverages),
        "rul_interval_width": float(np.mean(widths)),
    }


def like_test(cycles: int) -> slice:
    """Cycles of a whole run that are like the last ones of the test set's engines."""
    return slice(max(LEAST_CYCLES - 1, cycles - 146), cycles - 7)


def measure_seed(seed: int, version: str, data_path: Path, output: Path) -> tuple[Bundle, SeedResult]:
    """Train with ``seed`` into ``output`` and measure."""
    output.mkdir(parents=True, exist_ok=True)
    context = TrainContext(version, None, (), output, data_path, seed, {}, lambda _share, _message: None)
    known = training.known_runs(context)
    started = time.perf_counter()
    bundle = training.train(context)
    seconds = time.perf_counter() - started
    metrics = evaluate(bundle, (), data_path)
    return bundle, SeedResult(
        seed,
        seconds,
        {name: figure.value for name, figure in metrics.figures.items() if not figure.recorded},
        {name: figure.value for name, figure in metrics.slices.items()},
        by_folds(bundle, known),
    )


def record(bundle: Bundle, results: Sequence[SeedResult]) -> Bundle:
    """Put the figures of the first result and the means over all of them into the manifest."""

    def means(name: str) -> dict[str, float]:
        rows = [getattr(result, name) for result in results]
        return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}

    measured = {
        "command": "python -m apps.industrial.measure --data DIR --output FOLDER",
        "seeds": [result.seed for result in results],
        "mean_over_seeds": means("figures"),
        "rul_rmse_of_seeds": [round(result.figures["rul_rmse"], 3) for result in results],
        "by_folds_over_training_engines": means("by_folds"),
        "training_s": round(float(np.mean([result.seconds for result in results])), 1),
    }
    manifest = msgspec.structs.replace(
        bundle.manifest,
        figures={name: round(value, 4) for name, value in results[0].figures.items()},
        slices={name: round(value, 4) for name, value in results[0].slices.items()},
        parameters=bundle.manifest.parameters | {"measured": measured},
    )
    return seal(bundle.path, manifest)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this job."""
    parser = argparse.ArgumentParser(prog="apps.industrial.measure", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with C-MAPSS FD001")
    parser.add_argument("--output", type=Path, required=True, help="empty folder for the bundle")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    bundle, first = measure_seed(0, options.version, options.data, options.output)
    results = [first]
    for seed in range(1, options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure_seed(seed, options.version, options.data, Path(folder))[1])
    record(bundle, results)
    for result in results:
        for group in ("figures", "by_folds"):
            for name, value in getattr(result, group).items():
                line = {"figure": name, "value": value, "seed": result.seed, "of": group}
                sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
