"""Adopting a model on a running node: shadow, switch, soak, and the way back.

::

    offer ──> shadow ──(good)──> switched ──> soak ──(good for soak_s)──> confirmed
                 └─(bad)─> refused                └─(bad)─> reverted

The live model is the only one whose events leave the node. In shadow the candidate starts from the live
app's snapshot and sees the same readings; its events are dropped. In the soak the roles are turned round:
the previous model keeps running as the reference, and serves any reading on which the new one fails. At a
switch and at a reversal the next app goes on from the snapshot of the one before, so what was already
said (an alarm that is up) stays said. `common.edge.update.trial` judges; `common.edge.update.slots`
remembers.

Threads: `Adoption.process`, `events` and `committed` belong to the process thread; `offer`, `recall`,
`roll_back`, `apply_settings`, `refuse`, `note`, `tell` to the update thread; `health` to any.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from common.app.edge import Arrays, EdgeApp, Reading, Sample, State
from common.bundle import Bundle, Manifest
from common.clock import Clock
from common.config.node import OtaSettings
from common.deployment import SOAK_LIMIT_S
from common.edge.processing.instance import Instance, scales_of, transfer_state
from common.edge.update.slot_state import Content, Order, Report
from common.edge.update.slots import Slots
from common.edge.update.trial import Outcome, Trial, Verdict
from common.errors import EdgeloopError, ReadingError
from common.messages import Event, Priority

log = logging.getLogger(__name__)

ADOPTION_TYPE = "edgeloop.adoption"
INFERENCE_TYPE = "edgeloop.inference"
NOTES_LIMIT = 256
"""Notes that wait to be told; what comes above is counted (`Adoption.dropped_notes`)."""
OPERATOR = "operator"
"""Reason of what a person asked for."""


Create = Callable[[Bundle, Mapping[str, Any]], tuple[EdgeApp, Any]]
"""Makes the app with the model of a bundle, under changes to its settings; the second item is a
`common.edge.processing.instance.WatchedModel`."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A downloaded, verified bundle in the idle slot whose golden cases passed."""

    bundle: Bundle
    order: Order


@dataclass(frozen=True, slots=True)
class Health:
    """How the live model does; goes into ``edgeloop.node.health``."""

    version: str
    slot: str
    step: str
    readings: int
    failures: int
    latency_p50_ms: float
    latency_p99_ms: float
    soak_ok: bool
    confirmed: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    instance: Instance
    order: Order
    scales: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Companion:
    """What runs beside the live model, and why: the candidate (``shadow``) or the previous one (``soak``)."""

    phase: str
    instance: Instance | None
    trial: Trial
    since_ns: int
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class _Recall:
    reason: str


@dataclass(frozen=True, slots=True)
class _RollBack:
    instance: Instance
    content: Content
    left: str


@dataclass(frozen=True, slots=True)
class _ApplySettings:
    instance: Instance
    order: Order


class Adoption:
    """The live app, and the trial of another model beside it."""

    def __init__(self, slots: Slots, create: Create, settings: OtaSettings, clock: Clock) -> None:
        """Load the live bundle; a bundle in its soak that cannot be loaded is reverted here.

        Raises `BundleError` (or what ``create`` raises) if the confirmed bundle cannot be loaded.
        """
        self._slots = slots
        self._create = create
        self._settings = settings
        self._clock = clock
        self._orders: queue.SimpleQueue[_Candidate | _Recall | _RollBack | _ApplySettings] = (
            queue.SimpleQueue()
        )
        self._pending = 0
        self._lock = threading.Lock()
        self._notes: deque[Event] = deque()
        self.switches = 0
        """How often another model, or the same under other settings, went live."""
        self.dropped_notes = 0
        """Notes that were dropped because too many waited."""
        self._handed_on = 0
        self._readings = 0
        self._failures = 0
        self._drifting = False
        self._companion: _Companion | None = None
        self._live = self._load_live()

    # ------------------------------------------------------------------------------ the process thread

    @property
    def manifest(self) -> Manifest:
        """Manifest of the live model."""
        return self._live.manifest

    @property
    def outputs(self) -> Arrays | None:
        """The live model's outputs for the last reading; None if it did not run."""
        return self._live.outputs

    def process(self, reading: Reading, now_ns: int, *, drifting: bool = False) -> list[Event | Sample]:
        """The live app's events and samples for ``reading``, and what there is to tell about adoption.

        ``drifting`` tells whether the node has found drift from what the live model was trained on.
        Raises `ReadingError` for a reading that is unusable whatever the model.
        """
        self._drifting = drifting
        self._run_commands()
        companion = self._companion
        unusable: ReadingError | None = None
        given: list[Event | Sample] = []
        try:
            given, outcome = self._live.run(reading, now_ns)
        except ReadingError as error:
            if companion is None or companion.phase == "shadow" or companion.instance is None:
                raise
            unusable, outcome = error, Outcome(f"unusable only with this model: {error}")
        if companion is not None:
            spare, other = self._run_companion(companion, reading, now_ns, unusable)
            if companion.phase == "shadow":
                companion.trial.familiar &= not drifting
                self._judge_shadow(companion, outcome, other)
            else:
                if outcome.error and other is not None and not other.error:
                    given = spare
                self._judge_soak(companion, outcome, other)
        self._readings += 1
        if outcome.error:
            self._failures += 1
            self._tell_failure(reading, outcome.error)
        return [*self.events(), *given]

    def events(self) -> list[Event]:
        """What there is to tell, without a reading. Call it about once a second while none comes.

        Important steps stay in the slots' state until `committed`, so that a crash before the outbox has
        them repeats them rather than losing them.
        """
        self._run_commands()
        given: list[Event] = []
        while self._notes:
            given.append(self._notes.popleft())
        reports = self._slots.state.unreported[self._handed_on :]
        self._handed_on += len(reports)
        return [*given, *(_event(report) for report in reports)]

    def committed(self) -> None:
        """What `process` and `events` gave so far is in the outbox."""
        if self._handed_on:
            count, self._handed_on = self._handed_on, 0
            self._slots.change(lambda state: state.reported(count))

    def snapshot(self) -> State:
        """The live app's state."""
        return self._live.app.snapshot()

    def restore(self, state: State) -> None:
        """Give a saved state to the live app, and to the previous model that runs beside it in a soak."""
        try:
            self._live.app.restore(state)
        except Exception as error:
            companion = self._companion
            if companion is None or companion.phase != "soak":
                raise
            log.exception("the model in its soak cannot take over the saved state")
            self._revert(
                companion, Verdict(False, "load_failed", f"cannot take over the saved state: {error}")
            )
            self._live.app.restore(state)
            return
        if self._companion is not None and self._companion.instance is not None:
            self._companion.instance.app.restore(state)

    def replay(self, reading: Reading, now_ns: int) -> bool:
        """Decide again on a reading, for the state alone. False if the live app cannot use it."""
        companion = self._companion
        if companion is not None and companion.instance is not None:
            with suppress(ReadingError):
                companion.instance.run(reading, now_ns)
        try:
            self._live.run(reading, now_ns)
        except ReadingError:
            return False
        return True

    # ---------------------------------------------------------------------------------- the update thread

    @property
    def busy(self) -> bool:
        """Whether a model is on trial or about to be, so that the idle slot must be left alone."""
        with self._lock:
            return self._pending > 0 or self._companion is not None

    @property
    def candidate(self) -> Order | None:
        """What is on trial in shadow."""
        companion = self._companion
        return companion.order if companion is not None else None

    def offer(self, offer: Offer) -> None:
        """Put a bundle on trial. What cannot be loaded is refused here."""
        try:
            app, model = self._create(offer.bundle, offer.order.settings)
            candidate = _Candidate(
                Instance(offer.bundle, app, model), offer.order, scales_of(self._live.bundle)
            )
            Trial(candidate.instance.manifest, None, {}, self._settings)
        except Exception as error:
            log.exception("the model %s cannot be loaded", offer.bundle.version)
            self.refuse(offer.order, "load_failed", f"{type(error).__name__}: {error}", final=True)
            return
        self._enqueue(candidate)

    def recall(self, reason: str) -> None:
        """What is on trial is no longer wanted: drop it, or go back to the previous model.

        With the reason `OPERATOR` the version is given up until a newer serial names it.
        """
        self._enqueue(_Recall(reason))

    def roll_back(self, content: Content, left: str) -> None:
        """A person wants ``content``, which the idle slot holds whole, not the confirmed model ``left``."""
        order = Order(version=content.version, serial=self._slots.state.seen_serial, rollout="")
        try:
            bundle = self._slots.idle()
            instance = Instance(bundle, *self._create(bundle, content.settings))
        except Exception as error:
            log.exception("the model %s cannot be loaded", content.version)
            self.refuse(order, "load_failed", f"{type(error).__name__}: {error}")
            return
        self._enqueue(_RollBack(instance, content, left))

    def apply_settings(self, order: Order) -> None:
        """Go on with the live model under other settings."""
        try:
            app, model = self._create(self._live.bundle, order.settings)
        except EdgeloopError as error:
            self.refuse(order, "settings", str(error), final=True)
            return
        self._enqueue(_ApplySettings(Instance(self._live.bundle, app, model), order))

    def refuse(self, order: Order | None, reason: str, detail: str, *, final: bool = False) -> None:
        """Report an update that was refused; ``final`` gives up the version until a newer serial names it."""
        log.warning("update refused (%s): %s", reason, detail)
        now_ns = self._clock()
        if final and order is not None:
            self._slots.change(lambda state: state.gave_up(order, reason, detail, now_ns))
            return
        self.note("refused", order, ok=False, reason=reason, detail=detail)

    def tell(self, event: Event) -> None:
        """Tell of something that need not survive a crash."""
        if len(self._notes) >= NOTES_LIMIT:
            self.dropped_notes += 1
        else:
            self._notes.append(event)

    def note(
        self, step: str, order: Order | None, *, ok: bool = True, reason: str = "", detail: str = ""
    ) -> None:
        """Tell of a step that need not survive a crash."""
        report = Report(
            version=order.version if order else "",
            from_version=self._slots.state.version,
            step=step,
            ok=ok,
            reason=reason,
            serial=order.serial if order else self._slots.state.seen_serial,
            rollout=order.rollout if order else "",
            detail=detail,
            time_ns=self._clock(),
        )
        self.tell(_event(report))

    # --------------------------------------------------------------------------------------- anywhere

    def health(self) -> Health:
        """How the live model does."""
        state = self._slots.state
        latencies = np.array(tuple(self._live.latencies_s) or (0.0,)) * 1e3
        companion = self._companion
        return Health(
            version=state.version,
            slot=state.live,
            step=companion.phase if companion is not None else state.step,
            readings=self._readings,
            failures=self._failures,
            latency_p50_ms=float(np.percentile(latencies, 50)),
            latency_p99_ms=float(np.percentile(latencies, 99)),
            soak_ok=companion is None or companion.phase == "shadow" or not companion.trial.failures(),
            confirmed=state.step == "confirmed",
        )

    # ---------------------------------------------------------------------------------------- private

    def _load_live(self) -> Instance:
        state = self._slots.state
        bundle = self._slots.live()
        try:
            live = Instance(bundle, *self._create(bundle, state.content.settings))
        except Exception as error:
            if state.step != "soak" or state.previous is None:
                raise
            log.exception("the model %s in its soak cannot be loaded", state.version)
            detail = f"{type(error).__name__}: {error}"
            self._slots.change(lambda s: s.reverted("load_failed", detail, self._clock()))
            return self._load_live()
        if state.step == "soak":
            self._begin_soak(live, self._load_previous())
        return live

    def _load_previous(self) -> Instance | None:
        bundle = self._slots.previous()
        content = self._slots.state.previous
        if bundle is None or content is None:
            return None
        try:
            return Instance(bundle, *self._create(bundle, content.settings))
        except Exception:
            log.exception("the previous model %s cannot be loaded beside the new one", bundle.version)
            return None

    def _enqueue(self, order: _Candidate | _Recall | _RollBack | _ApplySettings) -> None:
        with self._lock:
            self._pending += 1
        self._orders.put(order)

    def _run_commands(self) -> None:
        while self._pending:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                return
            if isinstance(order, _Candidate):
                self._begin_shadow(order)
            elif isinstance(order, _Recall):
                self._recall(order)
            elif isinstance(order, _RollBack):
                self._roll_back(order)
            else:
                self._apply_settings(order)
            with self._lock:
                self._pending -= 1

    def _begin_shadow(self, candidate: _Candidate) -> None:
        if self._companion is not None:
            return
        instance, order = candidate.instance, candidate.order
        try:
            instance.app.restore(self._live.app.snapshot())
        except Exception as error:
            log.exception("the candidate cannot take over the live app's state")
            self.refuse(order, "load_failed", f"cannot take over the state: {error}", final=True)
            return
        trial = Trial(
            instance.manifest,
            self._live.manifest,
            candidate.scales,
            self._settings,
            familiar=not self._drifting,
        )
        self._companion = _Companion("shadow", instance, trial, self._clock(), order)
        if not order.compare:
            self._switch(self._companion, "no shadow: the live model was withdrawn")
        elif not self._settings.shadow_readings:
            self._switch(self._companion, "no shadow: the settings ask for none")

    def _recall(self, recall: _Recall) -> None:
        companion = self._companion
        if companion is None:
            return
        if companion.phase == "soak":
            by = "a person" if recall.reason == OPERATOR else "the cloud"
            self._revert(companion, Verdict(False, recall.reason, f"{by} asks for the previous model again"))
            return
        self._companion, order = None, companion.order
        if recall.reason == OPERATOR and order is not None:
            detail, now_ns = "a person had it dropped in shadow", self._clock()
            self._slots.change(
                lambda state: state.gave_up(order, OPERATOR, detail, now_ns, through=state.seen_serial)
            )
        else:
            self.note("refused", order, ok=False, reason=recall.reason, detail="dropped in shadow")
            self._slots.change(lambda state: state.settled())

    def _roll_back(self, wish: _RollBack) -> None:
        if self._companion is not None or self._live.bundle.version != wish.left:
            return
        detail = "a person asks for the model before" + (" (the starter)" if wish.content.starter else "")
        log.warning("back from %s to %s: %s", wish.left, wish.content.version, detail)
        self._slots.change(lambda state: state.rolled_back(wish.content, OPERATOR, detail, self._clock()))
        transfer_state(wish.instance, self._live)
        self._live = wish.instance
        self.switches += 1

    def _apply_settings(self, change: _ApplySettings) -> None:
        if self._companion is not None or change.instance.bundle.version != self._live.bundle.version:
            return
        try:
            change.instance.app.restore(self._live.app.snapshot())
        except Exception as error:
            log.exception("the app cannot go on under other settings")
            self.refuse(change.order, "settings", f"cannot take over the state: {error}", final=True)
            return
        self._slots.change(lambda state: state.settings_applied(change.order))
        self._live = change.instance
        self.switches += 1

    def _run_companion(
        self, companion: _Companion, reading: Reading, now_ns: int, unusable: ReadingError | None
    ) -> tuple[list[Event | Sample], Outcome | None]:
        """Let the other model see the reading. Raises ``unusable`` if that one cannot use it either."""
        if companion.instance is None:
            return [], None
        try:
            return companion.instance.run(reading, now_ns)
        except ReadingError as error:
            if unusable is not None:
                raise unusable from error
            return [], Outcome(f"unusable only with this model: {error}")

    def _judge_shadow(self, companion: _Companion, live: Outcome, candidate: Outcome | None) -> None:
        assert candidate is not None
        companion.trial.add(candidate, live)
        verdict = companion.trial.verdict()
        waited_s = (self._clock() - companion.since_ns) / 1e9
        if not verdict.good:
            self.refuse(companion.order, verdict.reason, f"in shadow: {verdict.detail}", final=True)
            self._companion = None
        elif (
            companion.trial.readings >= self._settings.shadow_readings
            or waited_s >= self._settings.shadow_timeout_s
        ):
            self._switch(companion, verdict.detail)

    def _judge_soak(self, companion: _Companion, live: Outcome, previous: Outcome | None) -> None:
        companion.trial.add(live, previous)
        if self._slots.state.kills and companion.trial.readings >= self._settings.soak_readings:
            self._slots.change(lambda state: state.served())
        verdict = companion.trial.verdict()
        soaked_s = (self._clock() - companion.since_ns) / 1e9
        soak_s = min(self._slots.state.soak_s, SOAK_LIMIT_S)
        if not verdict.good:
            self._revert(companion, verdict)
        elif soaked_s >= soak_s and companion.trial.readings >= self._settings.soak_readings:
            self._slots.change(lambda state: state.confirmed(verdict.detail, self._clock()))
            self._companion = None

    def _switch(self, shadow: _Companion, detail: str) -> None:
        assert shadow.instance is not None
        assert shadow.order is not None
        order, candidate, previous = shadow.order, shadow.instance, self._live
        self.note("shadow", order, detail=detail)
        transfer_state(candidate, previous)
        familiar = shadow.trial.familiar
        self._slots.change(lambda state: state.switched(order, self._clock(), familiar=familiar))
        self._live = candidate
        self.switches += 1
        self._begin_soak(candidate, previous)
        log.info("the model %s is live; %s keeps running beside it", order.version, previous.bundle.version)

    def _begin_soak(self, live: Instance, previous: Instance | None) -> None:
        trial = Trial(
            live.manifest,
            previous.manifest if previous else None,
            scales_of(previous.bundle) if previous else {},
            self._settings,
            compare=self._slots.state.compare,
            familiar=self._slots.state.familiar,
        )
        self._companion = _Companion("soak", previous, trial, self._clock())

    def _revert(self, soak: _Companion, verdict: Verdict) -> None:
        bad, previous = self._live, soak.instance or self._load_previous()
        log.warning("the model %s is reverted (%s): %s", bad.bundle.version, verdict.reason, verdict.detail)
        if previous is not None:
            through = self._slots.state.seen_serial if verdict.reason == OPERATOR else 0
            self._slots.change(
                lambda state: state.reverted(verdict.reason, verdict.detail, self._clock(), through=through)
            )
        else:
            bundle = self._slots.fall_back(f"{verdict.reason}: {verdict.detail}")
            previous = Instance(bundle, *self._create(bundle, {}))
        transfer_state(previous, bad)
        self._live = previous
        self.switches += 1
        self._companion = None

    def _tell_failure(self, reading: Reading, problem: str) -> None:
        """Tell of the 1st, 2nd, 4th, 8th ... failed reading."""
        if self._failures & (self._failures - 1):
            return
        facts = {
            "problem": problem[:500],
            "version": self._live.bundle.version,
            "position": reading.position,
            "count": self._failures,
        }
        log.warning("%d readings failed so far; the last: %s", self._failures, problem)
        self.tell(Event(INFERENCE_TYPE, reading.subject, reading.captured_ns, Priority.EVENT, facts))


def _event(report: Report) -> Event:
    facts: dict[str, Any] = msgspec.to_builtins(report)
    time_ns = facts.pop("time_ns")
    return Event(ADOPTION_TYPE, report.version or report.from_version, time_ns, Priority.EVENT, facts)
