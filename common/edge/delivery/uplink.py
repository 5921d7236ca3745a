"""Events to the cloud by MQTT, until it has them: the shell around `common.edge.delivery.send_window`.

One thread owns the connection, so nothing here needs a lock: it waits for the socket, for `Uplink.wake` or
for the window's next moment, and never polls. A connection that the broker refuses is no connection. Each
connection is a fresh client: nothing is queued outside the outbox. The status topic tells ``online`` while
the node is there; the last will tells ``offline`` when it vanishes.

Whatever comes through the broker counts only with the seal of the cloud (`common.sealing`) and for this
session (`common.messages`); what does not is counted and reported. Connections that end soon after they began
are followed by longer and longer waits: another client may use this node's identity.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from common.broker_tls import tls_context
from common.clock import Clock
from common.config.node import Enrolment, UplinkSettings
from common.connection import Address
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.recent_rows import Pending
from common.edge.delivery.send_window import Answer, SendWindow
from common.edge.problems import Problems
from common.errors import BatchError, MessageError, OutboxError, SealError
from common.messages import (
    BATCH_LIMIT_BYTES,
    Ack,
    Event,
    Hint,
    Priority,
    Status,
    decode,
    digest,
    encode,
    encode_batch,
    topics,
)
from common.sealing import Seal, name_of

log = logging.getLogger(__name__)

UPLINK_TYPE = "edgeloop.uplink"
KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 5.0
LONGEST_WAIT_S = 5.0
PLAIN_BYTES = 8 * BATCH_LIMIT_BYTES
"""Most bytes of a batch before compression; one that does not fit the wire then is halved."""
GOODBYE_S = 1.0
STEADY_S = 10.0
"""A connection that lasted so long was a good one: the next wait is short again."""
SHORT_CONNECTIONS = 3
"""Connections in a row that the broker ended sooner, which are worth a report."""
STATUS_AGAIN_S = 60.0
"""How often the status is said again, should an old last will have come behind it."""
RECENT_S = 600.0
"""How long what the cloud said of this node counts for its health."""
SHARED_AGAIN_S = 3600.0
"""How often an alarm says that the identity is shared, while it is."""
LONGEST_LIMIT_S = 60.0
FORGET_AGAIN_S = 0.02
"""When to look again whether what the cloud has can be forgotten."""


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


class Uplink:
    """Sends what is in the outbox and forgets what the cloud has.

    ``status`` tells what to say when connected; ``look`` is called when there may be another model, ``hint``
    with any other hint of the cloud; ``report`` takes events about the uplink itself.
    """

    def __init__(
        self,
        enrolment: Enrolment,
        outbox: Outbox,
        settings: UplinkSettings,
        clock: Clock,
        *,
        status: Callable[[], Status],
        check_now: Callable[[], None],
        hint: Callable[[Hint], None],
        report: Callable[[Event], None],
        chance: random.Random | None = None,
    ) -> None:
        self._enrolment = enrolment
        self._outbox = outbox
        self._settings = settings
        self._clock = clock
        self._status = status
        self._check_now = check_now
        self._hint = hint
        self._report = report
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, guards nothing
        self.broker = Address(enrolment.mqtt_host, enrolment.mqtt_port)
        """Where the next connection goes; any thread may set it."""
        self._tls = tls_context(enrolment.mqtt_ca) if enrolment.mqtt_tls else None
        self._topics = topics(enrolment.site, enrolment.node)
        self._source = f"/{enrolment.site}/{enrolment.node}"
        self._client: mqtt.Client | None = None
        self._seal = Seal.of(enrolment.wire_key)
        self._session = secrets.token_hex(8)
        # Whoever connects with a client's id ends its connection: this one is in no message, not even a hash.
        self._client_id = f"edgeloop:{enrolment.site}:{enrolment.node}:{secrets.token_hex(16)}"
        self._turn = self._last_turn = self._hint_number = 0
        self._names: deque[str] = deque(maxlen=2 * settings.in_flight_batches)
        self._problems = Problems(UPLINK_TYPE)
        self._short_connections = 0
        self._shared_s: float | None = None
        self._shared_told_s: float | None = None
        self._limited_s: float | None = None
        self._ready = False
        self._ready_s = 0.0
        self._said = Status("offline", "")
        self._said_s = 0.0
        self._stop = threading.Event()
        self._drain_until_s = 0.0
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_out, False)
        os.set_blocking(self._wake_in, False)
        self._waiting_since_s: float | None = None
        self.traffic = Traffic()
        self._new_window()

    # --------------------------------------------------------------------------------------- anywhere

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this node and its subscriptions."""
        return self._ready

    @property
    def shared(self) -> bool:
        """Whether the cloud lately said that another device uses this node's identity."""
        return self._shared_s is not None and time.monotonic() - self._shared_s < RECENT_S

    @property
    def limited(self) -> bool:
        """Whether the cloud lately took less than this node sent."""
        return self._limited_s is not None and time.monotonic() - self._limited_s < RECENT_S

    def wake(self) -> None:
        """There is something new in the outbox."""
        with suppress(BlockingIOError):  # It is awake already.
            os.write(self._wake_in, b"\0")

    def stop(self, drain_s: float = 0.0) -> None:
        """End `run`, as soon as the outbox is empty or ``drain_s`` are over (at once if not connected)."""
        self._drain_until_s = time.monotonic() + drain_s
        self._stop.set()
        self.wake()

    def close(self) -> None:
        """Give back what the uplink holds, once its thread has ended and nobody wakes it."""
        os.close(self._wake_in)
        os.close(self._wake_out)

    # ------------------------------------------------------------------------------- the uplink thread

    def run(self) -> None:
        """Connect, send and listen until `stop`."""
        wait_s = self._settings.reconnect_first_s
        while not self._stop.is_set():
            met = False
            try:
                self._connect()
                met = self._serve()
            except OSError as error:
                log.info("no connection to the broker: %s", error)
            finally:
                self._disconnect()
            if met and self._was_steady():
                wait_s = self._settings.reconnect_first_s
            self._stop.wait(wait_s * self._chance.uniform(0.5, 1.0))
            wait_s = min(self._settings.reconnect_last_s, 2 * wait_s)

    def _was_steady(self) -> bool:
        """Whether the connection that has ended was a good one; several in a row that were not are told."""
        lasted_s = time.monotonic() - self._ready_s
        if lasted_s >= STEADY_S:
            self._short_connections = 0
            return True
        self._short_connections += 1
        if self._short_connections >= SHORT_CONNECTIONS and not self._stop.is_set():
            self._problems.add(
                "short_connections",
                f"the broker ended {self._short_connections} connections in a row within {STEADY_S:.0f} s: "
                "another client uses this node's identity, or the broker or the network fails",
                self._enrolment.node,
            )
        return False

    def _new_window(self) -> None:
        self._owed = False
        self._epoch = self._outbox.epoch
        self._window = SendWindow(self._settings, self._outbox.oldest() - 1, self._chance)

    def _connect(self) -> None:
        """Begin a connection. Raises ``OSError``."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.max_inflight_messages_set(self._settings.in_flight_batches + 8)
        if self._enrolment.mqtt_password:
            client.username_pw_set(
                f"{self._enrolment.site}/{self._enrolment.node}", self._enrolment.mqtt_password
            )
        app = self._status().app
        will = encode(Status("offline", app, sent_ns=self._clock(), session=self._session))
        topic = self._topics.status
        client.will_set(topic, self._seal.close(topic, will), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        self._client = client
        client.connect(self.broker.host, self.broker.port, keepalive=KEEPALIVE_S)

    def _disconnect(self) -> None:
        if self._ready:
            log.info("disconnected from the broker")
        self._ready = False
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, ValueError):
                client.disconnect()

    def _on_connect(
        self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            log.warning(
                "the broker at %s:%d refuses this node: %s",
                self.broker.host,
                self.broker.port,
                reason,
            )
            return
        client.subscribe([(self._topics.ack, 1), (self._topics.hint, 1)])

    def _on_subscribe(
        self, client: mqtt.Client, _userdata: Any, _mid: int, reasons: Any, _properties: Any
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            log.warning("the broker does not let this node listen to its topics: %s", reasons)
            client.disconnect()
            return
        self._ready = True
        self._ready_s = time.monotonic()
        self.traffic.connections += 1
        self._window.connected(time.monotonic(), self._outbox.last_seq)
        self._say(self._status())
        log.info("connected to %s:%d", self.broker.host, self.broker.port)
        self._check_now()

    def _say(self, status: Status) -> None:
        assert self._client is not None
        self._said, self._said_s = status, time.monotonic()
        self._publish_status(self._client, status)

    def _publish_status(self, client: mqtt.Client, status: Status) -> mqtt.MQTTMessageInfo:
        stamped = Status(status.state, status.app, status.version, self._clock(), self._session)
        topic = self._topics.status
        return client.publish(topic, self._seal.close(topic, encode(stamped)), qos=1, retain=True)

    def _serve(self) -> bool:
        """Work until the connection ends or it is time to stop. Returns whether there was a conversation."""
        client = self._client
        assert client is not None
        met = False
        began_s = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            while (socket := client.socket()) is not None and not self._is_over():
                met = met or self._ready
                if not self._ready and time.monotonic() - began_s > 2 * CONNECT_TIMEOUT_S:
                    log.info("the broker does not answer")
                    return met
                wait_s = self._work() if self._ready else 1.0
                if (socket := client.socket()) is None:
                    return met
                interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
                selector.register(socket, interest)
                try:
                    happened = selector.select(min(wait_s, LONGEST_WAIT_S))
                finally:
                    selector.unregister(socket)
                self._dispatch(client, [(key.fileobj, mask) for key, mask in happened])
        if self._ready and client.socket() is not None:
            self._publish_offline(client)
        return met

    def _dispatch(self, client: mqtt.Client, happened: list[tuple[Any, int]]) -> None:
        for source, mask in happened:
            if source == self._wake_out:
                with suppress(BlockingIOError):
                    os.read(self._wake_out, 4096)
                continue
            if mask & selectors.EVENT_READ:
                client.loop_read()
            if mask & selectors.EVENT_WRITE and client.socket() is not None:
                client.loop_write()
        if client.socket() is not None:
            client.loop_misc()

    def _is_over(self) -> bool:
        if not self._stop.is_set():
            return False
        return not self._ready or not self._outbox.events or time.monotonic() >= self._drain_until_s

    def _publish_offline(self, client: mqtt.Client) -> None:
        """Tell that this node stops, and wait a moment until the broker has it."""
        status = self._status()
        message = self._publish_status(client, Status("offline", status.app, status.version))
        until_s = time.monotonic() + GOODBYE_S
        with selectors.DefaultSelector() as selector:
            while not message.is_published() and (left_s := until_s - time.monotonic()) > 0:
                if (socket := client.socket()) is None:
                    return
                interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
                selector.register(socket, interest)
                happened = selector.select(left_s)
                selector.unregister(socket)
                self._dispatch(client, [(key.fileobj, mask) for key, mask in happened])

    # ---------------------------------------------------------------------------------------- sending

    def _work(self) -> float:
        """Send what may be sent. Returns after how many seconds there may be more to do."""
        try:
            return self._send()
        except OutboxError as error:
            log.error("%s", error)
            self._window.hold(time.monotonic(), 1.0)
            return 1.0

    def _send(self) -> float:
        if self._epoch != self._outbox.epoch:
            self._new_window()
        status = self._status()
        if status != self._said or time.monotonic() - self._said_s >= STATUS_AGAIN_S:
            self._say(status)
        for report in self._problems.events(self._clock()):
            self._report(report)
        forgotten = self._forget()
        if self._window.expired(time.monotonic()):
            self.traffic.timeouts += 1
            log.info("no answer from the cloud; sending again from %d", self._window.acked + 1)
        while room := self._window.room(now_s := time.monotonic(), last := self._outbox.last_seq):
            linger_s = self._linger_s(now_s, last - self._window.sent >= room)
            if linger_s > 0:
                return linger_s
            if not self._send_batch(room):
                break
        wait_s = self._window.wait_s(time.monotonic(), self._outbox.last_seq)
        return wait_s if forgotten and not self._stop.is_set() else min(wait_s, FORGET_AGAIN_S)

    def _forget(self, *, wait: bool = False) -> bool:
        """Forget what the cloud has, unless a commit runs just now: sending need not wait for that."""
        if self._owed and self._outbox.acked(self._window.acked, wait=wait or self._stop.is_set()):
            self._owed = False
        return not self._owed

    def _linger_s(self, now_s: float, full: bool) -> float:
        """How much longer to wait for a fuller batch."""
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        if full or self._stop.is_set():
            return 0.0
        return self._waiting_since_s + self._settings.linger_s - now_s

    def _send_batch(self, room: int) -> bool:
        assert self._client is not None
        oldest = self._outbox.oldest()
        rows = self._outbox.pending(self._window.sent, room, PLAIN_BYTES)
        if not rows:
            self._window.hold(time.monotonic(), 1.0)
            return False
        rows, payload = self._encode(rows, min(oldest, rows[0].seq))
        topic = self._topics.up
        sealed = self._seal.close(topic, payload)
        self._names.append(name_of(sealed))
        self._client.publish(topic, sealed, qos=1)
        self._waiting_since_s = None
        self._window.handed(rows[0].seq, rows[-1].last_seq, len(rows), digest(payload), time.monotonic())
        self.traffic.batches += 1
        self.traffic.events += len(rows)
        self.traffic.bytes += len(sealed)
        return self._client.socket() is not None

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

    # --------------------------------------------------------------------------------------- hearing

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            body = self._seal.open(message.topic, bytes(message.payload))
            if message.topic == self._topics.ack:
                self._handle_ack(decode(body, Ack))
            else:
                self._take_hint(decode(body, Hint))
        except SealError as error:
            self.traffic.rejected += 1
            self._problems.add("rejected", f"{error}; it was ignored", self._enrolment.node)
        except MessageError as error:
            log.warning("a message on %s is not readable: %s", message.topic, error)
        except OutboxError as error:
            log.error("%s", error)
            self._window.hold(time.monotonic(), 1.0)

    def _take_hint(self, hint: Hint) -> None:
        if hint.session != self._session or hint.number <= self._hint_number:
            self.traffic.rejected += 1
            return
        self._hint_number = hint.number
        if hint.action == "deployment":
            self._check_now()
        else:
            self._hint(hint)

    def _handle_ack(self, ack: Ack) -> None:
        if ack.refused_digest:
            self._handle_refusal(ack)
        if ack.limited:
            self._handle_limit(ack)
        if not ack.epoch:
            return
        if ack.session != self._session or ack.turn <= self._last_turn:
            self.traffic.rejected += 1  # For another session, or heard before.
            return
        self._last_turn = ack.turn
        if ack.shared:
            self._handle_shared()
        if ack.epoch != self._epoch or self._epoch != self._outbox.epoch:
            return
        if ack.forked:
            self._outbox.acked(ack.high_water_mark)  # So far the cloud has what this node has.
            self._leave_epoch(
                "forked",
                f"another device continued epoch {ack.epoch} differently: this data folder was copied, or "
                "put back to an earlier day; all that is kept goes on in a new epoch",
            )
            return
        now_s = time.monotonic()
        last_seq = self._outbox.last_seq
        answer = self._window.answered(ack.high_water_mark, last_seq, now_s)
        if answer is Answer.PROGRESS:
            self._owed = True
            self._forget()
        elif answer is Answer.CLOUD_LOST:
            self._tell(
                "cloud_lost",
                f"the cloud has events up to {ack.high_water_mark} only, but had acked up to "
                f"{self._window.acked}: it was put back to an earlier day",
            )
        elif answer is Answer.NODE_LOST:
            self._forget(wait=True)
            self._leave_epoch(
                "node_lost",
                f"the cloud has events up to {ack.high_water_mark}, this node has numbered {last_seq} only: "
                "it was put back to an earlier day; a new epoch begins",
            )

    def _leave_epoch(self, problem: str, detail: str) -> None:
        self._tell(problem, detail)
        self._outbox.begin_epoch()
        self._new_window()
        self.traffic.epochs_left += 1

    def _handle_shared(self) -> None:
        now_s = self._shared_s = time.monotonic()
        if self._shared_told_s is None or now_s - self._shared_told_s >= SHARED_AGAIN_S:
            self._shared_told_s = now_s
            self._tell(
                "identity_shared",
                "another device sends under this node's enrolment: a cloned card, or one enrolment used "
                "twice; enrol each device by itself",
                Priority.ALARM,
            )

    def _handle_limit(self, ack: Ack) -> None:
        if ack.limited not in self._names:
            return
        self.traffic.limited += 1
        self._limited_s = time.monotonic()
        self._window.limited(self._limited_s, min(LONGEST_LIMIT_S, max(0.0, ack.limited_s)))
        self._problems.add(
            "limited",
            f"this node sends more than the cloud takes of one node; it goes on after {ack.limited_s:.1f} s, "
            "and nothing is lost",
            self._enrolment.node,
        )

    def _handle_refusal(self, ack: Ack) -> None:
        self.traffic.refusals += 1
        bad = self._window.refused(ack.refused_digest)
        log.warning("the cloud cannot read a batch: %s", ack.refused_reason)
        if not bad:
            return
        if self._outbox.refused(bad):
            self._tell("refused", f"event {bad} was given up: {ack.refused_reason}")
        else:
            self._window.hold(time.monotonic(), self._settings.ack_timeout_s)

    def _tell(self, problem: str, detail: str, priority: Priority = Priority.EVENT) -> None:
        log.error("%s", detail)
        facts = {"problem": problem, "detail": detail[:500], "epoch": self._epoch}
        self._report(Event(UPLINK_TYPE, self._enrolment.node, self._clock(), priority, facts))
