"""What the app says of engines whose cycles do not all come, or that it does not know, measured by folds.

::

    python -m apps.industrial.histories --data DIR [--bundle FOLDER]

runs the edge app over FD001's training engines with nothing lost, a tenth, a third or half of the cycles lost
at random, bursts of 5 to 15 lost, and with a history that begins at cycle 10, 30, 60 or 100; and, with the
model as it ships, over the training engines of FD002, FD003 and FD004. Prints one JSON line a figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from apps.industrial import train as training
from apps.industrial.app import SPEC, IndustrialSettings
from apps.industrial.calibration import fit_interval, fit_novelty
from apps.industrial.data import SETS, Run, cmapss_in, features_of, load_engines
from apps.industrial.edge import IndustrialEdge
from apps.industrial.features import CHANNELS
from apps.industrial.graph import read_ensemble, write_graph
from apps.industrial.measure import like_test
from apps.industrial.regression import FOLDS, Ensemble, fold_of
from common.app import EdgeContext, Model, Reading, TrainContext
from common.bundle import Bundle, open_bundle
from common.edge.inference import OnnxModel, load_model
from common.edge.profile import find_profile
from common.messages import Event

RUL_TYPE = "industrial.rul"


class Said:
    """What was said of cycles like those of the test set, beside the truth."""

    def __init__(self) -> None:
        self.inside: list[bool] = []
        self.squares: list[float] = []
        self.withheld = 0

    def add(self, run: Run, rows: NDArray[np.int64], model: Model) -> None:
        """Run the edge app over the ``rows`` of a run."""
        truth = run.rul_cycles()
        asked = like_test(len(truth))
        for row, data in zip(rows.tolist(), of_rows(run, rows, model), strict=True):
            if not asked.start <= row < asked.stop:
                continue
            if data["rul_cycles"] is None:
                self.withheld += 1
                continue
            self.inside.append(bool(data["lower_cycles"] <= truth[row] <= data["upper_cycles"]))
            self.squares.append(float(data["rul_cycles"] - truth[row]) ** 2)

    def figures(self, name: str) -> dict[str, float]:
        """Coverage, RMSE (where a RUL was given) and the share that was withheld."""
        share = self.withheld / max(1, self.withheld + len(self.inside))
        found = {f"{name}_withheld_share": share}
        if self.inside:
            found[f"{name}_coverage"] = float(np.mean(self.inside))
            found[f"{name}_rmse"] = float(np.sqrt(np.mean(self.squares)))
        return found


def of_rows(run: Run, rows: NDArray[np.int64], model: Model) -> Iterator[dict[str, Any]]:
    """Data of ``industrial.rul`` at each of the ``rows``, by an app that sees no other."""
    app = IndustrialEdge(EdgeContext(IndustrialSettings(), model))
    for row in rows.tolist():
        place = {"run": 0, "cycle": row + 1}
        reading = Reading(run.name, row, row, run.values[row], CHANNELS, None, place)
        for result in app.process(reading, row):
            if isinstance(result, Event) and result.type == RUL_TYPE:
                yield dict(result.data)


def seen_parts(run: Run, random: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Rows of ``run`` that come to a node whose link or beginning is not perfect, by what happens."""
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
    ensemble = read_ensemble(bundle.model_path())
    runs = [*known.real, *known.virtual]
    said: dict[str, Said] = {}
    for fold in range(FOLDS):
        model = _model_of_fold(bundle, ensemble, runs, fold, folder / f"fold-{fold}.onnx")
        for number, run in enumerate(known.real):
            if fold_of(run.name) == fold:
                for name, rows in seen_parts(run, np.random.default_rng([fold, number])).items():
                    said.setdefault(name, Said()).add(run, rows, model)
    return {key: value for name, found in said.items() for key, value in found.figures(name).items()}


def _model_of_fold(
    bundle: Bundle, ensemble: Ensemble, runs: Sequence[Run], fold: int, path: Path
) -> OnnxModel:
    """A model that has not seen ``fold``: its members, calibrated on the other folds."""
    import onnxruntime

    others = [run for run in runs if fold_of(run.name) != fold]
    features = features_of(others)
    unseen = training.unseen_predictions(ensemble, others, features)
    members = tuple(m for i, m in enumerate(ensemble.members) if i % FOLDS == fold)
    novelty = fit_novelty(features, [fold_of(run.name) for run in others], [run.slice for run in others])
    write_graph(
        path,
        Ensemble(ensemble.center, ensemble.spread, members),
        fit_interval(unseen, [run.rul_cycles() for run in others]),
        training.fit_late_interval(ensemble, others),
        novelty,
    )
    parameters = bundle.manifest.parameters | {"novelty_limit": novelty.limit}
    manifest = msgspec.structs.replace(bundle.manifest, parameters=parameters)
    return OnnxModel(manifest, onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]))


def other_sets(bundle: Bundle, folder: Path) -> dict[str, float]:
    """The same figures of the shipped model on the training engines of the other sets, nothing lost."""
    model = load_model(bundle, find_profile("cpu"))
    figures: dict[str, float] = {}
    for name in SETS[1:]:
        if (folder / f"train_{name}.txt").is_file():
            said = Said()
            for run in load_engines(folder, name):
                said.add(run, np.arange(len(run.values)), model)
            figures |= said.figures(name)
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this job."""
    parser = argparse.ArgumentParser(prog="apps.industrial.histories", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with C-MAPSS")
    parser.add_argument(
        "--bundle", type=Path, default=SPEC.starter, help="bundle with an ensemble over folds"
    )
    options = parser.parse_args(arguments)
    bundle = open_bundle(options.bundle, app="industrial")
    with tempfile.TemporaryDirectory() as folder:
        context = TrainContext("", None, (), Path(folder), options.data, 0, {}, lambda _share, _message: None)
        figures = by_folds(bundle, training.known_runs(context), Path(folder))
    figures |= other_sets(bundle, cmapss_in(options.data, ("train",))[0])
    for name, value in figures.items():
        sys.stdout.write(json.dumps({"figure": name, "value": round(value, 4)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
