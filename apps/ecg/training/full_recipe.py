"""The full recipe: trees for beats and for AF from recordings with known truth, and their operating point.

Hyperparameters are chosen by folds over patients: the decisions of a fold's trees on unseen patients give the
class weights (`odds`), the realistic beat errors for training the rhythm head, and the threshold of AF.
Training uses the beats of all leads of a recording, evaluation its first lead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import FEATURE_NAMES, KINDS, PATIENT_LEVEL_FEATURES, decided
from apps.ecg.edge.episodes import EpisodeLimits
from apps.ecg.edge.rhythm import LEAD_LEVEL_FEATURES, RHYTHM_NAMES, RhythmRows, suppress_s_in_af
from apps.ecg.training.boosting import Recipe, Trees, fit_trees, joined, scores
from apps.ecg.training.durations import Durations, durations_of
from apps.ecg.training.examples import UNKNOWN, Examples, rhythm_rows
from apps.ecg.training.graph import Novelty, Scale
from apps.ecg.training.scoring import NOTHING, Counts, confusion, f1

FOLDS = 11
BEAT_RECIPE = Recipe()
RHYTHM_RECIPE = Recipe(rounds=80, leaves=4, min_rows=40)
SEEDS = 2
"""Number of tree ensembles in the model, each with its own draws of rows and columns."""
MAX_NORMAL = 400
"""Limit of normal beats of one lead of one recording; there are thousands of similar ones."""
NOVEL_RATE = 0.01
_AXES = 24
_BEAT_LEVEL = np.array([at for at, name in enumerate(FEATURE_NAMES) if name not in PATIENT_LEVEL_FEATURES])
_OF_RHYTHM = np.array([at for at, name in enumerate(RHYTHM_NAMES) if name not in LEAD_LEVEL_FEATURES])
_ODDS = np.exp(np.linspace(-3.0, 3.0, 49))
_AF_LEVELS = np.round(np.arange(0.2, 0.85, 0.05), 2)
_HYSTERESIS = 0.1

Floats = NDArray[np.float64]
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class FittedModel:
    """Parts of the graph, its operating point, and its figures on unseen patients."""

    beat: Trees
    rhythm: Trees
    beat_scale: Scale
    rhythm_scale: Scale
    novelty: Novelty
    odds: dict[str, float]
    limits: EpisodeLimits
    by_folds: dict[str, float] = field(default_factory=dict)


def softmax(values: Floats) -> Floats:
    """Over the last axis."""
    raised = np.exp(values - values.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def folds_of(patients: Sequence[str]) -> list[set[str]]:
    """The patients in at most `FOLDS` groups, the same in every job."""
    order = np.random.default_rng(1).permutation(sorted(set(patients)))
    return [{str(name) for name in order[fold::FOLDS]} for fold in range(min(FOLDS, len(order)))]


def fit_beats(examples: Sequence[Examples], recipe: Recipe, seed: int, seeds: int = 1) -> Trees:
    """Trees for the classes of beats, the mean over ``seeds`` draws.

    A patient's beats of a class weigh as the root of their number, so that no patient dominates.
    """
    random = np.random.default_rng(seed)
    rows, truth, weights = [], [], []
    for one in examples:
        for kind in range(len(KINDS)):
            chosen = np.flatnonzero(one.kinds == kind)
            if not len(chosen):
                continue
            weight = len(chosen) ** 0.5
            if kind == 0:
                chosen = random.permutation(chosen)[:MAX_NORMAL]
            rows.append(one.rows.features[chosen])
            truth.append(np.full(len(chosen), kind))
            weights.append(np.full(len(chosen), weight / len(chosen)))
    every = np.concatenate(weights)
    arrays = np.concatenate(rows), np.concatenate(truth), every * (len(every) / every.sum())
    return joined([fit_trees(*arrays, len(KINDS), recipe, seed * 101 + k, _BEAT_LEVEL) for k in range(seeds)])


def fit_rhythm(
    rows: Sequence[tuple[RhythmRows, NDArray[np.int64]]], recipe: Recipe, seed: int, seeds: int = 1
) -> Trees:
    """Trees for AF; a recording's rows with AF, and those without, weigh as the root of their number."""
    weights = []
    for _, af in rows:
        share = np.bincount(af, minlength=2)[af]
        weights.append(share**-0.5)
    every = np.concatenate(weights)
    features = np.concatenate([found.features for found, _ in rows])
    truth = np.concatenate([af for _, af in rows])
    weight = every * (len(every) / every.sum())
    return joined(
        [fit_trees(features, truth, weight, 2, recipe, seed * 101 + k, _OF_RHYTHM) for k in range(seeds)]
    )


def beat_counts(one: Examples, kinds: NDArray[np.integer]) -> Counts:
    """Confusion of one recording with these decisions, including missed beats and extra peaks."""
    evaluated = one.kinds != UNKNOWN
    truth = np.where(one.extra, NOTHING, one.kinds)[evaluated]
    missed = np.full(len(one.missed), NOTHING)
    return confusion(np.concatenate([truth, one.missed]), np.concatenate([kinds[evaluated], missed]))


def choose_odds(
    examples: Sequence[Examples],
    probabilities: Sequence[Floats],
    final: Callable[[int, NDArray[np.int64]], NDArray[np.int64]] = lambda _, kinds: kinds,
) -> dict[str, float]:
    """Weights of V and S with the best F1 of each over all recordings.

    ``final`` maps the number of a recording and its decided classes to the reported ones.
    """
    chosen = {"V": 1.0, "S": 1.0}
    for _ in range(2):
        for kind in chosen:
            found = []
            for odds in _ODDS:
                tried = chosen | {kind: float(odds)}
                counts = sum(
                    beat_counts(one, final(at, decided(p, tried)))
                    for at, (one, p) in enumerate(zip(examples, probabilities, strict=True))
                )
                found.append(float(f1(np.asarray(counts), kind)))
            chosen[kind] = round(float(_ODDS[int(np.argmax(found))]), 3)
    return chosen


def fit_scale(rows: NDArray[np.float32]) -> Scale:
    """Median, and the spread of the middle nine tenths as if normal."""
    low, center, high = np.quantile(rows, [0.05, 0.5, 0.95], axis=0)
    return Scale(center.astype(np.float32), np.maximum((high - low) / 3.29, 1e-3).astype(np.float32))


def fit_novelty(scaled: NDArray[np.float32]) -> Novelty:
    """Distance in the whitened principal axes of the features; `NOVEL_RATE` of the rows exceed 1."""
    center = scaled.mean(axis=0)
    _, sizes, axes = np.linalg.svd((scaled - center).astype(np.float64), full_matrices=False)
    kept = axes[:_AXES].T / (sizes[:_AXES] / np.sqrt(len(scaled)) + 0.1)
    distance = np.sum(((scaled - center) @ kept) ** 2, axis=1)
    kept = kept / np.sqrt(np.quantile(distance, 1 - NOVEL_RATE))
    return Novelty(kept.astype(np.float32), (-center @ kept).astype(np.float32))


def fit(
    examples: Sequence[Examples],
    virtual: Sequence[Examples],
    seed: int,
    progress: Progress,
    seeds: int = SEEDS,
    max_rounds: int = BEAT_RECIPE.rounds,
) -> FittedModel:
    """Train on ``examples``, whose first leads are evaluated, and ``virtual`` patients.

    The odds are chosen twice: as input of the rhythm decisions, and then with their effect on S.
    ``max_rounds`` limits the boosting rounds of both recipes.
    """
    beat_recipe, rhythm_recipe = (
        replace(recipe, rounds=min(recipe.rounds, max_rounds)) for recipe in (BEAT_RECIPE, RHYTHM_RECIPE)
    )
    evaluated = [one for one in examples if one.lead == 0]
    folds = folds_of([one.patient for one in evaluated])
    probabilities: list[Floats] = [np.empty(0)] * len(evaluated)
    for number, fold in enumerate(folds):
        unseen = [one for one in examples if one.patient not in fold]
        trees = fit_beats([*unseen, *virtual], beat_recipe, seed)
        for at, one in enumerate(evaluated):
            if one.patient in fold:
                probabilities[at] = softmax(scores(trees, one.rows.features))
        progress(0.6 * (number + 1) / len(folds))
    beat = fit_beats([*examples, *virtual], beat_recipe, seed, seeds)
    progress(0.75)
    simulated_p = [softmax(scores(beat, one.rows.features)) for one in virtual]

    def rhythm_of(odds: Mapping[str, float]) -> _Rhythm:
        seen = [rhythm_rows(one, decided(p, odds)) for one, p in zip(evaluated, probabilities, strict=True)]
        simulated = [rhythm_rows(one, decided(p, odds)) for one, p in zip(virtual, simulated_p, strict=True)]
        return _rhythm_by_folds(evaluated, seen, simulated, folds, rhythm_recipe, seed)

    first = rhythm_of(choose_odds(evaluated, probabilities))
    odds = choose_odds(evaluated, probabilities, first.reported)
    second = rhythm_of(odds)
    rhythm = fit_rhythm([*second.seen, *second.simulated], rhythm_recipe, seed, seeds)
    progress(0.95)
    total = sum(
        beat_counts(one, second.reported(at, decided(p, odds)))
        for at, (one, p) in enumerate(zip(evaluated, probabilities, strict=True))
    )
    rows = np.concatenate([one.rows.features[one.kinds != UNKNOWN] for one in evaluated])
    beat_scale = fit_scale(rows)
    rhythm_scale = fit_scale(np.concatenate([r.features for r, _ in [*second.seen, *second.simulated]]))
    by_folds = {
        "v_f1": round(float(f1(np.asarray(total), "V")), 4),
        "s_f1": round(float(f1(np.asarray(total), "S")), 4),
        "af_f1": round(second.found.f1, 4),
    }
    novelty = fit_novelty(beat_scale.apply(rows))
    return FittedModel(beat, rhythm, beat_scale, rhythm_scale, novelty, odds, second.limits, by_folds)


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """Rhythm rows with truth, and the decisions on unseen patients."""

    seen: Sequence[tuple[RhythmRows, NDArray[np.int64]]]
    simulated: Sequence[tuple[RhythmRows, NDArray[np.int64]]]
    samples: Sequence[NDArray[np.int64]]
    chances: Sequence[Floats]
    limits: EpisodeLimits
    found: Durations

    def reported(self, at: int, kinds: NDArray[np.int64]) -> NDArray[np.int64]:
        """Reported classes of the beats of recording number ``at``."""
        decided_at = self.seen[at][0].samples
        return suppress_s_in_af(kinds, self.samples[at], decided_at, self.chances[at], self.limits.af_off)


def _rhythm_by_folds(
    evaluated: Sequence[Examples],
    seen: Sequence[tuple[RhythmRows, NDArray[np.int64]]],
    simulated: Sequence[tuple[RhythmRows, NDArray[np.int64]]],
    folds: Sequence[set[str]],
    recipe: Recipe,
    seed: int,
) -> _Rhythm:
    """Decisions on unseen patients, at the level with the best F1 by duration."""
    chances: list[Floats] = [np.empty(0)] * len(evaluated)
    for fold in folds:
        others = [rows for one, rows in zip(evaluated, seen, strict=True) if one.patient not in fold]
        trees = fit_rhythm([*others, *simulated], recipe, seed)
        for at, one in enumerate(evaluated):
            if one.patient in fold:
                chances[at] = 1 / (1 + np.exp(-scores(trees, seen[at][0].features)[:, 0]))
    best: tuple[EpisodeLimits, Durations] | None = None
    for level in _AF_LEVELS:
        limits = EpisodeLimits(af_on=float(level), af_off=round(float(level) - _HYSTERESIS, 2))
        total = sum(
            (
                durations_of(one, rows, p, limits)
                for one, (rows, _), p in zip(evaluated, seen, chances, strict=True)
            ),
            Durations(),
        )
        if best is None or total.f1 > best[1].f1:
            best = limits, total
    assert best is not None
    return _Rhythm(seen, simulated, [one.rows.samples for one in evaluated], chances, *best)
