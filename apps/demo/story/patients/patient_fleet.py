"""The ward on the stage: what its patients' hearts truly do, and what was made of it.

The virtual patient tells the truth to whoever opens its source, so a clinician can be played who is always
right, and a model can be judged on a stretch of signal without asking the node: by replaying that stretch
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
from common.app.edge import EdgeContext
from common.app.spec import find_app
from common.messages import Event, decode_event
from common.model.inference import load_model
from common.model.profile import find_profile

LEAD_S = 15.0
"""Seconds of signal between an injection and when it happens: a source that runs must hear of it in time."""
SINUS_S = 90.0
"""A heart that fibrillates already is calm for so long before it fibrillates again."""
WARM_S = 40.0
"""Signal before a stretch that is replayed, so that the analysis knows the patient when it begins."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of a stretch of signal, against the truth."""

    beats: int = 0
    wrong_beats: int = 0
    """Beats by which the counts of classes are off, in windows of 10 s."""
    true_af_s: float = 0.0
    told_af_s: float = 0.0
    """Of the true seconds of atrial fibrillation, those that were called so."""
    calm_s: float = 0.0
    false_af_s: float = 0.0
    """Of the seconds without, those that were called atrial fibrillation."""

    @property
    def wrong_share(self) -> float:
        return self.wrong_beats / max(1, self.beats)

    @property
    def af_share(self) -> float:
        return self.told_af_s / max(1.0, self.true_af_s)

    @property
    def false_af_share(self) -> float:
        return self.false_af_s / max(1.0, self.calm_s)

    def __add__(self, other: Heard) -> Heard:
        return Heard(
            self.beats + other.beats,
            self.wrong_beats + other.wrong_beats,
            self.true_af_s + other.true_af_s,
            self.told_af_s + other.told_af_s,
            self.calm_s + other.calm_s,
            self.false_af_s + other.false_af_s,
        )

    def __str__(self) -> str:
        return (
            f"AF told in {self.af_share:.0%} of its time and {self.false_af_share:.0%} of the rest, "
            f"{self.wrong_share:.1%} of beats called wrong"
        )


@dataclass(slots=True)
class Ward:
    """Patients and their truth. Times are seconds of a patient's recording, unless they end in ``_ns``."""

    stage: Stage
    slow_s: dict[str, float] = field(default_factory=dict)
    """From when on the heart at each node fibrillates slowly and nearly regularly."""

    # ----------------------------------------------------------------------------------- the patients

    def pseudonym(self, node: EdgeNode) -> str:
        """How the cloud calls a node's patient. Raises `ShowError` while it has not heard of one."""
        patients = self.stage.ask(self.stage.app_path("patients"), limit=100)["items"]
        found = next((each["patient"] for each in patients if each["node"] == node.name), None)
        if found is None:
            raise ShowError(f"nothing has been heard of the patient of {node.name} yet")
        return found

    def name(self, node: EdgeNode) -> str:
        """The patient's name, which only the node knows."""
        return self.stage.show.parameters[node.name]["name"]

    def position_s(self, node: EdgeNode) -> float:
        """How far a node is in the recording: a reading is a second of it."""
        known = 0.0
        if not node.is_cut:  # After a restart, the node's own count begins anew.
            patients = self.stage.ask(self.stage.app_path("patients"), limit=100)["items"]
            known = max((self.seconds(p["last_ns"]) for p in patients if p["node"] == node.name), default=0.0)
        return max(known, metrics(node).get("edgeloop_readings_total", 0.0))

    def seconds(self, time_ns: int) -> float:
        return (time_ns - self.stage.began_ns) / 1e9

    # -------------------------------------------------------------------------------- what hearts do

    def fibrillate(self, node: EdgeNode) -> float:
        """Let a heart fibrillate from soon on, without an end; from when on."""
        onset_s = round(self.position_s(node) + LEAD_S, 1)
        if self.is_fibrillating(node, onset_s):
            self._inject(node, onset_s, "sinus")
            onset_s += SINUS_S
        self._inject(node, onset_s, "AF")
        self.slow_s.pop(node.name, None)
        return onset_s

    def slow_down(self, node: EdgeNode) -> float:
        """Let a heart fibrillate as under drugs, from soon on; from when on."""
        if node.name not in self.slow_s:
            self.slow_s[node.name] = round(self.position_s(node) + LEAD_S, 1)
            self._inject(node, self.slow_s[node.name], "slow_AF")
        return self.slow_s[node.name]

    def _inject(self, node: EdgeNode, onset_s: float, rhythm: str) -> None:
        file = self.stage.inject_file(node)
        before = file.read_text("utf-8") if file.exists() else ""
        durable.write(file, f"{before}{onset_s} {rhythm}\n".encode())

    def is_fibrillating(self, node: EdgeNode, at_s: float) -> bool:
        return any(span.rhythm == "AF" for span in self._patient(node).rhythms(at_s, at_s + 1))

    def true_rhythm(self, node: EdgeNode, began_s: float, ended_s: float) -> str:
        """The rhythm between two times; empty where there is more than one."""
        rhythms = {span.rhythm for span in self._patient(node).rhythms(began_s, ended_s)}
        return rhythms.pop() if len(rhythms) == 1 else ""

    def true_beats(self, node: EdgeNode, began_s: float, ended_s: float) -> list[tuple[float, str]]:
        """``(seconds, class)`` of each beat between two times."""
        patient = self._patient(node)
        return [(beat.sample / patient.rate_hz, beat.kind) for beat in patient.beats(began_s, ended_s)]

    def _patient(self, node: EdgeNode) -> Any:
        return self.stage.open_source(node).patient  # type: ignore[attr-defined]

    # --------------------------------------------------------------------------- what was made of it

    def lineage(self) -> list[str]:
        """Versions of the model in production and of those that it was made from, the newest first."""
        path = self.stage.app_path(f"models/{self.stage.production()}/lineage")
        return [link["version"] for link in self.stage.ask(path)["chain"]]

    def replay(self, node: EdgeNode, version: str, began_s: float, ended_s: float) -> Heard:
        """What the app's edge makes of a stretch of a patient's signal with a model of the registry."""
        spec = find_app(self.stage.app)
        settings = msgspec.convert(self.stage.show.node_settings.get("settings", {}), spec.settings)
        model = load_model(self.stage.bundle(version), find_profile())
        app = spec.load_edge()(EdgeContext(settings, model))
        source = self.stage.open_source(node)
        chunks = source.readings(max(0, round(began_s - WARM_S)) or None)
        events = [
            event
            for chunk in takewhile(lambda chunk: chunk.position <= ended_s, chunks)  # type: ignore[union-attr]
            for event in app.process(chunk, chunk.captured_ns)  # type: ignore[arg-type, union-attr]
            if isinstance(event, Event)
        ]
        return self.judge(node, [event.data for event in events if event.type == "ecg.rates"], began_s)

    def judge(self, node: EdgeNode, rates: Sequence[Any], began_s: float) -> Heard:
        """The data of ``ecg.rates`` from ``began_s`` on against the truth."""
        heard = Heard()
        for told in rates:
            window_s = self.seconds(told["began_ns"]), self.seconds(told["began_ns"]) + told["seconds"]
            if window_s[0] < began_s:
                continue
            true = Counter(kind for _, kind in self.true_beats(node, *window_s))
            off = sum(abs(told["beats"].get(kind, 0) - true[kind]) for kind in "NSVFQ")
            rhythm, called = self.true_rhythm(node, *window_s), told["rhythm"] == "AF"
            af_s, calm_s = (told["seconds"] * each for each in (rhythm == "AF", rhythm not in ("AF", "")))
            beats = sum(true.values())
            heard += Heard(beats, round(off / 2), af_s, af_s * called, calm_s, calm_s * called)
        return heard


def kept_events(node: EdgeNode, type: str) -> list[dict[str, Any]]:
    """Data of a type's events that a node has committed and the cloud has not, as its outbox holds them."""
    path = node.data / "outbox.sqlite"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as outbox:
            bodies = [body for (body,) in outbox.execute("SELECT body FROM events ORDER BY seq")]
    except sqlite3.Error as error:
        raise ShowError(f"the outbox of {node.name} cannot be read: {error}") from error
    events = [decode_event(bytes(body)) for body in bodies]
    return [msgspec.json.decode(event.data) for event in events if event.type == type]
