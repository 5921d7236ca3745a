"""Simulated clinician, whose labels are the ground truth of the virtual patients.

Labels take both ways of the dashboard: strips around alarms go through the review queue, windows that the
nodes selected get labels as samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.demo.story.patients.patient_fleet import PatientFleet, RhythmScore
from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode

MIN_WINDOWS = 3
"""Minimum number of labelled windows of each patient."""
MAX_WINDOWS = 8
"""Maximum number of labelled windows of each patient."""
SCORED_S = 60.0
"""Signal with the new rhythm on which the edge is scored."""
SETTLING_S = 60.0
"""Signal after the onset that is not scored: an episode ends slowly."""
MAX_KNOWN_SHARE = 0.5
"""A model that detects more of a rhythm's time has nothing to learn about it."""
MAX_STRIPS = 4
WINDOW_NS = 30 * 10**9


@dataclass(slots=True)
class Clinician:
    """Labels strips and windows of the nodes."""

    stage: Stage
    patients: PatientFleet
    corrected: int = 0
    """Windows whose reported rhythm was corrected."""

    def chapter(self) -> Chapter:
        return Chapter(
            "A rhythm that the model does not know",
            "Under drugs the hearts fibrillate slowly and nearly regularly. The model reports sinus rhythm. "
            "A clinician corrects it.",
            [
                Step(
                    "slow fibrillation starts, the edge is wrong",
                    self.slow_down,
                    ("sense", "infer"),
                    self._front_page,
                ),
                Step("the nodes upload uncertain windows", self.collect, ("curate",), "/ui/learning"),
                Step("a clinician labels the rhythm", self.correct, ("learn",), self._review_page),
            ],
        )

    def slow_down(self) -> str:
        self.stage.ready()
        total = RhythmScore()
        for node in self.stage.nodes:
            self.patients.start_slow_af(node)
        for node in self.stage.nodes:
            total += self.stage.wait(lambda node=node: self._live_score(node), f"a minute of {node.name}")
        if len(self.patients.lineage()) == 1 and total.af_share > MAX_KNOWN_SHARE:
            raise ShowError(f"the model knows this rhythm: {total}")
        return f"live result of the edge: {total}"

    def collect(self) -> str:
        self._check_slow_af()

        def enough() -> bool:
            return all(len(self._windows(node)) >= MIN_WINDOWS for node in self.stage.nodes)

        self.stage.wait(enough, f"{MIN_WINDOWS} windows of each patient with this rhythm")
        windows = [window for node in self.stage.nodes for window in self._windows(node)]
        size = sum(window["size"] for window in windows)
        return f"{len(windows)} windows of 30 s with this rhythm, {size / 1e3:.0f} kB, by resumable HTTP"

    def correct(self) -> str:
        self._check_slow_af()
        strips = [self._review(n, s) for n in self.stage.nodes for s in self._strips(n)[:MAX_STRIPS]]
        wrong = [self._label(n, w) for n in self.stage.nodes for w in self._windows(n)[:MAX_WINDOWS]]
        self.corrected = sum(wrong)
        if not wrong:
            raise ShowError("no node has uploaded a window yet: wait for the uploads")
        return (
            f"rhythm confirmed on {sum(strips)} of {len(strips)} strips; {self.corrected} of {len(wrong)} "
            "windows corrected"
        )

    def _check_slow_af(self) -> None:
        self.stage.ready()
        if len(self.patients.slow_af_onset_s) < len(self.stage.nodes):
            raise ShowError("the patients have no unknown rhythm: start slow fibrillation first")

    def _live_score(self, node: EdgeNode) -> RhythmScore | None:
        """Score of the reported rates since the onset; None while they are too short."""
        began_s = self.patients.slow_af_onset_s[node.name] + SETTLING_S
        rates = [event["data"] for event in self.stage.events(node.name, type="ecg.rates")]
        score = self.patients.score(node, rates, began_s)
        return score if score.true_af_s >= SCORED_S else None

    # ------------------------------------------------------------------------------------------- labels

    def _review(self, node: EdgeNode, strip: dict[str, Any]) -> bool:
        """Review a strip with its true rhythm; True if the device had reported that rhythm."""
        rhythm = self._rhythm(node, strip["began_ns"], strip["ended_ns"])
        path = self.stage.app_path(f"strips/{strip['id']}/review")
        review = {"verdict": "corrected", "rhythm": rhythm} if rhythm else {"verdict": "unreadable"}
        self.stage.client.post(path, review)
        return rhythm == strip["rhythm"]

    def _label(self, node: EdgeNode, window: dict[str, Any]) -> bool:
        """Label a window with its true rhythm; True if the device had reported another one."""
        began_ns = window["attributes"]["began_ns"]
        ended_ns = began_ns + WINDOW_NS
        rhythm = self._rhythm(node, began_ns, ended_ns)
        body = {"began_ns": began_ns, "ended_ns": ended_ns, "rhythm": rhythm}
        label = {"subject": window["subject"], "group": window["group"], "kind": "rhythm", "body": body}
        self.stage.client.post(self.stage.app_path("labels"), label)
        return rhythm != window["attributes"]["rhythm"]

    def _rhythm(self, node: EdgeNode, began_ns: int, ended_ns: int) -> str:
        return self.patients.true_rhythm(
            node, self.patients.seconds(began_ns), self.patients.seconds(ended_ns)
        )

    # ------------------------------------------------------------------------------------------ queries

    def _windows(self, node: EdgeNode) -> list[dict[str, Any]]:
        """Windows of a node's patient since the onset of slow fibrillation, newest first."""
        samples = self.stage.client.items("/v1/samples", app=self.stage.app, limit=200)
        onset_ns = self.stage.began_ns + self.patients.slow_af_onset_s[node.name] * 1e9
        found = [s for s in samples if s["node"] == node.name and s["attributes"]["began_ns"] > onset_ns]
        return sorted(found, key=lambda sample: -sample["captured_ns"])

    def _strips(self, node: EdgeNode) -> Sequence[dict[str, Any]]:
        """Unreviewed strips of a node's patient."""
        path = self.stage.app_path(f"patients/{self.patients.pseudonym(node)}/strips")
        strips = self.stage.get(path, limit=50)["items"]
        return [strip for strip in strips if strip["reviewed_ns"] is None]

    def _front_page(self) -> str:
        return f"/ui/apps/{self.stage.app}"

    def _review_page(self) -> str:
        return f"/ui/apps/{self.stage.app}/review"
