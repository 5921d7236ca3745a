"""Manual actions with the stores: single acts of the story with a choice, in any order."""

from __future__ import annotations

from apps.demo.story.acts import Outage
from apps.demo.story.stores.acts import Acts
from apps.demo.story.stores.learning_round import LearningRound
from apps.demo.story.stores.store_fleet import DAY
from apps.demo.story.story import Chapter, ManualAction, Script, Step
from apps.demo.world.stage import Stage

MIN_QUEUED_EVENTS = 20
"""Events that a node must have queued before its network is restored: some seconds of crossings."""


def script_of(stage: Stage, *, keep_running: bool) -> Script:
    """A new script of the stores; with ``keep_running`` the story ends with running nodes."""
    acts = Acts(stage)
    return Script(acts.story(keep_running=keep_running), ManualActions(acts).all())


class ManualActions:
    """Manual actions on one stage."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._outages = {name: Outage(acts.stage, name, MIN_QUEUED_EVENTS) for name in acts.stage.subjects}
        self._round: LearningRound = next(iter(acts.rounds.values()))

    def all(self) -> list[ManualAction]:
        """In the order of the loop."""
        cameras = self._acts.stage.subjects
        lights = (*self._acts.rounds, DAY)
        return [
            ManualAction("unplug", "Unplug the network", "Node", cameras, self.unplug),
            ManualAction("plug-in", "Restore the network", "Node", cameras, self.plug_in),
            ManualAction("light", "Change the light", "Light", lights, self.change_light),
            ManualAction("label", "Label pictures", "", (), self.label),
            ManualAction("learn", "Start learning", "", (), self.learn),
            ManualAction("roll-out", "Roll out", "", (), self.roll_out),
        ]

    def unplug(self, camera: str) -> Chapter:
        step, _ = self._outages[camera].chapter().steps
        return Chapter(f"Unplug {camera}", "It keeps counting, and queues its events.", [step])

    def plug_in(self, camera: str) -> Chapter:
        _, step = self._outages[camera].chapter().steps
        return Chapter(f"Restore the network of {camera}", "Queued events arrive once, in order.", [step])

    def change_light(self, light: str) -> Chapter:
        if light == DAY:
            step = Step("it is day again", self._daylight, ("sense",), f"/ui/apps/{self._acts.stage.app}")
            return Chapter("Change the light to day", "All cameras are by day.", [step])
        self._round = self._acts.rounds[light]
        begin, count, drift, *_ = self._round.chapters()[0].steps
        return Chapter(f"Change the light to {light}", self._round.light.text, [begin, count, drift])

    def label(self, _choice: str = "") -> Chapter:
        *_, collect, label = self._round.chapters()[0].steps
        return Chapter("Label pictures", "Uploaded pictures in the newest light.", [collect, label])

    def learn(self, _choice: str = "") -> Chapter:
        learning = self._round.chapters()[1]
        return Chapter("Start learning", learning.text, learning.steps)

    def roll_out(self, _choice: str = "") -> Chapter:
        *waves, _compare = self._round.chapters()[2].steps
        return Chapter("Roll out", "The newest approved model, in two waves.", waves)

    def _daylight(self) -> str:
        self._acts.stage.ready()
        began_s = self._acts.stores.change_light(DAY, self._acts.stage.nodes)
        return ", ".join(f"{name} from second {at_s:.0f}" for name, at_s in began_s.items())
