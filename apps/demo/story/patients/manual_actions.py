"""What a presenter does by hand on the ward: single acts with a choice, in any order, again and again."""

from __future__ import annotations

from apps.demo.story.patients.acts import Acts
from apps.demo.story.story import Chapter, HandAct, Script, Step
from apps.demo.world.stage import Stage


def script_of(stage: Stage, *, again: bool) -> Script:
    """The patients' script, with acts that have not been played yet; ``again`` ends with nodes that run."""
    acts = Acts(stage)
    return Script(acts.story(again=again), Hand(acts).acts())


class Hand:
    """The acts by hand on one stage."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    def acts(self) -> list[HandAct]:
        """All of them, in the order of the loop."""
        beds = self._acts.stage.subjects
        beds = beds[1:] + beds[:1]  # The story's own node is the first choice.
        bad = tuple(self._acts.refusals.faults)
        return [
            HandAct("unplug", "Unplug the network", "Node", beds, self.unplug),
            HandAct("fibrillate", "Let a heart fibrillate", "Node", beds, self.fibrillate),
            HandAct("plug-in", "Plug it in", "Node", beds, self.plug_in),
            HandAct("slow-down", "Slow the hearts down", "", (), self.slow_down),
            HandAct("correct", "Correct as a clinician", "", (), self.correct),
            HandAct("learn", "Start learning", "", (), self.learn),
            HandAct("roll-out", "Roll out", "", (), self.roll_out),
            HandAct("bad-model", "Roll out a bad one", "Model", bad, self._acts.refusals.chapter_of),
        ]

    def unplug(self, bed: str) -> Chapter:
        cut, *_ = self._acts.edges[bed].chapters()[1].steps
        return Chapter(f"Unplug {bed}", "It goes on deciding, and keeps what it cannot send.", [cut])

    def fibrillate(self, bed: str) -> Chapter:
        _, fibrillate, *_ = self._acts.edges[bed].chapters()[1].steps
        return Chapter(f"The heart at {bed} fibrillates", "Its node has no network meanwhile.", [fibrillate])

    def plug_in(self, bed: str) -> Chapter:
        *_, restore, record = self._acts.edges[bed].chapters()[1].steps
        alarmed = [record] if self._acts.edges[bed].alarm_ns else []
        return Chapter(f"Plug {bed} in", "What it kept arrives, in order, once.", [restore, *alarmed])

    def slow_down(self, _choice: str = "") -> Chapter:
        chapter = self._acts.clinician.chapter()
        return Chapter("Slow the hearts down", chapter.text, chapter.steps[:1])

    def correct(self, _choice: str = "") -> Chapter:
        _, *correct = self._acts.clinician.chapter().steps
        return Chapter("Correct as a clinician", "What nodes sent, seen by somebody who knows.", correct)

    def learn(self, _choice: str = "") -> Chapter:
        learning = self._acts.turn.chapters()[1]
        return Chapter("Start learning", learning.text, learning.steps)

    def roll_out(self, _choice: str = "") -> Chapter:
        waves: list[Step] = list(self._acts.turn.chapters()[2].steps)
        return Chapter("Roll out", "The newest model that the gate has let through, in two waves.", waves)
