"""Features of one operating cycle of a turbofan from all cycles of its run so far, streaming and bounded.

A reading has 24 values (`CHANNELS`): the three operating settings and the 21 sensors of C-MAPSS. The 17
`USED_CHANNELS` carry information at one operating condition; the others are set points and inlet state.
Each used value is taken in units of its sensor's noise (`NOMINAL`, `SCALE`: constants of the sensor, not
of a data set split), and bounded absolutely and against its fast average, so that neither a broken sensor
nor a single wrong value moves the features far. From these:

- exponential averages with the time constants `AVERAGES_CYCLES`, free of start-up bias,
- the mean of the first `BASELINES_CYCLES` values of the run: the engine's own healthy state,
- the slope over the last `SLOPE_CYCLES` cycles, shrunk while there are few values,
- the age of the run in hundreds of cycles, by the readings' own cycle numbers,
- the delay of the baseline in hundreds of cycles: 0 where the history began with the run, positive where its
  first cycles are missing, so that the baseline may not be the healthy state,
- the number of cycles taken in, in hundreds, up to `SEEN_LIMIT_CYCLES`.

NaN is a missing value: it counts nowhere, and an average holds what it had. Missing cycles pass as time.
The same `_advance` and `_assemble` serve one engine at the edge (`RunFeatures`) and many runs in
lock-step for training (`features_of_runs`), so both give the same numbers. State is about 10 kB an engine,
however long it runs. Only numpy is used here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import CHANNELS, NOMINAL, SCALE, USED, USED_CHANNELS
from common.app.edge import Model

AVERAGES_CYCLES = (3.0, 8.0, 20.0, 50.0)
BASELINES_CYCLES = (20, 40)
SLOPE_CYCLES = 30
RECENT_CYCLES = 20
_LIMIT = 100.0
"""Bound of a sensor's value in units of its noise; healthy and failing engines stay under 60."""
_JUMP = 15.0
"""Bound of a value's distance from its fast average, so that one wrong value does little; in 80,000 cycles
of FD001 and of virtual engines no value is further away."""

_MEANS = len(AVERAGES_CYCLES) + len(BASELINES_CYCLES)
"""Averages and baselines of a sensor: a baseline is an average that forgets nothing and ends at its count."""
FEATURE_NAMES = (
    *(f"mean{tau:g}({name})" for tau in AVERAGES_CYCLES for name in USED_CHANNELS),
    *(f"first{count}({name})" for count in BASELINES_CYCLES for name in USED_CHANNELS),
    *(f"slope{SLOPE_CYCLES}({name})" for name in USED_CHANNELS),
    "age",
    "delay",
    "seen",
)
FEATURES = len(FEATURE_NAMES)
AGE, DELAY, SEEN = range(FEATURES - 3, FEATURES)
_MEAN_FEATURES = _MEANS * len(USED_CHANNELS)
SEEN_LIMIT_CYCLES = 100
LATE_CYCLES = 5.0
"""Delay of the baseline from which on a history counts as one that began late."""
MIN_LATE_CYCLES = 20
"""Minimum number of cycles of such a history for a prediction."""

_FIRST = len(AVERAGES_CYCLES)
_PACE = np.array([*AVERAGES_CYCLES, *(np.inf for _ in BASELINES_CYCLES)])
_GAIN = np.array([*(1 - np.exp(-1 / np.array(AVERAGES_CYCLES))), *(1.0 for _ in BASELINES_CYCLES)])[
    :, np.newaxis
]
_COUNTS = np.array([*(np.inf for _ in AVERAGES_CYCLES), *BASELINES_CYCLES])[:, np.newaxis]
_KEPT = np.exp(-1 / _PACE)[:, np.newaxis]
"""What a cycle leaves of the sums before it."""

_STEPS = np.arange(SLOPE_CYCLES, dtype=np.float64)[:, np.newaxis]
_SLOPE_SCALE = np.sqrt(SLOPE_CYCLES**3 / 12)
"""A slope has then about the noise of one value."""
_SQUARE = SLOPE_CYCLES * (SLOPE_CYCLES**2 - 1) / 12
_SPREAD = SLOPE_CYCLES**2 - 1.0
_WHOLE_SLOPE = (_STEPS - _STEPS.mean()).T / _SQUARE * _SPREAD / (_SPREAD + SLOPE_CYCLES) * _SLOPE_SCALE


@dataclass(slots=True)
class _History:
    """Bounded memory of one run, or of many in lock-step (leading axes ``...``); S used channels."""

    cycle: NDArray[np.int64]  # (...), the last one; 0 before the first
    count: NDArray[np.int64]  # (...), cycles taken in
    sums: NDArray[np.float64]  # (..., _MEANS, S), of weighted values; those of the averages decay
    weights: NDArray[np.float64]  # same shape: what their weights sum up to
    means: NDArray[np.float64]  # same shape: sums / weights, 0 where nothing was counted
    first_cycles: NDArray[np.float64]  # (..., S), sum of the cycle numbers of the first baseline
    delay: NDArray[np.float64]  # (...), of the first baseline
    window: NDArray[np.float64]  # (..., SLOPE_CYCLES, S), by cycle, newest last; NaN is missing


def _start(*runs: int) -> _History:
    width = len(USED_CHANNELS)
    return _History(
        np.zeros(runs, np.int64),
        np.zeros(runs, np.int64),
        np.zeros((*runs, _MEANS, width)),
        np.zeros((*runs, _MEANS, width)),
        np.zeros((*runs, _MEANS, width)),
        np.zeros((*runs, width)),
        np.zeros(runs),
        np.full((*runs, SLOPE_CYCLES, width), np.nan),
    )


def _advance(history: _History, values: NDArray[Any], cycle: NDArray[np.int64]) -> _History:
    """``history`` after one more cycle; ``values`` is ``(..., channels)``. Changes nothing in place."""
    scaled = (np.asarray(values, np.float64)[..., USED] - NOMINAL) / SCALE
    scaled = np.minimum(np.maximum(scaled, -_LIMIT), _LIMIT)
    there = np.isfinite(scaled)
    level = np.where(history.weights[..., 0, :] > 0, history.means[..., 0, :], scaled)
    scaled = np.minimum(np.maximum(scaled, level - _JUMP), level + _JUMP)
    passed = cycle - history.cycle
    if (passed == 1).all():
        kept = _KEPT
        window = np.concatenate([history.window[..., 1:, :], scaled[..., np.newaxis, :]], axis=-2)
    else:
        kept = np.exp(-passed[..., np.newaxis] / _PACE)[..., np.newaxis]
        window = _shifted(history.window, passed, scaled)
    gain = _GAIN * (history.weights < _COUNTS) * there[..., np.newaxis, :]
    sums = history.sums * kept + gain * np.where(there, scaled, 0.0)[..., np.newaxis, :]
    weights = history.weights * kept + gain
    first_cycles, delay, growing = history.first_cycles, history.delay, gain[..., _FIRST, :]
    if growing.any():
        first_cycles = first_cycles + growing * cycle[..., np.newaxis]
        delay = _delay(first_cycles, weights[..., _FIRST, :])
    means = _ratio(sums, weights)
    return _History(cycle, history.count + 1, sums, weights, means, first_cycles, delay, window)


def _delay(first_cycles: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cycles by which the first baseline began after the run, ``(...)``: of its latest sensor."""
    late = np.where(counts > 0, _ratio(first_cycles, counts) - (counts + 1) / 2, 0.0)
    return late.max(axis=-1)


def _shifted(
    window: NDArray[np.float64], passed: NDArray[np.int64], newest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``window`` after ``passed`` cycles, of which only the last one has values."""
    places = np.arange(SLOPE_CYCLES) + passed[..., np.newaxis]
    there = (places < SLOPE_CYCLES)[..., np.newaxis]
    moved = np.take_along_axis(window, np.minimum(places, SLOPE_CYCLES - 1)[..., np.newaxis], axis=-2)
    moved = np.where(there, moved, np.nan)
    moved[..., -1, :] = newest
    return moved


def _slopes(window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares slope of each channel over its values in the window, ``(..., S)``."""
    there = np.isfinite(window)
    if there.all():
        return (_WHOLE_SLOPE @ window)[..., 0, :]
    count = np.maximum(there.sum(axis=-2, keepdims=True), 1)
    steps = np.where(there, _STEPS, 0.0)
    steps = np.where(there, _STEPS - steps.sum(axis=-2, keepdims=True) / count, 0.0)
    square = (steps * steps).sum(axis=-2)
    spread = 12 * square / count[..., 0, :]
    moment = (steps * np.where(there, window, 0.0)).sum(axis=-2)
    share = spread / (spread + SLOPE_CYCLES) * _SLOPE_SCALE
    return np.divide(moment * share, square, out=np.zeros_like(moment), where=square > 0)


def _assemble(history: _History) -> NDArray[np.float32]:
    """The feature vector ``(..., FEATURES)`` of the newest cycle."""
    features = np.empty((*history.cycle.shape, FEATURES), np.float32)
    features[..., :_MEAN_FEATURES] = history.means.reshape(*history.cycle.shape, _MEAN_FEATURES)
    features[..., _MEAN_FEATURES:AGE] = _slopes(history.window)
    features[..., AGE] = history.cycle / 100
    features[..., DELAY] = history.delay / 100
    features[..., SEEN] = np.minimum(history.count, SEEN_LIMIT_CYCLES) / 100
    return features


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sums / counts``, 0 where nothing was counted."""
    return np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)


class RunFeatures:
    """Features of one engine's run as its cycles come in.

    >>> features = RunFeatures()
    >>> features.push(values)             # (24,) in the order of CHANNELS -> (FEATURES,) float32
    """

    def __init__(self) -> None:
        self._history = _start()
        self._ahead: _History | None = None

    @property
    def cycles(self) -> int:
        """Number of cycles taken in."""
        return int(self._history.count)

    def peek(self, values: NDArray[Any], cycle: int | None = None) -> NDArray[np.float32]:
        """The features that `push` would give; what they are made of changes only with `keep`."""
        number = np.asarray(int(self._history.cycle) + 1 if cycle is None else cycle, np.int64)
        self._ahead = _advance(self._history, values, number)
        return _assemble(self._ahead)

    def keep(self) -> None:
        """Take in the cycle that was last peeked at, which costs nothing more."""
        if self._ahead is not None:
            self._history, self._ahead = self._ahead, None

    def push(self, values: NDArray[Any], cycle: int | None = None) -> NDArray[np.float32]:
        """Take in one cycle, ``(24,)``, and give its features ``(FEATURES,)``.

        ``cycle`` is its number within the run, above the last one; the next where None.
        """
        features = self.peek(values, cycle)
        self.keep()
        return features

    def complete(self, cycles: int) -> bool:
        """True if each of the last ``cycles`` gave every value, by what was last peeked at."""
        return bool(np.isfinite((self._ahead or self._history).window[-cycles:]).all())

    def support(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """By used channel, of what was last peeked at: values in the last `RECENT_CYCLES`, and cycles since
        the newest of them (`SLOPE_CYCLES` where there is none)."""
        there = np.isfinite((self._ahead or self._history).window)
        newest = np.where(there.any(axis=0), there[::-1].argmax(axis=0), SLOPE_CYCLES)
        return there[-RECENT_CYCLES:].sum(axis=0), newest

    def snapshot(self) -> dict[str, Any]:
        """The state as plain numbers and arrays, for `restore`."""
        history = self._history
        return {
            "cycle": int(history.cycle),
            "count": int(history.count),
            "sums": history.sums[:_FIRST].copy(),
            "weights": history.weights[:_FIRST].copy(),
            "first_sums": history.sums[_FIRST:].copy(),
            "first_counts": history.weights[_FIRST:].copy(),
            "first_cycles": history.first_cycles.copy(),
            "window": history.window.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        sums = np.concatenate([state["sums"], state["first_sums"]])
        weights = np.concatenate([state["weights"], state["first_counts"]])
        first_cycles = np.array(state["first_cycles"])
        self._ahead = None
        self._history = _History(
            np.array(state["cycle"]),
            np.array(state["count"]),
            sums,
            weights,
            _ratio(sums, weights),
            first_cycles,
            _delay(first_cycles, weights[_FIRST]),
            np.array(state["window"]),
        )


def features_of_runs(
    runs: Sequence[NDArray[Any]], cycles: Sequence[NDArray[np.int64]] | None = None
) -> list[NDArray[np.float32]]:
    """Features of every cycle of every run: per run ``(cycles, 24)`` -> ``(cycles, FEATURES)``.

    ``cycles`` are the numbers of each run's cycles, rising; 1, 2, ... where None. The runs are walked
    together, cycle by cycle, by the same code as `RunFeatures`.
    """
    order = sorted(range(len(runs)), key=lambda index: -len(runs[index]))
    results = [np.empty((len(run), FEATURES), np.float32) for run in runs]
    longest = max(map(len, runs), default=0)
    padded = np.zeros((longest, len(runs), len(CHANNELS)))
    numbers = np.zeros((longest, len(runs)), np.int64)
    for place, index in enumerate(order):
        length = len(runs[index])
        padded[:length, place] = runs[index]
        numbers[:length, place] = np.arange(1, length + 1) if cycles is None else cycles[index]
    lengths = np.array([len(runs[index]) for index in order])
    history = _start(len(runs))
    for step in range(longest):
        alive = int(np.count_nonzero(lengths > step))
        history = _History(*(getattr(history, field.name)[:alive] for field in fields(_History)))
        history = _advance(history, padded[step, :alive], numbers[step, :alive])
        for row, index in zip(_assemble(history), order, strict=False):
            results[index][step] = row
    return results


def contributions(model: Model, features: NDArray[np.float32]) -> list[tuple[str, float]]:
    """Sensors that explain a low RUL: ``(channel, cycles)``, the strongest first.

    Occlusion (Zeiler & Fergus 2014): each sensor in turn is set to how it was in the run's first cycles,
    with no trend, and the model runs again, all in one batch. Cycles are the RUL gained thereby:
    positive where the sensor's change speaks for an earlier end of life. ``features`` has shape
    ``(FEATURES,)``; the model gives ``rul``.
    """
    width = len(USED_CHANNELS)
    block = features[:AGE].reshape(_MEANS + 1, width)
    healthy = block[len(AVERAGES_CYCLES)]
    batch = np.repeat(features[np.newaxis], width + 1, axis=0)
    for sensor in range(width):
        changed = batch[sensor + 1, :AGE].reshape(_MEANS + 1, width)
        changed[:, sensor] = healthy[sensor]
        changed[-1, sensor] = 0.0
    rul = np.asarray(model.run({"features": batch})["rul"], np.float64).reshape(-1)
    gained = rul[1:] - rul[0]
    strongest = np.argsort(-gained, kind="stable")
    return [(USED_CHANNELS[index], float(gained[index])) for index in strongest]
