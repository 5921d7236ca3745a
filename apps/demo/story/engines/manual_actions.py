"""What a presenter does by hand: single acts with a choice, in any order, again and again.

They are the acts of the story (`apps.demo.story.engines.acts`), put together otherwise; nothing is done here
that the story could not do.
"""

from __future__ import annotations

from apps.demo.story.engines.acts import Acts
from apps.demo.story.engines.learning_round import Turn
from apps.demo.story.engines.plant import KNOWN_FAULT, NEW_FAULTS
from apps.demo.story.story import Chapter, HandAct, Script, Step
from apps.demo.world.stage import Stage


def script_of(stage: Stage, *, again: bool) -> Script:
    """The engines' script, with acts that have not been played yet; ``again`` ends with nodes that run."""
    acts = Acts(stage)
    return Script(acts.story(again=again), Hand(acts).acts())


class Hand:
    """The acts by hand on one stage."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._turns: list[Turn] = []

    def acts(self) -> list[HandAct]:
        """All of them, in the order of the loop."""
        subjects = self._acts.stage.subjects
        unplugged = subjects[1:] + subjects[:1]  # The story's own node is the first choice.
        faults = (*NEW_FAULTS, KNOWN_FAULT)
        return [
            HandAct("unplug", "Unplug the network", "Node", unplugged, self.unplug),
            HandAct("plug-in", "Plug it in", "Node", unplugged, self.plug_in),
            HandAct("inject", "Inject a fault", "Fault", faults, self.inject),
            HandAct("work-orders", "Close work orders", "", (), self.close_work_orders),
            HandAct("learn", "Start learning", "", (), self.learn),
            HandAct("roll-out", "Roll out", "", (), self.roll_out),
            HandAct(
                "bad-model",
                "Roll out a bad one",
                "Model",
                tuple(self._acts.refusals.faults),
                self._acts.refusals.chapter_of,
            ),
        ]

    def unplug(self, machine: str) -> Chapter:
        step, _ = self._acts.outages[machine].chapter().steps
        return Chapter(f"Unplug {machine}", "It goes on deciding, and keeps what it cannot send.", [step])

    def plug_in(self, machine: str) -> Chapter:
        _, step = self._acts.outages[machine].chapter().steps
        return Chapter(f"Plug {machine} in", "What it kept arrives, in order, once.", [step])

    def inject(self, fault: str) -> Chapter:
        turn = Turn(self._acts.stage, self._acts.plant, fault, chosen=True)
        self._turns = [*self._turns[-8:], turn]
        begin, find_drift, *_ = turn.chapters("by hand")[0].steps
        return Chapter(
            f"Inject {fault}", "All engines wear out in this way from now on.", [begin, find_drift]
        )

    def close_work_orders(self, _choice: str = "") -> Chapter:
        page = f"/ui/apps/{self._acts.stage.app}"
        step = Step(
            "maintenance closes its work orders", self._acts.plant.close_work_orders, ("learn",), page
        )
        return Chapter("Close work orders", "What became of the newest runs, as the plant knows it.", [step])

    def learn(self, _choice: str = "") -> Chapter:
        turn = self._latest()
        _, _, *collect = turn.chapters("by hand")[0].steps
        learn = turn.chapters("by hand")[1].steps
        return Chapter(
            "Start learning",
            "What the nodes uploaded, what the plant filed, a job, and the gate.",
            [*collect, *learn],
        )

    def roll_out(self, _choice: str = "") -> Chapter:
        *waves, _compare = self._latest().chapters("by hand")[2].steps
        return Chapter("Roll out", "The newest model that the gate has let through, in two waves.", waves)

    def _latest(self) -> Turn:
        """The turn whose fault began last, in the story or by hand."""
        return max([*self._acts.turns, *self._turns], key=lambda turn: turn.began_s)
