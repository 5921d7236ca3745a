"""Send window: decides what to send next and what an ack means. The rules of the uplink, without I/O.

1. Batches go out in order, at most ``in_flight_batches`` of them unanswered.
2. An ack's high-water mark is all that counts. What it covers is done; events are
   deleted only up to the highest mark seen.
3. A mark that stands still for `SAME_MARKS` acks, or silence for ``ack_timeout_s``, means that a batch was
   lost: resend from the mark. After a silence one batch at a time is sent until there is progress.
4. A mark below one seen before is an old ack, unless it comes `SAME_MARKS` times: then the cloud was put back
   to an earlier day (`Answer.CLOUD_LOST`). What it misses is gone; the node continues from what is kept.
5. A mark above everything that was ever numbered means that this node was put back to an earlier day
   (`Answer.NODE_LOST`): its epoch must end.
6. A refused batch is sent again as smaller ones, down to one event, which then is dropped.
7. A batch that the cloud dropped because this node sends more than its share is sent again after a wait.
8. After a connection, a backlog is sent at ``catch_up_events_per_s`` after a random wait, so that a thousand
   nodes that come back together do not come at once. Fresh events are not slowed down.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from enum import Enum

from common.config.node import UplinkSettings

SAME_MARKS = 3
TOKEN_NOISE = 1e-3
"""Rounding in the count of tokens."""
BURST_S = 0.05
"""Burst of the catch-up rate, in seconds of it."""


class Answer(Enum):
    """Meaning of an ack."""

    PROGRESS = "progress"
    NOTHING = "nothing"
    CLOUD_LOST = "cloud_lost"
    NODE_LOST = "node_lost"


@dataclass(slots=True)
class Batch:
    """A batch on its way: ``events`` rows from ``first`` to ``last``."""

    first: int
    last: int
    events: int
    digest: str
    sent_s: float


class SendWindow:
    """The window over one epoch's stream. ``acked`` is the highest mark seen (at first: below the oldest).

    Times are seconds of any steady clock.
    """

    def __init__(self, settings: UplinkSettings, acked: int, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._batches: deque[Batch] = deque()
        self._limit = settings.batch_events
        self._hold_until_s = 0.0
        self._backlog_end = 0
        self._tokens = 0.0
        self._refilled_s = 0.0
        self._same_marks = 0
        self._lower_marks = 0
        self._careful = False
        self._recovering = False
        self.acked = acked
        self.sent = acked
        """The highest seq that is on its way or done."""

    @property
    def in_flight(self) -> int:
        """Batches that are not answered."""
        return len(self._batches)

    @property
    def limit(self) -> int:
        """Maximum number of events in the next batch."""
        return self._limit

    @property
    def _catching_up(self) -> bool:
        return self.sent < self._backlog_end

    def connected(self, now_s: float, last_seq: int) -> None:
        """A connection is there; nothing that was sent before counts."""
        self._rewind()
        self._same_marks = self._lower_marks = 0
        self._careful = self._recovering = False
        self._backlog_end = last_seq if last_seq - self.acked > self._settings.batch_events else 0
        self._tokens, self._refilled_s = 0.0, now_s
        if self._catching_up:
            self.hold(now_s, self._rng.random() * 2 * self._settings.reconnect_min_s)

    def hold(self, now_s: float, seconds: float) -> None:
        """Send nothing for a while."""
        self._hold_until_s = now_s + seconds
        self._refilled_s = max(self._refilled_s, self._hold_until_s)

    def room(self, now_s: float, last_seq: int) -> int:
        """Maximum number of events to send now, in one batch."""
        waiting = last_seq - self.sent
        max_batches = 1 if self._careful else self._settings.in_flight_batches
        if waiting <= 0 or now_s < self._hold_until_s or len(self._batches) >= max_batches:
            return 0
        if not self._catching_up:
            return self._limit
        self._refill(now_s)
        wanted = self._wanted_tokens(waiting)
        return wanted if self._tokens >= wanted - TOKEN_NOISE else 0

    def wait_s(self, now_s: float, last_seq: int) -> float:
        """Time until something can become due; infinity if only an answer or a new event changes that."""
        due: list[float] = []
        if self._batches:
            due.append(self._batches[0].sent_s + self._settings.ack_timeout_s)
        waiting = last_seq - self.sent
        max_batches = 1 if self._careful else self._settings.in_flight_batches
        if waiting > 0 and len(self._batches) < max_batches:
            at_s = max(now_s, self._hold_until_s)
            if self._catching_up:
                missing = self._wanted_tokens(waiting) - self._tokens
                at_s = max(at_s, self._refilled_s + missing / self._settings.catch_up_events_per_s)
            due.append(at_s)
        return max(0.0, min(due) - now_s) if due else float("inf")

    def handed(self, first: int, last: int, events: int, digest: str, now_s: float) -> None:
        """A batch went out."""
        self._batches.append(Batch(first, last, events, digest, now_s))
        self.sent = max(self.sent, last)
        self._tokens -= events

    def answered(self, mark: int, last_seq: int, now_s: float) -> Answer:
        """An ack of this epoch came."""
        if mark > last_seq:
            return Answer.NODE_LOST
        if mark > self.acked:
            self._progress(mark, now_s)
            return Answer.PROGRESS
        if mark == self.acked:
            self._lower_marks = 0
            if self._batches and not self._recovering:
                self._same_marks += 1
                if self._same_marks >= SAME_MARKS:
                    self._rewind()
                    self._recovering = True
            return Answer.NOTHING
        self._lower_marks += 1
        if self._lower_marks % SAME_MARKS or self._recovering:
            return Answer.NOTHING
        self._rewind()
        self._recovering = True
        return Answer.CLOUD_LOST

    def refused(self, digest: str) -> int:
        """A batch could not be read. Returns the seq of the event to drop; 0 for a smaller try."""
        batch = next((batch for batch in self._batches if batch.digest == digest), None)
        if batch is None:
            return 0
        self._rewind()
        if batch.events == 1:
            return batch.first
        self._limit = max(1, batch.events // 2)
        return 0

    def limited(self, now_s: float, seconds: float) -> None:
        """The cloud drops what it gets now: go back to the mark, and wait."""
        self._rewind()
        self.hold(now_s, seconds)

    def expired(self, now_s: float) -> bool:
        """Whether an answer has been missing for too long; goes back to the mark then."""
        if not self._batches or now_s - self._batches[0].sent_s < self._settings.ack_timeout_s:
            return False
        self._rewind()
        self._careful = True
        return True

    def _progress(self, mark: int, now_s: float) -> None:
        self.acked = mark
        self.sent = max(self.sent, mark)
        while self._batches and self._batches[0].last <= mark:
            self._batches.popleft()
        for batch in self._batches:
            batch.sent_s = now_s
        self._same_marks = self._lower_marks = 0
        self._careful = self._recovering = False
        self._limit = min(self._settings.batch_events, 2 * self._limit)

    def _rewind(self) -> None:
        self._batches.clear()
        self._same_marks = 0
        self.sent = self.acked

    def _wanted_tokens(self, waiting: int) -> int:
        return min(waiting, self._limit)

    def _refill(self, now_s: float) -> None:
        max_tokens = max(float(self._settings.batch_events), BURST_S * self._settings.catch_up_events_per_s)
        gained = max(0.0, now_s - self._refilled_s) * self._settings.catch_up_events_per_s
        self._tokens = min(max_tokens, self._tokens + gained)
        self._refilled_s = max(self._refilled_s, now_s)
