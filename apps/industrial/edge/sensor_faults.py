"""Sensor faults: ranges, steps and constancy of a turbofan's channels, and the faults found by them.

A value is *impossible*, and not used, when it

``missing``  is absent or not a number,
``range``    lies outside of what the sensor can read (`apps.industrial.domain.RANGES`: all four sets of
C-MAPSS, at every operating
             point and to the end of life, with wide margins),
``rate``     is further from its last good value than `STEP_NOISE` noises and `STEP_SHARE` of its level at the
             same operating point, while most other sensors stay (a machine that changes moves many at once),
``stuck``    is the same number for `STUCK_CYCLES` readings; sensors that are constant by nature, by their
             resolution or as set points, have no such limit.

A fault begins with the first impossible value (``since_cycle``; for ``stuck`` where the number came first)
and ends after `END_READINGS` possible ones in a row. Values are used again from the first possible one on.
State has a fixed size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import CHANNELS, NOMINAL, RANGES, SCALE, SETTINGS, UNITS, USED, USED_CHANNELS

STUCK_CYCLES = dict.fromkeys(CHANNELS, 10) | {"Nf": 20, "NRf": 20, "htBleed": 40}
"""Equal readings in a row that make a sensor stuck: three times the longest row in C-MAPSS, 10 at least."""
for _name in (*SETTINGS, "T2", "P2", "P15", "epr", "farB", "Nf_dmd", "PCNfR_dmd"):
    STUCK_CYCLES.pop(_name)

STEP_NOISE = 60.0
"""Largest step between two cycles at one operating point, in units of the sensor's noise."""
STEP_SHARE = 0.02
"""The same as a share of a new engine's level, where that is more."""
DRIFT_NOISE = 1.0
"""Increment of it for every cycle without a good value."""
STEPPING_SHARE = 1 / 3
"""Share of the sensors from which on a step is the machine's and not a sensor's."""
SAME_POINT = np.array([0.5, 0.02, 1.0])
"""Operating settings that differ by less are one operating point."""
END_READINGS = 5

_LOW, _HIGH = np.array([RANGES[name] for name in CHANNELS]).T
_STUCK = np.array([STUCK_CYCLES.get(name, np.iinfo(np.int64).max) for name in CHANNELS])
_STEP = np.full(len(CHANNELS), np.inf)
_STEP[USED] = np.maximum(STEP_NOISE * SCALE, STEP_SHARE * NOMINAL)
_DRIFT = np.zeros(len(CHANNELS))
_DRIFT[USED] = DRIFT_NOISE * SCALE
_IS_USED = np.isin(np.arange(len(CHANNELS)), USED)
_IS_SETTING = np.isin(CHANNELS, SETTINGS)


class SensorFault(msgspec.Struct, frozen=True):
    """A fault of a sensor, its first cycle, and the value that showed it (None: no number)."""

    sensor: str
    why: str
    value: float | None
    since_cycle: int
    text: str


class Checked(msgspec.Struct, frozen=True):
    """A reading after the check: impossible values are NaN in ``values``; what began and ended with it."""

    values: NDArray[np.float64]
    began: tuple[SensorFault, ...]
    ended: tuple[SensorFault, ...]


def _unknown() -> NDArray[np.float64]:
    return np.full(len(CHANNELS), np.nan)


class SensorStates(msgspec.Struct, frozen=True):
    """State of one machine's sensors, each array ``(24,)``. `check` returns the next one."""

    last: NDArray[np.float64] = msgspec.field(default_factory=_unknown)
    repeats: NDArray[np.int64] = msgspec.field(default_factory=lambda: np.zeros(len(CHANNELS), np.int64))
    since: NDArray[np.int64] = msgspec.field(default_factory=lambda: np.zeros(len(CHANNELS), np.int64))
    """Cycle at which the last value came first."""
    good: NDArray[np.float64] = msgspec.field(default_factory=_unknown)
    good_cycle: NDArray[np.int64] = msgspec.field(default_factory=lambda: np.zeros(len(CHANNELS), np.int64))
    faults: Mapping[str, SensorFault] = msgspec.field(default_factory=dict)
    possible: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Possible values in a row, of sensors with a fault."""

    def check(self, values: NDArray[Any], cycle: int) -> tuple[SensorStates, Checked]:
        """The states after a reading ``(24,)``, and the result of the check. Changes nothing in place."""
        values = np.array(values, np.float64)
        same = values == self.last
        repeats = self.repeats * same + 1
        since = np.where(same, self.since, cycle)
        inside = (values >= _LOW) & (values <= _HIGH)
        step = np.abs(values - self.good)
        limit = _STEP + _DRIFT * (cycle - 1 - self.good_cycle)
        if not self.faults and (inside & (repeats < _STUCK) & (step <= limit)).all():
            good_cycle = np.full(len(CHANNELS), cycle)
            after = SensorStates(values, repeats, since, values, good_cycle)
            return after, Checked(values, (), ())
        unknown = np.isnan(values)
        found = {
            "missing": unknown & _IS_USED, "range": ~unknown & ~inside, "stuck": repeats >= _STUCK,
            "rate": self._stepped(values, step > limit),
        }  # fmt: skip
        return self._explained(values, cycle, repeats, since, found)

    def _explained(
        self,
        values: NDArray[np.float64],
        cycle: int,
        repeats: NDArray[np.int64],
        since: NDArray[np.int64],
        found: Mapping[str, NDArray[np.bool_]],
    ) -> tuple[SensorStates, Checked]:
        """The result of `check` for a reading with impossible values, ``found`` by reason, or with faults."""
        unknown = np.isnan(values)
        impossible = np.logical_or.reduce([*found.values()])
        good = np.where(unknown | impossible, self.good, values)
        good_cycle = np.where(unknown | impossible, self.good_cycle, cycle)
        faults, possible = dict(self.faults), dict(self.possible)
        began: list[SensorFault] = []
        ended: list[SensorFault] = []
        for index in np.flatnonzero(impossible).tolist():
            name = CHANNELS[index]
            possible[name] = 0
            if name not in faults:
                why = next(why for why, where in found.items() if where[index])
                faults[name] = _fault(
                    name, why, float(values[index]), int(since[index] if why == "stuck" else cycle),
                    float(self.good[index]), int(repeats[index]),
                )  # fmt: skip
                began.append(faults[name])
        for name in [name for name in faults if not impossible[CHANNELS.index(name)]]:
            possible[name] += 1
            if possible[name] >= END_READINGS:
                ended.append(faults.pop(name))
                del possible[name]
        after = SensorStates(
            np.where(unknown, self.last, values), repeats, since, good, good_cycle, faults, possible
        )
        return after, Checked(np.where(impossible, np.nan, values), tuple(began), tuple(ended))

    def _stepped(self, values: NDArray[np.float64], far: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Sensors, few at a time, with an impossible step in a cycle; ``far`` marks any with one."""
        with np.errstate(invalid="ignore"):
            settings = np.abs(values[_IS_SETTING] - self.last[_IS_SETTING])
        moved = np.any(settings > SAME_POINT) or np.count_nonzero(far) >= STEPPING_SHARE * len(USED_CHANNELS)
        return np.zeros_like(far) if moved else far

    def snapshot(self) -> dict[str, Any]:
        """The state as plain values and arrays, for `restored`."""
        return {
            "last": self.last, "repeats": self.repeats, "since": self.since, "good": self.good,
            "good_cycle": self.good_cycle, "possible": dict(self.possible),
            "faults": [msgspec.structs.asdict(fault) for fault in self.faults.values()],
        }  # fmt: skip


def restored(saved: Mapping[str, Any]) -> SensorStates:
    """Inverse of `SensorStates.snapshot`."""
    faults = [SensorFault(**fault) for fault in saved["faults"]]
    return SensorStates(
        last=np.array(saved["last"]),
        repeats=np.array(saved["repeats"]),
        since=np.array(saved["since"]),
        good=np.array(saved["good"]),
        good_cycle=np.array(saved["good_cycle"]),
        faults={fault.sensor: fault for fault in faults},
        possible=dict(saved["possible"]),
    )


def _fault(name: str, why: str, value: float, since_cycle: int, good: float, repeats: int) -> SensorFault:
    low, high = RANGES[name]
    unit = f" {UNITS[name]}" if UNITS[name] else ""
    text = {
        "missing": f"{name} gives no number",
        "range": f"{name} reads {value:g}{unit}: it can read {low:g} to {high:g}{unit}",
        "rate": f"{name} went from {good:g} to {value:g}{unit} within a cycle while others stayed",
        "stuck": f"{name} has read {value:g}{unit} in {repeats} cycles in a row",
    }[why]
    return SensorFault(name, why, value if np.isfinite(value) else None, since_cycle, text)
