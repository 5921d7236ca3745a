"""Alternatives to the shipped model, measured in the same way.

::

    python -m apps.industrial.benchmarks.baselines boosting --data DIR [--seeds 3]
    python -m apps.industrial.benchmarks.baselines int8

*boosting*: gradient boosting (scikit-learn's ``HistGradientBoostingRegressor``) on the same features, the
same augmented runs and the same folds; which of the two ships was decided by folds over training engines.
*int8*: the starter in INT8 beside itself in float32. Prints one JSON line a figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.industrial.app import SPEC
from apps.industrial.domain import RUL_CAP_CYCLES
from apps.industrial.training import job as training
from apps.industrial.training.dataset import Run, cmapss_in, features_of, load_test_engines
from apps.industrial.training.evaluation import (
    bootstrapped,
    estimator_of,
    fleet_slices,
    like_test,
    nasa_score,
    root_mean,
    virtual_runs,
)
from apps.industrial.training.regression import FOLDS, STRETCH, fold_of, learning_runs
from apps.industrial.virtual.turbofan import HPC
from common.app.training import Figure, TrainContext
from common.bundle import Bundle, open_bundle
from common.model.inference import open_session


def gradient_boosting(seed: int, known: training.Known, test: Sequence[Run]) -> dict[str, Figure]:
    """RMSE of gradient boosting by folds over training engines, and on ``test`` by all of them."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    random = np.random.default_rng(seed)
    runs = training.training_runs(known, (), training.COPIES_FULL)
    made = learning_runs(runs, STRETCH, random)
    pool = [(each.fold, run) for each, group in zip(runs, made, strict=True) for run in group]
    features = features_of([run for _, run in pool])
    test_features = [found[-1] for found in features_of(test)]
    unseen = features_of(known.real)
    squares, total = [], np.zeros(len(test))
    for fold in range(FOLDS):
        chosen = [i for i, (of, _) in enumerate(pool) if of != fold]
        model = HistGradientBoostingRegressor(
            max_iter=300, learning_rate=0.05, max_leaf_nodes=31, l2_regularization=1.0, random_state=seed
        )
        model.fit(
            np.concatenate([features[i] for i in chosen]),
            np.concatenate([pool[i][1].rul_cycles() for i in chosen]),
        )
        total += model.predict(np.stack(test_features))
        for run, inputs in zip(known.real, unseen, strict=True):
            if fold_of(run.name) == fold:
                truth = run.rul_cycles()
                rows = like_test(len(truth))
                found = np.clip(model.predict(inputs[rows]), 0, RUL_CAP_CYCLES)
                squares.append(np.mean((found - truth[rows]) ** 2))
    truth = np.array([run.rul_cycles()[-1] for run in test])
    errors = np.clip(total / FOLDS, 0, RUL_CAP_CYCLES) - truth
    return {
        "rival_rmse_by_folds": bootstrapped(
            np.array(squares), root_mean, f"cycles, {len(known.real)} FD001 training engines by folds"
        ),
        "rival_rmse": bootstrapped(errors**2, root_mean, f"cycles, {len(test)} test engines"),
        "rival_nasa_score": Figure(nasa_score(errors), unit=f"{len(test)} test engines"),
    }


def boosting_over_seeds(data_path: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """The figures of `gradient_boosting` over ``seeds`` seeds."""
    context = TrainContext("rival", None, (), Path(), data_path, 0, {}, lambda _share, _message: None)
    known = training.known_runs(context)
    test = load_test_engines(*cmapss_in(data_path, ("test", "RUL")))
    return figures_over_seeds([gradient_boosting(seed, known, test) for seed in range(seeds)])


def figures_over_seeds(results: Sequence[Mapping[str, Figure]]) -> Iterator[dict[str, Any]]:
    """One line per figure: mean, minimum and maximum over the seeds, mean of the intervals over engines."""
    for name, first in results[0].items():
        figures = [result[name] for result in results]
        values = [figure.value for figure in figures]
        mean = float(np.mean(values))
        line = {"figure": name, "mean": mean, "min": min(values), "max": max(values)}
        bounds = [(f.lower, f.upper) for f in figures if f.lower is not None and f.upper is not None]
        if len(bounds) == len(figures):
            line |= dict(zip(("lower", "upper"), np.mean(bounds, axis=0).tolist(), strict=True))
        yield line | {"seeds": len(results), "unit": first.unit}


def int8(bundle: Bundle) -> dict[str, Figure]:
    """The bundle's model in INT8 (static QDQ, calibrated on virtual training runs) beside float, same run.

    Latency is the median over single rows on one thread; RMSE is of the gate's virtual slice.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    features = np.concatenate(features_of(virtual_runs(HPC.name, 20, 1)))

    class Rows(CalibrationDataReader):
        def __init__(self) -> None:
            self._blocks = iter(np.array_split(features, 20))

        # None ends the data, against the type of the base class.
        def get_next(self) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            block = next(self._blocks, None)
            return None if block is None else {"features": block}

    results: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as folder:
        quantized = Path(folder) / "model.onnx"
        quantize_static(bundle.model_path(), quantized, Rows(), weight_type=QuantType.QInt8)
        for name, path in (("float32", bundle.model_path()), ("int8", quantized)):
            session = open_session(path)
            seconds = []
            for row in features[:2000, np.newaxis]:
                started = time.perf_counter()
                session.run(["rul"], {"features": row})
                seconds.append(time.perf_counter() - started)
            results[f"{name}_latency_us"] = Figure(float(np.median(seconds)) * 1e6, unit="us a row")
            slices = fleet_slices(estimator_of(path), ())
            results[f"{name}_rmse"] = slices[f"virtual-{HPC.name}"]
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="apps.industrial.benchmarks.baselines", description=(__doc__ or "").partition("\n\n")[0]
    )
    which = parser.add_subparsers(dest="which", required=True)
    boosting = which.add_parser("boosting")
    boosting.add_argument("--data", type=Path, required=True, help="folder with C-MAPSS FD001")
    boosting.add_argument("--seeds", type=int, default=3)
    which.add_parser("int8")
    options = parser.parse_args(arguments)
    if options.which == "int8":
        lines: Iterable[dict[str, Any]] = figures_over_seeds([int8(open_bundle(SPEC.starter))])
    else:
        lines = boosting_over_seeds(options.data, options.seeds)
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
