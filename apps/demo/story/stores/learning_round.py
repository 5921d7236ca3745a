"""One round of the loop with the stores: other light, drift, pictures, labels, training, rollout.

The story plays a round with dense fog; a presenter may play one in darkness. Each public method is the act of
one step: it returns its evidence or raises `ShowError`. Acts can run in any order: each performs quick
prerequisites itself and names those that are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from apps.demo.story.learning import ModelUpdate
from apps.demo.story.stores.reviewer import Labelled, Reviewer
from apps.demo.story.stores.store_fleet import DAY, CountScore, StoreFleet
from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode

MIN_CROSSINGS = 20
"""True crossings of all cameras in the round by which counts are shown."""
MIN_COMPARED = 70
"""True crossings from which the counts of the new model are compared with those of the old one."""
MAX_BLIND_RECALL = 0.6
"""A model that finds more of the crossings in a light has little to learn about it."""
MIN_RECALL_GAIN = 0.05
"""Least gain in recall; that of 70 crossings has a standard error of 0.08."""
MIN_PICTURES = 40
"""Pictures of all cameras in the round that are labelled."""
JOB = {"frames": 16, "data_sets": False}
"""Few replayed frames of each scene and light: the training is short. Enough for a new drift output."""
DRIFT = "edgeloop.drift"


@dataclass(frozen=True, slots=True)
class Light:
    """A light of a round, as the virtual camera knows it, and what is said about it."""

    name: str
    title: str
    text: str
    step: str
    subjects: tuple[str, ...]
    """Nodes whose cameras are in it."""


@dataclass(slots=True)
class LearningRound:
    """One round of the loop with one light."""

    stage: Stage
    stores: StoreFleet
    light: Light
    began_s: dict[str, float] = field(default_factory=dict)
    """Beginning of the light, by node."""
    before: CountScore = field(default_factory=CountScore)
    """Counts of the model in production in this light, up to the end of the training."""
    drifts_before: dict[str, int] = field(default_factory=dict)
    """Drift events of each node before the light."""
    update: ModelUpdate = field(init=False)
    reviewer: Reviewer = field(init=False)

    def __post_init__(self) -> None:
        self.update = ModelUpdate(self.stage)
        self.reviewer = Reviewer(self.stage, self.stores)

    def chapters(self) -> list[Chapter]:
        """The chapters of this round."""
        review = f"/ui/apps/{self.stage.app}/review"
        store = f"/ui/apps/{self.stage.app}/stores/{self.stage.show.site}"
        return [
            Chapter(
                self.light.title,
                self.light.text,
                [
                    Step(self.light.step, self.begin, ("sense",), store),
                    Step("the counts sink", self.count_before, ("infer", "decide"), store),
                    Step("the nodes there detect drift", self.find_drift, ("infer", "decide"), "/ui/fleet"),
                    Step(
                        "pictures with blurred heads are uploaded", self.collect, ("curate",), "/ui/learning"
                    ),
                    Step(
                        "the detector proposes boxes, a reviewer corrects them",
                        self.label,
                        ("learn",),
                        review,
                    ),
                ],
            ),
            self.update.training_chapter(
                "A job fits the last layers of the production model to the labelled pictures and to replayed "
                "ones. The gate evaluates it on pictures that both have not seen, and guards every light.",
                self.train,
            ),
            self.update.rollout_chapter(Step("fewer people are missed", self.compare, ("aggregate",), store)),
        ]

    @property
    def nodes(self) -> Sequence[EdgeNode]:
        """Nodes whose cameras are in this light."""
        return [self.stage.find_node(name) for name in self.light.subjects]

    def begin(self) -> str:
        self.stage.ready()
        self.update.reset()
        self.before = CountScore()
        self.drifts_before = {node.name: len(self._drifts(node)) for node in self.stage.nodes}
        others = [node for node in self.stage.nodes if node.name not in self.light.subjects]
        self.stores.change_light(
            DAY, [node for node in others if self.stores.light.get(node.name, DAY) != DAY]
        )
        self.began_s = self.stores.change_light(self.light.name, self.nodes)
        starts = ", ".join(f"{name} from second {at_s:.0f}" for name, at_s in self.began_s.items())
        return f"{self.light.name.replace('_', ' ')} at {starts} of its world"

    def count_before(self) -> str:
        self._check_begun()
        scores = self.stores.wait_for_scores(self.began_s, MIN_CROSSINGS)
        self.before = sum(scores.values(), CountScore())
        if self._is_unknown() and self.before.recall > MAX_BLIND_RECALL:
            raise ShowError(f"the model counts in this light: {self.before}")
        return _score_lines(scores)

    def find_drift(self) -> str:
        self._check_begun()
        if not self._is_unknown():
            return "none: the model in production has learnt this light"

        def reports() -> list[str]:
            found = {node.name: self._drifts(node)[self.drifts_before[node.name] :] for node in self.nodes}
            return [
                f"{name}: novelty above its training quantile in {events[0]['data']['exceed_rate']:.0%} of "
                "the newest pictures"
                for name, events in found.items()
                if events
            ]

        lines = self.stage.wait(
            lambda: found if len(found := reports()) == len(self.nodes) else [],
            "drift on every node in this light",
        )
        others = [node for node in self.stage.nodes if node.name not in self.light.subjects]
        wrong = [node.name for node in others if len(self._drifts(node)) > self.drifts_before[node.name]]
        if wrong:
            raise ShowError(f"drift by day: {', '.join(wrong)}")
        return "\n".join(lines + [f"{node.name}: none, it is day there" for node in others])

    def collect(self) -> str:
        self._check_begun()
        samples = self.stage.wait(
            lambda: found if len(found := self._samples()) >= MIN_PICTURES else [],
            f"{MIN_PICTURES} pictures in this light",
        )
        seen = [sample for _, sample in samples]
        if any(sample["attributes"].get("heads") != "blurred" for sample in seen):
            raise ShowError("a picture has left a node without blurred heads")
        size = sum(sample["size"] for sample in seen)
        return f"{len(seen)} pictures, {size / 1e3:.0f} kB, every head that the detector finds blurred before"

    def label(self) -> str:
        self._check_begun()
        samples = [(node, sample) for node, sample in self._samples() if not sample["labels"]]
        if not samples and not self._samples():
            raise ShowError("no node has uploaded a picture yet: wait for the uploads")
        total = sum((self.reviewer.label(node, sample) for node, sample in samples), Labelled())
        return (
            f"{total.pictures} pictures of {total.people} people; of {total.proposed} proposed boxes "
            f"{total.kept} are right; the reviewer has corrected {total.corrected} pictures"
        )

    def train(self) -> str:
        self._check_begun()
        if not self._is_unknown():
            raise ShowError("the model in production has learnt this light already: reset the stage")
        if not self.before.true:
            self.count_before()
        if not any(sample["labels"] for _, sample in self._samples()):
            self.collect()
            self.label()
        evidence = self.update.train(JOB)
        self.before = sum(self.stores.scores_since(self.began_s).values(), CountScore())
        self.stores.learnt[self.update.version] = self.light.name
        return evidence

    def compare(self) -> str:
        """Count under the new model, and compare with the counts before."""
        self._check_begun()
        if not self.before.true or not self.update.version:
            raise ShowError("the counts in this light before are not known: start learning first")
        began_s = {node.name: self.stores.position_s(node) for node in self.nodes}
        scores = self.stores.wait_for_scores(began_s, MIN_COMPARED)
        after = sum(scores.values(), CountScore())
        evidence = f"before: {self.before}\nafter: {after}\n{_score_lines(scores)}"
        if after.recall < self.before.recall + MIN_RECALL_GAIN:
            raise ShowError(f"the new model counts no better: {evidence}")
        return evidence

    def _check_begun(self) -> None:
        self.stage.ready()
        if not self.began_s:
            raise ShowError("the light has not changed: change it first")
        present = {self.stores.light.get(name, DAY) for name in self.light.subjects}
        if present != {self.light.name}:
            raise ShowError(
                f"the light is {', '.join(sorted(present))} now: change it to {self.light.name} first"
            )

    def _is_unknown(self) -> bool:
        return self.light.name not in self.stores.known_lights()

    def _drifts(self, node: EdgeNode) -> list[dict[str, Any]]:
        events = self.stage.events(node.name, type=DRIFT)
        return [event for event in events if event["data"]["state"] == "drift"]

    def _samples(self) -> list[tuple[EdgeNode, dict[str, Any]]]:
        return [
            (node, sample)
            for node in self.nodes
            for sample in self.stores.samples(node, self.began_s[node.name])
        ]


def _score_lines(scores: dict[str, CountScore]) -> str:
    return "\n".join(f"{name}: {score}" for name, score in scores.items())
