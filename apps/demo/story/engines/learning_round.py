"""One round of the loop with the engines: new fault, drift, samples, work orders, training, rollout.

The show plays two rounds with two fault modes. Each public method is the act of one step of the story: it
returns its evidence or raises `ShowError`. Acts can run in any order: each performs quick prerequisites
itself and names those that are missing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.demo.story.engines.drift import DriftWatch
from apps.demo.story.engines.plant import MAX_RUNS, NEW_FAULTS, EndedRun, Plant, known_share, pooled_rmse
from apps.demo.story.learning import ModelUpdate
from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage


@dataclass(slots=True)
class LearningRound:
    """One round of the loop with one fault mode."""

    stage: Stage
    plant: Plant
    fault: str
    fixed_fault: bool = False
    """Keep ``fault`` even if production knows it; otherwise an unknown fault replaces it."""
    min_samples: int = 9
    min_runs_after: int = 4
    began_s: float = 0.0
    """Start of the fault on the monotonic clock; 0 before it."""
    first_runs: dict[str, int] = field(default_factory=dict)
    """First run with the fault, by machine."""
    fault_was_known: bool = False
    """Production knew the fault when it began."""
    before_cycles: float = 0.0
    """RMSE of the production model on runs with the fault."""
    before_share: float = 0.0
    """Share of cycles with a known remaining life under the production model."""
    drift: DriftWatch = field(init=False)
    update: ModelUpdate = field(init=False)

    def __post_init__(self) -> None:
        self.drift = DriftWatch(self.stage, self.plant)
        self.update = ModelUpdate(self.stage)

    def chapters(self, ordinal: str) -> list[Chapter]:
        """The chapters of this round; ``ordinal`` distinguishes their titles."""
        machine = f"/ui/apps/{self.stage.app}/machines/{self.stage.subjects[0]}"
        learning = "/ui/learning"
        return [
            Chapter(
                f"A fault that the model has not seen ({ordinal}): {self.fault}",
                "The virtual engines now wear out in another way. The model has no information about it.",
                [
                    Step("a new fault begins", self.begin, ("sense",), machine),
                    Step("the nodes detect drift", self.find_drift, ("infer", "decide"), "/ui/fleet"),
                    Step("the nodes upload novel samples", self.collect_samples, ("curate",), learning),
                    Step("maintenance closes its work orders", self.close_work_orders, ("learn",), machine),
                ],
            ),
            self.update.training_chapter(
                "A job trains from the production model, the samples and the work orders; then the gate.",
                self.train,
                f" ({ordinal})",
            ),
            self.update.rollout_chapter(
                Step("the error, before and after", self.compare, ("aggregate",), machine), f" ({ordinal})"
            ),
        ]

    def begin(self) -> str:
        self.stage.ready()
        known = self.plant.known_faults()
        note = ""
        if self.fault in known and not self.fixed_fault:
            new = [fault for fault in NEW_FAULTS if fault not in known]
            if not new:
                raise ShowError("production has learnt every fault of the engines: reset the stage")
            note = f"{self.stage.production()} has learnt {self.fault} already; instead, "
            self.fault = new[0]
        self.drift.start()
        self.fault_was_known = self.fault in known
        self.first_runs = self.plant.inject(self.fault)
        self.began_s = time.monotonic()
        self.before_cycles = self.before_share = 0.0
        self.update.reset()
        runs = ", ".join(f"{name} from run {run}" for name, run in self.first_runs.items())
        return f"{note}fault {self.fault} grows in {runs}"

    def find_drift(self) -> str:
        self._ensure_fault()
        if self.fault_was_known:
            return f"none: the model in production has learnt {self.fault}"
        return self.drift.wait_for_drift()

    def collect_samples(self) -> str:
        self._ensure_fault()
        self._check_unknown()
        groups: set[str] = set()

        def enough() -> bool:
            ended = {run.group for run in self._runs()}
            groups.update(sample["group"] for sample in self._samples() if sample["group"] in ended)
            return len(groups) >= self.min_samples

        self.stage.wait(enough, f"{self.min_samples} samples of the new fault")
        size = sum(sample["size"] for sample in self._samples() if sample["group"] in groups)
        return f"{len(groups)} runs with fault {self.fault}, {size / 1e3:.0f} kB, by resumable HTTP"

    def close_work_orders(self) -> str:
        self._check_begun()
        runs = self._newest()
        if not runs:
            raise ShowError(f"no engine has failed of {self.fault} yet: wait a few seconds")
        outcomes = [self.plant.close_work_order(run) for run in runs]
        self.before_cycles, self.before_share = pooled_rmse(outcomes), known_share(outcomes)
        machines = len({run.machine for run in runs})
        return (
            f"{len(runs)} failures of {machines} machines filed; production model on these runs: "
            f"remaining life known in {self.before_share:.0%} of the cycles, error "
            f"{self.before_cycles:.1f} cycles (RMSE)"
        )

    def train(self) -> str:
        self._check_begun()
        self._check_unknown()
        if not self.before_cycles:
            self.collect_samples()
            self.close_work_orders()
        evidence = self.update.train()
        self.plant.record_training(self.update.version)
        return evidence

    def compare(self) -> str:
        """Wait for runs that lie wholly under the new model, close their work orders, and compare."""
        self._ensure_fault()
        if not self.before_cycles:
            raise ShowError(f"the error with fault {self.fault} before is not known: start learning first")

        def outcomes() -> list[dict[str, Any]]:
            found = [self.plant.close_work_order(run) for run in self._newest()]
            after = [outcome for outcome in found if outcome["versions"] == [self.update.version]]
            return after if len(after) >= self.min_runs_after else []

        after = self.stage.wait(outcomes, f"{self.min_runs_after} runs under the new model")
        error, share = pooled_rmse(after), known_share(after)
        evidence = (
            f"remaining life of live runs with fault {self.fault}: before, known in "
            f"{self.before_share:.0%} of the cycles, error {self.before_cycles:.1f} cycles (RMSE); "
            f"after, known in {share:.0%}, error {error:.1f} cycles, {len(after)} new runs"
        )
        if not (share > self.before_share or error < self.before_cycles):
            raise ShowError(f"the new model is not better: {evidence}")
        return evidence

    # ------------------------------------------------------------------------------------- prerequisites

    def _check_begun(self) -> None:
        if not self.first_runs:
            raise ShowError("the engines have no new fault: inject one first")

    def _check_unknown(self) -> None:
        known = self.plant.known_faults()
        if self.fault in known:
            unknown = ", ".join(fault for fault in NEW_FAULTS if fault not in known)
            advice = f"inject one that it has not seen ({unknown})" if unknown else "reset the stage"
            raise ShowError(f"the model in production has learnt {self.fault} already: {advice}")

    def _ensure_fault(self) -> None:
        """Inject this round's fault again if another one was injected meanwhile."""
        self._check_begun()
        self.stage.ready()
        if self.plant.fault != self.fault:
            self.plant.inject(self.fault)

    # --------------------------------------------------------------------------------------------- queries

    def _runs(self) -> list[EndedRun]:
        """Ended runs with this round's fault, since it began."""
        return [
            run
            for run in self.plant.ended_runs()
            if run.fault == self.fault and run.number >= self.first_runs[run.machine]
        ]

    def _newest(self) -> list[EndedRun]:
        """The newest of them, at most `MAX_RUNS` of each machine."""
        runs = self._runs()
        return [
            run for name in self.stage.subjects for run in [r for r in runs if r.machine == name][-MAX_RUNS:]
        ]

    def _samples(self) -> Sequence[dict[str, Any]]:
        return self.stage.client.items("/v1/samples", app=self.stage.app, limit=200)
