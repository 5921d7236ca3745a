"""The clinician on the stage, who is always right: a virtual patient's own truth says what to correct.

What is said goes the two ways that the dashboard has: strips around alarms through the review queue, windows
that the nodes chose to send as labels of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.demo.story.patients.patient_fleet import Heard, Ward
from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode

LEAST_WINDOWS = 3
"""Windows of each patient that a clinician looks at..."""
MOST_WINDOWS = 8
"""...and at most so many."""
HEARD_S = 60.0
"""Signal with the new rhythm after which it is told what the edge makes of it..."""
SETTLED_S = 60.0
"""...once so much of it is over: an episode ends slowly."""
MOST_KNOWN = 0.5
"""A model that tells more of a rhythm's time has nothing to learn of it."""
MOST_STRIPS = 4
WINDOW_NS = 30 * 10**9


@dataclass(slots=True)
class Clinician:
    """Corrects what nodes have sent."""

    stage: Stage
    ward: Ward
    corrected: int = 0
    """Windows on which the device was wrong, and that somebody has said so of."""

    def chapter(self) -> Chapter:
        return Chapter(
            "A rhythm that the model does not know",
            "Drugs slow the hearts down: they fibrillate on, but nearly regularly. The model takes that for "
            "sinus rhythm. A clinician knows better, and says so.",
            [
                Step(
                    "the hearts slow down, the edge is wrong", self.slow_down, ("sense", "infer"), self._front
                ),
                Step("nodes upload what is worth learning", self.collect, ("curate",), "/ui/learning"),
                Step("a clinician says what rhythm it is", self.correct, ("learn",), self._review_page),
            ],
        )

    def slow_down(self) -> str:
        self.stage.ready()
        heard = Heard()
        for node in self.stage.nodes:
            self.ward.slow_down(node)
        for node in self.stage.nodes:
            heard += self.stage.wait(lambda node=node: self._heard(node), f"a minute of {node.name}")
        told = f"as it was heard live: {heard}"
        if len(self.ward.lineage()) == 1 and heard.af_share > MOST_KNOWN:
            raise ShowError(f"the model knows this rhythm: {heard}")
        return told

    def collect(self) -> str:
        self._slowed()

        def enough() -> bool:
            return all(len(self._windows(node)) >= LEAST_WINDOWS for node in self.stage.nodes)

        self.stage.wait(enough, f"{LEAST_WINDOWS} windows of each patient with this rhythm")
        windows = [window for node in self.stage.nodes for window in self._windows(node)]
        size = sum(window["size"] for window in windows)
        return f"{len(windows)} windows of 30 s with this rhythm, {size / 1e3:.0f} kB, by resumable HTTP"

    def correct(self) -> str:
        self._slowed()
        strips = [self._review(n, s) for n in self.stage.nodes for s in self._strips(n)[:MOST_STRIPS]]
        wrong = [self._label(n, w) for n in self.stage.nodes for w in self._windows(n)[:MOST_WINDOWS]]
        self.corrected = sum(wrong)
        if not wrong:
            raise ShowError("no node has sent a window yet: wait for the uploads")
        return (
            f"alarms right on {sum(strips)} of {len(strips)} strips; {self.corrected} of {len(wrong)} "
            f"windows show fibrillation that was taken for sinus rhythm"
        )

    def _slowed(self) -> None:
        self.stage.ready()
        if len(self.ward.slow_s) < len(self.stage.nodes):
            raise ShowError("the hearts beat as the model knows it: let them slow down first")

    def _heard(self, node: EdgeNode) -> Heard | None:
        """What the cloud has heard since a heart slowed down; None while that is too little."""
        began_s = self.ward.slow_s[node.name] + SETTLED_S
        rates = [event["data"] for event in self.stage.events(node.name, type="ecg.rates")]
        heard = self.ward.judge(node, rates, began_s)
        return heard if heard.true_af_s >= HEARD_S else None

    # ------------------------------------------------------------------------------- what is said

    def _review(self, node: EdgeNode, strip: dict[str, Any]) -> bool:
        """Say what rhythm a strip shows; whether the device had said so."""
        rhythm = self._rhythm(node, strip["began_ns"], strip["ended_ns"])
        path = self.stage.app_path(f"strips/{strip['id']}/review")
        said = {"verdict": "corrected", "rhythm": rhythm} if rhythm else {"verdict": "unreadable"}
        self.stage.client.post(path, said)
        return rhythm == strip["rhythm"]

    def _label(self, node: EdgeNode, window: dict[str, Any]) -> bool:
        """Say what rhythm a window shows; whether the device had called it otherwise."""
        began_ns = window["attributes"]["began_ns"]
        ended_ns = began_ns + WINDOW_NS
        rhythm = self._rhythm(node, began_ns, ended_ns)
        body = {"began_ns": began_ns, "ended_ns": ended_ns, "rhythm": rhythm}
        label = {"subject": window["subject"], "group": window["group"], "kind": "rhythm", "body": body}
        self.stage.client.post(self.stage.app_path("labels"), label)
        return rhythm != window["attributes"]["rhythm"]

    def _rhythm(self, node: EdgeNode, began_ns: int, ended_ns: int) -> str:
        return self.ward.true_rhythm(node, self.ward.seconds(began_ns), self.ward.seconds(ended_ns))

    # ------------------------------------------------------------------------------- what there is

    def _windows(self, node: EdgeNode) -> list[dict[str, Any]]:
        """Windows of a node's patient since the heart slowed down, the newest first."""
        samples = self.stage.client.items("/v1/samples", app=self.stage.app, limit=200)
        slow_ns = self.stage.began_ns + self.ward.slow_s[node.name] * 1e9
        found = [s for s in samples if s["node"] == node.name and s["attributes"]["began_ns"] > slow_ns]
        return sorted(found, key=lambda sample: -sample["captured_ns"])

    def _strips(self, node: EdgeNode) -> Sequence[dict[str, Any]]:
        """Strips of a node's patient that nobody has reviewed."""
        path = self.stage.app_path(f"patients/{self.ward.pseudonym(node)}/strips")
        strips = self.stage.ask(path, limit=50)["items"]
        return [strip for strip in strips if strip["reviewed_ns"] is None]

    def _front(self) -> str:
        return f"/ui/apps/{self.stage.app}"

    def _review_page(self) -> str:
        return f"/ui/apps/{self.stage.app}/review"
