"""Training of the industrial app: from runs with known end to a bundle.

A first model (or ``recipe=full``) is trained from scratch on C-MAPSS FD001, where a data folder is named (it
must be there then), with augmented copies and virtual runs. Any other job is quick: it goes on from the
production model's weights, replays the same known runs, and adds the runs from the field (see
`apps.industrial.training.evaluation.field_runs`) with as many copies that a fault seen a few times counts
like a known one. Interval and novelty are calibrated on predictions by members that had not seen the run.
Judged is by `apps.industrial.training.evaluation`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import CHANNELS, RUL_CAP_CYCLES
from apps.industrial.edge.features import FEATURE_NAMES, FEATURES, MIN_LATE_CYCLES
from apps.industrial.training.calibration import (
    KNOTS,
    NOVEL_RATE,
    Interval,
    Novelty,
    fit_interval,
    fit_novelty,
)
from apps.industrial.training.dataset import FILES, Run, cmapss_in, features_of, load_engines
from apps.industrial.training.evaluation import (
    EVALUATION_SEED,
    estimator_of,
    evaluate,
    field_runs,
    virtual_runs,
)
from apps.industrial.training.graph import read_ensemble, write_graph
from apps.industrial.training.regression import (
    FOLDS,
    Ensemble,
    Recipe,
    TrainingRun,
    fit_ensemble,
    fold_of,
    lossy,
)
from apps.industrial.virtual.turbofan import FAN, HPC
from common.app.training import GateRule, TrainContext
from common.bundle import (
    Bundle,
    DriftSpec,
    Limits,
    Manifest,
    TensorSpec,
    file_digest,
    seal,
    write_golden,
)
from common.errors import DatasetError, TrainingError
from common.training.lineage import lineage_of

__all__ = ["evaluate", "gate", "train"]

gate = GateRule("rul_fleet_rmse", higher_is_better=False, min_gain=0.02, slice_tolerance=0.2)
"""Retraining moves a known slice by up to a tenth either way, and field slices are a few runs only."""

check_parameters = {"epochs": 1, "virtual_runs": 12}

FULL = Recipe(epochs=12, members_per_fold=2)
QUICK = Recipe(epochs=8, members_per_fold=1, rate=3e-3)
VIRTUAL_SEED = 11_007
COPIES_FULL = 4
VIRTUAL_RUNS_BESIDE_FD001 = 150
VIRTUAL_RUNS_ALONE = 400
FIELD_RUNS_EACH = 90
"""Copies are made until a slice from the field has about this many runs..."""
FIELD_COPIES = (4, 20)
"""...but at least and at most so many of each run."""
LATENCY_LIMIT_MS = 5.0
NOVELTY_BOUND = 1e7
LATE_BEGINS = (10, 20, 30, 45, 60, 80, 100, 130, 160)
"""Cycles lost at the start of a run, for which the interval of late histories is calibrated."""
LOST_SHARES = (0.3, 0.4, 0.5, 0.6)
LATE_SEED = 9
RANGE_MARGINS = {"altitude_kft": 1.0, "mach": 0.02, "tra_pct": 2.0}
"""Tolerated distance of a reading from the operating settings seen in training."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """Parts of the graph, and constants for the baselines."""

    ensemble: Ensemble
    interval: Interval
    late_interval: Interval
    """The interval where a history began late."""
    novelty: Novelty
    operating_range: dict[str, list[float]]
    mean_rul_cycles: float
    mean_life_cycles: float


@dataclass(frozen=True, slots=True)
class Known:
    """The known runs that every training replays, with the digests of where they come from."""

    real: tuple[Run, ...]
    virtual: tuple[Run, ...]
    digests: dict[str, str]


def known_runs(context: TrainContext) -> Known:
    """FD001's training engines, where a data folder is named, and virtual runs of the fault that they have.

    Raises `DatasetError` for a data folder without them.
    """
    real: tuple[Run, ...] = ()
    digests: dict[str, str] = {}
    if context.data_path is not None and context.parameters.get("cmapss", True):
        folder, name = cmapss_in(context.data_path, ("train",))
        if name != "FD001":
            raise DatasetError(
                f"{folder} has {name} and no FD001, on which this app trains; the parameter cmapss=false "
                "trains on virtual runs alone"
            )
        real = load_engines(folder)
        digests = {f"cmapss/{FILES[0]}": file_digest(folder / FILES[0])}
    count = VIRTUAL_RUNS_BESIDE_FD001 if real else VIRTUAL_RUNS_ALONE
    virtual = tuple(virtual_runs(HPC.name, context.whole_number("virtual_runs", count), VIRTUAL_SEED))
    digest = hashlib.sha256(b"".join(run.values.tobytes() for run in virtual)).hexdigest()
    return Known(real, virtual, digests | {f"virtual-{HPC.name}": digest})


def train(context: TrainContext) -> Bundle:
    """Make a bundle in ``context.output``.

    Parameters: ``recipe`` (``full`` or ``quick``), ``epochs``, ``members_per_fold``, ``virtual_runs``,
    ``cmapss`` (false leaves FD001 out). Raises `TrainingError` for a bad one, `DatasetError` for an absent
    or malformed data set.
    """
    full = (
        context.choice("recipe", ("full", "quick"), "full" if context.parent is None else "quick") == "full"
    )
    recipe = FULL if full else QUICK
    recipe = replace(
        recipe,
        epochs=context.whole_number("epochs", recipe.epochs),
        members_per_fold=context.whole_number("members_per_fold", recipe.members_per_fold),
    )
    context.progress(0.0, "reading runs")
    known = known_runs(context)
    field, refused = field_runs(context.samples)
    start = None if full or context.parent is None else _members_of(context.parent, recipe)
    if start is None and not full:
        recipe = replace(recipe, rate=FULL.rate, epochs=max(recipe.epochs, FULL.epochs))
    for reason in refused:
        context.progress(0.0, f"left out: {reason}")
    context.progress(0.02, f"{len(known.real)} FD001, {len(known.virtual)} virtual, {len(field)} field runs")
    runs = training_runs(known, field, COPIES_FULL if full else 1)
    model = fit(runs, recipe, context, start)
    context.progress(0.95, "writing the bundle")
    return _write(context, model, known, len(field))


def training_runs(known: Known, field: Sequence[Run], copies_of_real: int) -> list[TrainingRun]:
    """All runs to learn from, each with the number of its copies."""
    min_copies, max_copies = FIELD_COPIES
    sizes = Counter(run.slice for run in field)
    return [
        *(TrainingRun(run, copies_of_real) for run in known.real),
        *(TrainingRun(run) for run in known.virtual),
        *(
            TrainingRun(run, int(np.clip(FIELD_RUNS_EACH // sizes[run.slice] - 1, min_copies, max_copies)))
            for run in field
        ),
    ]


def fit(
    runs: Sequence[TrainingRun], recipe: Recipe, context: TrainContext, start: Ensemble | None = None
) -> TrainedModel:
    """Train on ``runs`` and calibrate on them, each by members that had not seen it."""
    from threadpoolctl import threadpool_limits

    def progress(share: float) -> None:
        context.progress(0.05 + 0.85 * share, f"{round(share * FOLDS * recipe.members_per_fold)} members")

    with threadpool_limits(1):  # The matrices are small: a second BLAS thread costs more than it gives.
        ensemble = fit_ensemble(runs, recipe, context.seed, start=start, progress=progress)
        originals = [t.run for t in runs]
        features = features_of(originals)
        unseen = unseen_predictions(ensemble, originals, features)
        truths = [run.rul_cycles() for run in originals]
        # A fault seen a few times counts in the interval as much as it does in training.
        counts = [1.0 + t.copies if t.run.slice.startswith("field:") else 1.0 for t in runs]
        interval = fit_interval(unseen, truths, counts)
        late_interval = fit_late_interval(late_histories(ensemble, originals))
        complete = [i for i, run in enumerate(originals) if run.remaining_cycles == 0]
        novelty = fit_novelty(
            [features[i] for i in complete],
            [fold_of(originals[i].name) for i in complete],
            [originals[i].slice for i in complete],
        )
    lives = [run.life_cycles() for run in originals]
    mean_rul = float(np.mean([truth.mean() for truth in truths]))
    return TrainedModel(
        ensemble,
        interval,
        late_interval,
        novelty,
        operating_range(originals),
        mean_rul,
        float(np.mean(lives)),
    )


@dataclass(frozen=True, slots=True)
class LateHistory:
    """A run whose history began late or lost cycles: predictions on it by members that had not seen the run,
    and the truth, both ``(cycles,)``, from the first cycle on at which a RUL is given."""

    run: str
    predicted: NDArray[np.float64]
    truth: NDArray[np.float64]


def late_histories(ensemble: Ensemble, runs: Sequence[Run]) -> list[LateHistory]:
    """``runs`` from each of `LATE_BEGINS` on, and with each of `LOST_SHARES` of their cycles lost.

    The first `MIN_LATE_CYCLES` of such a history are left out: no RUL is given for them.
    """
    random = np.random.default_rng(LATE_SEED)
    parts = [
        run.part(rows)
        for run in runs
        for rows in (
            *(np.arange(begin, len(run.values)) for begin in LATE_BEGINS),
            *(np.flatnonzero(lossy(len(run.values), share, random)) for share in LOST_SHARES),
        )
        if len(rows) > MIN_LATE_CYCLES
    ]
    rest = slice(MIN_LATE_CYCLES - 1, None)
    unseen = unseen_predictions(ensemble, parts, features_of(parts))
    return [
        LateHistory(part.name, found[rest], part.rul_cycles()[rest])
        for part, found in zip(parts, unseen, strict=True)
    ]


def fit_late_interval(histories: Sequence[LateHistory]) -> Interval:
    """The interval for histories that began late or lost first cycles; the widest where there are none."""
    if not histories:
        return Interval(np.full(len(KNOTS), -RUL_CAP_CYCLES), np.full(len(KNOTS), RUL_CAP_CYCLES))
    return fit_interval([each.predicted for each in histories], [each.truth for each in histories])


def operating_range(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Lowest and highest value of each operating setting in ``runs``, widened by `RANGE_MARGINS`."""
    values = np.concatenate([run.values for run in runs])
    found: dict[str, list[float]] = {}
    for name, margin in RANGE_MARGINS.items():
        column = values[:, CHANNELS.index(name)]
        column = column[np.isfinite(column)]
        if len(column):
            found[name] = [round(float(column.min()) - margin, 4), round(float(column.max()) + margin, 4)]
    return found


def unseen_predictions(
    ensemble: Ensemble, runs: Sequence[Run], features: Sequence[NDArray[np.float32]]
) -> list[NDArray[np.float64]]:
    """Predictions on every run by the members that had not seen it."""
    return [
        ensemble.predict_unseen(rows, fold_of(run.name)) for run, rows in zip(runs, features, strict=True)
    ]


def _members_of(parent: Bundle, recipe: Recipe) -> Ensemble | None:
    """The parent's members to go on from, or None where it is not of this shape."""
    try:
        found = read_ensemble(parent.model_path())
    except TrainingError:
        return None
    if any(len(w.biases) != len(recipe.hidden) + 1 for w in found.members) or len(found.members) < FOLDS:
        return None
    return found


def _write(context: TrainContext, model: TrainedModel, known: Known, field: int) -> Bundle:
    output = context.output
    write_graph(output / "model.onnx", model.ensemble, model.interval, model.late_interval, model.novelty)
    _write_golden(context)
    bounds = [0.0, float(RUL_CAP_CYCLES)]
    outputs = [
        TensorSpec(name=name, dtype="float32", shape=[None], unit="cycles", saturation=bounds)
        for name in ("rul", "lower", "upper")
    ]
    outputs.append(TensorSpec(name="novelty", dtype="float32", shape=[None]))
    manifest = Manifest(
        app="industrial",
        version=context.version,
        task="remaining useful life of a turbofan with a 90 % interval, and novelty",
        inputs=[
            TensorSpec(
                name="features",
                dtype="float32",
                shape=[None, FEATURES],
                columns=list(FEATURE_NAMES),
                preprocessing="apps.industrial.edge.features",
            )
        ],
        outputs=outputs,
        precision="fp32",
        licence="Apache-2.0",
        limits=Limits(latency_ms=LATENCY_LIMIT_MS),
        lineage=lineage_of(context, known.digests),
        tolerance={"rul": 0.05, "lower": 0.1, "upper": 0.1, "novelty": 0.05},
        drift=DriftSpec(output="novelty", threshold=1.0, rate=NOVEL_RATE),
        parameters={
            "mean_rul_cycles": round(model.mean_rul_cycles, 2),
            "mean_life_cycles": round(model.mean_life_cycles, 2),
            "field_runs": field,
            "novelty_limit": round(model.novelty.limit, 3),
            "operating_range": model.operating_range,
            "output_bounds": dict.fromkeys(("rul", "lower", "upper"), bounds)
            | {"novelty": [0.0, NOVELTY_BOUND]},
        },
    )
    return seal(output, manifest)


def _write_golden(context: TrainContext) -> None:
    """Cases over two lives, one of a known fault and the beginning of one with another."""
    known = virtual_runs(HPC.name, 1, EVALUATION_SEED + 2)[0]
    other = virtual_runs(FAN.name, 1, EVALUATION_SEED + 2)[0]
    cases = [replace(known, values=known.values), replace(other, values=other.values[:60])]
    estimate = estimator_of(context.output / "model.onnx")
    features = features_of(cases)
    inputs, outputs = [], {name: [] for name in ("rul", "lower", "upper", "novelty")}
    for rows, found in zip(features, estimate(cases), strict=True):
        chosen = np.unique(np.linspace(0, len(rows) - 1, 12).astype(int))
        inputs.append(rows[chosen])
        for name, values in outputs.items():
            values.append(getattr(found, name)[chosen])
    write_golden(
        context.output,
        {"features": np.concatenate(inputs)},
        {name: np.concatenate(values).astype(np.float32) for name, values in outputs.items()},
    )
