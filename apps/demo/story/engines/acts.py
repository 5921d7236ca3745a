"""The story of the engines, and the acts of its beginning.

The edge decides; the network of one node is cut; two turns of the loop with two faults that the model has not
seen; bad models that are stopped; what it came to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.demo.story.acts import Frame, Outage
from apps.demo.story.engines.learning_round import Turn
from apps.demo.story.engines.plant import NEW_FAULTS, Plant, Truth, pooled_rmse
from apps.demo.story.refusals import Refusals
from apps.demo.story.story import Chapter, Step
from apps.demo.world.stage import Stage

FAULTS = NEW_FAULTS[:2]
"""What happens to the engines in the two turns of the story."""


@dataclass(slots=True)
class Edge:
    """What the edge decides before anything has happened."""

    stage: Stage
    plant: Plant

    def chapter(self) -> Chapter:
        app = f"/ui/apps/{self.stage.app}"
        return Chapter(
            "The edge decides",
            "Remaining life with a 90 % interval at every cycle, and an alarm that explains itself.",
            [
                Step("predictions arrive", self.predictions, ("infer", "send", "aggregate"), app),
                Step("the edge raises alarms", self.alarms, ("decide",), "/ui/alerts"),
                Step(
                    "runs end, maintenance closes work orders",
                    self.known_error,
                    ("learn",),
                    f"{app}/machines/{self.stage.subjects[0]}",
                ),
            ],
        )

    def predictions(self) -> str:
        self.stage.ready()

        def all_report() -> list[dict[str, Any]]:
            machines = self.stage.ask(self.stage.app_path("machines"), limit=100)["items"]
            return machines if len(machines) == len(self.stage.nodes) else []

        machines = self.stage.wait(all_report, "a prediction of each engine")
        return "\n".join(f"{m['machine']}: cycle {m['cycle']}, {_left(m)}" for m in machines)

    def alarms(self) -> str:
        self.stage.ready()

        def due() -> dict[str, Any] | None:
            alerts = self.stage.ask("/v1/alerts", limit=50)["items"]
            return next((a for a in alerts if a["type"].endswith("maintenance_due")), None)

        data = (alert := self.stage.wait(due, "a maintenance alarm"))["data"]
        return (
            f"{alert['subject']}, cycle {data['cycle']}: at least {data['lower_cycles']:.0f} cycles left, "
            f"horizon {data['horizon_cycles']:.0f}; because of {', '.join(data['sensors'])}"
        )

    def known_error(self) -> str:
        self.stage.ready()

        def closed() -> list[Truth]:
            truths = self.plant.newest()
            return truths if len(truths) >= len(self.stage.nodes) else []

        truths = self.stage.wait(closed, "three runs have ended")
        error = pooled_rmse(self.plant.file(truth) for truth in truths)
        faults = ", ".join(sorted({truth.fault for truth in truths}))
        return f"{len(truths)} failures ({faults}); the edge had been off by {error:.1f} cycles (RMSE)"


class Acts:
    """All acts on one stage, as the story and a presenter share them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.plant = Plant(stage)
        self.frame = Frame(stage)
        self.edge = Edge(stage, self.plant)
        self.outages = {name: Outage(stage, name) for name in stage.subjects}
        self.turns = [Turn(stage, self.plant, fault) for fault in FAULTS]
        self.refusals = Refusals(stage, ("wrong", "heavy", "late"), self.plant.let_engines_fail)

    def story(self, *, again: bool) -> list[Chapter]:
        """The whole story; ``again`` ends with nodes that run."""
        first, second = self.turns
        return [
            self.frame.opening(
                "A cloud and three virtual engines",
                "Each engine has a node of its own, a process that needs no cloud to decide.",
            ),
            self.edge.chapter(),
            self.outages[self.stage.subjects[1]].chapter(),
            *first.chapters("first turn"),
            *second.chapters("second turn"),
            self.refusals.chapter(),
            self.frame.closing(again=again),
        ]


def _left(machine: Mapping[str, Any]) -> str:
    if machine["rul_cycles"] is None:
        return f"remaining life not known: {machine['reason']}"
    lower, upper = machine["lower_cycles"], machine["upper_cycles"]
    return f"{machine['rul_cycles']:.0f} cycles left ({lower:.0f} to {upper:.0f})"
