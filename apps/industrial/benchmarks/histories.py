"""Figures of the app on engines with lost cycles and on unknown engines, by folds.

::

    python -m apps.industrial.benchmarks.histories --data DIR [--bundle FOLDER]

runs the edge app over FD001's training engines with nothing lost, a tenth, a third or half of the cycles lost
at random, bursts of 5 to 15 lost, and with a history that begins at cycle 10, 30, 60 or 100; and, with the
model as it ships, over the training engines of FD002, FD003 and FD004. Prints one JSON line a figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from apps.industrial.app import SPEC
from apps.industrial.training import job as training
from apps.industrial.training.calibration import fit_interval, fit_novelty
from apps.industrial.training.dataset import SETS, Run, cmapss_in, features_of, load_engines
from apps.industrial.training.evaluation import like_test
from apps.industrial.training.graph import read_ensemble, write_graph
from apps.industrial.training.regression import FOLDS, Ensemble, fold_of
from apps.industrial.training.replay import published_rul
from common.app.edge import Model
from common.app.training import TrainContext
from common.bundle import Bundle, open_bundle
from common.model.inference import OnnxModel, load_model, open_session
from common.model.profile import find_profile


class Predictions:
    """Predictions at cycles like those of the test set, with their errors."""

    def __init__(self) -> None:
        self.inside: list[bool] = []
        self.squares: list[float] = []
        self.withheld = 0

    def add(self, run: Run, rows: NDArray[np.int64], model: Model) -> None:
        """Run the edge app over the ``rows`` of a run."""
        truth = run.rul_cycles()
        judged = like_test(len(truth))
        for row, estimate in zip(rows.tolist(), published_rul(run, model, rows), strict=True):
            if not judged.start <= row < judged.stop:
                continue
            if estimate is None:
                self.withheld += 1
                continue
            self.inside.append(bool(estimate.lower_cycles <= truth[row] <= estimate.upper_cycles))
            self.squares.append(float(estimate.rul_cycles - truth[row]) ** 2)

    def figures(self, name: str) -> dict[str, float]:
        """Coverage, RMSE (where a RUL was given) and the share that was withheld."""
        share = self.withheld / max(1, self.withheld + len(self.inside))
        found = {f"{name}_withheld_share": share}
        if self.inside:
            found[f"{name}_coverage"] = float(np.mean(self.inside))
            found[f"{name}_rmse"] = float(np.sqrt(np.mean(self.squares)))
        return found


def seen_parts(run: Run, random: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Rows of ``run`` that reach a node with losses or a late start, by kind of history."""
    count = len(run.values)
    every = np.arange(count)
    bursts = np.ones(count, np.bool_)
    for begin in random.integers(0, count, size=max(1, count // 60)):
        bursts[begin : begin + int(random.integers(5, 16))] = False
    return {
        "nothing_lost": every,
        "a_tenth_lost": every[random.random(count) >= 0.1],
        "a_third_lost": every[random.random(count) >= 1 / 3],
        "half_lost": every[random.random(count) >= 0.5],
        "bursts_lost": every[bursts],
        **{f"from_cycle_{begin}": every[begin - 1 :] for begin in (10, 30, 60, 100)},
    }


def by_folds(bundle: Bundle, known: training.Known, folder: Path) -> dict[str, float]:
    """Figures for each of `seen_parts` of FD001's training engines.

    Every engine is judged by the members of ``bundle`` that have not seen it, with intervals and novelty
    from the other folds, at cycles like those of the test set. ``folder`` is for the models of the folds.
    """
    evidence = Evidence.of(bundle, (*known.real, *known.virtual))
    predictions: dict[str, Predictions] = {}
    for fold in range(FOLDS):
        model = evidence.model_without(fold, folder / f"fold-{fold}.onnx")
        for number, run in enumerate(known.real):
            if fold_of(run.name) == fold:
                for name, rows in seen_parts(run, np.random.default_rng([fold, number])).items():
                    predictions.setdefault(name, Predictions()).add(run, rows, model)
    return {key: value for name, found in predictions.items() for key, value in found.figures(name).items()}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Calibration data of the models, computed once for all folds: late histories take a minute."""

    bundle: Bundle
    ensemble: Ensemble
    runs: Sequence[Run]
    features: Sequence[NDArray[np.float32]]
    unseen: Sequence[NDArray[np.float64]]
    """Predictions on each run by members that had not seen it."""
    late: Sequence[training.LateHistory]

    @classmethod
    def of(cls, bundle: Bundle, runs: Sequence[Run]) -> Evidence:
        ensemble = read_ensemble(bundle.model_path())
        features = features_of(runs)
        unseen = training.unseen_predictions(ensemble, runs, features)
        return cls(bundle, ensemble, runs, features, unseen, training.late_histories(ensemble, runs))

    def model_without(self, fold: int, path: Path) -> OnnxModel:
        """A model, written to ``path``, that has not seen ``fold``: its members, calibrated on the others."""

        others = [i for i, run in enumerate(self.runs) if fold_of(run.name) != fold]
        members = tuple(m for i, m in enumerate(self.ensemble.members) if i % FOLDS == fold)
        novelty = fit_novelty(
            [self.features[i] for i in others],
            [fold_of(self.runs[i].name) for i in others],
            [self.runs[i].slice for i in others],
        )
        write_graph(
            path,
            Ensemble(self.ensemble.center, self.ensemble.spread, members),
            fit_interval([self.unseen[i] for i in others], [self.runs[i].rul_cycles() for i in others]),
            training.fit_late_interval([each for each in self.late if fold_of(each.run) != fold]),
            novelty,
        )
        parameters = self.bundle.manifest.parameters | {"novelty_limit": novelty.limit}
        manifest = msgspec.structs.replace(self.bundle.manifest, parameters=parameters)
        return OnnxModel(manifest, open_session(path))


def other_sets(bundle: Bundle, folder: Path) -> Iterator[dict[str, float]]:
    """The same figures of the shipped model on the training engines of each other set, nothing lost."""
    model = load_model(bundle, find_profile("cpu"))
    for name in SETS[1:]:
        if (folder / f"train_{name}.txt").is_file():
            predictions = Predictions()
            for run in load_engines(folder, name):
                predictions.add(run, np.arange(len(run.values)), model)
            yield predictions.figures(name)


def _print(figures: Mapping[str, float]) -> None:
    for name, value in figures.items():
        sys.stdout.write(json.dumps({"figure": name, "value": round(value, 4)}) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this job."""
    parser = argparse.ArgumentParser(
        prog="apps.industrial.benchmarks.histories", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with C-MAPSS")
    parser.add_argument(
        "--bundle", type=Path, default=SPEC.starter, help="bundle with an ensemble over folds"
    )
    options = parser.parse_args(arguments)
    bundle = open_bundle(options.bundle, app="industrial")
    with tempfile.TemporaryDirectory() as folder:
        context = TrainContext("", None, (), Path(folder), options.data, 0, {}, lambda _share, _message: None)
        _print(by_folds(bundle, training.known_runs(context), Path(folder)))
    for figures in other_sets(bundle, cmapss_in(options.data, ("train",))[0]):
        _print(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
