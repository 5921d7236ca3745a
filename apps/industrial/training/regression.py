"""Regression of the remaining useful life: augmentation of runs, and an ensemble trained over folds.

`augmented` makes more runs out of a complete one: the run is smoothed by one exponential growth common to
all sensors, stretched in time, and its own residuals are drawn again as noise. In C-MAPSS an engine's
life is independent of its start and of the shape of its growth, so a stretched run is a possible run.

`fit_ensemble` trains `FOLDS` small networks, each without the runs of one fold; the model is their mean,
and each member's predictions on the runs that it has not seen calibrate the intervals (cross-conformal,
Vovk 2015), so one training pays for both. A run's fold is the hash of its name: the same in every job, so
a member that goes on from its parent's weights has still never seen its own fold.

The networks are plain multi-layer perceptrons in numpy (AdamW, cosine schedule); only numpy is used.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import RUL_CAP_CYCLES, SCALE, USED
from apps.industrial.edge.features import LATE_CYCLES, MIN_LATE_CYCLES
from apps.industrial.training.dataset import Run, features_of

Floats = NDArray[np.float32]

FOLDS = 5
PART_SHARE = 0.5
"""Share of the runs that are learnt from a second time, without some of their cycles."""
LATEST_BEGIN = 200
MAX_LOST_SHARE = 0.6
"""Largest share of cycles that are lost at random in such a run."""
STRETCH = 0.3
"""A copy lives ``exp(±STRETCH)`` times as long as its original."""
MIN_SPREAD = 1.0
"""Minimum standard deviation, in units of sensor noise, by which a feature is divided."""
_SHARPNESS = np.linspace(1.0, 8.0, 29)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Training recipe of an ensemble; chosen by cross-validation over the training engines of FD001."""

    hidden: tuple[int, ...] = (48, 48, 48)
    epochs: int = 12
    batch: int = 512
    rate: float = 6e-3
    decay: float = 1.0
    """Weight decay (decoupled), relative to the learning rate."""
    members_per_fold: int = 1
    stretch: float = STRETCH


@dataclass(frozen=True, slots=True)
class Network:
    """Weights ``(in, out)`` and biases ``(out,)`` by layer; ReLU between them; the output is RUL / cap."""

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    def predict(self, inputs: Floats) -> Floats:
        """``(rows, in)`` -> ``(rows,)``."""
        values = inputs
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = values @ weight + bias
            if layer < len(self.weights) - 1:
                values = np.maximum(values, 0)
        return values[:, 0]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Standardization and members; member ``m`` has not seen fold ``m % FOLDS``."""

    center: Floats
    spread: Floats
    members: tuple[Network, ...]

    def inputs(self, features: Floats) -> Floats:
        return ((features - self.center) / self.spread).astype(np.float32)

    def predict(self, features: Floats) -> NDArray[np.float64]:
        """RUL in cycles, not clipped, as the model gives it."""
        inputs = self.inputs(features)
        return _mean_rul([m.predict(inputs) for m in self.members])

    def predict_unseen(self, features: Floats, fold: int) -> NDArray[np.float64]:
        """RUL in cycles by those members only that have not seen ``fold``."""
        inputs = self.inputs(features)
        unseen = [m.predict(inputs) for i, m in enumerate(self.members) if i % FOLDS == fold]
        return _mean_rul(unseen)


def _mean_rul(predictions: Sequence[Floats]) -> NDArray[np.float64]:
    """Mean of the members' predictions, in cycles."""
    return RUL_CAP_CYCLES * np.asarray(np.mean(predictions, axis=0, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A run and how many augmented copies of it are made; ``weight`` is for each of its cycles."""

    run: Run
    copies: int = 0
    weight: float = 1.0

    @property
    def fold(self) -> int:
        return fold_of(self.run.name)


def fold_of(name: str) -> int:
    """The fold of the run called ``name``."""
    return zlib.crc32(name.encode()) % FOLDS


def smooth(run: Run) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """``(b, levels, residuals)`` of the best fit ``levels[0] + levels[1] * g(t)`` of all channels together.

    ``g`` is `growth` with sharpness ``b``; ``residuals`` are ``(cycles, channels)``, ``levels`` is
    ``(2, channels)``. Sensors count by their noise.
    """
    values, numbers = run.values, run.numbers()
    best: tuple[float, float, NDArray[np.float64], NDArray[np.float64]] | None = None
    for sharpness in _SHARPNESS:
        curve = growth(float(sharpness), int(numbers[-1]))[numbers - 1]
        basis = np.stack([np.ones(len(values)), curve], axis=1)
        levels, *_ = np.linalg.lstsq(basis, values, rcond=None)
        residuals = values - basis @ levels
        error = float(np.sum((residuals[:, USED] / SCALE) ** 2))
        if best is None or error < best[0]:
            best = (error, float(sharpness), np.asarray(levels, np.float64), residuals)
    assert best is not None
    return best[1:]


def growth(sharpness: float, cycles: int) -> NDArray[np.float64]:
    """Exponential growth from about 0 to 1 over a life, ``(cycles,)``."""
    return np.expm1(sharpness * np.arange(1, cycles + 1) / cycles) / np.expm1(sharpness)


def augmented(run: Run, copies: int, stretch: float, random: np.random.Generator) -> list[Run]:
    """``copies`` possible runs like ``run``, each with another life and noise (see the module)."""
    if not copies or len(run.values) < 30:
        return []
    sharpness, levels, residuals = smooth(run)
    made = []
    for number in range(copies):
        factor = float(np.exp(random.uniform(-stretch, stretch)))
        cycles = max(30, round((run.life_cycles() - run.remaining_cycles) * factor))
        curve = growth(sharpness, cycles)[:, np.newaxis]
        noise = residuals[random.integers(len(residuals), size=cycles)]
        remaining = round(run.remaining_cycles * factor)
        made.append(Run(f"{run.name}~{number}", levels[0] + curve * levels[1] + noise, remaining, run.slice))
    return made


def seen_in_part(run: Run, random: np.random.Generator) -> list[Run]:
    """``run`` as a node sees it that comes late or loses cycles; empty for a run that is too short."""
    count = len(run.values)
    first, last = int(LATE_CYCLES) + 1, min(LATEST_BEGIN, count - MIN_LATE_CYCLES)
    if last <= first:
        return []
    if random.random() < 0.5:
        return [run.part(np.arange(int(random.integers(first, last)), count))]
    return [run.part(lossy(count, random.uniform(0.0, MAX_LOST_SHARE), random))]


def lossy(count: int, share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Mask of ``count`` cycles without the ``share`` of them lost at random; the last one is kept."""
    left = random.random(count) >= share
    left[-1] = True
    return left


def fit_network(
    inputs: Floats,
    targets: Floats,
    weights: Floats,
    recipe: Recipe,
    random: np.random.Generator,
    start: Network | None = None,
) -> Network:
    """Weighted least squares of ``targets`` ``(rows,)`` on ``inputs`` ``(rows, in)``, from ``start`` on."""
    dims = (inputs.shape[1], *recipe.hidden, 1)
    if start is None:
        layers = [
            (random.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32) for a, b in pairwise(dims)
        ]
        layers[-1] *= np.float32(0.3)
        offsets = [np.zeros(width, np.float32) for width in dims[1:]]
        offsets[-1][:] = targets.mean()
    else:
        layers, offsets = [w.copy() for w in start.weights], [b.copy() for b in start.biases]
    step = _AdamW([*layers, *offsets], len(layers), recipe)
    batches = max(1, len(inputs) // recipe.batch)
    total = recipe.epochs * batches
    for epoch in range(recipe.epochs):
        order = random.permutation(len(inputs))
        for batch in range(batches):
            rows = order[batch * recipe.batch : (batch + 1) * recipe.batch]
            gradients = _gradients(layers, offsets, inputs[rows], targets[rows], weights[rows])
            step(gradients, (epoch * batches + batch + 1) / total)
    return Network(tuple(layers), tuple(offsets))


def _gradients(
    layers: Sequence[Floats], offsets: Sequence[Floats], inputs: Floats, targets: Floats, weights: Floats
) -> list[Floats]:
    """Of the weighted mean squared error, for ``[*layers, *offsets]``."""
    last = len(layers) - 1
    values = [inputs]
    for index, (layer, offset) in enumerate(zip(layers, offsets, strict=True)):
        value = values[-1] @ layer + offset
        if index < last:
            np.maximum(value, 0, out=value)
        values.append(value)
    scale = weights[:, np.newaxis] * np.float32(2 / len(inputs))
    back: Any = (values[-1] - targets[:, np.newaxis]) * scale  # float32, which numpy's types widen
    of_layers: list[Floats] = []
    of_offsets: list[Floats] = []
    for index in range(last, -1, -1):
        of_layers.append(values[index].T @ back)
        of_offsets.append(back.sum(axis=0))
        if index:
            back = (back @ layers[index].T) * (values[index] > 0)
    return [*reversed(of_layers), *reversed(of_offsets)]


class _AdamW:
    """AdamW (Loshchilov & Hutter 2019) in place, warm-up over a tenth, cosine decay to 0."""

    def __init__(self, parameters: list[Floats], decayed: int, recipe: Recipe) -> None:
        self._parameters = parameters
        self._decayed = decayed
        self._recipe = recipe
        self._first = [np.zeros_like(p) for p in parameters]
        self._second = [np.zeros_like(p) for p in parameters]
        self._steps = 0

    def __call__(self, gradients: Sequence[Floats], done: float) -> None:
        self._steps += 1
        rate = self._recipe.rate * min(1.0, done / 0.1) * (0.5 + 0.5 * np.cos(np.pi * done))
        scaled = np.float32(rate * np.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps))
        for index, (parameter, gradient) in enumerate(zip(self._parameters, gradients, strict=True)):
            first, second = self._first[index], self._second[index]
            first += np.float32(0.1) * (gradient - first)
            second += np.float32(0.001) * (gradient * gradient - second)
            parameter -= scaled * first / (np.sqrt(second) + np.float32(1e-7))
            if index < self._decayed:
                parameter *= np.float32(1 - rate * self._recipe.decay)


def learning_runs(
    runs: Sequence[TrainingRun], stretch: float, random: np.random.Generator
) -> list[list[Run]]:
    """For each of ``runs``: itself, its augmented copies, and some of these as a node sees them in part."""
    made = [[t.run, *augmented(t.run, t.copies, stretch, random)] for t in runs]
    for group in made:
        group += [part for run in group for part in seen_in_part(run, random) if random.random() < PART_SHARE]
    return made


def fit_ensemble(
    runs: Sequence[TrainingRun],
    recipe: Recipe,
    seed: int,
    *,
    start: Ensemble | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Ensemble:
    """Train on ``runs`` with their copies. ``progress`` gets the completed share after each member."""
    random = np.random.default_rng(seed)
    made = learning_runs(runs, recipe.stretch, random)
    blocks = features_of([run for group in made for run in group])
    features = np.concatenate(blocks)
    targets = np.concatenate([r.rul_cycles() for group in made for r in group]).astype(np.float32)
    targets /= np.float32(RUL_CAP_CYCLES)
    lengths = [sum(len(r.values) for r in group) for group in made]
    weights = np.repeat(np.array([t.weight for t in runs], np.float32), lengths)
    weights /= weights.mean()
    folds = np.repeat(np.array([t.fold for t in runs]), lengths)
    if start is None:
        center = features.mean(axis=0)
        spread = np.sqrt(features.var(axis=0) + MIN_SPREAD**2)
        ensemble = Ensemble(center.astype(np.float32), spread.astype(np.float32), ())
    else:
        ensemble = start
    inputs = ensemble.inputs(features)
    members: list[Network] = []
    count = FOLDS * recipe.members_per_fold
    for member in range(count):
        seen = folds != member % FOLDS
        before = start.members[member % len(start.members)] if start is not None else None
        generator = np.random.default_rng([seed, member])
        members.append(fit_network(inputs[seen], targets[seen], weights[seen], recipe, generator, before))
        progress((member + 1) / count)
    return Ensemble(ensemble.center, ensemble.spread, tuple(members))
