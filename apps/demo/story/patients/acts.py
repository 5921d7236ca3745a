"""Story of the patients.

The edge decides under pseudonyms; atrial fibrillation during a network outage, with the strip in the medical
record afterwards; a clinician's corrections, training and rollout of a better model; bad models; the final
count.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from apps.demo.story.acts import OpeningAndCount, Outage
from apps.demo.story.learning import ModelUpdate
from apps.demo.story.patients.clinician import Clinician
from apps.demo.story.patients.patient_fleet import PatientFleet, RhythmScore, queued_events
from apps.demo.story.refusals import Refusals
from apps.demo.story.story import Chapter, Step
from apps.demo.world.processes import ShowError
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode

ALARM = "atrial_fibrillation"
MIN_QUEUED_EVENTS = 8
MAX_ALARM_DELAY_S = 120.0
"""Maximum delay of the alarm after the onset, in seconds of signal.

Usually 15 to 30 s. If the short window of 24 beats does not decide, the long one of 64 beats does once the
new rhythm fills it, after about a minute at rest.
"""
SINUS_STRETCH_S = (20.0, 80.0)
"""Sinus rhythm at the start of each recording."""
STRETCH_S = 120.0
"""Length of the stretch with the new rhythm on which two models are compared."""
MARGIN_S = 10.0
JOB = {"mitdb": False}
"""Without the MIT-BIH database, which takes minutes to read: virtual patients are the known recordings."""
STRIP_CODE = "131328"
"""MDC_ECG_ELEC_POTL, the code of strips in the record."""


@dataclass(slots=True)
class EdgeDecisions:
    """Rates, rhythm and an alarm of the edge, with and without network."""

    stage: Stage
    patients: PatientFleet
    outage: Outage
    onset_s: float = 0.0
    alarm_ns: int = 0

    def chapters(self) -> list[Chapter]:
        app, node = f"/ui/apps/{self.stage.app}", f"/ui/nodes/{self.outage.subject}"
        return [
            Chapter(
                "The edge decides",
                "Heart rate and rhythm every ten seconds, under pseudonyms made by the node. These patients "
                "consented to the upload of strips and training windows; without consent there is none.",
                [Step("rates and rhythm arrive, no name", self.rates, ("infer", "decide", "send"), app)],
            ),
            Chapter(
                "Atrial fibrillation during a network outage",
                f"{self.outage.subject} loses its network; then its patient develops atrial fibrillation. "
                "The cloud receives nothing.",
                [
                    Step(f"the network of {self.outage.subject} is cut", self.outage.cut, ("keep",), node),
                    Step(
                        "the heart fibrillates, the edge raises an alarm",
                        self.fibrillate,
                        ("sense", "decide"),
                        node,
                    ),
                    Step("the network is restored, every event arrives once", self.outage.restore, ("send",)),
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
        return f"/ui/apps/{self.stage.app}/patients/{self.patients.pseudonym(self.node)}"

    def rates(self) -> str:
        self.stage.ready()

        def rated() -> list[dict[str, Any]]:
            patients = self.stage.get(self.stage.app_path("patients"), limit=100)["items"]
            found = [patient for patient in patients if patient["heart_rate_bpm"] is not None]
            return found if len(found) == len(self.stage.nodes) else []

        patients = self.stage.wait(rated, "a heart rate of each patient")
        for node in self.stage.nodes:
            sent = str(self.stage.events(node.name))
            if self.patients.name(node) in sent:
                raise ShowError(f"the name of the patient of {node.name} has left the node")
        return "\n".join(
            f"{p['node']}: {p['patient']}, {p['heart_rate_bpm']:.0f} beats per minute, {p['rhythm']}"
            for p in sorted(patients, key=lambda patient: patient["node"])
        )

    def fibrillate(self) -> str:
        self.stage.ready(plugged=False)
        node = self.node
        if not node.is_cut:
            self.outage.cut()
        self.onset_s = self.patients.start_af(node)
        onset_ns = self.stage.began_ns + round(self.onset_s * 1e9)
        began = time.monotonic()

        def raised() -> dict[str, Any] | None:
            alarms = [alarm for alarm in queued_events(node, "ecg.alarm") if alarm["alarm"] == ALARM]
            new = [a for a in alarms if a["state"] == "raised" and a["raised_ns"] >= onset_ns]
            return new[0] if new else None

        alarm = self.stage.wait(raised, "an alarm of the node without network")
        self.alarm_ns = alarm["raised_ns"]
        delay_s = (self.alarm_ns - onset_ns) / 1e9
        if delay_s > MAX_ALARM_DELAY_S:
            raise ShowError(f"the alarm was raised {delay_s:.0f} s of signal after the onset")
        if any(alert["data"].get("raised_ns") == self.alarm_ns for alert in self._alerts(node)):
            raise ShowError("the alarm reached the cloud over a network that is cut")
        return (
            f"'{alarm['text']}' ({alarm['priority']} priority) raised by the node {delay_s:.0f} s of signal "
            f"after the onset ({time.monotonic() - began:.1f} s here); it is in the "
            "node's outbox, not in the cloud"
        )

    def record(self) -> str:
        """Find the strip of the alarm in the medical record (FHIR)."""
        self.stage.ready()
        if not self.alarm_ns:
            raise ShowError("no alarm has been raised: start atrial fibrillation first")
        patient = self.patients.pseudonym(self.node)

        def found() -> dict[str, Any] | None:
            bundle = self.stage.get("/fhir/Observation", patient=patient, code=STRIP_CODE, _count=50)
            resources = [entry["resource"] for entry in bundle.get("entry", ())]
            return next((each for each in resources if self._contains_alarm(each["id"])), None)

        strip = self.stage.wait(found, "the strip in the record")
        data = strip.get("valueSampledData") or strip["component"][0]["valueSampledData"]
        samples = len(data["data"].split())
        return (
            f"GET /fhir/Observation?patient={patient}&code={STRIP_CODE}: {strip['id']}, SampledData with "
            f"{samples} samples ({samples * data['period'] / 1e3:.0f} s), status {strip['status']}"
        )

    def _contains_alarm(self, id: str) -> bool:
        began_ns = int(id.rpartition(".")[2])
        return began_ns <= self.alarm_ns <= began_ns + 10 * 10**9

    def _alerts(self, node: EdgeNode) -> list[dict[str, Any]]:
        alerts = self.stage.get("/v1/alerts", limit=200)["items"]
        return [alert for alert in alerts if alert["node"] == node.name]


@dataclass(slots=True)
class LearningRound:
    """One round of the loop: corrections, training, rollout, comparison."""

    stage: Stage
    patients: PatientFleet
    clinician: Clinician
    update: ModelUpdate = field(init=False)

    def __post_init__(self) -> None:
        self.update = ModelUpdate(self.stage)

    def chapters(self) -> list[Chapter]:
        app = f"/ui/apps/{self.stage.app}"
        return [
            self.clinician.chapter(),
            self.update.training_chapter(
                "A job corrects the production model with the clinician's labels and known patients; the "
                "gate evaluates it on unseen patients, and guards each of them.",
                self.train,
            ),
            self.update.rollout_chapter(
                Step("the same signal, before and after", self.compare, ("infer",), app)
            ),
        ]

    def train(self) -> str:
        if len(self.patients.lineage()) > 1:
            raise ShowError("the model in production has learnt this rhythm already: reset the stage")
        if not self.clinician.corrected:
            self.clinician.correct()
        return self.update.train(JOB)

    def compare(self) -> str:
        """Replay the same signal of each patient with both models."""
        self.stage.ready()
        new, *old = self.patients.lineage()
        if not old:
            raise ShowError(f"{new} is the first model: start learning and roll out first")
        lines: list[str] = []
        before, after = RhythmScore(), RhythmScore()
        begun_s = {node.name: self.patients.position_s(node) for node in self.stage.nodes}
        for node in self.stage.nodes:
            stretches = [SINUS_STRETCH_S, self._stretch(node, begun_s[node.name])]
            old_score, new_score = (
                sum((self.patients.replay(node, version, *each) for each in stretches), RhythmScore())
                for version in (old[0], new)
            )
            before, after = before + old_score, after + new_score
            lines += [f"{node.name} before: {old_score}", f"{node.name} after: {new_score}"]
        if not after.af_share > before.af_share or after.false_af_share > before.false_af_share + 0.05:
            raise ShowError(f"the new model is not better: {before} with {old[0]}, {after} with {new}")
        head = (
            f"of each patient {SINUS_STRETCH_S[1] - SINUS_STRETCH_S[0]:.0f} s of sinus rhythm and "
            f"{STRETCH_S:.0f} s of the slow fibrillation, newer than the training data; scored "
            "against the ground truth"
        )
        return "\n".join([head, *lines])

    def _stretch(self, node: EdgeNode, begun_s: float) -> tuple[float, float]:
        """Wait for a stretch of slow fibrillation that lies wholly after ``begun_s``."""
        if node.name not in self.patients.slow_af_onset_s:
            raise ShowError(f"{node.name} has no unknown rhythm: start slow fibrillation first")
        begun_s = max(begun_s, self.patients.slow_af_onset_s[node.name])

        def position() -> float:
            now_s = self.patients.position_s(node)
            return now_s if now_s > begun_s + STRETCH_S + MARGIN_S else 0.0

        now_s = self.stage.wait(position, f"{STRETCH_S:.0f} s of signal of {node.name}")
        return now_s - STRETCH_S, now_s


class Acts:
    """All acts on one stage, shared by the story and the manual actions."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.patients = PatientFleet(stage)
        self.opening_and_count = OpeningAndCount(stage)
        self.outages = {name: Outage(stage, name, MIN_QUEUED_EVENTS) for name in stage.subjects}
        self.edges = {
            name: EdgeDecisions(stage, self.patients, outage) for name, outage in self.outages.items()
        }
        self.clinician = Clinician(stage, self.patients)
        self.learning_round = LearningRound(stage, self.patients, self.clinician)
        self.refusals = Refusals(stage, ("wrong", "heavy", "nan"))

    def story(self, *, keep_running: bool) -> list[Chapter]:
        """The whole story; with ``keep_running`` it ends with running nodes."""
        return [
            self.opening_and_count.opening(
                "A cloud and three virtual patients",
                "Each patient has a node at the bed: a process that decides without a cloud. A reference "
                "application, not a medical device.",
            ),
            *self.edges[self.stage.subjects[1]].chapters(),
            *self.learning_round.chapters(),
            self.refusals.chapter(),
            self.opening_and_count.count_chapter(keep_running=keep_running),
        ]
