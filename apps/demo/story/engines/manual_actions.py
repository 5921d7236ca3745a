"""Manual actions with the engines: single acts of the story with a choice, in any order."""

from __future__ import annotations

from apps.demo.story.engines.acts import Acts
from apps.demo.story.engines.learning_round import LearningRound
from apps.demo.story.engines.plant import KNOWN_FAULT, NEW_FAULTS
from apps.demo.story.story import Chapter, ManualAction, Script, Step
from apps.demo.world.stage import Stage

ORDINAL = "manual"
MAX_ROUNDS = 8
"""Earlier manual rounds that are kept."""


def script_of(stage: Stage, *, keep_running: bool) -> Script:
    """A new script of the engines; with ``keep_running`` the story ends with running nodes."""
    acts = Acts(stage)
    return Script(acts.story(keep_running=keep_running), ManualActions(acts).all())


class ManualActions:
    """Manual actions on one stage."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._rounds: list[LearningRound] = []

    def all(self) -> list[ManualAction]:
        """In the order of the loop."""
        subjects = self._acts.stage.subjects
        nodes = subjects[1:] + subjects[:1]  # The node of the story is the first choice.
        faults = (*NEW_FAULTS, KNOWN_FAULT)
        return [
            ManualAction("unplug", "Unplug the network", "Node", nodes, self.unplug),
            ManualAction("plug-in", "Restore the network", "Node", nodes, self.plug_in),
            ManualAction("inject", "Inject a fault", "Fault", faults, self.inject),
            ManualAction("work-orders", "Close work orders", "", (), self.close_work_orders),
            ManualAction("learn", "Start learning", "", (), self.learn),
            ManualAction("roll-out", "Roll out", "", (), self.roll_out),
            ManualAction(
                "bad-model",
                "Roll out a bad model",
                "Model",
                tuple(self._acts.refusals.faults),
                self._acts.refusals.chapter_of,
            ),
        ]

    def unplug(self, machine: str) -> Chapter:
        step, _ = self._acts.outages[machine].chapter().steps
        return Chapter(f"Unplug {machine}", "It keeps deciding, and queues its events.", [step])

    def plug_in(self, machine: str) -> Chapter:
        _, step = self._acts.outages[machine].chapter().steps
        return Chapter(f"Restore the network of {machine}", "Queued events arrive once, in order.", [step])

    def inject(self, fault: str) -> Chapter:
        learning_round = LearningRound(self._acts.stage, self._acts.plant, fault, fixed_fault=True)
        self._rounds = [*self._rounds[-MAX_ROUNDS:], learning_round]
        begin, find_drift, *_ = learning_round.chapters(ORDINAL)[0].steps
        return Chapter(f"Inject {fault}", "Future runs of all engines have this fault.", [begin, find_drift])

    def close_work_orders(self, _choice: str = "") -> Chapter:
        page = f"/ui/apps/{self._acts.stage.app}"
        step = Step(
            "maintenance closes its work orders", self._acts.plant.close_work_orders, ("learn",), page
        )
        return Chapter(
            "Close work orders", "Outcomes of the newest runs, from the plant's maintenance.", [step]
        )

    def learn(self, _choice: str = "") -> Chapter:
        chapters = self._latest().chapters(ORDINAL)
        _, _, *collect = chapters[0].steps
        learn = chapters[1].steps
        return Chapter(
            "Start learning",
            "Samples of the nodes, work orders of the plant, a training job, and the gate.",
            [*collect, *learn],
        )

    def roll_out(self, _choice: str = "") -> Chapter:
        *waves, _compare = self._latest().chapters(ORDINAL)[2].steps
        return Chapter("Roll out", "The newest approved model, in two waves.", waves)

    def _latest(self) -> LearningRound:
        """The round whose fault began last, in the story or by a manual action."""
        return max([*self._acts.rounds, *self._rounds], key=lambda each: each.began_s)
