"""What could have shipped instead, measured in the same way.

::

    python -m apps.industrial.rivals boosting --data DIR [--seeds 3]
    python -m apps.industrial.rivals int8

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
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from apps.industrial import train as training
from apps.industrial.app import SPEC
from apps.industrial.data import Run, cmapss_in, features_of, load_test_engines
from apps.industrial.evaluation import estimator_of, fleet_slices, nasa_score, virtual_runs
from apps.industrial.features import RUL_CAP_CYCLES
from apps.industrial.measure import like_test
from apps.industrial.regression import FOLDS, STRETCH, augmented, fold_of
from apps.industrial.virtual import HPC
from common.app import TrainContext
from common.bundle import Bundle, open_bundle


def gradient_boosting(seed: int, known: training.Known, test: Sequence[Run]) -> dict[str, float]:
    """RMSE of gradient boosting by folds over training engines, and on ``test`` by all of them."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    random = np.random.default_rng(seed)
    pool = [
        (each.fold, run)
        for each in training.training_runs(known, (), training.COPIES_FULL)
        for run in (each.run, *augmented(each.run, each.copies, STRETCH, random))
    ]
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
        "rival_rmse_by_folds": float(np.sqrt(np.mean(squares))),
        "rival_rmse": float(np.sqrt(np.mean(errors**2))),
        "rival_nasa_score": nasa_score(errors),
    }


def int8(bundle: Bundle) -> dict[str, float]:
    """The bundle's model in INT8 (static QDQ, calibrated on virtual training runs) beside float, same run.

    Latency is the median over single rows on one thread; RMSE is of the gate's virtual slice.
    """
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    features = np.concatenate(features_of(virtual_runs(HPC.name, 20, 1)))

    class Rows(CalibrationDataReader):
        def __init__(self) -> None:
            self._blocks = iter(np.array_split(features, 20))

        def get_next(self) -> dict[str, np.ndarray] | None:
            block = next(self._blocks, None)
            return None if block is None else {"features": block}

    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        quantized = Path(folder) / "model.onnx"
        quantize_static(bundle.model_path(), quantized, Rows(), weight_type=QuantType.QInt8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        for name, path in (("float32", bundle.model_path()), ("int8", quantized)):
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            seconds = []
            for row in features[:2000, np.newaxis]:
                started = time.perf_counter()
                session.run(["rul"], {"features": row})
                seconds.append(time.perf_counter() - started)
            results[f"{name}_latency_us"] = float(np.median(seconds)) * 1e6
            slices = fleet_slices(estimator_of(path), ())
            results[f"{name}_rmse"] = slices[f"virtual-{HPC.name}"].value
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="apps.industrial.rivals", description=__doc__.split("\n\n")[0])
    which = parser.add_subparsers(dest="which", required=True)
    boosting = which.add_parser("boosting")
    boosting.add_argument("--data", type=Path, required=True, help="folder with C-MAPSS FD001")
    boosting.add_argument("--seeds", type=int, default=3)
    which.add_parser("int8")
    options = parser.parse_args(arguments)
    if options.which == "int8":
        results, seeds = [int8(open_bundle(SPEC.starter))], 1
    else:
        seeds = options.seeds
        context = TrainContext("rival", None, (), Path(), options.data, 0, {}, lambda _share, _message: None)
        known = training.known_runs(context)
        test = load_test_engines(*cmapss_in(options.data, ("test", "RUL")))
        results = [gradient_boosting(seed, known, test) for seed in range(seeds)]
    for name in results[0]:
        values = [result[name] for result in results]
        line = {"figure": name, "value": float(np.mean(values)), "least": min(values), "most": max(values)}
        sys.stdout.write(json.dumps(line | {"seeds": seeds}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
