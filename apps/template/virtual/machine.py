"""A virtual machine: two channels with noise around their level, and faults that move one of them.

A reading is a function of (seed, machine, position), and so is its truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.template.domain import CHANNELS
from common.app.edge import Reading
from common.app.virtual import PacedSource, check_parameters, seconds, whole_number
from common.errors import ConfigError, SourceError

LEVEL = np.array([2.0, 60.0])
NOISE = np.array([0.2, 1.5])
FAULTS = {"imbalance": np.array([0.9, 0.0]), "overheating": np.array([0.0, 12.0])}
"""Change of each channel by a fault."""
PARAMETERS = {
    "seed": "seed of the world (0)",
    "machines": "number of machines, read in turn (1)",
    "name": "name of the machine, or its first part where there are several (machine-SEED)",
    "fault": "KIND:FROM-TO,... in readings of a machine; imbalance or overheating (imbalance:60-100)",
    "period_s": "seconds between two readings of a machine at speed 1 (1)",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault from reading ``first`` to before ``last``."""

    kind: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of the world ``seed``."""

    name: str
    index: int
    seed: int
    faults: tuple[Fault, ...]

    def faulty_at(self, tick: int) -> bool:
        """The truth."""
        return any(fault.first <= tick < fault.last for fault in self.faults)

    def values_at(self, tick: int) -> NDArray[np.float64]:
        """Values of reading ``tick``, ``(channels,)``."""
        noise = np.random.default_rng([self.seed, self.index, tick]).normal(size=len(CHANNELS))
        moved = sum(
            (FAULTS[f.kind] for f in self.faults if f.first <= tick < f.last), np.zeros(len(CHANNELS))
        )
        return np.round(LEVEL + moved + NOISE * noise, 3)


def machines_of(parameters: Mapping[str, str]) -> tuple[Machine, ...]:
    """The machines of the source with these URI parameters. Raises `ConfigError`."""
    check_parameters("virtual:machine", parameters, PARAMETERS)
    seed, count = whole_number(parameters, "seed", 0, 0), whole_number(parameters, "machines", 1, 1)
    name = parameters.get("name") or f"machine-{seed}"
    faults = tuple(map(_fault, filter(None, parameters.get("fault", "imbalance:60-100").split(","))))
    return tuple(
        Machine(name if count == 1 else f"{name}-{index + 1}", index, seed, faults) for index in range(count)
    )


def open_source(kind: str, parameters: dict[str, str], speed: float) -> PacedSource:
    """The source ``virtual:machine?...`` (see `PARAMETERS`). Raises `ConfigError` or `SourceError`."""
    if kind != "machine":
        raise SourceError(f"the template app has no virtual source {kind!r}; it has 'machine'")
    machines = machines_of(parameters)

    def reading_at(position: int, captured_ns: int) -> Reading:
        tick, place = divmod(position, len(machines))
        machine = machines[place]
        return Reading(machine.name, captured_ns, position, machine.values_at(tick), CHANNELS.names)

    period_s = seconds(parameters, "period_s", 1.0) / len(machines)
    return PacedSource(lambda: reading_at, period_s, speed, channels=CHANNELS.names)


def _fault(text: str) -> Fault:
    kind, _, span = text.strip().partition(":")
    first, _, last = span.partition("-")
    if kind not in FAULTS or not (first.isdecimal() and last.isdecimal()):
        raise ConfigError(f"fault={text} is not KIND:FROM-TO with one of {', '.join(FAULTS)}")
    return Fault(kind, int(first), int(last))
