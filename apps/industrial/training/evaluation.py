"""Evaluation of a model: the benchmark figures, and the slices by which the gate judges.

*Benchmark* (``rul_*``): the last cycle of engines that were cut off, RUL capped at 125, as is usual for
C-MAPSS; the test engines of the set in the data folder, which must be there, or virtual engines cut at random
where no folder is named. The unit of each figure names the data, and "model alone" where the app withholds
some of their cycles. No decision is taken on these: the gate judges by ``rul_fleet_rmse``.

*Published* (``rul_withheld_share``, ``rul_published_*``; where a folder is named): every cycle of the same
engines through the edge app: the share whose RUL it withholds, RMSE and coverage over the others.

*Fleet* (``rul_fleet_rmse`` and the slices): every cycle of virtual runs with the fault that each model
must know, and of the held-out runs from the field, by the faults of their work orders. The figure is
the root of the mean over slices of the squared error, so that a new fault counts as much as a known one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import CHANNELS, RUL_CAP_CYCLES, USED
from apps.industrial.training.calibration import NOVEL_RATE
from apps.industrial.training.dataset import Run, cmapss_in, features_of, load_test_engines, published
from apps.industrial.training.replay import published_rul
from apps.industrial.virtual.turbofan import HPC, simulate_run
from common.app.training import Figure, LabelledSample, Metrics
from common.bundle import Bundle
from common.model.inference import load_model, open_session
from common.model.profile import find_profile

Floats = NDArray[np.float64]

EVALUATION_SEED = 704_211
"""Seed of the virtual runs for judging; training refuses it."""
FLEET_RUNS = 60
BENCHMARK_RUNS = 100
MIN_CYCLES = 30
"""Engines of the virtual benchmark are cut no earlier, as in FD001's test set."""
SMALLEST_SLICE = 2
"""Runs of one kind from the field that make a slice; fewer are judged together."""
BOOTSTRAPS = 1000
FD001_ENGINES = "100 FD001 test engines"


@dataclass(frozen=True, slots=True)
class Estimates:
    """A model's outputs for a series of cycles, each ``(cycles,)``."""

    rul: Floats
    lower: Floats
    upper: Floats
    novelty: Floats

    def last(self) -> tuple[float, float, float]:
        """``(rul, lower, upper)`` of the last cycle."""
        return float(self.rul[-1]), float(self.lower[-1]), float(self.upper[-1])


Estimator = Callable[[Sequence[Run]], list[Estimates]]
"""Gives a model's outputs for every cycle of every run."""


def estimator_of(model_path: Path) -> Estimator:
    """Runs the ONNX graph at ``model_path`` over whole runs."""
    session = open_session(model_path)
    names = ["rul", "lower", "upper", "novelty"]

    def estimate(runs: Sequence[Run]) -> list[Estimates]:
        return [
            Estimates(*(np.asarray(v, np.float64) for v in session.run(names, {"features": features})))
            for features in features_of(runs)
        ]

    return estimate


def virtual_runs(fault: str, count: int, seed: int) -> list[Run]:
    """Complete virtual runs with ``fault``."""
    return [
        Run(f"virtual-{fault}-{seed}-{k}", simulate_run(fault, seed, 0, k).values, 0, f"virtual-{fault}")
        for k in range(count)
    ]


def cut_runs(runs: Sequence[Run], seed: int) -> list[Run]:
    """``runs`` cut off with a remaining life that is uniform in 7..145, as FD001's test engines were."""
    random = np.random.default_rng(seed)
    cut = []
    for run in runs:
        left = int(random.integers(7, min(146, len(run.values) - MIN_CYCLES)))
        cut.append(Run(run.name, run.values[:-left], left, run.slice))
    return cut


def like_test(cycles: int) -> slice:
    """Cycles of a whole run that are like the last ones of the test set's engines."""
    return slice(max(MIN_CYCLES - 1, cycles - 146), cycles - 7)


def field_runs(samples: Sequence[LabelledSample]) -> tuple[list[Run], list[str]]:
    """Runs with known end from the field, and why others cannot be used.

    The newest ``failure`` or ``inspection`` label has the end. A run's slice is ``field:`` and the first
    line of the work order's note.
    """
    runs: list[Run] = []
    refused: list[str] = []
    for labelled in samples:
        labels = [label for label in labelled.labels if label.kind in ("failure", "inspection")]
        if not labels:
            continue
        body = max(labels, key=lambda label: label.created_ns).body
        name = labelled.sample.group
        values = labelled.sample.arrays.get("values", np.empty(0))
        attributes = labelled.sample.attributes
        if values.ndim != 2 or values.shape[1] != len(CHANNELS):
            refused.append(f"{name}: values have shape {values.shape}")
            continue
        if attributes.get("first_cycle", 1) != 1:
            refused.append(f"{name}: its first cycles were not kept")
            continue
        end = int(body["cycle"]) + int(body.get("remaining_cycles", 0))
        last = int(attributes.get("last_cycle", len(values)))
        seen = values[: max(0, len(values) - max(0, last - end))].astype(np.float64)
        usable = np.all(np.isfinite(seen[:, USED]), axis=1)
        if np.count_nonzero(usable) < MIN_CYCLES:
            refused.append(f"{name}: {np.count_nonzero(usable)} usable cycles")
            continue
        whole = Run(name, seen, max(0, end - last), f"field:{slice_name(str(body.get('note', '')))}")
        runs.append(whole if usable.all() else whole.part(usable))
    return runs, refused


def slice_name(note: str) -> str:
    """The first line of a note as a name: ``Fan blade erosion.`` -> ``fan-blade-erosion``."""
    first = note.strip().splitlines()[0] if note.strip() else ""
    return re.sub(r"[^a-z0-9]+", "-", first.lower()).strip("-")[:40].strip("-") or "unnamed"


def nasa_score(errors: Floats) -> float:
    """Score of PHM08 (Saxena et al. 2008) for predicted minus true RUL; late predictions cost more."""
    return float(np.sum(np.where(errors < 0, np.exp(-errors / 13), np.exp(errors / 10)) - 1))


def evaluate(bundle: Bundle, samples: Sequence[LabelledSample], data_path: Path | None) -> Metrics:
    """Figures and slices of ``bundle`` (see the module). ``samples`` are held-out ones."""
    estimate = estimator_of(bundle.model_path())
    slices = fleet_slices(estimate, samples)
    fleet = float(np.sqrt(np.mean([figure.value**2 for figure in slices.values()])))
    field = len(field_runs(samples)[0])
    of = f"cycles, {FLEET_RUNS} virtual runs and {field} held-out field runs"
    figures = {"rul_fleet_rmse": Figure(fleet, count=len(slices), unit=of, virtual=field == 0)}
    data = ""
    if data_path is not None:
        engines, which, data = _test_engines(data_path)
        if which == FD001_ENGINES:
            figures |= over_seeds(bundle.manifest.parameters.get("measured", {}))
    else:
        engines = cut_runs(virtual_runs(HPC.name, BENCHMARK_RUNS, EVALUATION_SEED + 1), EVALUATION_SEED)
        which = f"{len(engines)} virtual engines"
    published = published_figures(bundle, engines, which) if data_path is not None else {}
    withheld = published.get("rul_withheld_share", Figure(0.0)).value
    alone = f"{which}, model alone" if withheld else which
    measured = benchmark(estimate, engines, bundle.manifest.parameters, alone)
    figures |= {name: replace(figure, virtual=data_path is None) for name, figure in measured.items()}
    figures |= published
    return Metrics(figures, slices, data, {"field runs": field})


def _test_engines(data_path: Path) -> tuple[Sequence[Run], str, str]:
    """Engines of the set below ``data_path``; what they are, for units; and which files they came from."""
    folder, name = cmapss_in(data_path, ("test", "RUL"))
    engines = load_test_engines(folder, name)
    if published(folder, (f"test_{name}.txt", f"RUL_{name}.txt")):
        return (
            engines,
            f"{len(engines)} {name} test engines",
            f"C-MAPSS {name}, the published files, in {folder}",
        )
    which = f"{len(engines)} engines of test_{name}.txt, not the published file"
    return engines, which, f"test_{name}.txt and RUL_{name}.txt in {folder}, not the published files"


def over_seeds(measured: Mapping[str, Any]) -> dict[str, Figure]:
    """Figures over several training seeds, recorded in a starter's manifest by its job.

    Nothing of it is measured now. Empty for a bundle of another job.
    """
    if not measured:
        return {}
    seeds = measured["rul_rmse_of_seeds"]
    folds = measured["by_folds_over_training_engines"]
    count = len(seeds)

    def recorded(
        value: float, low: float | None, high: float | None, number: int | None, unit: str
    ) -> Figure:
        return Figure(value, low, high, number, f"{unit}; recorded, not measured now", recorded=True)

    unit = f"cycles, FD001 test engines, mean over {count} training seeds (minimum and maximum)"
    unseen = "FD001 training engines by folds"
    coverage, width, rmse = (folds[f"rul_{name}"] for name in ("interval_coverage", "interval_width", "rmse"))
    return {
        "rul_rmse_mean_of_seeds": recorded(float(np.mean(seeds)), min(seeds), max(seeds), count, unit),
        "rul_interval_coverage_by_folds": recorded(
            coverage,
            folds["rul_interval_coverage_min_fold"],
            folds["rul_interval_coverage_max_fold"],
            None,
            f"{unseen}, mean over {count} seeds (minimum and maximum fold)",
        ),
        "rul_interval_width_by_folds": recorded(width, None, None, None, f"cycles, {unseen}"),
        "rul_rmse_by_folds": recorded(rmse, None, None, None, f"cycles, {unseen}"),
    }


def fleet_slices(estimate: Estimator, samples: Sequence[LabelledSample]) -> dict[str, Figure]:
    """RMSE over all cycles by slice, every run counting the same, with a bootstrap interval over runs."""
    runs = virtual_runs(HPC.name, FLEET_RUNS, EVALUATION_SEED) + field_runs(samples)[0]
    by_slice: dict[str, list[float]] = {}
    for run, found in zip(runs, estimate(runs), strict=True):
        error = float(np.mean((found.rul - run.rul_cycles()) ** 2))
        by_slice.setdefault(run.slice, []).append(error)
    few = [name for name, errors in by_slice.items() if len(errors) < SMALLEST_SLICE]
    others = [error for name in few for error in by_slice.pop(name)]
    if others:
        by_slice["field:others"] = others
    return {
        name: replace(
            bootstrapped(np.array(errors), root_mean, f"cycles, {len(errors)} runs"),
            virtual=name.startswith("virtual-"),
        )
        for name, errors in sorted(by_slice.items())
    }


def benchmark(
    estimate: Estimator, engines: Sequence[Run], constants: Mapping[str, float], which: str
) -> dict[str, Figure]:
    """The ``rul_*`` figures on the last cycles of ``engines``, with two baselines that see no sensor.

    ``constants`` has ``mean_rul_cycles`` and ``mean_life_cycles`` of the training runs: the baselines are
    that mean RUL, and that mean life less the age.
    """
    found = estimate(engines)
    truth = np.array([run.rul_cycles()[-1] for run in engines])
    rul, lower, upper = np.array([estimates.last() for estimates in found]).T
    covered = (lower <= truth) & (truth <= upper)
    age = np.array([float(len(run.values)) for run in engines])
    mean_rul = float(constants.get("mean_rul_cycles", RUL_CAP_CYCLES / 2))
    decay = np.clip(float(constants.get("mean_life_cycles", 200.0)) - age, 0, RUL_CAP_CYCLES)
    unit = f"cycles, {which}"

    novel = np.concatenate([estimates.novelty for estimates in found]) > 1
    return {
        "rul_rmse": bootstrapped((rul - truth) ** 2, root_mean, unit),
        "rul_nasa_score": Figure(nasa_score(rul - truth), count=len(engines), unit=which),
        "rul_interval_coverage": bootstrapped(covered.astype(float), mean, which),
        "rul_interval_width": bootstrapped(upper - lower, mean, unit),
        "rul_rmse_of_mean": bootstrapped((mean_rul - truth) ** 2, root_mean, unit),
        "rul_rmse_of_age": bootstrapped((decay - truth) ** 2, root_mean, unit),
        "novelty_rate": Figure(float(novel.mean()), count=novel.size, unit=f"known: {NOVEL_RATE:g}, {which}"),
    }


def published_figures(bundle: Bundle, engines: Sequence[Run], which: str) -> dict[str, Figure]:
    """Published results of all cycles of ``engines``: share withheld, RMSE and coverage of the rest.

    Every engine counts the same in the share, and every engine with a published cycle in the others; these
    are left out where there is none.
    """
    model = load_model(bundle, find_profile("cpu"))
    withheld, squares, inside = [], [], []
    cycles = 0
    for run in engines:
        rows = list(published_rul(run, model))
        given = [
            (each.rul_cycles - truth, each.lower_cycles <= truth <= each.upper_cycles)
            for each, truth in zip(rows, run.rul_cycles(), strict=True)
            if each is not None
        ]
        withheld.append(1 - len(given) / len(rows))
        if given:
            cycles += len(given)
            squares.append(np.mean([error**2 for error, _ in given]))
            inside.append(np.mean([covered for _, covered in given]))
    share = bootstrapped(np.array(withheld), mean, f"all cycles of {which}")
    if not squares:
        return {"rul_withheld_share": share}
    unit = f"the {cycles} cycles of {which} that are not withheld"
    return {
        "rul_withheld_share": share,
        "rul_published_rmse": bootstrapped(np.array(squares), root_mean, f"cycles, {unit}"),
        "rul_published_coverage": bootstrapped(np.array(inside), mean, unit),
    }


def root_mean(squares: Floats) -> Floats:
    """Root of the mean over the last axis."""
    return np.sqrt(squares.mean(axis=-1))


def mean(values: Floats) -> Floats:
    """Mean over the last axis."""
    return values.mean(axis=-1)


def bootstrapped(values: Floats, statistic: Callable[[Floats], Floats], unit: str) -> Figure:
    """``statistic`` (over the last axis) with its 95 % bootstrap interval over ``values``, one an engine."""
    drawn = np.random.default_rng(0).integers(len(values), size=(BOOTSTRAPS, len(values)))
    lower, upper = np.quantile(statistic(values[drawn]), [0.025, 0.975])
    return Figure(float(statistic(values)), float(lower), float(upper), len(values), unit)
