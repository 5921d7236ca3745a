"""Requests of an operator, which arrive as hints: ``golden``, ``revert`` and ``settings``.

A hint comes over the broker, so it is no more trusted than the network. It names no model to run: whoever
has the broker can only choose among models that were verified here, and make the node prove the one that
it has.

``golden``  reads the live bundle from its slot again, runs its golden cases on this device and reports the
            outcome as an ``edgeloop.golden`` event
``revert``  returns to the previous model: from a candidate in shadow by dropping it, from a model in its
            soak as a recall does, and from a confirmed one to the bundle in the other slot, if that is
            whole and neither withdrawn nor rejected, otherwise to the starter. The model that is left is
            not taken again until a newer deployment names it.

``settings`` changes the app's settings on this node (`common.edge.update.settings_changes`)

A request that is repeated before it is executed is one request. Unknown actions are logged and ignored. Any
thread may `OperatorRequests.submit`; the update thread executes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection

from common.app.edge import Model
from common.bundle import Bundle
from common.clock import Clock
from common.edge.update.adoption import Adoption
from common.edge.update.settings_changes import SettingsChanges
from common.edge.update.slot_state import Content
from common.edge.update.slots import Slots
from common.edge.update.trial_stages import OPERATOR
from common.errors import BundleError, UpdateRefused
from common.messages import Event, Hint, Priority
from common.model.golden import check_golden

log = logging.getLogger(__name__)

GOLDEN_TYPE = "edgeloop.golden"
KNOWN = ("golden", "revert", "settings")


class OperatorRequests:
    """The requests to one node, until they are executed."""

    def __init__(
        self,
        slots: Slots,
        adoption: Adoption,
        load: Callable[[Bundle], Model],
        clock: Clock,
        settings: SettingsChanges | None = None,
    ) -> None:
        self._slots = slots
        self._adoption = adoption
        self._load = load
        self._clock = clock
        self._settings = settings
        self._lock = threading.Lock()
        self._waiting: dict[str, Hint] = {}
        self.withdrawn: Collection[str] = ()
        """Versions that the last deployment document withdrew."""

    def submit(self, hint: Hint) -> bool:
        """Queue a request, from any thread; False if its action is unknown."""
        if hint.action not in KNOWN:
            log.warning("the cloud hints at %r, which this node does not know: ignored", hint.action[:40])
            return False
        if hint.action == "settings":
            if self._settings is None or hint.change is None:
                log.warning("a hint to change the settings has no change: ignored")
                return False
            self._settings.submit(hint.change)
            return True
        with self._lock:
            self._waiting[hint.action] = hint
        return True

    @property
    def ready(self) -> bool:
        """Whether a request waits that had to wait, and need not any more."""
        return bool(self._waiting) or (self._settings is not None and self._settings.ready)

    def _submit_again(self, hint: Hint) -> None:
        with self._lock:
            self._waiting.setdefault(hint.action, hint)

    def execute(self) -> None:
        """Execute the queued requests. Raises nothing: a failure is reported or logged."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for hint in waiting.values():
            try:
                if hint.action == "golden":
                    self._prove_live()
                else:
                    self._revert(hint)
            except Exception:
                log.exception("the request %s cannot be executed", hint.action)
        if self._settings is not None:
            self._settings.execute()

    def _prove_live(self) -> None:
        version = self._slots.state.version
        facts = {"version": version, "passed": False, "cases": 0, "latency_ms": 0.0, "detail": ""}
        try:
            bundle = self._slots.live()
            facts["version"] = bundle.version
            proof = check_golden(bundle, self._load(bundle))
            facts |= {"passed": True, "cases": proof.cases, "latency_ms": round(proof.latency_ms, 4)}
        except Exception as error:  # Whatever a bundle makes of being loaded and run is the answer.
            log.warning("the live model %s does not pass its golden cases", version, exc_info=True)
            facts["detail"] = f"{type(error).__name__}: {error}"[:500]
        subject = str(facts["version"])
        self._adoption.reports.add(Event(GOLDEN_TYPE, subject, self._clock(), Priority.EVENT, facts))

    def _revert(self, hint: Hint) -> None:
        version = hint.version
        state, candidate = self._slots.state, self._adoption.candidate
        running = {state.version} | ({candidate.version} if candidate is not None else set[str]())
        if version and version not in running:
            log.info("no way back from %s: this node runs %s", version[:80], state.version)
            return
        if self._adoption.busy:
            # Busy with a change of settings, for example, there is no trial: then the request is due again.
            self._adoption.recall(OPERATOR, lambda: self._submit_again(hint))
            return
        content = self._rollback_target()
        if content is None:
            detail = f"there is nothing to go back to from {state.version}"
            self._adoption.reports.note("refused", None, ok=False, reason=OPERATOR, detail=detail)
            return
        self._adoption.roll_back(content, state.version)

    def _rollback_target(self) -> Content | None:
        """Target of a roll-back, whole in the idle slot; None if the starter runs already."""
        state = self._slots.state
        before = state.previous
        given_up = {refused.version for refused in state.refused}.union(self.withdrawn)
        # What replaced a withdrawn model was not compared with it: that one is no way back.
        if before is not None and state.compare and before.version not in given_up:
            try:
                if self._slots.idle().version == before.version:
                    return before
            except BundleError as error:
                log.warning("the model before is not whole: %s", error)
        if state.version == self._slots.starter_version():
            return None
        try:
            bundle = self._slots.copy_starter()
        except UpdateRefused as error:
            log.info("no way back now: %s", error)
            return None
        return Content(version=bundle.version, starter=True)
