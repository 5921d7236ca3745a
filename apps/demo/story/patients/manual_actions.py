"""Manual actions with the patients: single acts of the story with a choice, in any order."""

from __future__ import annotations

from apps.demo.story.patients.acts import Acts
from apps.demo.story.story import Chapter, ManualAction, Script
from apps.demo.world.stage import Stage


def script_of(stage: Stage, *, keep_running: bool) -> Script:
    """A new script of the patients; with ``keep_running`` the story ends with running nodes."""
    acts = Acts(stage)
    return Script(acts.story(keep_running=keep_running), ManualActions(acts).all())


class ManualActions:
    """Manual actions on one stage."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    def all(self) -> list[ManualAction]:
        """In the order of the loop."""
        beds = self._acts.stage.subjects
        beds = beds[1:] + beds[:1]  # The node of the story is the first choice.
        bad = tuple(self._acts.refusals.faults)
        return [
            ManualAction("unplug", "Unplug the network", "Node", beds, self.unplug),
            ManualAction("fibrillate", "Start atrial fibrillation", "Node", beds, self.fibrillate),
            ManualAction("plug-in", "Restore the network", "Node", beds, self.plug_in),
            ManualAction("slow-down", "Start slow fibrillation", "", (), self.slow_down),
            ManualAction("correct", "Correct as a clinician", "", (), self.correct),
            ManualAction("learn", "Start learning", "", (), self.learn),
            ManualAction("roll-out", "Roll out", "", (), self.roll_out),
            ManualAction("bad-model", "Roll out a bad model", "Model", bad, self._acts.refusals.chapter_of),
        ]

    def unplug(self, bed: str) -> Chapter:
        cut, *_ = self._acts.edges[bed].chapters()[1].steps
        return Chapter(f"Unplug {bed}", "It keeps deciding, and queues its events.", [cut])

    def fibrillate(self, bed: str) -> Chapter:
        _, fibrillate, *_ = self._acts.edges[bed].chapters()[1].steps
        return Chapter(f"Atrial fibrillation at {bed}", "The node has no network meanwhile.", [fibrillate])

    def plug_in(self, bed: str) -> Chapter:
        *_, restore, record = self._acts.edges[bed].chapters()[1].steps
        alarmed = [record] if self._acts.edges[bed].alarm_ns else []
        return Chapter(
            f"Restore the network of {bed}", "Queued events arrive once, in order.", [restore, *alarmed]
        )

    def slow_down(self, _choice: str = "") -> Chapter:
        chapter = self._acts.clinician.chapter()
        return Chapter("Start slow fibrillation", chapter.text, chapter.steps[:1])

    def correct(self, _choice: str = "") -> Chapter:
        _, *correct = self._acts.clinician.chapter().steps
        return Chapter(
            "Correct as a clinician", "Strips and windows of the nodes, labelled by a clinician.", correct
        )

    def learn(self, _choice: str = "") -> Chapter:
        learning = self._acts.learning_round.chapters()[1]
        return Chapter("Start learning", learning.text, learning.steps)

    def roll_out(self, _choice: str = "") -> Chapter:
        waves = self._acts.learning_round.chapters()[2].steps
        return Chapter("Roll out", "The newest approved model, in two waves.", waves)
