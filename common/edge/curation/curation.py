"""Samples for learning: which to keep, which to send, and sending them, under byte budgets.

Rules:

- A sample below ``min_score`` is not kept (`common.edge.curation.admission`).
- A kept sample is on disk (`common.edge.curation.sample_store`) before the position moves past its reading.
  The same content is kept once.
- At most ``store_bytes`` are kept: the least interesting is removed first, then the oldest.
- At most ``budget_bytes_per_day`` are sent in any 24 h (`common.edge.curation.allowance`); the most
  interesting is sent first, and one that the cloud does not take yet (its subject is unknown there, or it
  has no room) last (`common.edge.curation.upload_order`).
- A sample's file is removed after the cloud has it and its ``edgeloop.sample`` event is committed.

`Curation.status` explains missing samples (``edgeloop node status``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from common.app.edge import Sample
from common.backoff import Backoff
from common.clock import Clock
from common.config.node import CurationSettings, Enrolment
from common.edge.curation.admission import Admission
from common.edge.curation.allowance import load_allowance, save_allowance
from common.edge.curation.sample_store import SampleStore
from common.edge.curation.upload import Kept, SampleUpload, UploadFailed
from common.edge.curation.upload_order import UploadOrder
from common.errors import SampleError
from common.messages import Event, Priority

log = logging.getLogger(__name__)

SAMPLE_TYPE = "edgeloop.sample"
RETRY_FIRST_S = 1.0
RETRY_LAST_S = 300.0
BUDGET_CHECK_S = 60.0
BUDGET = "budget.json"
_COUNTED = ("offered", "below_min_score", "no_room", "uploaded", "refused")


class Curation:
    """The samples of one node in ``folder``. The process thread offers, the curation thread uploads.

    Without an ``enrolment`` samples are kept for a cloud that may come.
    """

    def __init__(
        self,
        folder: Path,
        app: str,
        enrolment: Enrolment | None,
        settings: CurationSettings,
        clock: Clock,
    ) -> None:
        self._budget_path = folder / BUDGET
        self._admission = Admission(app, settings)
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._stop = threading.Event()
        self._done: deque[tuple[Event, str]] = deque()
        self._uncommitted: list[str] = []
        self._order = UploadOrder()
        self._store = SampleStore(folder, settings.store_bytes)
        self._allowance = load_allowance(self._budget_path, settings.budget_bytes_per_day, clock())
        self._upload = SampleUpload(enrolment, settings.chunk_bytes) if enrolment else None
        self._counts: dict[str, int] = dict.fromkeys(_COUNTED, 0)
        self._last_problem = ""
        self.bytes_sent = 0
        """Bytes uploaded since the start."""

    # -------------------------------------------------------------------------------------- any thread

    @property
    def waiting(self) -> int:
        """Samples that are kept."""
        return len(self._store)

    @property
    def ignored(self) -> int:
        """Samples that were not interesting enough, or less so than the content of a full store."""
        return self._counts["below_min_score"] + self._counts["no_room"]

    def status(self) -> dict[str, Any]:
        """Counts since the start, what is left of the budget, and in ``detail`` what holds samples up."""
        with self._lock:
            left_bytes = self._allowance.left(self._clock())
            smallest = min((kept.size for kept in self._store.samples), default=0)
            deferring = self._order.deferring
        counts, detail = dict(self._counts), ""
        if not counts["offered"]:
            detail = "the app has offered no sample since the start"
        elif counts["below_min_score"] == counts["offered"]:
            detail = f"all offered samples score below curation.min_score ({self._settings.min_score:g})"
        elif self._upload is None:
            detail = "kept on this node: it has no enrolment"
        elif smallest > left_bytes:
            detail = "the upload budget of the last 24 h is used up (curation.budget_bytes_per_day)"
        elif deferring or self.waiting:
            detail = self._last_problem
        return {**counts, "waiting": self.waiting, "budget_left_bytes": max(0, left_bytes), "detail": detail}

    # ------------------------------------------------------------------------------ the process thread

    def offer(self, sample: Sample, *, drifting: bool = False, recorded: bool = False) -> None:
        """Keep ``sample`` if it is worth it. Raises `SampleError` for one that can never be kept.

        ``recorded``: its times are a recording's, not this device's clock's.
        """
        self._counts["offered"] += 1
        admitted = self._admission.admit(sample, drifting=drifting, recorded=recorded)
        if admitted is None:
            self._counts["below_min_score"] += 1
            return
        kept, content = admitted
        with self._lock:
            if kept.digest in self._store:
                return
            if not self._store.add(kept, content, self._order.answered):
                self._counts["no_room"] += 1
                return
            self._order.keep_only(self._store)
        self._work.set()

    def finished(self) -> list[Event]:
        """Events about samples that the cloud has taken or refused; call `committed` when they are kept."""
        events: list[Event] = []
        while self._done:
            event, digest = self._done.popleft()
            events.append(event)
            self._uncommitted.append(digest)
        return events

    def committed(self) -> None:
        """The events of `finished` are in the outbox: their samples can be removed."""
        for digest in self._uncommitted:
            with self._lock:
                self._remove(digest)
        self._uncommitted.clear()

    # ----------------------------------------------------------------------------- the curation thread

    def run(self) -> None:
        """Upload until `stop`; waits for samples, for the budget, or for the cloud to come back."""
        backoff = Backoff(RETRY_FIRST_S, RETRY_LAST_S)
        while not self._stop.is_set():
            kept = self._next()
            if kept is None:
                self._work.wait(self._pause_s() if self.waiting else None)
                self._work.clear()  # `_stop` and the samples are looked at after it: neither is missed.
                continue
            try:
                self._send(kept)
                backoff.reset()
            except UploadFailed as error:
                log.info("sample %s waits: %s", kept.digest[:12], error)
                self._last_problem = f"the cloud does not take samples now: {error}"[:500]
                if error.of_sample:
                    with self._lock:
                        self._order.defer(kept.digest, time.monotonic())
                    continue
                self._stop.wait(backoff.next_s())

    def stop(self) -> None:
        """End `run` after the piece that is on its way."""
        self._stop.set()
        self._work.set()

    def _next(self) -> Kept | None:
        """The most interesting sample that the budget allows."""
        with self._lock:
            left_bytes = self._allowance.left(self._clock())
            return self._order.next(self._store.samples, left_bytes, time.monotonic())

    def _pause_s(self) -> float:
        """Time until there may be something to send: the budget grows, or a deferred sample is due."""
        with self._lock:
            return min(BUDGET_CHECK_S, self._order.next_due_s(time.monotonic()))

    def _send(self, kept: Kept) -> None:
        assert self._upload is not None
        try:
            for sent in self._upload.send(kept, self._store.content(kept.digest)):
                self._spend(sent)
                if self._stop.is_set():
                    raise UploadFailed("the node stops")
        except FileNotFoundError:
            with self._lock:
                self._remove(kept.digest)
            return
        except SampleError as error:
            log.error("the cloud refuses sample %s: %s", kept.digest, error)
            self._last_problem = f"the cloud refused a sample: {error}"[:500]
            self._finish(kept, "refused", {"refused": str(error)[:500]})
            return
        self._finish(kept, "uploaded", {})

    def _finish(self, kept: Kept, outcome: Literal["refused", "uploaded"], more: Mapping[str, Any]) -> None:
        facts = {
            "digest": kept.digest,
            "bytes": kept.size,
            "reasons": kept.reasons,
            "group": kept.group,
            **more,
        }
        event = Event(SAMPLE_TYPE, kept.subject, self._clock(), Priority.SAMPLE, facts)
        self._counts[outcome] += 1
        with self._lock:
            self._order.answer(kept.digest)
        self._done.append((event, kept.digest))

    def _spend(self, size: int) -> None:
        self.bytes_sent += size
        with self._lock:
            self._allowance.spend(self._clock(), size)
            spent = self._allowance.spent()
        save_allowance(self._budget_path, spent)

    def _remove(self, digest: str) -> None:
        self._store.remove(digest)
        self._order.forget(digest)
