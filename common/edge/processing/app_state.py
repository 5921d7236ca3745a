"""The app's state in the outbox: what a checkpoint holds, and how a restart takes it over.

A checkpoint holds the live app's snapshot and the drift detector. The readings behind it (the journal) are
decided on again at a restart, for the state alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from common.edge.delivery.outbox import Outbox
from common.edge.losses import Kind, Losses
from common.edge.problems import Problems
from common.edge.processing.drift import DriftWatch
from common.edge.processing.journal import decode_readings, pack, unpack
from common.edge.processing.state import decode_state, encode_state
from common.edge.update.adoption import Adoption
from common.errors import OutboxError

log = logging.getLogger(__name__)


class AppState:
    """The state of the app that runs under ``adoption``, kept in ``outbox``."""

    def __init__(self, adoption: Adoption, drift: DriftWatch, outbox: Outbox) -> None:
        self._adoption = adoption
        self._drift = drift
        self._outbox = outbox

    def checkpoint(self) -> bytes:
        """The whole state as bytes."""
        cusum, rate, drifting, version = self._drift.saved()
        state = {
            "app": self._adoption.snapshot(),
            "drift": [cusum, rate, drifting],
            "version": version,
        }
        return pack(encode_state(state))

    def restore(self, losses: Losses, problems: Problems, node: str) -> None:
        """Take over what an earlier process has committed. What cannot be is counted and reported."""
        recovery = self._outbox.recovery
        if recovery is not None and not recovery.state_whole:
            losses.add(Kind.STATE)
        try:
            saved, journal = self._outbox.saved_state(), self._outbox.journal()
            if saved is not None:
                self._restore(decode_state(unpack(saved)))
        except Exception as error:  # Whatever an app's restore raises: it starts afresh.
            log.exception("the app cannot take over its saved state and starts without it")
            losses.add(Kind.STATE)
            problems.add("state", f"the app starts without its saved state: {error}", node)
            return
        for number, content in enumerate(journal):
            try:
                self._replay(content)
            except OutboxError as error:
                left = len(journal) - number
                detail = f"the app continues from a state that is {left} commits older: {error}"
                losses.add(Kind.STATE)
                problems.add("state", detail, node)
                return

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._adoption.restore(state["app"])
        cusum, rate, drifting = state["drift"]
        self._drift.restore(cusum, rate, drifting, state["version"])

    def _replay(self, content: bytes) -> None:
        """Decide on readings for the state alone. Raises `OutboxError` for a damaged journal."""
        for reading, now_ns in decode_readings(content):
            if self._adoption.replay(reading, now_ns):
                self._drift.watch(reading)
