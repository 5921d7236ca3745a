"""The patients on the stage: ground truth of their hearts, and scores of the edge against it.

The ground truth comes from a second instance of the virtual source. It allows a simulated clinician without
errors, and the scoring of a model on a stretch of signal independent of the node: the stretch is replayed
through the app's edge, which is a function of signal and model alone.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import msgspec

from apps.demo.world.processes import ShowError
from apps.demo.world.snapshot import metrics
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode
from common import durable
from common.app.edge import EdgeContext, Reading
from common.app.events import fields_of
from common.app.spec import find_app
from common.messages import Event, decode_event
from common.model.inference import load_model
from common.model.profile import find_profile

LEAD_S = 15.0
"""Signal between an injection and its onset: a running source must read the injection in time."""
SINUS_S = 90.0
"""Sinus rhythm between two fibrillations of the same heart."""
WARM_UP_S = 40.0
"""Signal replayed before a scored stretch, so that the analysis has adapted to the patient."""


@dataclass(frozen=True, slots=True)
class RhythmScore:
    """Result of the edge on a stretch of signal, against the ground truth."""

    beats: int = 0
    wrong_beats: int = 0
    """Difference of the beat counts by class, in windows of 10 s."""
    true_af_s: float = 0.0
    detected_af_s: float = 0.0
    """Of the true seconds of atrial fibrillation, those detected."""
    no_af_s: float = 0.0
    false_af_s: float = 0.0
    """Of the seconds without atrial fibrillation, those reported as atrial fibrillation."""

    @property
    def wrong_share(self) -> float:
        return self.wrong_beats / max(1, self.beats)

    @property
    def af_share(self) -> float:
        return self.detected_af_s / max(1.0, self.true_af_s)

    @property
    def false_af_share(self) -> float:
        return self.false_af_s / max(1.0, self.no_af_s)

    def __add__(self, other: RhythmScore) -> RhythmScore:
        return RhythmScore(
            self.beats + other.beats,
            self.wrong_beats + other.wrong_beats,
            self.true_af_s + other.true_af_s,
            self.detected_af_s + other.detected_af_s,
            self.no_af_s + other.no_af_s,
            self.false_af_s + other.false_af_s,
        )

    def __str__(self) -> str:
        return (
            f"AF detected in {self.af_share:.0%} of its time, false AF in {self.false_af_share:.0%} of the "
            f"rest, {self.wrong_share:.1%} of beats misclassified"
        )


@dataclass(slots=True)
class PatientFleet:
    """Patients and their ground truth. Times are seconds of a recording, unless they end in ``_ns``."""

    stage: Stage
    slow_af_onset_s: dict[str, float] = field(default_factory=dict)
    """Onset of slow, nearly regular fibrillation, by node."""

    # -------------------------------------------------------------------------------------- patients

    def pseudonym(self, node: EdgeNode) -> str:
        """Pseudonym of a node's patient in the cloud. Raises `ShowError` before the first report."""
        patients = self.stage.get(self.stage.app_path("patients"), limit=100)["items"]
        found = next((each["patient"] for each in patients if each["node"] == node.name), None)
        if found is None:
            raise ShowError(f"no report of the patient of {node.name} yet")
        return found

    def name(self, node: EdgeNode) -> str:
        """Name of the patient, known to the node only."""
        return self.stage.show.parameters[node.name]["name"]

    def position_s(self, node: EdgeNode) -> float:
        """Position of a node in its recording: one reading is one second."""
        reported = 0.0
        if not node.is_cut:  # The node's own counter restarts with its process.
            patients = self.stage.get(self.stage.app_path("patients"), limit=100)["items"]
            own = [each for each in patients if each["node"] == node.name]
            reported = max((self.seconds(each["last_ns"]) for each in own), default=0.0)
        return max(reported, metrics(node).get("edgeloop_readings_total", 0.0))

    def seconds(self, time_ns: int) -> float:
        return (time_ns - self.stage.began_ns) / 1e9

    # ------------------------------------------------------------------------------------ injected rhythms

    def start_af(self, node: EdgeNode) -> float:
        """Inject atrial fibrillation without an end; returns its onset."""
        onset_s = round(self.position_s(node) + LEAD_S, 1)
        if self.has_af(node, onset_s):
            self._inject(node, onset_s, "sinus")
            onset_s += SINUS_S
        self._inject(node, onset_s, "AF")
        self.slow_af_onset_s.pop(node.name, None)
        return onset_s

    def start_slow_af(self, node: EdgeNode) -> float:
        """Inject fibrillation slowed by drugs, once; returns its onset."""
        if node.name not in self.slow_af_onset_s:
            self.slow_af_onset_s[node.name] = round(self.position_s(node) + LEAD_S, 1)
            self._inject(node, self.slow_af_onset_s[node.name], "slow_AF")
        return self.slow_af_onset_s[node.name]

    def _inject(self, node: EdgeNode, onset_s: float, rhythm: str) -> None:
        file = self.stage.inject_file(node)
        before = file.read_text("utf-8") if file.exists() else ""
        durable.write(file, f"{before}{onset_s} {rhythm}\n".encode())

    # ---------------------------------------------------------------------------------------- ground truth

    def has_af(self, node: EdgeNode, at_s: float) -> bool:
        return any(span.rhythm == "AF" for span in self._patient(node).rhythms(at_s, at_s + 1))

    def true_rhythm(self, node: EdgeNode, began_s: float, ended_s: float) -> str:
        """The rhythm between two times; empty if it changes."""
        rhythms = {span.rhythm for span in self._patient(node).rhythms(began_s, ended_s)}
        return rhythms.pop() if len(rhythms) == 1 else ""

    def true_beats(self, node: EdgeNode, began_s: float, ended_s: float) -> list[tuple[float, str]]:
        """``(seconds, class)`` of each beat between two times."""
        patient = self._patient(node)
        return [(beat.sample / patient.rate_hz, beat.kind) for beat in patient.beats(began_s, ended_s)]

    def _patient(self, node: EdgeNode) -> Any:
        source: Any = self.stage.open_source(node)  # The patient's ground truth is not in `Source`.
        return source.patient

    # ---------------------------------------------------------------------------------------------- scores

    def lineage(self) -> list[str]:
        """Versions of the production model and its ancestors, newest first."""
        path = self.stage.app_path(f"models/{self.stage.production()}/lineage")
        return [link["version"] for link in self.stage.get(path)["chain"]]

    def replay(self, node: EdgeNode, version: str, began_s: float, ended_s: float) -> RhythmScore:
        """Score of a model of the registry on a stretch of a patient's signal, replayed through the app's
        edge."""
        spec = find_app(self.stage.app)
        settings = msgspec.convert(self.stage.show.node_settings.get("settings", {}), spec.settings)
        model = load_model(self.stage.bundle(version), find_profile())
        app = spec.load_edge()(EdgeContext(settings, model))
        source = self.stage.open_source(node)
        readings = source.readings(max(0, round(began_s - WARM_UP_S)) or None)
        chunks = (reading for reading in readings if isinstance(reading, Reading))
        events = [
            event
            for chunk in takewhile(lambda chunk: chunk.position <= ended_s, chunks)
            for event in app.process(chunk, chunk.captured_ns)
            if isinstance(event, Event)
        ]
        return self.score(node, [fields_of(event) for event in events if event.type == "ecg.rates"], began_s)

    def score(self, node: EdgeNode, rates: Sequence[Any], began_s: float) -> RhythmScore:
        """Score of the data of ``ecg.rates`` events from ``began_s`` on."""
        total = RhythmScore()
        for reported in rates:
            start_s = self.seconds(reported["began_ns"])
            window_s = start_s, start_s + reported["seconds"]
            if start_s < began_s:
                continue
            true = Counter(kind for _, kind in self.true_beats(node, *window_s))
            difference = sum(abs(reported["beats"].get(kind, 0) - true[kind]) for kind in "NSVFQ")
            rhythm, is_af = self.true_rhythm(node, *window_s), reported["rhythm"] == "AF"
            af_s = reported["seconds"] * (rhythm == "AF")
            no_af_s = reported["seconds"] * (rhythm not in ("AF", ""))
            beats = sum(true.values())
            total += RhythmScore(beats, round(difference / 2), af_s, af_s * is_af, no_af_s, no_af_s * is_af)
        return total


def queued_events(node: EdgeNode, type: str) -> list[dict[str, Any]]:
    """Data of the events of a type in a node's outbox, not yet acknowledged by the cloud."""
    path = node.data / "outbox.sqlite"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as outbox:
            bodies = [body for (body,) in outbox.execute("SELECT body FROM events ORDER BY seq")]
    except sqlite3.Error as error:
        raise ShowError(f"the outbox of {node.name} cannot be read: {error}") from error
    events = [decode_event(bytes(body)) for body in bodies]
    return [msgspec.json.decode(event.data) for event in events if event.type == type]
