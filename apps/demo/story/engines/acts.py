"""Story of the engines, and the steps of its beginning.

The edge decides; a network outage; two learning rounds with two faults that the model has not seen; bad
models; the final count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.demo.story.acts import OpeningAndCount, Outage
from apps.demo.story.engines.learning_round import LearningRound
from apps.demo.story.engines.plant import NEW_FAULTS, EndedRun, Plant, pooled_rmse
from apps.demo.story.refusals import Refusals
from apps.demo.story.story import Chapter, Step
from apps.demo.world.stage import Stage

FAULTS = NEW_FAULTS[:2]
"""Faults of the two learning rounds of the story."""


@dataclass(slots=True)
class EdgeDecisions:
    """Predictions and alarms of the edge with the bundled model."""

    stage: Stage
    plant: Plant

    def chapter(self) -> Chapter:
        app = f"/ui/apps/{self.stage.app}"
        return Chapter(
            "The edge decides",
            "Remaining life with a 90 % interval at every cycle, and alarms that name their causes.",
            [
                Step("predictions arrive", self.predictions, ("infer", "send", "aggregate"), app),
                Step("the edge raises alarms", self.alarms, ("decide",), "/ui/alerts"),
                Step(
                    "maintenance closes its work orders",
                    self.known_error,
                    ("learn",),
                    f"{app}/machines/{self.stage.subjects[0]}",
                ),
            ],
        )

    def predictions(self) -> str:
        self.stage.ready()

        def all_report() -> list[dict[str, Any]]:
            machines = self.stage.get(self.stage.app_path("machines"), limit=100)["items"]
            return machines if len(machines) == len(self.stage.nodes) else []

        machines = self.stage.wait(all_report, "a prediction of each engine")
        return "\n".join(f"{m['machine']}: cycle {m['cycle']}, {_left(m)}" for m in machines)

    def alarms(self) -> str:
        self.stage.ready()

        def due() -> dict[str, Any] | None:
            alerts = self.stage.get("/v1/alerts", limit=50)["items"]
            return next((a for a in alerts if a["type"].endswith("maintenance_due")), None)

        data = (alert := self.stage.wait(due, "a maintenance alarm"))["data"]
        return (
            f"{alert['subject']}, cycle {data['cycle']}: at least {data['lower_cycles']:.0f} cycles left, "
            f"horizon {data['horizon_cycles']:.0f}; cause: {', '.join(data['sensors'])}"
        )

    def known_error(self) -> str:
        self.stage.ready()

        def ended() -> list[EndedRun]:
            runs = self.plant.newest_runs()
            return runs if len(runs) >= len(self.stage.nodes) else []

        runs = self.stage.wait(ended, "three runs have ended")
        error = pooled_rmse(self.plant.close_work_order(run) for run in runs)
        faults = ", ".join(sorted({run.fault for run in runs}))
        return f"{len(runs)} failures ({faults}); error at the edge {error:.1f} cycles (RMSE)"


class Acts:
    """All acts on one stage, shared by the story and the manual actions."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.plant = Plant(stage)
        self.opening_and_count = OpeningAndCount(stage)
        self.edge = EdgeDecisions(stage, self.plant)
        self.outages = {name: Outage(stage, name) for name in stage.subjects}
        self.rounds = [LearningRound(stage, self.plant, fault) for fault in FAULTS]
        self.refusals = Refusals(stage, ("wrong", "heavy", "late"), self.plant.restore_known_fault)

    def story(self, *, keep_running: bool) -> list[Chapter]:
        """The whole story; with ``keep_running`` it ends with running nodes."""
        first, second = self.rounds
        return [
            self.opening_and_count.opening(
                "A cloud and three virtual engines",
                "Each engine has a node of its own: a process that decides without a cloud.",
            ),
            self.edge.chapter(),
            self.outages[self.stage.subjects[1]].chapter(),
            *first.chapters("first round"),
            *second.chapters("second round"),
            self.refusals.chapter(),
            self.opening_and_count.count_chapter(keep_running=keep_running),
        ]


def _left(machine: Mapping[str, Any]) -> str:
    if machine["rul_cycles"] is None:
        return f"remaining life not known: {machine['reason']}"
    lower, upper = machine["lower_cycles"], machine["upper_cycles"]
    return f"{machine['rul_cycles']:.0f} cycles left ({lower:.0f} to {upper:.0f})"
