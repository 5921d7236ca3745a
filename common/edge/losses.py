"""Permanent losses of a node, remembered for a day: until then it is not healthy.

Counts by kind (`Kind`). They are kept in ``losses.json``, so that a restart does not make a node healthy that
has lost something an hour ago. Any thread may add; only `save` writes, at most once a minute.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from common import durable
from common.clock import Clock, steady_ns
from common.messages import EARLIEST_CLOCK_NS

log = logging.getLogger(__name__)

FILE = "losses.json"
REMEMBERED_NS = 24 * 3_600_000_000_000
"""Time after the last loss of a kind for which a node is unhealthy."""
SAVE_EVERY_NS = 60_000_000_000
_HOUR_NS = 3_600_000_000_000


class Kind(StrEnum):
    """Kinds of losses."""

    EVENTS = "events"
    """Given up for the disk budget, refused by the cloud, or lost in a damaged outbox."""
    OUTBOX = "outbox"
    """The outbox was damaged, and the events that it had are not known."""
    STATE = "state"
    """The app's state, or a part of it."""
    READINGS = "readings"
    """Readings that there were and that no decision was made on."""
    REPORTS = "reports"
    """Reports of the node about itself that were not kept because too many waited."""


_SAYS = {
    Kind.EVENTS: "{count} events were lost (disk budget, damage, or refused by the cloud)",
    Kind.OUTBOX: "the outbox was damaged, and more events than are counted may be lost",
    Kind.STATE: "the app's state was lost, at least in part",
    Kind.READINGS: "at least {count} readings of the source were lost",
    Kind.REPORTS: "{count} reports of the node were dropped because too many waited",
}


class _Loss(msgspec.Struct):
    """``count`` since the node was last without losses; ``last_ns`` by the clock of the node."""

    count: int
    last_ns: int


class Losses:
    """The losses of a node with its data in ``folder``."""

    def __init__(self, folder: Path, clock: Clock, steady: Callable[[], int] = steady_ns) -> None:
        self._path = folder / FILE
        self._clock = clock
        self._steady = steady
        self._lock = threading.Lock()
        self._changed = False
        self._save_due_ns = 0
        self._counts: dict[Kind, int] = {}
        self._last_ns: dict[Kind, int] = {}
        """By the steady time: a clock that is set makes no loss older."""
        now_ns = clock()
        for kind, loss in self._read().items():
            whenever = EARLIEST_CLOCK_NS <= loss.last_ns <= now_ns  # If not, a wrong clock stamped it.
            age_ns = now_ns - loss.last_ns if whenever else 0
            self._counts[kind], self._last_ns[kind] = loss.count, steady() - age_ns

    def add(self, kind: Kind, count: int = 1) -> None:
        """``count`` of a kind were lost now."""
        with self._lock:
            self._forget()
            self._counts[kind] = self._counts.get(kind, 0) + count
            self._last_ns[kind] = self._steady()
            self._changed = True

    def problems(self) -> list[str]:
        """Losses of the last day, as text."""
        with self._lock:
            self._forget()
            now_ns = self._steady()
            return [
                f"{_SAYS[kind].format(count=self._counts[kind])}, the last "
                f"{(now_ns - self._last_ns[kind]) / _HOUR_NS:.1f} h ago; shown for 24 h"
                for kind in Kind
                if kind in self._counts
            ]

    def save(self, *, at_once: bool = False) -> None:
        """Write what was added since the last time, if that is a minute ago."""
        with self._lock:
            steady_now_ns = self._steady()
            if not self._changed or (steady_now_ns < self._save_due_ns and not at_once):
                return
            behind_ns = self._clock() - steady_now_ns
            kept = {kind: _Loss(self._counts[kind], at + behind_ns) for kind, at in self._last_ns.items()}
            self._changed, self._save_due_ns = False, steady_now_ns + SAVE_EVERY_NS
        try:
            durable.write(self._path, msgspec.json.encode(kept))
        except OSError as error:
            log.warning("%s cannot be written; a restart forgets what was lost: %s", self._path, error)
            self._changed = True

    def _forget(self) -> None:
        before_ns = self._steady() - REMEMBERED_NS
        for kind in [kind for kind, last_ns in self._last_ns.items() if last_ns <= before_ns]:
            del self._counts[kind], self._last_ns[kind]

    def _read(self) -> dict[Kind, _Loss]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[Kind, _Loss])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read; earlier losses are not known: %s", self._path, error)
            return {}
