"""Stages of a model on trial: what is judged against what, and when a verdict is due. The time is passed in.

In `Shadow` a candidate is judged against the live model, in `Soak` the live model against the previous one,
which keeps running. A bad verdict is due at once; a good one after enough readings or enough time in shadow,
and after both in the soak. `common.edge.update.trial_stages` takes the step that follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from common.config.node import OtaSettings
from common.deployment import SOAK_LIMIT_S
from common.edge.inference.instance import Instance, scales_of
from common.edge.inference.model_pair import Decision
from common.edge.update.slot_state import Order, SlotState
from common.edge.update.trial import Trial, Verdict


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loaded model to be put on trial; ``scales`` are the golden ranges of the live model's outputs."""

    instance: Instance
    order: Order
    scales: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Shadow:
    """A candidate beside the live model."""

    companion: Instance
    order: Order
    trial: Trial
    since_ns: int
    settings: OtaSettings
    phase: ClassVar[str] = "shadow"

    @classmethod
    def begin(
        cls, candidate: Candidate, live: Instance, settings: OtaSettings, now_ns: int, *, drifting: bool
    ) -> Shadow:
        instance, scales = candidate.instance, candidate.scales
        trial = Trial(instance.manifest, live.manifest, scales, settings, familiar=not drifting)
        return cls(instance, candidate.order, trial, now_ns, settings)

    @property
    def skip_reason(self) -> str:
        """Reason of a skipped shadow phase; empty if it is not skipped."""
        if not self.order.compare:
            return "no shadow: the live model was withdrawn"
        return "" if self.settings.shadow_readings else "no shadow: disabled by the settings"

    def judge(self, decision: Decision, now_ns: int, *, drifting: bool) -> Verdict | None:
        """Count a reading that both models saw. Returns the verdict once it is due."""
        self.trial.familiar &= not drifting
        assert decision.companion is not None
        self.trial.add(decision.companion, decision.live)
        verdict = self.trial.verdict()
        waited_s = (now_ns - self.since_ns) / 1e9
        enough = self.trial.readings >= self.settings.shadow_readings
        due = not verdict.good or enough or waited_s >= self.settings.shadow_timeout_s
        return verdict if due else None


@dataclass(frozen=True, slots=True)
class Soak:
    """The live model beside the previous one, which is None where it cannot be loaded."""

    companion: Instance | None
    trial: Trial
    since_ns: int
    settings: OtaSettings
    soak_s: float
    phase: ClassVar[str] = "soak"

    @classmethod
    def begin(
        cls, live: Instance, previous: Instance | None, state: SlotState, settings: OtaSettings, now_ns: int
    ) -> Soak:
        trial = Trial(
            live.manifest,
            previous.manifest if previous else None,
            scales_of(previous.bundle) if previous else {},
            settings,
            compare=state.compare,
            familiar=state.familiar,
        )
        return cls(previous, trial, now_ns, settings, min(state.soak_s, SOAK_LIMIT_S))

    @property
    def served(self) -> bool:
        """Whether the live model has processed the readings that a soak needs."""
        return self.trial.readings >= self.settings.min_soak_readings

    def judge(self, decision: Decision, now_ns: int) -> Verdict | None:
        """Count a reading. Returns the verdict once it is due."""
        self.trial.add(decision.live, decision.companion)
        verdict = self.trial.verdict()
        soaked_s = (now_ns - self.since_ns) / 1e9
        due = not verdict.good or (soaked_s >= self.soak_s and self.served)
        return verdict if due else None
