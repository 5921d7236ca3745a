"""Adoption: the live model of a running node, and the commands that put another one in its place.

The update thread prepares a model (loads it) and queues a command; the process thread executes commands
between two readings, so that no model changes within one. `common.edge.inference.model_pair` has the path
of a reading, `common.edge.update.trial_stages` the trial of another model,
`common.edge.update.adoption_reports` the reports.

Threads: `process`, `events`, `pass_time`, `committed`, `snapshot`, `restore` and `replay` belong to the
process thread; `offer`, `recall`, `roll_back`, `apply_settings` and `change_settings` to the update thread;
`busy`, `candidate` and `health` to any.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.app.edge import Arrays, Reading, Sample, State
from common.bundle import Bundle, Manifest
from common.clock import Clock
from common.config.node import OtaSettings
from common.edge.inference.instance import scales_of
from common.edge.inference.model_pair import ModelPair
from common.edge.update.adoption_reports import AdoptionReports
from common.edge.update.model_loader import Create, ModelLoader
from common.edge.update.slot_state import Content, Order
from common.edge.update.slots import Slots
from common.edge.update.stage import Candidate
from common.edge.update.trial import Trial
from common.edge.update.trial_stages import TrialStages
from common.errors import EdgeloopError
from common.messages import Event, Priority

log = logging.getLogger(__name__)

INFERENCE_TYPE = "edgeloop.inference"


@dataclass(frozen=True, slots=True)
class Offer:
    """A downloaded, verified bundle in the idle slot whose golden cases passed."""

    bundle: Bundle
    order: Order


@dataclass(frozen=True, slots=True)
class Health:
    """Health of the live model; goes into ``edgeloop.node.health``."""

    version: str
    slot: str
    step: str
    readings: int
    failures: int
    latency_p50_ms: float
    latency_p99_ms: float
    soak_ok: bool
    confirmed: bool


class Adoption:
    """The live app, and the trial of another model beside it."""

    def __init__(self, slots: Slots, create: Create, settings: OtaSettings, clock: Clock) -> None:
        """Load the live bundle; a bundle in its soak that cannot be loaded is reverted here.

        Raises `BundleError` (or what ``create`` raises) if the confirmed bundle cannot be loaded.
        """
        self._slots = slots
        self._settings = settings
        self._loader = ModelLoader(slots, create, clock)
        self._pair = ModelPair()
        self.reports = AdoptionReports(slots, clock)
        self._stages = TrialStages(self._pair, slots, self._loader, self.reports, settings, clock)
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._pending = 0
        self._lock = threading.Lock()
        self._readings = 0
        self._failures = 0
        self._drifting = False

    # ------------------------------------------------------------------------------ the process thread

    @property
    def manifest(self) -> Manifest:
        """Manifest of the live model."""
        return self._pair.live.manifest

    @property
    def outputs(self) -> Arrays | None:
        """The live model's outputs for the last reading; None if it did not run."""
        return self._pair.live.outputs

    @property
    def switches(self) -> int:
        """Number of switches to another model, or to the same under other settings."""
        return self._stages.switches

    def process(self, reading: Reading, now_ns: int, *, drifting: bool = False) -> list[Event | Sample]:
        """The live app's events and samples for ``reading``, and reports about adoption.

        ``drifting``: the node has found drift from the data that the live model was trained on.
        Raises `ReadingError` for a reading that is unusable whatever the model.
        """
        self._drifting = drifting
        self._run_commands()
        decision = self._pair.decide(reading, now_ns)
        self._stages.judge(decision, drifting=drifting)
        self._readings += 1
        if decision.live.error:
            self._failures += 1
            self._report_failure(reading, decision.live.error)
        return [*self.events(), *decision.results]

    def events(self) -> list[Event]:
        """Reports without a reading. Call it about once a second while none comes."""
        self._run_commands()
        return self.reports.events()

    def pass_time(self, now_ns: int) -> list[Event]:
        """The live app's events about time without readings. Call it about once a second."""
        self._run_commands()
        return self._pair.pass_time(now_ns)

    def committed(self) -> None:
        """All that `process` and `events` returned so far is in the outbox."""
        self.reports.committed()

    def snapshot(self) -> State:
        """The live app's state."""
        return self._pair.live.app.snapshot()

    def restore(self, state: State) -> None:
        """Give a saved state to the live app, and to the previous model that runs beside it in a soak."""
        self._stages.restore(state)

    def replay(self, reading: Reading, now_ns: int) -> bool:
        """Decide on a reading for the state alone. False if the live app cannot use it."""
        return self._pair.replay(reading, now_ns)

    def _run_commands(self) -> None:
        while self._pending:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            command()
            with self._lock:
                self._pending -= 1

    def _report_failure(self, reading: Reading, problem: str) -> None:
        """Report the 1st, 2nd, 4th, 8th ... failed reading."""
        if self._failures & (self._failures - 1):
            return
        facts = {
            "problem": problem[:500],
            "version": self._pair.live.bundle.version,
            "position": reading.position,
            "count": self._failures,
        }
        log.warning("%d readings failed so far; the last: %s", self._failures, problem)
        self.reports.add(Event(INFERENCE_TYPE, reading.subject, reading.captured_ns, Priority.EVENT, facts))

    # ------------------------------------------------------------------------------- the update thread

    def offer(self, offer: Offer) -> None:
        """Put a bundle on trial. One that cannot be loaded is refused here."""
        try:
            instance = self._loader.load(offer.bundle, offer.order.settings)
            candidate = Candidate(instance, offer.order, scales_of(self._pair.live.bundle))
            Trial(instance.manifest, None, {}, self._settings)
        except Exception as error:
            log.exception("the model %s cannot be loaded", offer.bundle.version)
            detail = f"{type(error).__name__}: {error}"
            self.reports.refuse(offer.order, "load_failed", detail, final=True)
            return
        self._enqueue(lambda: self._stages.begin_shadow(candidate, drifting=self._drifting))

    def recall(self, reason: str, without_trial: Callable[[], None] = lambda: None) -> None:
        """Drop the model on trial, or revert to the previous one.

        With the reason `common.edge.update.trial_stages.OPERATOR` the version is rejected until a newer
        serial names it. ``without_trial`` is called by the process thread if no model is on trial then.
        """

        def command() -> None:
            if not self._stages.recall(reason):
                without_trial()

        self._enqueue(command)

    def roll_back(self, content: Content, left: str) -> None:
        """Replace the confirmed model ``left`` by ``content``, which the idle slot holds whole."""
        order = Order(version=content.version, serial=self._slots.state.seen_serial, rollout="")
        try:
            instance = self._loader.load(self._slots.idle(), content.settings)
        except Exception as error:
            log.exception("the model %s cannot be loaded", content.version)
            self.reports.refuse(order, "load_failed", f"{type(error).__name__}: {error}")
            return
        self._enqueue(lambda: self._stages.roll_back(instance, content, left))

    def apply_settings(self, order: Order) -> None:
        """Continue with the live model under other settings."""
        try:
            instance = self._loader.load(self._pair.live.bundle, order.settings)
        except EdgeloopError as error:
            self.reports.refuse(order, "settings", str(error), final=True)
            return
        self._enqueue(lambda: self._stages.apply_settings(instance, order))

    @property
    def deployed_settings(self) -> Mapping[str, Any]:
        """Changes to the settings by the deployment that the live model came with."""
        return self._slots.state.content.settings

    def change_settings(self, done: Callable[[str], None]) -> None:
        """Start the live model's app again, under settings that have changed, and continue with it.

        ``done`` is called by the process thread with what prevents that, or empty. Raises what the app or the
        model raises.
        """
        instance = self._loader.load(self._pair.live.bundle, self.deployed_settings)
        self._enqueue(lambda: done(self._stages.change_settings(instance)))

    def _enqueue(self, command: Callable[[], None]) -> None:
        with self._lock:
            self._pending += 1
        self._commands.put(command)

    # -------------------------------------------------------------------------------------- any thread

    @property
    def busy(self) -> bool:
        """Whether a model is on trial or about to be, so that the idle slot must be left alone."""
        with self._lock:
            return self._pending > 0 or bool(self._stages.phase)

    @property
    def candidate(self) -> Order | None:
        """The order of the model on trial in shadow."""
        return self._stages.order

    def health(self) -> Health:
        """Health of the live model."""
        state = self._slots.state
        latencies = np.array(tuple(self._pair.live.latencies_s) or (0.0,)) * 1e3
        return Health(
            version=state.version,
            slot=state.live,
            step=self._stages.phase or state.step,
            readings=self._readings,
            failures=self._failures,
            latency_p50_ms=float(np.percentile(latencies, 50)),
            latency_p99_ms=float(np.percentile(latencies, 99)),
            soak_ok=not self._stages.failing,
            confirmed=state.step == "confirmed",
        )
