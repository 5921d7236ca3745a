"""Story of the stores.

The edge counts by day; a learning round with dense fog in one store, a light that the model does not know;
the final count. Darkness in both stores is a light of the manual actions.
"""

from __future__ import annotations

from dataclasses import dataclass

from apps.demo.story.acts import OpeningAndCount
from apps.demo.story.stores.learning_round import MIN_CROSSINGS, LearningRound, Light
from apps.demo.story.stores.store_fleet import CountScore, StoreFleet
from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage

MIN_DAY_RECALL = 0.5


@dataclass(slots=True)
class EdgeDecisions:
    """Counts of the edge by day."""

    stage: Stage
    stores: StoreFleet

    def chapter(self) -> Chapter:
        app = f"/ui/apps/{self.stage.app}"
        return Chapter(
            "The edge counts",
            "Each node counts who crosses its lines, and discards each frame at once. What leaves is numbers "
            "and, as these stores allow it, pictures to learn from with blurred heads.",
            [Step("counts arrive, and are right by day", self.count, ("infer", "decide", "send"), app)],
        )

    def count(self) -> str:
        self.stage.ready()
        began_s = {node.name: self.stores.position_s(node) for node in self.stage.nodes}
        scores = self.stores.wait_for_scores(began_s, MIN_CROSSINGS)
        total = sum(scores.values(), CountScore())
        if total.recall < MIN_DAY_RECALL:
            raise ShowError(f"too few crossings are counted by day: {total}")
        lines = [f"{name}: {score}" for name, score in scores.items()]
        return "\n".join([f"crossings within 1 s of the true ones: {total}", *lines])


class Acts:
    """All acts on one stage, shared by the story and the manual actions."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.stores = StoreFleet(stage)
        self.opening_and_count = OpeningAndCount(stage)
        self.edge = EdgeDecisions(stage, self.stores)
        self.rounds = {light.name: LearningRound(stage, self.stores, light) for light in lights_of(stage)}

    def story(self, *, keep_running: bool) -> list[Chapter]:
        """The whole story; with ``keep_running`` it ends with running nodes."""
        fog, *_ = self.rounds.values()
        return [
            self.opening_and_count.opening(
                "A cloud and three virtual cameras",
                "Two entrances of a store in the north, an aisle of one in the south. Each camera "
                "has a node of its own.",
            ),
            self.edge.chapter(),
            *fog.chapters(),
            self.opening_and_count.count_chapter(keep_running=keep_running),
        ]


def lights_of(stage: Stage) -> tuple[Light, Light]:
    """The lights that the model does not know; the first is the story's."""
    show = stage.show
    north = tuple(name for name in stage.subjects if name not in show.sites)
    return (
        Light(
            "dense_fog",
            "Fog in one store",
            "Dense fog drifts into the store in the north. The detector was never trained on it, and nobody "
            "tells it that something has changed.",
            "dense fog comes in",
            north,
        ),
        Light(
            "dark",
            "Darkness in both stores",
            "Most lamps are out, in both stores. The detector was never trained on such darkness.",
            "the lamps go out",
            stage.subjects,
        ),
    )
