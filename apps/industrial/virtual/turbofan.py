"""A virtual turbofan: our own degradation model with known ground truth, close to C-MAPSS FD001.

Every engine run starts with some wear and with manufacturing differences, and one fault grows in it until
the engine fails::

    damage(t)  = d0 + (1 - d0) * g(t),            g(t) = (exp(b t/T) - 1) / (exp(b) - 1)
    balance(t) = m0 + m * g(t)                    how the loss splits between flow and efficiency; b is by m
    sensor(t)  = level + damage * fault signature + balance * balance signature + noise, rounded

Life ``T`` is log-normal, ``b`` the sharpness of the growth; the engine fails where damage is 1, which is
within a few hundredths the same sensor state for all engines, as in FD001. The signature, levels, noise,
``T`` and ``b`` of the fault ``hpc`` (the only one of FD001) were fitted to its training engines (exponential
growth as in Saxena et al., *Damage propagation modeling*, PHM 2008). The other faults are invented; what
they do is in `FAULTS`: ``fan`` moves P30 and phi against the sense of ``hpc`` and shows in P15 and epr;
``lpt`` shows in T50, farB and Ps30; ``bearing`` in the spool speeds.

A *source* is a fleet of machines that never ends: an engine that has failed is replaced and the run
number rises. All randomness is from (seed, machine, run): the same URI gives the same readings, from any
position, whatever came before.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import CHANNELS, USED_CHANNELS
from common.app.edge import Reading
from common.app.virtual import PacedSource, ReadingAt, check_parameters, seconds, whole_number
from common.errors import ConfigError, SourceError

_LEVEL = {  # a new engine without wear
    "altitude_kft": 0.0, "mach": 0.0, "tra_pct": 100.0, "T2": 518.67, "T24": 642.0, "T30": 1582.6,
    "T50": 1395.1, "P2": 14.62, "P15": 21.6095, "P30": 554.71, "Nf": 2387.996, "Nc": 9053.1, "epr": 1.3,
    "Ps30": 47.118, "phi": 522.57, "NRf": 2387.994, "NRc": 8137.2, "BPR": 8.3877, "farB": 0.03,
    "htBleed": 391.13, "Nf_dmd": 2388.0, "PCNfR_dmd": 100.0, "W31": 39.074, "W32": 23.444,
}  # fmt: skip
_NOISE = {
    "altitude_kft": 0.0022, "mach": 0.0003, "T24": 0.302, "T30": 4.0, "T50": 4.03, "P15": 0.0013,
    "P30": 0.408, "Nf": 0.0303, "Nc": 4.17, "Ps30": 0.1015, "phi": 0.3, "NRf": 0.0304, "NRc": 3.15,
    "BPR": 0.0202, "htBleed": 0.947, "W31": 0.101, "W32": 0.0603,
}  # fmt: skip
_DECIMALS = dict.fromkeys(CHANNELS, 2) | {
    "altitude_kft": 4, "mach": 4, "tra_pct": 1, "BPR": 4, "htBleed": 0, "Nf_dmd": 0, "PCNfR_dmd": 0, "W32": 4
}  # fmt: skip
_BALANCE = {
    "T30": -1.28, "P30": -0.207, "Nf": 0.0585, "Nc": -55.2, "Ps30": 0.0275, "phi": -0.21, "NRf": 0.0593,
    "NRc": -49.8, "htBleed": -0.34, "W32": 0.0043,
}  # fmt: skip
_BALANCE_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_MANUFACTURING = 0.1
"""Offset of each sensor from engine to engine, in units of its noise."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault mode: change of each sensor from no damage to failure, and how the damage grows."""

    name: str
    title: str
    signature: Mapping[str, float]
    balance: tuple[float, ...]
    """Growth of the balance over a life, by the quantiles `_BALANCE_SHARES` over engines."""
    sharpness: tuple[float, ...]
    """``b`` as a polynomial of that growth, the constant first."""
    life_cycles: tuple[float, float] = (201.6, 0.212)
    """Median life and standard deviation of its logarithm."""


HPC = Fault(
    "hpc",
    "high-pressure compressor degradation",
    {
        "T24": 1.724, "T30": 19.6, "T50": 34.8, "P30": -3.46, "Nf": 0.273, "Nc": 13.05, "Ps30": 1.078,
        "phi": -2.97, "NRf": 0.276, "NRc": 0.74, "BPR": 0.137, "htBleed": 5.13, "W31": -0.65, "W32": -0.388,
    },
    (-2.77, -1.99, -1.43, -0.24, 0.23, 0.44, 0.69), (3.58, 0.05, 0.86, 0.21),
)  # fmt: skip
FAN = Fault(
    "fan",
    "fan blade erosion",
    {
        "T24": 0.5, "T50": 10.0, "P15": 0.07, "P30": 5.4, "Nf": 0.24, "Nc": 28.0, "epr": 0.035, "Ps30": 0.15,
        "phi": 4.6, "NRf": 0.24, "NRc": 20.0, "BPR": -0.19, "W31": 0.5, "W32": 0.31,
    },
    (-0.5, -0.35, -0.2, 0.0, 0.2, 0.35, 0.5), (3.6, -0.8),
)  # fmt: skip
LPT = Fault(
    "lpt",
    "low-pressure turbine erosion",
    {
        "T30": -14.0, "T50": 46.0, "P30": -2.2, "Nf": -0.21, "epr": -0.035, "Ps30": -0.8, "phi": 3.4,
        "NRf": -0.21, "BPR": 0.06, "farB": 0.032, "htBleed": 5.5, "W31": -0.2, "W32": -0.14,
    },
    (-0.5, -0.35, -0.2, 0.0, 0.2, 0.35, 0.5), (4.0, 0.8),
)  # fmt: skip
BEARING = Fault(
    "bearing",
    "bearing wear on the low-pressure spool",
    {
        "T24": 1.5, "T50": 12.0, "P15": -0.04, "Nf": -0.33, "Nc": 30.0, "NRf": -0.33, "NRc": 34.0,
        "BPR": -0.05, "htBleed": -6.0,
    },
    (-0.5, -0.35, -0.2, 0.0, 0.2, 0.35, 0.5), (4.6, 0.8),
)  # fmt: skip
FAULTS = {fault.name: fault for fault in (HPC, FAN, LPT, BEARING)}


def _vector(table: Mapping[str, float]) -> NDArray[np.float64]:
    return np.array([table.get(name, 0.0) for name in CHANNELS])


_LEVELS, _NOISES, _HPC_SIGNATURE, _BALANCES = map(_vector, (_LEVEL, _NOISE, HPC.signature, _BALANCE))
_GRID = np.array([10.0 ** -_DECIMALS[name] for name in CHANNELS])
_DAMAGED = np.isin(CHANNELS, USED_CHANNELS)


@dataclass(frozen=True, slots=True)
class VirtualRun:
    """One engine from new to failure: ``values`` is ``(life_cycles, 24)``; it fails after the last cycle."""

    fault: str
    values: NDArray[np.float64]

    @property
    def failure_cycle(self) -> int:
        """The last cycle of the run: the truth for work orders."""
        return len(self.values)


def simulate_run(fault: str, seed: int, machine: int = 0, run: int = 0) -> VirtualRun:
    """The run ``run`` of machine ``machine`` in the world ``seed``, with ``fault`` growing in it.

    Raises `ConfigError` for an unknown fault.
    """
    mode = find_fault(fault)
    random = np.random.default_rng([seed, machine, run, zlib.crc32(mode.name.encode())])
    life = int(np.clip(random.lognormal(np.log(mode.life_cycles[0]), mode.life_cycles[1]), 120, 370))
    shift = float(np.interp(random.uniform(), _BALANCE_SHARES, mode.balance))
    sharpness = float(np.polynomial.polynomial.polyval(shift, mode.sharpness)) + random.normal(0.0, 0.12)
    wear = random.uniform(0.015, 0.44)  # of the compressor, when the engine enters service
    balance = -0.18 + 0.806 * wear + random.normal(0.0, 0.109)
    end = random.normal(1.0, 0.012)

    growth = np.expm1(sharpness * np.arange(1, life + 1) / life) / np.expm1(sharpness)
    if mode is HPC:
        damage = (wear + (end - wear) * growth)[:, np.newaxis] * _HPC_SIGNATURE
    else:
        started = random.uniform(0.0, 0.05)
        damage = wear * _HPC_SIGNATURE + (started + (end - started) * growth)[:, np.newaxis] * _vector(
            mode.signature
        )
    values = _LEVELS + damage + (balance + shift * growth)[:, np.newaxis] * _BALANCES
    values += _DAMAGED * _MANUFACTURING * _NOISES * random.normal(size=len(CHANNELS))
    values += _NOISES * random.normal(size=values.shape)
    return VirtualRun(mode.name, np.round(values / _GRID) * _GRID)


def find_fault(name: str) -> Fault:
    """The fault called ``name``. Raises `ConfigError` naming those that there are."""
    try:
        return FAULTS[name]
    except KeyError:
        raise ConfigError(f"no fault is called {name!r}; there are {', '.join(FAULTS)}") from None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Schedule of faults by run: ``hpc:3,fan:8,lpt`` is three runs, then eight, then all others."""

    parts: tuple[tuple[str, int | None], ...]

    def fault_of(self, run: int) -> str:
        """The fault of run number ``run`` (from 0)."""
        for fault, runs in self.parts:
            if runs is None or run < runs:
                return fault
            run -= runs
        return self.parts[-1][0]


def parse_schedule(text: str) -> Schedule:
    """A schedule from ``FAULT[:RUNS],...``. Raises `ConfigError`."""
    parts: list[tuple[str, int | None]] = []
    for word in text.split(","):
        name, colon, runs = word.strip().partition(":")
        find_fault(name)
        if colon and not (runs.isdecimal() and int(runs) > 0):
            raise ConfigError(f"fault={text}: {runs!r} is not a number of runs; write for example hpc:3,fan")
        parts.append((name, int(runs) if colon else None))
    return Schedule(tuple(parts))


@dataclass(frozen=True, slots=True)
class SensorFault:
    """A broken sensor: ``stuck``, ``lost`` (NaN) or ``drifting`` from ``cycle`` of every run on."""

    channel: str
    kind: str
    cycle: int

    def applied(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """``values`` ``(cycles, 24)`` as this sensor shows them."""
        column, broken = CHANNELS.index(self.channel), values.copy()
        first = min(self.cycle - 1, len(values) - 1)
        if self.kind == "stuck":
            broken[first:, column] = broken[first, column]
        elif self.kind == "lost":
            broken[first:, column] = np.nan
        else:
            broken[first:, column] += 0.1 * _NOISES[column] * np.arange(len(values) - first)
        return broken


def parse_sensor_fault(text: str) -> SensorFault:
    """``CHANNEL:KIND[:CYCLE]``, such as ``T50:stuck:100``. Raises `ConfigError`."""
    words = text.split(":")
    channel, kind, cycle = words if len(words) == 3 else (words[0], words[-1], "1")
    if channel not in USED_CHANNELS or kind not in ("stuck", "lost", "drifting") or not cycle.isdecimal():
        raise ConfigError(
            f"sensor={text} is not CHANNEL:KIND[:CYCLE] with one of {', '.join(USED_CHANNELS)} "
            "and stuck, lost or drifting"
        )
    return SensorFault(channel, kind, max(1, int(cycle)))


@dataclass(frozen=True, slots=True)
class Machine:
    """One place in the fleet; engines are put into it one after the other."""

    name: str
    index: int
    seed: int
    schedule: Schedule
    sensor_fault: SensorFault | None = None
    injected: Path | None = None
    """A file that names faults by run while the world runs, one ``RUN FAULT`` a line."""

    def fault_of(self, run: int) -> str:
        """The fault of run ``run``: as injected, else by the schedule."""
        if self.injected is not None and self.injected.is_file():
            fault = self.schedule.fault_of(run)
            for line in self.injected.read_text("utf-8").splitlines():
                words = line.split()
                if len(words) == 2 and words[0].isdecimal() and run >= int(words[0]):
                    fault = find_fault(words[1]).name
            return fault
        return self.schedule.fault_of(run)

    def run(self, number: int) -> VirtualRun:
        """Run ``number`` of this machine as its sensors show it; its length is the truth."""
        made = simulate_run(self.fault_of(number), self.seed, self.index, number)
        if self.sensor_fault is None:
            return made
        return VirtualRun(made.fault, self.sensor_fault.applied(made.values))


PARAMETERS = {
    "seed": "seed of the world (0)",
    "machines": "number of machines, read in turn (1)",
    "name": "name of the machine, or its first part where there are several (turbofan-SEED)",
    "fault": "which fault grows in which run: FAULT[:RUNS],... (hpc)",
    "sensor": "a broken sensor: CHANNEL:stuck|lost|drifting[:CYCLE]",
    "inject": "file with lines RUN FAULT: from that run on that fault, also while the source runs",
    "period_s": "seconds between two cycles of a machine at speed 1 (1)",
}


class TurbofanSource(PacedSource):
    """`common.app.edge.Source`: the machines in turn, cycle by cycle, without an end.

    Position ``p`` is cycle ``p // machines`` (over all runs) of machine ``p % machines``, so the source can
    go on after any position. At ``speed`` 0 it gives readings as fast as they are taken.
    """

    def __init__(self, machines: tuple[Machine, ...], period_s: float, speed: float) -> None:
        self.machines = machines
        super().__init__(self._open_readings, period_s / len(machines), speed)

    def _open_readings(self) -> ReadingAt:
        engines = [_Engine(machine) for machine in self.machines]

        def reading_at(position: int, captured_ns: int) -> Reading:
            tick, place = divmod(position, len(engines))
            run, cycle, values = engines[place].at(tick)
            attributes = {"run": run, "cycle": cycle}
            return Reading(
                self.machines[place].name, captured_ns, position, values, CHANNELS, None, attributes
            )

        return reading_at


class _Engine:
    """Position of a machine in its runs, moving forward only."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._number = 0
        self._began = 0
        self._run = machine.run(0)

    def at(self, tick: int) -> tuple[int, int, NDArray[np.float64]]:
        """``(run, cycle, values)`` of the machine's cycle ``tick`` (from 0, over all runs)."""
        while tick - self._began >= self._run.failure_cycle:
            self._began += self._run.failure_cycle
            self._number += 1
            self._run = self._machine.run(self._number)
        row = tick - self._began
        return self._number, row + 1, self._run.values[row].copy()


def machines_of(parameters: Mapping[str, str]) -> tuple[Machine, ...]:
    """The machines of the source with these URI parameters. Raises `ConfigError` for unknown or bad ones.

    With them goes the truth: ``machine.run(k).failure_cycle``.
    """
    check_parameters("virtual:turbofan", parameters, PARAMETERS)
    seed, count = whole_number(parameters, "seed", 0, 0), whole_number(parameters, "machines", 1, 1)
    schedule = parse_schedule(parameters.get("fault", HPC.name))
    sensor = parse_sensor_fault(parameters["sensor"]) if parameters.get("sensor") else None
    injected = Path(parameters["inject"]) if parameters.get("inject") else None
    name = parameters.get("name") or f"turbofan-{seed}"
    return tuple(
        Machine(name if count == 1 else f"{name}-{index + 1}", index, seed, schedule, sensor, injected)
        for index in range(count)
    )


def open_source(kind: str, parameters: dict[str, str], speed: float) -> TurbofanSource:
    """The source ``virtual:turbofan?...`` (see `PARAMETERS`). Raises `ConfigError` or `SourceError`."""
    if kind != "turbofan":
        raise SourceError(f"the industrial app has no virtual source {kind!r}; it has 'turbofan'")
    return TurbofanSource(machines_of(parameters), seconds(parameters, "period_s", 1.0), speed)
