"""Training of the starter bundle, and its figures.

::

    python -m apps.ecg.benchmarks.starter --data DIR --output FOLDER [--version V] [--seeds 3]

trains the full recipe with ``--seeds`` seeds, writes the bundle of the first, and puts what its training
measured by folds over DS1 into its manifest. With ``--test`` DS2 is measured as well, for every seed: for use
after all choices are made. Prints one JSON line a figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from apps.ecg.training import job as training
from apps.ecg.training.dataset import DS1, DS2, load_record, mitdb_in
from apps.ecg.training.evaluation import benchmark_of, evaluate, scorer_of
from apps.ecg.training.examples import examples_of, recording_of
from common.app.training import TrainContext
from common.bundle import Bundle, seal

OF_SEEDS = ("ecg_v_f1", "ecg_v_f1_of_aami", "ecg_s_f1", "ecg_s_f1_without_232", "ecg_af_f1")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this job."""
    parser = argparse.ArgumentParser(
        prog="apps.ecg.benchmarks.starter", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the MIT-BIH database")
    parser.add_argument("--output", type=Path, required=True, help="empty folder for the bundle")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", action="store_true", help="measure DS2 as well")
    options = parser.parse_args(arguments)
    folder = mitdb_in(options.data, DS1 + DS2 if options.test else DS1)

    def context(seed: int, output: Path) -> TrainContext:
        output.mkdir(parents=True, exist_ok=True)
        return TrainContext(options.version, None, (), output, options.data, seed, {}, _progress)

    known = training.known_examples(context(0, options.output))
    test = [examples_of(recording_of(load_record(folder, n)))[0] for n in DS2] if options.test else []
    bundle: Bundle | None = None
    found: dict[str, list[float]] = {}
    slices: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as spare:
        for seed in range(options.seeds):
            made = training.train_on(
                context(seed, options.output if seed == 0 else Path(spare) / f"{seed}"), known
            )
            fleet = evaluate(made, (), None)
            figures = {k: f.value for k, f in fleet.figures.items()}
            figures |= {f"by_folds_{k}": v for k, v in made.manifest.parameters["by_folds"].items()}
            if test:
                scorer = scorer_of(made.model_path(), made.manifest.parameters)
                figures |= {k: f.value for k, f in benchmark_of(scorer, test).items()}
            for name, value in figures.items():
                found.setdefault(name, []).append(value)
                sys.stdout.write(json.dumps({"figure": name, "value": value, "seed": seed}) + "\n")
            if bundle is None:
                bundle, slices = made, {k: f.value for k, f in fleet.slices.items()}
    assert bundle is not None
    record(bundle, found, slices, options.seeds)
    return 0


def record(
    bundle: Bundle, found: Mapping[str, Sequence[float]], slices: Mapping[str, float], seeds: int
) -> Bundle:
    """Put figures and slices of the first seed, and the figures of all, into the manifest."""
    measured = {
        "command": "python -m apps.ecg.benchmarks.starter --data DIR --output FOLDER",
        "seeds": seeds,
        "by_folds_mean_of_seeds": {
            name: round(float(np.mean(values)), 4)
            for name, values in found.items()
            if name.startswith("by_folds_")
        },
        "figures_of_seeds": {name: [round(v, 4) for v in found[name]] for name in OF_SEEDS if name in found},
    }
    figures = {name: round(values[0], 4) for name, values in found.items() if "confusion" not in name}
    manifest = msgspec.structs.replace(
        bundle.manifest,
        figures=figures,
        slices={name: round(value, 4) for name, value in slices.items()},
        parameters=bundle.manifest.parameters | {"measured": measured},
    )
    return seal(bundle.path, manifest)


def _progress(share: float, message: str) -> None:
    sys.stderr.write(f"{share:.2f} {message}\n")


if __name__ == "__main__":
    sys.exit(main())
