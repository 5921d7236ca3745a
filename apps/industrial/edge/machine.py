"""State of one machine: its run, its sensors, and the cycles kept for learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import CHANNELS
from apps.industrial.edge.features import RunFeatures
from apps.industrial.edge.knowledge import Spell
from apps.industrial.edge.sensor_faults import SensorStates
from apps.industrial.edge.sensor_faults import restored as restored_sensors
from common.app.edge import Sample

HISTORY_CYCLES = 600
"""Cycles of a run that are kept for learning; the newest, should a run be longer."""
NOVEL_SHARE = 0.2
"""Share of the last `NOVEL_WINDOW_CYCLES` above novelty 1 that makes a run certainly worth learning from."""
NOVEL_WINDOW_CYCLES = 50


@dataclass(slots=True)
class MachineState:
    """State of one machine."""

    run: int
    named_run: int
    """The run that the source named; ``run`` counts on where it does not."""
    cycle: int = 0
    features: RunFeatures = field(default_factory=RunFeatures)
    sensors: SensorStates = field(default_factory=SensorStates)
    spell: Spell = field(default_factory=Spell)
    elsewhere: tuple[int, ...] = ()
    """The last cycles at an operating point that the model does not know."""
    history: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((HISTORY_CYCLES, len(CHANNELS)), np.float32)
    )
    kept: int = 0
    """Cycles ever written to ``history``, a ring."""
    novel: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(NOVEL_WINDOW_CYCLES, np.bool_))
    novelties: int = 0
    under_horizon: int = 0
    due: bool = False

    def remember(self, values: NDArray[Any], novelty: float, lost: int) -> None:
        """Keep a cycle after ``lost`` ones that never came."""
        for _ in range(min(lost, HISTORY_CYCLES)):
            self.history[self.kept % HISTORY_CYCLES] = np.nan
            self.kept += 1
        self.history[self.kept % HISTORY_CYCLES] = values
        self.kept += 1
        self.novel[self.novelties % NOVEL_WINDOW_CYCLES] = novelty > 1.0
        self.novelties += 1

    def past(self) -> NDArray[np.float32]:
        """The kept cycles in order, ``(cycles, channels)``."""
        if self.kept <= HISTORY_CYCLES:
            return self.history[: self.kept].copy()
        return np.roll(self.history, -(self.kept % HISTORY_CYCLES), axis=0)

    def novelty_score(self) -> float:
        """Value of a run for learning, in [0, 1]."""
        window = self.novel[: min(self.novelties, NOVEL_WINDOW_CYCLES)]
        return min(1.0, float(window.mean()) / NOVEL_SHARE) if window.size else 0.0

    def sample(self, name: str, time_ns: int, version: str) -> Sample:
        """The run, whole, as a candidate for learning."""
        past = self.past()
        return Sample(
            subject=name,
            group=f"{name}/run-{self.run}",
            captured_ns=time_ns,
            reasons={"novelty": self.novelty_score()},
            arrays={"values": past},
            attributes={
                "run": self.run,
                "first_cycle": self.cycle - len(past) + 1,
                "last_cycle": self.cycle,
                "channels": list(CHANNELS),
                "version": version,
            },
        )

    def snapshot(self) -> dict[str, Any]:
        """The state as plain values and arrays."""
        return {
            "run": self.run,
            "named_run": self.named_run,
            "cycle": self.cycle,
            "features": self.features.snapshot(),
            "sensors": self.sensors.snapshot(),
            "spell": msgspec.structs.asdict(self.spell),
            "elsewhere": list(self.elsewhere),
            "history": self.history[: min(self.kept, HISTORY_CYCLES)],
            "kept": self.kept,
            "novel": self.novel,
            "novelties": self.novelties,
            "under_horizon": self.under_horizon,
            "due": self.due,
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> MachineState:
        """The machine of a `snapshot`."""
        machine = cls(saved["run"], saved["named_run"], saved["cycle"])
        machine.features.restore(saved["features"])
        machine.sensors = restored_sensors(saved["sensors"])
        machine.spell = msgspec.convert(saved["spell"], Spell)
        machine.elsewhere = tuple(saved["elsewhere"])
        machine.history[: len(saved["history"])] = saved["history"]
        machine.kept = saved["kept"]
        machine.novel = np.array(saved["novel"], np.bool_)
        machine.novelties = saved["novelties"]
        machine.under_horizon = saved["under_horizon"]
        machine.due = saved["due"]
        return machine
