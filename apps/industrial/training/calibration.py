"""Uncertainty of the RUL: a 90 % interval and a measure of novelty. Only numpy; pure.

*Interval*: split-conformal (Lei et al. 2018) on predictions of runs that the predicting networks had not
seen, locally: the 5 % and 95 % quantiles of truth minus prediction among the predictions nearest to each
knot, linear between knots.

*Novelty*: how far the recent sensor levels lie off the directions in which known engines differ and age.
Directions with more variance than noise explains are known; along all others the squared Mahalanobis
distance counts. Ageing by a known fault moves within the known directions and gives no novelty; a fault
with another signature leaves them. 1.0 is the 99th percentile over runs that the directions were not
computed from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import RUL_CAP_CYCLES, USED_CHANNELS
from apps.industrial.edge.features import AVERAGES_CYCLES, SEEN

Floats = NDArray[np.float64]

COVERAGE = 0.9
KNOTS = np.array([0.0, 8, 16, 26, 38, 52, 68, 84, 98, 108, 116, 121, 125])
"""Predicted RUL, in cycles, at which the interval is calibrated."""
NEAREST_SHARE = 0.08
"""Share of the predictions that calibrate one knot."""

LEVEL = slice(len(USED_CHANNELS), 2 * len(USED_CHANNELS))
"""Positions, among the features, of the averages that novelty uses."""
SETTLED_CYCLES = AVERAGES_CYCLES[1] * 2
"""Cycles taken in from which those averages have their full precision."""
KNOWN_VARIANCE = 0.35
"""Variance, in sensor noise, above which a direction counts as known; averaged noise has about 0.1."""
_FLOOR_VARIANCE = 0.03
NOVEL_RATE = 0.01
BEYOND_RATE = 0.0005
"""Some of the engines of FD001 leave everything known in their very last cycles."""


@dataclass(frozen=True, slots=True)
class Interval:
    """``lower = rul + low(rul)``, ``upper = rul + high(rul)``, both piecewise linear on `KNOTS`."""

    low: Floats
    high: Floats

    def bounds(self, rul: Floats) -> tuple[Floats, Floats]:
        """``(lower, upper)`` for predictions ``(rows,)`` in cycles, within [0, cap]."""
        low = rul + np.interp(rul, KNOTS, self.low)
        high = rul + np.interp(rul, KNOTS, self.high)
        return np.clip(low, 0, RUL_CAP_CYCLES), np.clip(high, 0, RUL_CAP_CYCLES)


def fit_interval(
    predictions: Sequence[Floats], truths: Sequence[Floats], weights: Sequence[float] | None = None
) -> Interval:
    """Calibrate on unseen predictions and the truth of every cycle, by run.

    A run counts by its weight (all the same where None), however many cycles it has.
    """
    counts = np.ones(len(predictions)) if weights is None else np.asarray(weights)
    predicted = np.clip(np.concatenate(predictions), 0, RUL_CAP_CYCLES)
    residual = np.concatenate(truths) - predicted
    weight = np.concatenate(
        [np.full(len(p), count / len(p)) for p, count in zip(predictions, counts, strict=True)]
    )
    tail = (1 - COVERAGE) / 2
    low, high = np.zeros(len(KNOTS)), np.zeros(len(KNOTS))
    nearest = max(1, round(NEAREST_SHARE * len(predicted)))
    for index, knot in enumerate(KNOTS):
        near = np.argpartition(np.abs(predicted - knot), nearest - 1)[:nearest]
        order = near[np.argsort(residual[near])]
        share = np.cumsum(weight[order]) / weight[order].sum()
        low[index] = min(0.0, residual[order][np.searchsorted(share, tail)])
        high[index] = max(0.0, residual[order][min(np.searchsorted(share, 1 - tail), nearest - 1)])
    return Interval(low, high)


@dataclass(frozen=True, slots=True)
class Novelty:
    """``sum(((level - center) @ axes) ** 2)``, damped while the averages settle."""

    center: Floats
    axes: Floats
    """``(channels, unknown directions)``, scaled such that the 99th percentile of known engines is 1."""
    limit: float = 1.0
    """What known engines exceed in `BEYOND_RATE` of their cycles: nothing is known of what lies there."""

    def measure(self, features: NDArray[np.float32]) -> Floats:
        """Novelty of each row of features, ``(rows, FEATURES)`` -> ``(rows,)``."""
        distance = np.sum(((features[:, LEVEL] - self.center) @ self.axes) ** 2, axis=1)
        return distance * np.minimum(1.0, features[:, SEEN] * (100 / SETTLED_CYCLES))


def fit_novelty(
    features: Sequence[NDArray[np.float32]], folds: Sequence[int], slices: Sequence[str] | None = None
) -> Novelty:
    """From the features of known runs, complete ones; ``folds`` groups the runs that are held out together.

    The unit is that of the highest of the ``slices`` (one name a run; all the same where None), so that a
    fault that was learnt from a few runs does not stay novel for ever.
    """
    fold_of_run = np.array(folds)
    slice_of_run = [""] * len(features) if slices is None else slices
    measured: dict[str, list[Floats]] = {}
    for fold in sorted(set(folds)):
        others = [f for f, of in zip(features, folds, strict=True) if of != fold]
        space = _unknown_directions(others or features)
        for i in np.flatnonzero(fold_of_run == fold).tolist():
            measured.setdefault(slice_of_run[i], []).append(space.measure(features[i]))
    slices_found = [np.concatenate(found) for found in measured.values()]
    unit = max(float(np.quantile(found, 1 - NOVEL_RATE)) for found in slices_found)
    beyond = max(float(np.quantile(found, 1 - BEYOND_RATE)) for found in slices_found)
    whole = _unknown_directions(features)
    return Novelty(whole.center, whole.axes / np.sqrt(unit), beyond / unit)


def _unknown_directions(features: Sequence[NDArray[np.float32]]) -> Novelty:
    levels = np.concatenate([f[5:, LEVEL] for f in features]).astype(np.float64)
    center = levels.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov((levels - center).T))
    unknown = variance <= max(KNOWN_VARIANCE, float(variance[0]))
    return Novelty(center, directions[:, unknown] / np.sqrt(variance[unknown] + _FLOOR_VARIANCE))
