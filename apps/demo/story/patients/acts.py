"""The story of the patients.

The edge decides under pseudonyms; one heart begins to fibrillate while its node has no network; the strip is
in the medical record afterwards; a clinician corrects, the cloud learns, a better model goes out; bad models
are stopped; what it came to.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from apps.demo.story.acts import Frame, Outage
from apps.demo.story.learning import Update
from apps.demo.story.patients.clinician import Clinician
from apps.demo.story.patients.patient_fleet import Heard, Ward, kept_events
from apps.demo.story.refusals import Refusals
from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode

ALARM = "atrial_fibrillation"
LEAST_KEPT = 8
LATEST_ALARM_S = 120.0
"""Seconds of signal after the onset within which the edge must have raised the alarm.

Most often it comes after 15 to 30 s. Where the short window of 24 beats does not decide, the long one of 64
beats does once the new rhythm fills it, which takes about a minute at rest.
"""
CALM_S = (20.0, 80.0)
"""Sinus rhythm at the begin of each recording."""
STRETCH_S = 120.0
"""Length of the new rhythm on which two models are compared."""
MARGIN_S = 10.0
JOB = {"mitdb": False}
"""Without the database, which takes minutes to read: known virtual patients are replayed."""
STRIP_CODE = "131328"
"""MDC_ECG_ELEC_POTL, under which the record holds strips."""


@dataclass(slots=True)
class Edge:
    """What the edge decides, first with the network and then without it."""

    stage: Stage
    ward: Ward
    outage: Outage
    onset_s: float = 0.0
    alarm_ns: int = 0

    def chapters(self) -> list[Chapter]:
        app, node = f"/ui/apps/{self.stage.app}", f"/ui/nodes/{self.outage.subject}"
        return [
            Chapter(
                "The edge decides",
                "Heart rate and rhythm every ten seconds, under pseudonyms that the node makes. These "
                "patients agreed that strips and windows to learn from may leave; else none does.",
                [Step("rates and rhythm arrive, and no name", self.rates, ("infer", "decide", "send"), app)],
            ),
            Chapter(
                "A heart fibrillates while the network is cut",
                f"{self.outage.subject} loses its network; then its patient develops atrial fibrillation. "
                "The cloud cannot know.",
                [
                    Step(f"the network of {self.outage.subject} is cut", self.outage.cut, ("keep",), node),
                    Step(
                        "the heart fibrillates, the edge alarms", self.fibrillate, ("sense", "decide"), node
                    ),
                    Step("the network comes back, everything arrives once", self.outage.restore, ("send",)),
                    Step(
                        "the strip is in the medical record", self.record, ("aggregate",), self.patient_page
                    ),
                ],
            ),
        ]

    @property
    def node(self) -> EdgeNode:
        return self.stage.find_node(self.outage.subject)

    def patient_page(self) -> str:
        return f"/ui/apps/{self.stage.app}/patients/{self.ward.pseudonym(self.node)}"

    def rates(self) -> str:
        self.stage.ready()

        def rated() -> list[dict[str, Any]]:
            patients = self.stage.ask(self.stage.app_path("patients"), limit=100)["items"]
            found = [patient for patient in patients if patient["heart_rate_bpm"] is not None]
            return found if len(found) == len(self.stage.nodes) else []

        patients = self.stage.wait(rated, "a heart rate of each patient")
        for node in self.stage.nodes:
            told = str(self.stage.events(node.name))
            if self.ward.name(node) in told:
                raise ShowError(f"the name of the patient of {node.name} has left the node")
        return "\n".join(
            f"{p['node']}: {p['patient']}, {p['heart_rate_bpm']:.0f} beats a minute, {p['rhythm']}"
            for p in sorted(patients, key=lambda patient: patient["node"])
        )

    def fibrillate(self) -> str:
        self.stage.ready(plugged=False)
        node = self.node
        if not node.is_cut:
            self.outage.cut()
        self.onset_s = self.ward.fibrillate(node)
        onset_ns = self.stage.began_ns + round(self.onset_s * 1e9)
        began = time.monotonic()

        def raised() -> dict[str, Any] | None:
            alarms = [alarm for alarm in kept_events(node, "ecg.alarm") if alarm["alarm"] == ALARM]
            new = [a for a in alarms if a["state"] == "raised" and a["raised_ns"] >= onset_ns]
            return new[0] if new else None

        alarm = self.stage.wait(raised, "an alarm of the node without network")
        self.alarm_ns = alarm["raised_ns"]
        late_s = (self.alarm_ns - onset_ns) / 1e9
        if late_s > LATEST_ALARM_S:
            raise ShowError(f"the alarm came {late_s:.0f} s of signal after the onset")
        if any(alert["data"].get("raised_ns") == self.alarm_ns for alert in self._alerts(node)):
            raise ShowError("the cloud has heard of the alarm through a network that is cut")
        return (
            f"{late_s:.0f} s of signal after the onset ({time.monotonic() - began:.1f} s here) the node has "
            f"raised '{alarm['text']}' ({alarm['priority']} priority); it is in its outbox, and the cloud "
            "has heard nothing"
        )

    def record(self) -> str:
        """Find the strip of the alarm where a hospital would look for it."""
        self.stage.ready()
        if not self.alarm_ns:
            raise ShowError("no alarm has been raised here: let the heart fibrillate first")
        patient = self.ward.pseudonym(self.node)

        def found() -> dict[str, Any] | None:
            bundle = self.stage.ask("/fhir/Observation", patient=patient, code=STRIP_CODE, _count=50)
            resources = [entry["resource"] for entry in bundle.get("entry", ())]
            return next((each for each in resources if self._is_of_alarm(each["id"])), None)

        strip = self.stage.wait(found, "the strip in the record")
        data = strip.get("valueSampledData") or strip["component"][0]["valueSampledData"]
        samples = len(data["data"].split())
        return (
            f"GET /fhir/Observation?patient={patient}&code={STRIP_CODE}: {strip['id']}, SampledData with "
            f"{samples} samples ({samples * data['period'] / 1e3:.0f} s), status {strip['status']}"
        )

    def _is_of_alarm(self, id: str) -> bool:
        began_ns = int(id.rpartition(".")[2])
        return began_ns <= self.alarm_ns <= began_ns + 10 * 10**9

    def _alerts(self, node: EdgeNode) -> list[dict[str, Any]]:
        alerts = self.stage.ask("/v1/alerts", limit=200)["items"]
        return [alert for alert in alerts if alert["node"] == node.name]


@dataclass(slots=True)
class Turn:
    """The loop turns once, and every patient is read better than before."""

    stage: Stage
    ward: Ward
    clinician: Clinician
    update: Update = field(init=False)

    def __post_init__(self) -> None:
        self.update = Update(self.stage)

    def chapters(self) -> list[Chapter]:
        app = f"/ui/apps/{self.stage.app}"
        return [
            self.clinician.chapter(),
            self.update.learning(
                "",
                "A job corrects the production model by what the clinician said, with known patients "
                "replayed; the gate judges on patients that it has not seen, and guards each of them.",
                self.train,
            ),
            self.update.rollout("", Step("the same signal, before and after", self.compare, ("infer",), app)),
        ]

    def train(self) -> str:
        if len(self.ward.lineage()) > 1:
            raise ShowError("the model in production has learnt this rhythm already: reset the stage")
        if not self.clinician.corrected:
            self.clinician.correct()
        return self.update.train(JOB)

    def compare(self) -> str:
        """Replay the same signal of each patient with both models."""
        self.stage.ready()
        new, *old = self.ward.lineage()
        if not old:
            raise ShowError(f"{new} is the first model: let the cloud learn and roll out first")
        lines, before, after = [], Heard(), Heard()
        begun = {node.name: self.ward.position_s(node) for node in self.stage.nodes}
        for node in self.stage.nodes:
            stretches = [CALM_S, self._stretch(node, begun[node.name])]
            first, then = (
                sum((self.ward.replay(node, version, *each) for each in stretches), Heard())
                for version in (old[0], new)
            )
            before, after = before + first, after + then
            lines += [f"{node.name} before: {first}", f"{node.name} after: {then}"]
        if not after.af_share > before.af_share or after.false_af_share > before.false_af_share + 0.05:
            raise ShowError(f"it is not better: {before} with {old[0]}, {after} with {new}")
        head = (
            f"of each patient {CALM_S[1] - CALM_S[0]:.0f} s of sinus rhythm and {STRETCH_S:.0f} s of the "
            "slow fibrillation, newer than what was learnt from; judged by the source's own truth"
        )
        return "\n".join([head, *lines])

    def _stretch(self, node: EdgeNode, begun_s: float) -> tuple[float, float]:
        """The newest stretch of the slow rhythm, all of it from after ``begun_s``; waits for it."""
        if node.name not in self.ward.slow_s:
            raise ShowError(f"the heart of {node.name} beats as the model knew it: let it slow down first")
        begun_s = max(begun_s, self.ward.slow_s[node.name])

        def there() -> float:
            now_s = self.ward.position_s(node)
            return now_s if now_s > begun_s + STRETCH_S + MARGIN_S else 0.0

        now_s = self.stage.wait(there, f"{STRETCH_S:.0f} s of signal of {node.name}")
        return now_s - STRETCH_S, now_s


class Acts:
    """All acts on one stage, as the story and a presenter share them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.ward = Ward(stage)
        self.frame = Frame(stage)
        self.outages = {name: Outage(stage, name, LEAST_KEPT) for name in stage.subjects}
        self.edges = {name: Edge(stage, self.ward, outage) for name, outage in self.outages.items()}
        self.clinician = Clinician(stage, self.ward)
        self.turn = Turn(stage, self.ward, self.clinician)
        self.refusals = Refusals(stage, ("wrong", "heavy", "nan"))

    def story(self, *, again: bool) -> list[Chapter]:
        """The whole story; ``again`` ends with nodes that run."""
        return [
            self.frame.opening(
                "A cloud and three virtual patients",
                "Each patient has a node at the bed, a process that needs no cloud to decide. A reference "
                "application, not a medical device.",
            ),
            *self.edges[self.stage.subjects[1]].chapters(),
            *self.turn.chapters(),
            self.refusals.chapter(),
            self.frame.closing(again=again),
        ]
