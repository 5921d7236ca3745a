"""The clinician on the stage, who is always right: a virtual patient's own truth says what to correct.

What is said goes the two ways that the dashboard has: strips around alarms through the review queue, windows
that the nodes chose to send as labels of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apps.demo.patients.ward import Ward
from apps.demo.stage import Stage
from apps.demo.story import Chapter, Step
from apps.demo.world import EdgeNode

LEAST_WINDOWS = 6
"""Windows of each patient that a clinician looks at..."""
MOST_WINDOWS = 12
"""...and at most so many."""
MOST_STRIPS = 4
NEAR_MS = 150.0
"""A called beat and a true one that are no further apart are one (ANSI/AAMI EC57)."""
WINDOW_NS = 30 * 10**9


@dataclass(slots=True)
class Clinician:
    """Corrects what nodes have sent."""

    stage: Stage
    ward: Ward
    corrected: int = 0
    """Windows that were looked at."""

    def chapter(self) -> Chapter:
        return Chapter(
            "A clinician corrects",
            "More hearts fibrillate, and some of their beats are wide: the model takes them for ventricular "
            "ones. A clinician knows better, and says so.",
            [
                Step("the other hearts fibrillate as well", self.fibrillate_all, ("sense",), self._front),
                Step("nodes upload what is worth learning", self.collect, ("curate",), "/ui/learning"),
                Step("a clinician corrects beats and rhythm", self.correct, ("learn",), self._review),
            ],
        )

    def fibrillate_all(self) -> str:
        self.stage.ready()
        calm = [n for n in self.stage.nodes if not self.ward.is_fibrillating(n, self._soon_s(n))]
        onsets = {node.name: self.ward.fibrillate(node) for node in calm}
        told = [f"{name} from second {onset_s:.0f}" for name, onset_s in onsets.items()]
        return f"atrial fibrillation: {', '.join(told)}" if told else "all hearts fibrillate already"

    def collect(self) -> str:
        self.stage.ready()
        if not all(self.ward.is_fibrillating(n, self._soon_s(n)) for n in self.stage.nodes):
            self.fibrillate_all()

        def enough() -> bool:
            return all(len(self._windows(node)) >= LEAST_WINDOWS for node in self.stage.nodes)

        self.stage.wait(enough, f"{LEAST_WINDOWS} windows of each patient in fibrillation", 90.0)
        windows = [window for node in self.stage.nodes for window in self._windows(node)]
        size = sum(window["size"] for window in windows)
        return f"{len(windows)} windows of 30 s in fibrillation, {size / 1e3:.0f} kB, by resumable HTTP"

    def correct(self) -> str:
        self.collect()
        strips = [self._review_strip(n, s) for n in self.stage.nodes for s in self._strips(n)[:MOST_STRIPS]]
        beats = self.corrected = 0
        for node in self.stage.nodes:
            for window in self._windows(node)[:MOST_WINDOWS]:
                told = self._label(node, window)
                beats, self.corrected = beats + told, self.corrected + 1
        return (
            f"{len(strips)} strips reviewed, {sum(strips)} beats on them were called wrong; {self.corrected} "
            f"windows labelled with {beats} beats and their rhythm"
        )

    # ------------------------------------------------------------------------------- what is said

    def _review_strip(self, node: EdgeNode, strip: dict[str, Any]) -> int:
        """Review a strip; how many beats were called wrong."""
        true = self._true(node, strip["began_ns"], strip["ended_ns"])
        wrong = sum(
            any(abs(beat["at_ms"] - at_ms) <= NEAR_MS and beat["kind"] != kind for beat in strip["beats"])
            for at_ms, kind in true
        )
        rhythm = self._rhythm(node, strip["began_ns"], strip["ended_ns"])
        right = not wrong and (not rhythm or rhythm == strip["rhythm"])
        said: dict[str, Any] = {"verdict": "confirmed"}
        if not right:
            said = {"verdict": "corrected", "beats": _beats(true), "rhythm": rhythm or None}
        self.stage.client.post(self.stage.app_path(f"strips/{strip['id']}/review"), said)
        return wrong

    def _label(self, node: EdgeNode, window: dict[str, Any]) -> int:
        """Say what is true of a window; how many beats it has."""
        began_ns = window["attributes"]["began_ns"]
        ended_ns = began_ns + WINDOW_NS
        true = self._true(node, began_ns, ended_ns)
        about = {"subject": window["subject"], "group": window["group"]}
        beats = {"sample": window["id"], "began_ns": began_ns, "beats": _beats(true)}
        rhythm = {
            "began_ns": began_ns,
            "ended_ns": ended_ns,
            "rhythm": self._rhythm(node, began_ns, ended_ns),
        }
        labels = self.stage.app_path("labels")
        self.stage.client.post(labels, {**about, "kind": "beats", "body": beats})
        if rhythm["rhythm"]:
            self.stage.client.post(labels, {**about, "kind": "rhythm", "body": rhythm})
        return len(true)

    def _true(self, node: EdgeNode, began_ns: int, ended_ns: int) -> list[tuple[float, str]]:
        """``(milliseconds from began_ns, class)`` of each beat."""
        began_s = self.ward.seconds(began_ns)
        beats = self.ward.true_beats(node, began_s, self.ward.seconds(ended_ns))
        return [(max(0.0, round(1e3 * (at_s - began_s), 1)), kind) for at_s, kind in beats]

    def _rhythm(self, node: EdgeNode, began_ns: int, ended_ns: int) -> str:
        return self.ward.true_rhythm(node, self.ward.seconds(began_ns), self.ward.seconds(ended_ns))

    # ------------------------------------------------------------------------------- what there is

    def _windows(self, node: EdgeNode) -> list[dict[str, Any]]:
        """Windows of a node's patient in which the heart fibrillates throughout, the newest first."""
        samples = self.stage.client.items("/v1/samples", app=self.stage.app, limit=200)
        found = [sample for sample in samples if sample["node"] == node.name]
        found.sort(key=lambda sample: -sample["captured_ns"])
        return [
            window
            for window in found
            if self._rhythm(node, began := window["attributes"]["began_ns"], began + WINDOW_NS) == "AF"
        ]

    def _strips(self, node: EdgeNode) -> Sequence[dict[str, Any]]:
        """Strips of a node's patient that nobody has reviewed."""
        path = self.stage.app_path(f"patients/{self.ward.pseudonym(node)}/strips")
        strips = self.stage.ask(path, limit=50)["items"]
        return [strip for strip in strips if strip["reviewed_ns"] is None]

    def _soon_s(self, node: EdgeNode) -> float:
        return self.ward.position_s(node) + 20.0

    def _front(self) -> str:
        return f"/ui/apps/{self.stage.app}"

    def _review(self) -> str:
        return f"/ui/apps/{self.stage.app}/review"


def _beats(true: Sequence[tuple[float, str]]) -> list[dict[str, Any]]:
    return [{"at_ms": at_ms, "kind": kind} for at_ms, kind in true]
