"""The outbox's stream to the cloud: batches out, acks in, one epoch after another. No sockets.

`common.edge.delivery.send_window` has the rules; here they meet the outbox. A batch carries the session and a
turn number, and an ack counts only for this session and a turn that is newer than the last one.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from common.clock import Clock
from common.config.node import UplinkSettings
from common.edge.delivery.cloud_notices import CloudNotices
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.recent_rows import Pending
from common.edge.delivery.send_window import Answer, SendWindow
from common.errors import BatchError
from common.messages import BATCH_LIMIT_BYTES, Ack, digest, encode_batch
from common.sealing import name_of

log = logging.getLogger(__name__)

PLAIN_BYTES = 8 * BATCH_LIMIT_BYTES
"""Maximum bytes of a batch before compression; one that exceeds the wire limit after it is halved."""
MAX_LIMIT_S = 60.0
"""Maximum pause for a rate limit of the cloud."""
FORGET_RETRY_S = 0.02
"""Wait before acked events are forgotten, while a commit runs."""


@dataclass(slots=True)
class Traffic:
    """Counts since the start."""

    batches: int = 0
    events: int = 0
    bytes: int = 0
    connections: int = 0
    refusals: int = 0
    timeouts: int = 0
    rejected: int = 0
    """Messages that the cloud did not seal, or not for this node now."""
    limited: int = 0
    """Batches that the cloud dropped because this node sends more than its share."""
    epochs_left: int = 0
    """Epochs that were ended because another device continued them, or this one was put back."""


class StreamSender:
    """Sends one outbox for the node ``source``; everything here belongs to the uplink thread.

    ``publish`` sends a batch and returns its payload, or None once the connection has ended.
    """

    def __init__(
        self,
        outbox: Outbox,
        source: str,
        session: str,
        settings: UplinkSettings,
        clock: Clock,
        rng: Random,
        notices: CloudNotices,
        publish: Callable[[bytes], bytes | None],
    ) -> None:
        self._outbox = outbox
        self._source = source
        self._session = session
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._notices = notices
        self._publish = publish
        self._turn = self._last_turn = 0
        self._payload_names: deque[str] = deque(maxlen=2 * settings.in_flight_batches)
        self._waiting_since_s: float | None = None
        self.traffic = Traffic()
        self._new_window()

    def connected(self) -> None:
        """A new connection is ready."""
        self._window.connected(time.monotonic(), self._outbox.last_seq)

    def pause(self, seconds: float) -> None:
        """Send nothing for a while."""
        self._window.hold(time.monotonic(), seconds)

    def send(self, *, draining: bool) -> float:
        """Send what may be sent. Returns after how many seconds there may be more. Raises `OutboxError`.

        ``draining``: the node stops, so no batch waits to become fuller.
        """
        if self._epoch != self._outbox.epoch:
            self._new_window()
        forgotten = self._forget(wait=draining)
        if self._window.expired(time.monotonic()):
            self.traffic.timeouts += 1
            log.info("no answer from the cloud; sending again from %d", self._window.acked + 1)
        while room := self._window.room(now_s := time.monotonic(), last := self._outbox.last_seq):
            full = last - self._window.sent >= room
            linger_s = 0.0 if full or draining else self._linger_s(now_s)
            if linger_s > 0:
                return linger_s
            if not self._send_batch(room):
                break
        wait_s = self._window.wait_s(time.monotonic(), self._outbox.last_seq)
        return wait_s if forgotten else min(wait_s, FORGET_RETRY_S)

    def handle_ack(self, ack: Ack) -> None:
        """An answer of the cloud arrived. Raises `OutboxError`."""
        if ack.refused_digest:
            self._handle_refusal(ack)
        if ack.limited:
            self._handle_limit(ack)
        if not ack.epoch:
            return
        if ack.session != self._session or ack.turn <= self._last_turn:
            self.traffic.rejected += 1  # For another session, or received before.
            return
        self._last_turn = ack.turn
        if ack.shared:
            self._notices.identity_shared(self._epoch)
        if ack.epoch != self._epoch or self._epoch != self._outbox.epoch:
            return
        if ack.forked:
            self._outbox.acked(ack.high_water_mark)  # So far the cloud has what this node has.
            self._leave_epoch(
                "forked",
                f"another device continued epoch {ack.epoch} differently: this data folder was copied, or "
                "put back to an earlier day; all that is kept goes on in a new epoch",
            )
        else:
            self._apply_mark(ack.high_water_mark)

    def _new_window(self) -> None:
        self._owed = False
        self._epoch = self._outbox.epoch
        self._window = SendWindow(self._settings, self._outbox.oldest() - 1, self._rng)

    def _forget(self, *, wait: bool = False) -> bool:
        """Forget what the cloud has, unless a commit runs just now: sending need not wait for that."""
        if self._owed and self._outbox.acked(self._window.acked, wait=wait):
            self._owed = False
        return not self._owed

    def _linger_s(self, now_s: float) -> float:
        """Remaining wait for a fuller batch."""
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        return self._waiting_since_s + self._settings.linger_s - now_s

    def _send_batch(self, room: int) -> bool:
        """Send one batch; False where nothing more can be sent now."""
        oldest = self._outbox.oldest()
        rows = self._outbox.pending(self._window.sent, room, PLAIN_BYTES)
        if not rows:
            self.pause(1.0)
            return False
        rows, body = self._encode(rows, min(oldest, rows[0].seq))
        payload = self._publish(body)
        if payload is None:
            return False
        self._payload_names.append(name_of(payload))
        self._waiting_since_s = None
        self._window.handed(rows[0].seq, rows[-1].last_seq, len(rows), digest(body), time.monotonic())
        self.traffic.batches += 1
        self.traffic.events += len(rows)
        self.traffic.bytes += len(payload)
        return True

    def _encode(self, rows: list[Pending], oldest: int) -> tuple[list[Pending], bytes]:
        """A batch of as many of ``rows`` as fit the wire; one event always fits."""
        self._turn += 1
        while True:
            try:
                return rows, encode_batch(
                    [row.body for row in rows],
                    source=self._source,
                    epoch=self._epoch,
                    first=rows[0].seq,
                    last=rows[-1].last_seq,
                    sent_ns=self._clock(),
                    oldest=oldest,
                    session=self._session,
                    turn=self._turn,
                )
            except BatchError:
                if len(rows) == 1:
                    raise
                rows = rows[: (len(rows) + 1) // 2]

    def _apply_mark(self, mark: int) -> None:
        last_seq = self._outbox.last_seq
        answer = self._window.answered(mark, last_seq, time.monotonic())
        if answer is Answer.PROGRESS:
            self._owed = True
            self._forget()
        elif answer is Answer.CLOUD_LOST:
            self._notices.report(
                "cloud_lost",
                f"the cloud has events up to {mark} only, but had acked up to {self._window.acked}: it was "
                "put back to an earlier day",
                self._epoch,
            )
        elif answer is Answer.NODE_LOST:
            self._forget(wait=True)
            self._leave_epoch(
                "node_lost",
                f"the cloud has events up to {mark}, this node has numbered {last_seq} only: it was put back "
                "to an earlier day; a new epoch begins",
            )

    def _leave_epoch(self, problem: str, detail: str) -> None:
        self._notices.report(problem, detail, self._epoch)
        self._outbox.begin_epoch()
        self._new_window()
        self.traffic.epochs_left += 1

    def _handle_limit(self, ack: Ack) -> None:
        if ack.limited not in self._payload_names:
            return
        self.traffic.limited += 1
        self._window.limited(time.monotonic(), min(MAX_LIMIT_S, max(0.0, ack.retry_after_s)))
        self._notices.rate_limited(ack.retry_after_s)

    def _handle_refusal(self, ack: Ack) -> None:
        self.traffic.refusals += 1
        bad = self._window.refused(ack.refused_digest)
        log.warning("the cloud cannot read a batch: %s", ack.refused_reason)
        if not bad:
            return
        if self._outbox.refused(bad):
            self._notices.report("refused", f"event {bad} was dropped: {ack.refused_reason}", self._epoch)
        else:
            self.pause(self._settings.ack_timeout_s)
