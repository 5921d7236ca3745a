"""One app with its model as the node runs it, and the outcome of its first run on the last reading."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.app.edge import Arrays, EdgeApp, Model, Reading, Sample, TimedEdgeApp
from common.bundle import Bundle, Manifest
from common.errors import BundleError, ReadingError
from common.messages import Event
from common.model.golden import output_scales
from common.model.inference import RunTime

log = logging.getLogger(__name__)

LATENCY_WINDOW = 512
LOGGED_KINDS = 64
"""Kinds of exceptions that are logged with their traceback, for each model; further ones are not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one model for one reading: ``outputs`` of its first run, and the time that it took (None if
    it did not run)."""

    error: str = ""
    outputs: Arrays | None = None
    work_s: float | None = None


class WatchedModel(Model, Protocol):
    """A loaded model that reports each successful run: its outputs and its duration."""

    on_run: Callable[[Arrays, RunTime], None] | None


class Instance:
    """One app with its model, and the first inference of the last `run`."""

    def __init__(self, bundle: Bundle, app: EdgeApp, model: WatchedModel) -> None:
        self.bundle = bundle
        self.app = app
        self.manifest: Manifest = bundle.manifest
        self.latencies_s: deque[float] = deque(maxlen=LATENCY_WINDOW)
        self.outputs: Arrays | None = None
        self._work_s: float | None = None
        self._logged: set[tuple[str, str, int]] = set()
        model.on_run = self._ran

    def run(self, reading: Reading, now_ns: int) -> tuple[list[Event | Sample], Outcome]:
        """Results and outcome. Raises `ReadingError` only; any other exception counts against the model."""
        self.outputs = self._work_s = None
        try:
            events = list(self.app.process(reading, now_ns))
        except ReadingError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a model makes the app do must not end the node
            self._log(error, f"reading {reading.position}")
            return [], Outcome(f"{type(error).__name__}: {error}", self.outputs, self._work_s)
        return events, Outcome("", self.outputs, self._work_s)

    def pass_time(self, now_ns: int) -> list[Event]:
        """Events of the app without a reading; none where it does not decide on silence."""
        if not isinstance(self.app, TimedEdgeApp):
            return []
        try:
            return list(self.app.pass_time(now_ns))
        except Exception as error:  # noqa: BLE001  as in `run`
            self._log(error, "the passing of time")
            return []

    def _log(self, error: Exception, what: str) -> None:
        """Log the first exception of each kind (type and place) with its traceback."""
        kind = (type(error).__name__, *_place(error))
        if kind in self._logged or len(self._logged) >= LOGGED_KINDS:
            log.debug("%s fails", what, exc_info=error)
            return
        self._logged.add(kind)
        version = self.bundle.version
        log.warning("%s fails with the model %s", what, version, exc_info=error)

    def _ran(self, outputs: Arrays, took: RunTime) -> None:
        if self.outputs is not None:
            return  # An app may run its model again (for explanations); the first run is the decision.
        self.outputs = outputs
        self._work_s = took.work_s
        self.latencies_s.append(took.wall_s)


def _place(error: Exception) -> tuple[str, int]:
    """File and line where ``error`` was raised."""
    trace = error.__traceback__
    if trace is None:
        return "", 0
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def transfer_state(following: Instance, before: Instance) -> None:
    """Continue ``following`` from the state of ``before``; it keeps its own where that fails."""
    try:
        following.app.restore(before.app.snapshot())
    except Exception:
        log.exception("the state of %s cannot be taken over", before.bundle.version)


def take_over(instance: Instance, live: Instance) -> str:
    """Give ``instance`` the state of ``live``; why that fails, or empty."""
    try:
        instance.app.restore(live.app.snapshot())
    except Exception as error:
        log.exception("%s cannot take over the state of the live app", instance.bundle.version)
        return f"cannot take over the state: {error}"
    return ""


def scales_of(bundle: Bundle) -> dict[str, float]:
    try:
        return output_scales(bundle)
    except BundleError as error:
        log.warning("models are not compared with %s: %s", bundle.version, error)
        return {}
