"""Samples for learning: which to keep, which to send, and sending them, under byte budgets.

Rules:

- A sample's score is its highest reason; while the readings drift, ``drift`` is one of them. Below
  ``min_score`` it is not kept.
- A kept sample is on disk (content and sidecar, synced) before the position moves past its reading. The
  same content is kept once.
- At most ``store_bytes`` are kept: the least interesting goes first, then the oldest.
- At most ``budget_bytes_per_day`` are sent in any 24 h, counted across restarts; the most interesting goes
  first, and one that the cloud does not take yet (it knows its subject not yet, or has no room) last.
- A sample's file goes after the cloud has it and an ``edgeloop.sample`` event that says so is committed.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from common import durable
from common.app.edge import Sample
from common.clock import Clock
from common.config.node import CurationSettings, Enrolment
from common.edge.curation.upload import Kept, SampleUpload, UploadFailed
from common.errors import SampleError
from common.messages import Event, Priority
from common.samples import PLAIN_LIMIT_BYTES, encode_sample

log = logging.getLogger(__name__)

SAMPLE_TYPE = "edgeloop.sample"
DRIFT_SCORE = 0.75
"""The reason ``drift`` of a sample that is offered while the readings drift."""
DAY_NS = 86_400_000_000_000
SLOT_NS = 600_000_000_000
"""Resolution of the rolling budget."""
RETRY_FIRST_S = 1.0
RETRY_LAST_S = 300.0
BUDGET_LOOK_S = 60.0
DEFER_FIRST_S = 2.0
DEFER_LAST_S = 600.0
"""First and longest time for which a sample that the cloud does not take yet lets others go first."""
BUDGET = "budget.json"


class Allowance:
    """Bytes in any 24 h, by slots of ten minutes. No I/O."""

    def __init__(self, bytes_per_day: int, spent: list[tuple[int, int]] | None = None) -> None:
        self._bytes_per_day = bytes_per_day
        self._spent: deque[tuple[int, int]] = deque(spent or [])

    def left(self, now_ns: int) -> int:
        """Bytes that may be sent now."""
        while self._spent and self._spent[0][0] <= now_ns - DAY_NS:
            self._spent.popleft()
        return self._bytes_per_day - sum(size for _, size in self._spent)

    def spend(self, now_ns: int, size: int) -> None:
        """Count bytes that were sent."""
        slot = now_ns - now_ns % SLOT_NS
        if self._spent and self._spent[-1][0] >= slot:
            at, before = self._spent.pop()
            self._spent.append((at, before + size))
        else:
            self._spent.append((slot, size))

    def spent(self) -> list[tuple[int, int]]:
        """``(time_ns, bytes)`` of the last day, for keeping."""
        return list(self._spent)


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
        self._folder = folder
        self._app = app
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._stop = threading.Event()
        self._done: deque[tuple[Event, str]] = deque()
        self._handed: list[str] = []
        self._kept: dict[str, Kept] = {}
        self._sending: set[str] = set()
        self._deferred: dict[str, tuple[float, float]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._load()
        self._allowance = Allowance(settings.budget_bytes_per_day, self._read_budget())
        self._upload = SampleUpload(enrolment, settings.chunk_bytes) if enrolment else None
        self.bytes_sent = 0
        """Bytes uploaded since the start."""
        self.ignored = 0
        """Samples that were not interesting enough, or less so than what filled the store."""

    @property
    def waiting(self) -> int:
        """Samples that are kept."""
        return len(self._kept)

    # ------------------------------------------------------------------------------- the process thread

    def offer(self, sample: Sample, *, drifting: bool = False, recorded: bool = False) -> None:
        """Keep ``sample`` if it is worth it. Raises `SampleError` for one that can never be kept.

        ``recorded``: its times are a recording's, not this device's clock's.
        """
        reasons = {name: float(score) for name, score in sample.reasons.items()}
        if drifting:
            reasons["drift"] = max(DRIFT_SCORE, reasons.get("drift", 0.0))
        score = max(reasons.values(), default=0.0)
        if not score >= self._settings.min_score:
            self.ignored += 1
            return
        content = self._encode(sample)
        kept = Kept(
            digest=hashlib.sha256(content).hexdigest(),
            app=self._app,
            subject=sample.subject,
            group=sample.group,
            captured_ns=sample.captured_ns,
            reasons=reasons,
            attributes=_plain(sample.attributes),
            size=len(content),
            score=min(score, 1.0),
            recorded=recorded,
        )
        with self._lock:
            if kept.digest in self._kept:
                return
            if not self._make_room(kept):
                self.ignored += 1
                return
            durable.write(self._content(kept.digest), content)
            durable.write(self._sidecar(kept.digest), msgspec.json.encode(kept))
            self._kept[kept.digest] = kept
        self._work.set()

    def finished(self) -> list[Event]:
        """Events about samples that the cloud has taken or refused; call `committed` when they are kept."""
        events: list[Event] = []
        while self._done:
            event, digest = self._done.popleft()
            events.append(event)
            self._handed.append(digest)
        return events

    def committed(self) -> None:
        """The events of `finished` are in the outbox: what they tell of can go."""
        for digest in self._handed:
            with self._lock:
                self._forget(digest)
        self._handed.clear()

    # ------------------------------------------------------------------------------ the curation thread

    def run(self) -> None:
        """Upload until `stop`; waits for samples, for the budget, or for the cloud to come back."""
        assert self._upload is not None
        wait_s = RETRY_FIRST_S
        while not self._stop.is_set():
            self._work.clear()
            kept = self._next()
            if kept is None:
                self._work.wait(self._pause_s() if self._kept else None)
                continue
            try:
                self._send(kept)
                wait_s = RETRY_FIRST_S
            except UploadFailed as error:
                log.info("sample %s waits: %s", kept.digest[:12], error)
                if error.of_sample:
                    self._defer(kept.digest)
                    continue
                self._stop.wait(wait_s)
                wait_s = min(RETRY_LAST_S, 2 * wait_s)

    def stop(self) -> None:
        """End `run` after the piece that is on its way."""
        self._stop.set()
        self._work.set()

    def _next(self) -> Kept | None:
        """The most interesting sample that the budget allows."""
        with self._lock:
            left = self._allowance.left(self._clock())
            fitting = [
                kept
                for digest, kept in self._kept.items()
                if digest not in self._sending
                and kept.size <= left
                and self._deferred.get(digest, (0.0, 0.0))[0] <= time.monotonic()
            ]
            return max(fitting, key=lambda kept: (kept.score, -kept.captured_ns), default=None)

    def _defer(self, digest: str) -> None:
        """Let other samples go first, longer each time."""
        with self._lock:
            wait_s = min(DEFER_LAST_S, 2 * self._deferred.get(digest, (0.0, DEFER_FIRST_S / 2))[1])
            self._deferred[digest] = (time.monotonic() + wait_s, wait_s)

    def _pause_s(self) -> float:
        """Time until there may be something to send: the budget grows, or a deferred sample is due."""
        now = time.monotonic()
        with self._lock:
            return min(BUDGET_LOOK_S, *(at - now for at, _ in self._deferred.values() if at > now), math.inf)

    def _send(self, kept: Kept) -> None:
        assert self._upload is not None
        try:
            content = self._content(kept.digest).read_bytes()
            for sent in self._upload.send(kept, content):
                self._spend(sent)
                if self._stop.is_set():
                    raise UploadFailed("the node stops")
        except FileNotFoundError:
            with self._lock:
                self._forget(kept.digest)
            return
        except SampleError as error:
            log.error("the cloud does not take sample %s: %s", kept.digest, error)
            self._finish(kept, {"refused": str(error)[:500]})
            return
        self._finish(kept, {})

    def _finish(self, kept: Kept, more: Mapping[str, Any]) -> None:
        facts = {
            "digest": kept.digest,
            "bytes": kept.size,
            "reasons": kept.reasons,
            "group": kept.group,
            **more,
        }
        event = Event(SAMPLE_TYPE, kept.subject, self._clock(), Priority.SAMPLE, facts)
        with self._lock:
            self._sending.add(kept.digest)
        self._done.append((event, kept.digest))

    def _spend(self, size: int) -> None:
        self.bytes_sent += size
        with self._lock:
            self._allowance.spend(self._clock(), size)
            spent = msgspec.json.encode(self._allowance.spent())
        durable.write(self._folder / BUDGET, spent)

    # ---------------------------------------------------------------------------------------- the store

    def _encode(self, sample: Sample) -> bytes:
        plain = sum(array.nbytes for array in sample.arrays.values())
        limit = min(PLAIN_LIMIT_BYTES, 64 * self._settings.store_bytes)
        if plain > limit:
            raise SampleError(f"it has {plain} bytes; a sample holds at most {limit}")
        content = encode_sample(sample.arrays)
        most = min(self._settings.store_bytes, self._settings.budget_bytes_per_day)
        if len(content) > most:
            raise SampleError(
                f"it takes {len(content)} bytes, and the store and the day's budget hold at most {most}: "
                "raise curation.store_bytes and curation.budget_bytes_per_day, or offer less at once"
            )
        return content

    def _make_room(self, new: Kept) -> bool:
        """Drop what is less interesting than ``new``; False if it is itself the least interesting."""
        total = sum(kept.size for kept in self._kept.values()) + new.size
        candidates = sorted(
            (kept for kept in self._kept.values() if kept.digest not in self._sending),
            key=lambda kept: (kept.score, kept.captured_ns),
        )
        dropped: list[Kept] = []
        for kept in candidates:
            if total <= self._settings.store_bytes:
                break
            if kept.score > new.score:
                return False
            dropped.append(kept)
            total -= kept.size
        if total > self._settings.store_bytes:
            return False
        for kept in dropped:
            log.info("sample %s makes room for a more interesting one", kept.digest[:12])
            self._forget(kept.digest)
        return True

    def _load(self) -> None:
        """Read what an earlier process has kept; half of a sample goes."""
        for path in sorted(self._folder.glob("*.npz")):
            sidecar = path.with_suffix(".json")
            try:
                kept = msgspec.json.decode(sidecar.read_bytes(), type=Kept)
                if kept.digest != path.stem or kept.size != path.stat().st_size:
                    raise ValueError("the files do not belong together")
                self._kept[kept.digest] = kept
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                log.warning("sample %s is not whole and goes: %s", path, error)
                self._forget(path.stem)

    def _read_budget(self) -> list[tuple[int, int]]:
        try:
            return msgspec.json.decode((self._folder / BUDGET).read_bytes(), type=list[tuple[int, int]])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("the count of uploaded bytes is lost (%s): the day's budget counts as spent", error)
            return [(self._clock(), self._settings.budget_bytes_per_day)]

    def _forget(self, digest: str) -> None:
        self._kept.pop(digest, None)
        self._deferred.pop(digest, None)
        self._sending.discard(digest)
        for path in (self._sidecar(digest), self._content(digest)):
            with suppress(FileNotFoundError):
                path.unlink()

    def _content(self, digest: str) -> Path:
        return self._folder / f"{digest}.npz"

    def _sidecar(self, digest: str) -> Path:
        return self._folder / f"{digest}.json"


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as JSON values. Raises `SampleError`."""
    try:
        return msgspec.json.decode(msgspec.json.encode(dict(attributes)), type=dict[str, Any])
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise SampleError(f"its attributes are not JSON: {error}") from error
