"""One turn of the loop on the stage: a new fault, drift, samples, work orders, training, rollout, and after.

`Turn` is one round with one fault mode; the show plays two of them, because loops tend to turn only once.
Each public method is the act of one step of the story: it returns its evidence or raises `ShowError`.
The acts need no order: each does what it lacks itself where that is quick, or says what has to come first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.demo.story.engines.plant import NEW_FAULTS, NEWEST, Plant, Truth, known_share, pooled_rmse
from apps.demo.story.learning import Update
from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage

DRIFT = "edgeloop.drift"


@dataclass(slots=True)
class Turn:
    """One turn of the loop with one fault mode."""

    stage: Stage
    plant: Plant
    fault: str
    chosen: bool = False
    """Whether this very fault is meant; otherwise one that production knows gives way to a new one."""
    least_samples: int = 9
    least_runs_after: int = 4
    began_s: float = 0.0
    """When the fault began, on the monotonic clock; 0 before that."""
    first: dict[str, int] = field(default_factory=dict)
    """First run of each machine with the fault."""
    earlier: set[tuple[str, str, int]] = field(default_factory=set)
    """The drift events that had come before, by node and place in its stream."""
    known: bool = False
    """Whether production knew the fault when it began."""
    before_cycles: float = 0.0
    before_share: float = 0.0
    update: Update = field(init=False)

    def __post_init__(self) -> None:
        self.update = Update(self.stage)

    def chapters(self, ordinal: str) -> list[Chapter]:
        """The chapters of this turn."""
        machine = f"/ui/apps/{self.stage.app}/machines/{self.stage.subjects[0]}"
        return [
            Chapter(
                f"A fault that the model has not seen ({ordinal}): {self.fault}",
                "From now on the virtual engines wear out in another way. Nobody tells the model.",
                [
                    Step("the engines change", self.begin, ("sense",), machine),
                    Step("nodes find drift by themselves", self.find_drift, ("infer", "decide"), "/ui/fleet"),
                    Step(
                        "nodes upload what is worth learning",
                        self.collect_samples,
                        ("curate",),
                        "/ui/learning",
                    ),
                    Step("maintenance closes its work orders", self.close_work_orders, ("learn",), machine),
                ],
            ),
            self.update.learning(
                f" ({ordinal})",
                "A job trains from the production model, the samples and the work orders; then the gate.",
                self.train,
            ),
            self.update.rollout(
                f" ({ordinal})", Step("the error, before and after", self.compare, ("aggregate",), machine)
            ),
        ]

    # -------------------------------------------------------------------------------------- the fault

    def begin(self) -> str:
        self.stage.ready()
        known = self.plant.known()
        instead = ""
        if self.fault in known and not self.chosen:
            new = [fault for fault in NEW_FAULTS if fault not in known]
            if not new:
                raise ShowError(
                    "production has learnt every fault that the engines can have: reset the stage"
                )
            instead = f"{self.stage.production()} has learnt {self.fault}, so it is another one: "
            self.fault = new[0]
        self.earlier = {_place(event) for node in self.stage.nodes for event in self._drifts(node.name)}
        self.known = self.fault in known
        self.first = self.plant.inject(self.fault)
        self.began_s = time.monotonic()
        self.before_cycles = self.before_share = 0.0
        self.update.begin_anew()
        runs = ", ".join(f"{name} from run {run}" for name, run in self.first.items())
        return f"{instead}fault {self.fault} grows in {runs}"

    def find_drift(self) -> str:
        self._grow()
        if self.known:
            return f"none: the model in production has learnt {self.fault}"

        def found() -> list[str]:
            drifts = {node.name: self._drift_now(node.name) for node in self.stage.nodes}
            told = [
                f"{name}: novelty over its training quantile in {event['data']['exceed_rate']:.0%} of cycles"
                + (", since before this fault" if _place(event) in self.earlier else "")
                for name, event in drifts.items()
                if event
            ]
            return told if len(told) >= 2 else []

        return "\n".join(self.stage.wait(found, "drift on two nodes"))

    def collect_samples(self) -> str:
        self._grow()
        self._check_new()
        groups: set[str] = set()

        def enough() -> bool:
            ended = {truth.group for truth in self._runs()}
            samples = self._samples()
            groups.update(sample["group"] for sample in samples if sample["group"] in ended)
            return len(groups) >= self.least_samples

        self.stage.wait(enough, f"{self.least_samples} samples of the new fault")
        size = sum(sample["size"] for sample in self._samples() if sample["group"] in groups)
        return f"{len(groups)} runs with fault {self.fault}, {size / 1e3:.0f} kB, by resumable HTTP"

    def close_work_orders(self) -> str:
        self._check_begun()
        runs = self._newest()
        if not runs:
            raise ShowError(f"no engine has failed of {self.fault} yet: wait a few seconds")
        outcomes = [self.plant.file(truth) for truth in runs]
        self.before_cycles, self.before_share = pooled_rmse(outcomes), known_share(outcomes)
        machines = len({truth.machine for truth in runs})
        return (
            f"{len(runs)} failures on {machines} machines filed; on them the model in production knew the "
            f"remaining life in {self.before_share:.0%} of the cycles, off by {self.before_cycles:.1f} (RMSE)"
        )

    def train(self) -> str:
        self._check_begun()
        self._check_new()
        if not self.before_cycles:
            self.collect_samples()
            self.close_work_orders()
        told = self.update.train()
        self.plant.note_taught(self.update.version)
        return told

    def compare(self) -> str:
        """Wait for runs that lie wholly under the new model, close them, and compare."""
        self._grow()
        if not self.before_cycles:
            raise ShowError(
                f"what the error was with {self.fault} before is not known: let the cloud learn first"
            )

        def outcomes() -> list[dict[str, Any]]:
            found = [self.plant.file(truth) for truth in self._newest()]
            after = [outcome for outcome in found if outcome["versions"] == [self.update.version]]
            return after if len(after) >= self.least_runs_after else []

        after = self.stage.wait(outcomes, f"{self.least_runs_after} runs under the new model")
        error, share = pooled_rmse(after), known_share(after)
        found = (
            f"remaining life of live runs with fault {self.fault}: known in {self.before_share:.0%} of the "
            f"cycles before, off by {self.before_cycles:.1f} (RMSE); in {share:.0%} after, off by "
            f"{error:.1f}, "
            f"{len(after)} fresh runs"
        )
        if not (share > self.before_share or error < self.before_cycles):
            raise ShowError(f"the new model knows no more than the one before: {found}")
        return found

    # ---------------------------------------------------------------------------------- what there is

    def _check_begun(self) -> None:
        if not self.first:
            raise ShowError(
                "the engines have no new fault: let one grow first (a fault the model has not seen)"
            )

    def _check_new(self) -> None:
        if self.fault in self.plant.known():
            news = ", ".join(fault for fault in NEW_FAULTS if fault not in self.plant.known())
            raise ShowError(
                f"the model in production has learnt {self.fault} already: "
                + (f"inject one that it has not seen ({news})" if news else "reset the stage")
            )

    def _grow(self) -> None:
        """Let this turn's fault go on growing, if another one was injected meanwhile."""
        self._check_begun()
        self.stage.ready()
        if self.plant.fault != self.fault:
            self.plant.inject(self.fault)

    def _runs(self) -> list[Truth]:
        """Ended runs with this turn's fault, since it began."""
        return [
            truth
            for truth in self.plant.truths()
            if truth.fault == self.fault and truth.run >= self.first[truth.machine]
        ]

    def _newest(self) -> list[Truth]:
        """The newest of them, a few of each machine."""
        runs = self._runs()
        return [r for name in self.stage.subjects for r in [r for r in runs if r.machine == name][-NEWEST:]]

    def _samples(self) -> Sequence[dict[str, Any]]:
        return self.stage.client.items("/v1/samples", app=self.stage.app, limit=200)

    def _drifts(self, node: str) -> list[dict[str, Any]]:
        events = self.stage.events(node, type=DRIFT)
        return [event for event in events if event["data"]["state"] == "drift"]

    def _drift_now(self, node: str) -> dict[str, Any] | None:
        """The drift that a node found since the fault began, or that it had found before and is still in."""
        events = self.stage.events(node, type=DRIFT)
        drifts = [event for event in events if event["data"]["state"] == "drift"]
        new = next((event for event in drifts if _place(event) not in self.earlier), None)
        return new or (drifts[-1] if drifts and events[-1] is drifts[-1] else None)


def _place(event: dict[str, Any]) -> tuple[str, str, int]:
    """Which event it is."""
    return event["node"], event["epoch"], event["seq"]
