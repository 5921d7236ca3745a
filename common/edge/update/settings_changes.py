"""Changes of the app's settings on their way: from an operator's request to the running app, and the answer.

A change comes as a hint (`common.messages.SettingsChange`), sealed for this node. Of several the highest
version counts. It waits while a model is on trial, since the trial compares two models under one setting. The
answer is an ``edgeloop.settings`` event: ``applied``, ``refused`` with a reason
(`common.edge.update.app_settings`, or ``state`` where the app cannot continue under it), or ``waiting``.
"""

from __future__ import annotations

import logging
import threading
from typing import Literal

from common.clock import Clock
from common.edge.update.adoption import Adoption
from common.edge.update.app_settings import AppSettings
from common.errors import UpdateRefused
from common.messages import Event, Priority, SettingsChange

log = logging.getLogger(__name__)

SETTINGS_TYPE = "edgeloop.settings"
Outcome = Literal["applied", "refused", "waiting"]


class SettingsChanges:
    """The changes for one node. Any thread may `submit`; the update thread executes."""

    def __init__(self, settings: AppSettings, adoption: Adoption, clock: Clock, *, node: str) -> None:
        self._settings = settings
        self._adoption = adoption
        self._clock = clock
        self._node = node
        self._lock = threading.Lock()
        self._waiting: SettingsChange | None = None
        self._reported_waiting = 0
        if settings.problem:
            self._report(0, "refused", "settings", settings.problem)

    @property
    def ready(self) -> bool:
        """Whether a change waits that can be applied now."""
        return self._waiting is not None and not self._adoption.busy

    def submit(self, change: SettingsChange) -> None:
        """Queue a change, from any thread."""
        with self._lock:
            if self._waiting is None or change.version >= self._waiting.version:
                self._waiting = change

    def execute(self) -> None:
        """Apply the change that waits, or report why not."""
        with self._lock:
            change = self._waiting
            if change is None:
                return
            held = self._settings.holds(change)
            busy = not held and self._adoption.busy
            if not busy:
                self._waiting = None
        if busy:
            self._report_waiting(change.version)
        elif held:
            self._report(change.version, "applied")
        else:
            self._apply(change)

    def _report_waiting(self, version: int) -> None:
        """Report once that a change waits, and not again each time that the cloud sends it."""
        if self._reported_waiting != version:
            self._reported_waiting = version
            self._report(version, "waiting", "trial", "a model is on trial")

    def _apply(self, change: SettingsChange) -> None:
        try:
            self._settings.propose(change, self._adoption.deployed_settings)
            self._adoption.change_settings(lambda problem: self._finish(change.version, problem))
        except UpdateRefused as error:
            self._refuse(change.version, error.reason, str(error))
        except Exception as error:
            log.exception("the app cannot be started under version %d of its settings", change.version)
            self._refuse(change.version, "settings", f"{type(error).__name__}: {error}")

    def _finish(self, version: int, problem: str) -> None:
        """The app continues under the change, or cannot (``problem``); called by the process thread."""
        if problem:
            self._refuse(version, "state", problem)
            return
        detail = ""
        try:
            self._settings.accept()
        except OSError as error:
            detail = f"until the next start only, since it cannot be kept: {error}"
        self._report(version, "applied", detail=detail)

    def _refuse(self, version: int, reason: str, detail: str) -> None:
        self._settings.discard()
        log.warning("version %d of the settings is refused (%s): %s", version, reason, detail)
        self._report(version, "refused", reason, detail)

    def _report(self, version: int, outcome: Outcome, reason: str = "", detail: str = "") -> None:
        facts = {
            "version": version,
            "outcome": outcome,
            "reason": reason,
            "detail": detail[:500],
            "holds": self._settings.version,
        }
        self._adoption.reports.add(Event(SETTINGS_TYPE, self._node, self._clock(), Priority.EVENT, facts))
