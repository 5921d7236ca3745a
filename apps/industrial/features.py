"""Features of one operating cycle of a turbofan from all cycles of its run so far, streaming and bounded.

A reading has 24 values (`CHANNELS`): the three operating settings and the 21 sensors of C-MAPSS. The 17
`USED_CHANNELS` carry information at one operating condition; the others are set points and inlet state.
Each used value is taken in units of its sensor's noise (`NOMINAL`, `SCALE`: constants of the sensor, not
of a data set split), and bounded absolutely and against its fast average, so that neither a broken sensor
nor a single wrong value moves the features far. From these:

- exponential averages with the time constants `AVERAGES_CYCLES`, free of start-up bias,
- the mean over the first `BASELINES_CYCLES` cycles of the run: the engine's own healthy state,
- the slope over the last `SLOPE_CYCLES` cycles, shrunk while there are few,
- the age of the run in hundreds of cycles.

The same `_advance` and `_assemble` serve one engine at the edge (`RunFeatures`) and many runs in
lock-step for training (`features_of_runs`), so both give the same numbers. State is about 5 kB an engine,
however long it runs. Only numpy is used here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.app import Model

SETTINGS = ("altitude_kft", "mach", "tra_pct")
SENSORS = (
    "T2", "T24", "T30", "T50", "P2", "P15", "P30", "Nf", "Nc", "epr", "Ps30",
    "phi", "NRf", "NRc", "BPR", "farB", "htBleed", "Nf_dmd", "PCNfR_dmd", "W31", "W32",
)  # fmt: skip
CHANNELS = (*SETTINGS, *SENSORS)
"""Order of the values of a reading: as the columns of C-MAPSS after unit and cycle."""

UNITS = dict.fromkeys(CHANNELS, "") | {
    "altitude_kft": "kft", "tra_pct": "%", "T2": "degR", "T24": "degR", "T30": "degR", "T50": "degR",
    "P2": "psia", "P15": "psia", "P30": "psia", "Nf": "rpm", "Nc": "rpm", "Ps30": "psia", "phi": "pps/psi",
    "NRf": "rpm", "NRc": "rpm", "Nf_dmd": "rpm", "PCNfR_dmd": "%", "W31": "lbm/s", "W32": "lbm/s",
}  # fmt: skip

_SENSOR_TABLE = {  # nominal level of a new engine, noise (1 sigma; the resolution where that is coarser)
    "T24": (642.4, 0.30), "T30": (1587.0, 4.0), "T50": (1402.9, 4.0), "P15": (21.61, 0.005),
    "P30": (553.9, 0.41), "Nf": (2388.06, 0.030), "Nc": (9056.1, 4.2), "epr": (1.30, 0.005),
    "Ps30": (47.36, 0.10), "phi": (521.9, 0.30), "NRf": (2388.06, 0.030), "NRc": (8137.4, 3.15),
    "BPR": (8.419, 0.020), "farB": (0.03, 0.005), "htBleed": (392.3, 0.95), "W31": (38.93, 0.10),
    "W32": (23.36, 0.060),
}  # fmt: skip
USED_CHANNELS = tuple(_SENSOR_TABLE)
NOMINAL = np.array([level for level, _ in _SENSOR_TABLE.values()])
SCALE = np.array([noise for _, noise in _SENSOR_TABLE.values()])
USED = np.array([CHANNELS.index(name) for name in USED_CHANNELS])

RUL_CAP_CYCLES = 125.0
"""Remaining useful life is predicted up to here: earlier, degradation does not show in the sensors."""
AVERAGES_CYCLES = (3.0, 8.0, 20.0, 50.0)
BASELINES_CYCLES = (20, 40)
SLOPE_CYCLES = 30
_LIMIT = 100.0
"""Bound of a sensor's value in units of its noise; healthy and failing engines stay under 60."""
_JUMP = 15.0
"""Most that a value counts away from its fast average, so that one wrong value does little; in 80,000 cycles
of FD001 and of virtual engines no value is further away."""

_PER_SENSOR = len(AVERAGES_CYCLES) + len(BASELINES_CYCLES) + 1
FEATURE_NAMES = (
    *(f"mean{tau:g}({name})" for tau in AVERAGES_CYCLES for name in USED_CHANNELS),
    *(f"first{count}({name})" for count in BASELINES_CYCLES for name in USED_CHANNELS),
    *(f"slope{SLOPE_CYCLES}({name})" for name in USED_CHANNELS),
    "age",
)
FEATURES = len(FEATURE_NAMES)
AGE = FEATURES - 1

_GAIN = 1 - np.exp(-1 / np.array(AVERAGES_CYCLES))
_COUNTS = np.array(BASELINES_CYCLES)


def _slope_weights() -> NDArray[np.float64]:
    """``(SLOPE_CYCLES + 1, SLOPE_CYCLES)``: weights of the window (newest last) by number of values in it."""
    table = np.zeros((SLOPE_CYCLES + 1, SLOPE_CYCLES))
    for count in range(2, SLOPE_CYCLES + 1):
        steps = np.arange(count) - (count - 1) / 2
        spread = count * count - 1.0
        table[count, -count:] = steps / (steps @ steps) * spread / (spread + SLOPE_CYCLES)
    return table * np.sqrt(SLOPE_CYCLES**3 / 12)  # a slope has then about the noise of one value


_SLOPE = _slope_weights()


@dataclass(slots=True)
class _History:
    """Bounded memory of one run, or of many in lock-step (leading axes ``...``); S used channels."""

    count: int
    averages: NDArray[np.float64]  # (..., len(AVERAGES_CYCLES), S), biased towards 0
    sums: NDArray[np.float64]  # (..., len(BASELINES_CYCLES), S)
    window: NDArray[np.float64]  # (..., SLOPE_CYCLES, S), newest last


def _start(*runs: int) -> _History:
    width = len(USED_CHANNELS)
    return _History(
        0,
        np.zeros((*runs, len(AVERAGES_CYCLES), width)),
        np.zeros((*runs, len(BASELINES_CYCLES), width)),
        np.zeros((*runs, SLOPE_CYCLES, width)),
    )


def _advance(history: _History, values: NDArray[Any]) -> _History:
    """``history`` after one more cycle; ``values`` is ``(..., channels)``. Changes nothing in place."""
    scaled = (np.asarray(values, np.float64)[..., USED] - NOMINAL) / SCALE
    scaled = np.clip(scaled, -_LIMIT, _LIMIT)
    if history.count:
        level = history.averages[..., 0, :] / (1 - (1 - _GAIN[0]) ** history.count)
        scaled = np.clip(scaled, level - _JUMP, level + _JUMP)
    scaled = scaled[..., np.newaxis, :]
    growing = (history.count < _COUNTS)[:, np.newaxis]
    return _History(
        history.count + 1,
        history.averages + _GAIN[:, np.newaxis] * (scaled - history.averages),
        history.sums + np.where(growing, scaled, 0.0),
        np.concatenate([history.window[..., 1:, :], scaled], axis=-2),
    )


def _assemble(history: _History) -> NDArray[np.float32]:
    """The feature vector ``(..., FEATURES)`` of the newest cycle."""
    count = history.count
    averages = history.averages / (1 - (1 - _GAIN) ** count)[:, np.newaxis]
    first = history.sums / np.minimum(count, _COUNTS)[:, np.newaxis]
    slope = (_SLOPE[min(count, SLOPE_CYCLES)] @ history.window)[..., np.newaxis, :]
    parts = np.concatenate([averages, first, slope], axis=-2)
    flat = parts.reshape(*parts.shape[:-2], -1)
    age = np.full((*flat.shape[:-1], 1), count / 100)
    return np.concatenate([flat, age], axis=-1).astype(np.float32)


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
        return self._history.count

    def peek(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The features that `push` would give; what they are made of changes only with `keep`."""
        self._ahead = _advance(self._history, values)
        return _assemble(self._ahead)

    def keep(self) -> None:
        """Take in the cycle that was last peeked at, which costs nothing more."""
        if self._ahead is not None:
            self._history, self._ahead = self._ahead, None

    def push(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Take in one cycle, ``(24,)``, and give its features ``(FEATURES,)``."""
        self._history, self._ahead = _advance(self._history, values), None
        return _assemble(self._history)

    def snapshot(self) -> dict[str, Any]:
        """The state as plain numbers and arrays, for `restore`."""
        history = self._history
        return {
            "count": history.count,
            "averages": history.averages.copy(),
            "sums": history.sums.copy(),
            "window": history.window.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self._ahead = None
        self._history = _History(
            int(state["count"]),
            np.array(state["averages"], np.float64),
            np.array(state["sums"], np.float64),
            np.array(state["window"], np.float64),
        )


def features_of_runs(runs: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
    """Features of every cycle of every run: per run ``(cycles, 24)`` -> ``(cycles, FEATURES)``.

    The runs are walked together, cycle by cycle, by the same code as `RunFeatures`.
    """
    order = sorted(range(len(runs)), key=lambda index: -len(runs[index]))
    results = [np.empty((len(run), FEATURES), np.float32) for run in runs]
    longest = max(map(len, runs), default=0)
    padded = np.zeros((longest, len(runs), len(CHANNELS)))
    for place, index in enumerate(order):
        padded[: len(runs[index]), place] = runs[index]
    lengths = np.array([len(runs[index]) for index in order])
    history = _start(len(runs))
    for cycle in range(longest):
        alive = int(np.count_nonzero(lengths > cycle))
        history.averages = history.averages[:alive]
        history.sums = history.sums[:alive]
        history.window = history.window[:alive]
        history = _advance(history, padded[cycle, :alive])
        for row, index in zip(_assemble(history), order, strict=False):
            results[index][cycle] = row
    return results


def contributions(model: Model, features: NDArray[np.float32]) -> list[tuple[str, float]]:
    """Which sensors explain a low RUL: ``(channel, cycles)``, the strongest first.

    Occlusion (Zeiler & Fergus 2014): each sensor in turn is set to how it was in the run's first cycles,
    with no trend, and the model is asked again, all in one batch. Cycles are the RUL gained thereby:
    positive where the sensor's change speaks for an earlier end of life. ``features`` has shape
    ``(FEATURES,)``; the model gives ``rul``.
    """
    width = len(USED_CHANNELS)
    block = features[:AGE].reshape(_PER_SENSOR, width)
    healthy = block[len(AVERAGES_CYCLES)]
    batch = np.repeat(features[np.newaxis], width + 1, axis=0)
    for sensor in range(width):
        changed = batch[sensor + 1, :AGE].reshape(_PER_SENSOR, width)
        changed[:, sensor] = healthy[sensor]
        changed[-1, sensor] = 0.0
    rul = np.asarray(model.run({"features": batch})["rul"], np.float64).reshape(-1)
    gained = rul[1:] - rul[0]
    strongest = np.argsort(-gained, kind="stable")
    return [(USED_CHANNELS[index], float(gained[index])) for index in strongest]
