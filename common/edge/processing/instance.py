"""One app with its model as the node runs it, and what the model first did with the last reading."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from common.app.edge import Arrays, EdgeApp, Model, Reading, Sample
from common.bundle import Bundle, Manifest
from common.edge.update.trial import Outcome
from common.errors import BundleError, ReadingError
from common.messages import Event
from common.model.golden import output_scales
from common.model.inference import RunTime

log = logging.getLogger(__name__)

LATENCY_WINDOW = 512


class WatchedModel(Model, Protocol):
    """A loaded model that tells of each successful run: its outputs and how long it took."""

    on_run: Callable[[Arrays, RunTime], None] | None


class Instance:
    """One app with its model, and what the model did first in the last `run`."""

    def __init__(self, bundle: Bundle, app: EdgeApp, model: WatchedModel) -> None:
        self.bundle = bundle
        self.app = app
        self.manifest: Manifest = bundle.manifest
        self.latencies_s: deque[float] = deque(maxlen=LATENCY_WINDOW)
        self.outputs: Arrays | None = None
        self._work_s: float | None = None
        model.on_run = self._ran

    def run(self, reading: Reading, now_ns: int) -> tuple[list[Event | Sample], Outcome]:
        """Events and what happened. Raises `ReadingError` only; any other failure is the model's."""
        self.outputs = self._work_s = None
        try:
            events = list(self.app.process(reading, now_ns))
        except ReadingError:
            raise
        except Exception as error:  # Whatever a model makes the app do must not take the node down.
            log.debug("reading %d fails", reading.position, exc_info=True)
            return [], Outcome(f"{type(error).__name__}: {error}", self.outputs, self._work_s)
        return events, Outcome("", self.outputs, self._work_s)

    def _ran(self, outputs: Arrays, took: RunTime) -> None:
        if self.outputs is not None:
            return  # An app may ask its model more (to explain itself); the first run is the decision.
        self.outputs = outputs
        self._work_s = took.work_s
        self.latencies_s.append(took.wall_s)


def transfer_state(following: Instance, before: Instance) -> None:
    """Let ``following`` go on from what ``before`` has said; it keeps its own state where that fails."""
    try:
        following.app.restore(before.app.snapshot())
    except Exception:
        log.exception("the state of %s cannot be taken over", before.bundle.version)


def scales_of(bundle: Bundle) -> dict[str, float]:
    try:
        return output_scales(bundle)
    except BundleError as error:
        log.warning("models are not compared with %s: %s", bundle.version, error)
        return {}
