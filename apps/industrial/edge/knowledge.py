"""Validity of a prediction: a RUL with its interval, or the reason why it is withheld.

The RUL is *withheld*

``regime``   outside of the operating settings that the training runs had; such a cycle is not used at all,
             and after `MIN_ELSEWHERE` of them in the last `RECENT_CYCLES` the others are withheld as well,
``novel``    where novelty is beyond what known engines had in training: another machine, or a fault that
             the model has not learnt,
``history``  while a history that began late has under `MIN_LATE_CYCLES` cycles, and while too few of the
             last cycles came,
``sensors``  where a sensor that the model uses has given too few usable values lately.

A late history that is long enough has a RUL with an interval of its own, wider, calibrated on such histories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from apps.industrial.domain import CHANNELS, UNITS, USED_CHANNELS
from apps.industrial.edge.features import (
    DELAY,
    FEATURE_NAMES,
    LATE_CYCLES,
    MIN_LATE_CYCLES,
    RECENT_CYCLES,
    SEEN,
    RunFeatures,
)
from apps.industrial.edge.sensor_faults import SensorStates
from common.app.edge import Arrays, Model
from common.bundle import Manifest

MIN_RECENT = 8
"""Values of each sensor in the last `RECENT_CYCLES` cycles below which there is no RUL."""
STALE_CYCLES = 5
"""Cycles since a sensor's last usable value after which there is no RUL."""
NOVELTY_LIMIT = 2.0
OPERATING_RANGE = {"altitude_kft": (-1.0, 1.0), "mach": (-0.02, 0.02), "tra_pct": (98.0, 102.0)}
"""For bundles that do not state theirs: they were trained at sea level."""
MIN_ELSEWHERE = 2
RESUME_CYCLES = 5
"""Cycles with a RUL in a row that end a spell without."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """Reason of a withheld RUL: a word, and a sentence."""

    why: str
    text: str


class Spell(msgspec.Struct, frozen=True):
    """A time without RUL: the reasons that were reported, and the cycles with a RUL since."""

    reported: tuple[str, ...] = ()
    given: int = 0

    def after(self, withheld: Withheld | None) -> tuple[Spell, Withheld | None, bool]:
        """The spell after a cycle, a reason that is new in it, and whether it has ended."""
        if withheld is not None:
            if withheld.why in self.reported:
                return Spell(self.reported), None, False
            return Spell((*self.reported, withheld.why)), withheld, False
        if not self.reported:
            return self, None, False
        if self.given + 1 < RESUME_CYCLES:
            return Spell(self.reported, self.given + 1), None, False
        return Spell(), None, True


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Domain of a model: its novelty limit and the operating settings of its training runs."""

    novelty_limit: float
    operating_range: Mapping[str, tuple[float, float]]
    columns: NDArray[np.intp] | None
    """Features that the model takes; None for all of them."""

    @classmethod
    def of(cls, manifest: Manifest) -> Knowledge:
        """As a bundle's manifest states it; one from before these were measured knows sea level only."""
        stated = manifest.parameters
        columns = manifest.inputs[0].columns if manifest.inputs else []
        chosen = None
        if columns and tuple(columns) != FEATURE_NAMES and set(columns) <= set(FEATURE_NAMES):
            chosen = np.array([FEATURE_NAMES.index(name) for name in columns])
        return cls(
            float(stated.get("novelty_limit", NOVELTY_LIMIT)),
            msgspec.convert(stated.get("operating_range", OPERATING_RANGE), dict[str, tuple[float, float]]),
            chosen,
        )

    def adapted(self, model: Model) -> Model:
        """``model`` as one that takes all features."""
        return model if self.columns is None else _OfColumns(model, self.columns)

    def regime(self, values: NDArray[np.float64]) -> Withheld | None:
        """Whether a reading is from an operating point that the model does not know."""
        for name, (low, high) in self.operating_range.items():
            value = values.item(CHANNELS.index(name))
            if value < low or value > high:
                unit = f" {UNITS[name]}" if UNITS[name] else ""
                text = f"operating regime: {name} is {value:g}{unit}, known is {low:g} to {high:g}{unit}"
                return Withheld("regime", text)
        return None

    def withheld(
        self,
        features: NDArray[np.float32],
        novelty: float,
        history: RunFeatures,
    ) -> Withheld | None:
        """Reason for which no RUL is given for a cycle with these features, at a known operating point; None
        for one that has a RUL. ``history`` is what the features are of."""
        seen, delay = round(100 * features.item(SEEN)), 100 * features.item(DELAY)
        if not history.complete(MIN_RECENT):
            recent, stale = history.support()
            lacking = (stale > STALE_CYCLES) | (recent < min(MIN_RECENT, (seen + 1) // 2))
            if lacking.all():
                text = f"too few of the last {RECENT_CYCLES} cycles came: {recent.max()} of {MIN_RECENT}"
                return Withheld("history", text)
            if lacking.any():
                names = ", ".join(np.array(USED_CHANNELS)[lacking])
                return Withheld("sensors", f"no usable values of {names} in the last cycles")
        if delay > LATE_CYCLES and seen < MIN_LATE_CYCLES:
            text = f"the history begins late in the run: {seen} of {MIN_LATE_CYCLES} cycles"
            return Withheld("history", text)
        if novelty > self.novelty_limit:
            text = (
                f"unlike anything that the model knows: another machine, or a fault that it has not learnt "
                f"(novelty {novelty:.3g}, known is up to {self.novelty_limit:.3g})"
            )
            return Withheld("novel", text)
        return None


@dataclass(frozen=True, slots=True)
class _OfColumns:
    """A model of some of the features that takes all of them."""

    model: Model
    columns: NDArray[np.intp]

    @property
    def manifest(self) -> Manifest:
        return self.model.manifest

    def run(self, inputs: Arrays) -> Arrays:
        return self.model.run({"features": inputs["features"][:, self.columns]})


def mixed_regimes(elsewhere: Sequence[int], cycle: int) -> Withheld | None:
    """Whether the machine changes its operating point; ``elsewhere`` are its last cycles at unknown ones."""
    if len(elsewhere) < MIN_ELSEWHERE or cycle - elsewhere[-MIN_ELSEWHERE] >= RECENT_CYCLES:
        return None
    return Withheld(
        "regime", f"operating regime: other ones than the known in the last {RECENT_CYCLES} cycles"
    )


def faulty(sensors: SensorStates) -> bool:
    """Whether a sensor that the model uses has a fault."""
    return any(name in USED_CHANNELS for name in sensors.faults)
