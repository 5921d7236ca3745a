"""Events to the cloud by MQTT, until it has them: the shell around `common.edge.window`.

One thread owns the connection, so nothing here needs a lock: it waits for the socket, for `Uplink.wake` or
for the window's next moment, and never polls. A connection that the broker refuses is no connection. Each
connection is a fresh client: nothing is queued outside the outbox. The status topic tells ``online`` while
the node is there; the last will tells ``offline`` when it vanishes.
"""

from __future__ import annotations

import logging
import os
import random
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from common.broker_tls import tls_context
from common.clock import Clock
from common.config import Enrolment, UplinkSettings
from common.connection import Address
from common.edge.outbox import Outbox, Pending
from common.edge.window import Answer, SendWindow
from common.errors import BatchError, MessageError, OutboxError
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

log = logging.getLogger(__name__)

UPLINK_TYPE = "edgeloop.uplink"
KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 5.0
LONGEST_WAIT_S = 5.0
PLAIN_BYTES = 8 * BATCH_LIMIT_BYTES
"""Most bytes of a batch before compression; one that does not fit the wire then is halved."""
GOODBYE_S = 1.0
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
        look: Callable[[], None],
        hint: Callable[[Hint], None],
        report: Callable[[Event], None],
        chance: random.Random | None = None,
    ) -> None:
        self._enrolment = enrolment
        self._outbox = outbox
        self._settings = settings
        self._clock = clock
        self._status = status
        self._look = look
        self._hint = hint
        self._report = report
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, guards nothing
        self.broker = Address(enrolment.mqtt_host, enrolment.mqtt_port)
        """Where the next connection goes; any thread may set it."""
        self._tls = tls_context(enrolment.mqtt_ca) if enrolment.mqtt_tls else None
        self._topics = topics(enrolment.site, enrolment.node)
        self._source = f"/{enrolment.site}/{enrolment.node}"
        self._client: mqtt.Client | None = None
        self._ready = False
        self._said = Status("offline", "")
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
                met = self._converse()
            except OSError as error:
                log.info("no connection to the broker: %s", error)
            finally:
                self._disconnect()
            wait_s = self._settings.reconnect_first_s if met else wait_s
            self._stop.wait(wait_s * self._chance.uniform(0.5, 1.0))
            wait_s = min(self._settings.reconnect_last_s, 2 * wait_s)

    def _new_window(self) -> None:
        self._owed = False
        self._epoch = self._outbox.epoch
        self._window = SendWindow(self._settings, self._outbox.oldest() - 1, self._chance)

    def _connect(self) -> None:
        """Begin a connection. Raises ``OSError``."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edgeloop:{self._enrolment.site}:{self._enrolment.node}",
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
        client.will_set(self._topics.status, encode(Status("offline", app)), qos=1, retain=True)
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
        self.traffic.connections += 1
        self._window.connected(time.monotonic(), self._outbox.last_seq)
        self._say(self._status())
        log.info("connected to %s:%d", self.broker.host, self.broker.port)
        self._look()

    def _say(self, status: Status) -> None:
        assert self._client is not None
        self._said = status
        stamped = Status(status.state, status.app, status.version, self._clock())
        self._client.publish(self._topics.status, encode(stamped), qos=1, retain=True)

    def _converse(self) -> bool:
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
                self._attend(client, [(key.fileobj, mask) for key, mask in happened])
        if self._ready and client.socket() is not None:
            self._say_goodbye(client)
        return met

    def _attend(self, client: mqtt.Client, happened: list[tuple[Any, int]]) -> None:
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

    def _say_goodbye(self, client: mqtt.Client) -> None:
        """Tell that this node stops, and wait a moment until the broker has it."""
        status = self._status()
        message = client.publish(
            self._topics.status,
            encode(Status("offline", status.app, status.version, self._clock())),
            qos=1,
            retain=True,
        )
        until_s = time.monotonic() + GOODBYE_S
        with selectors.DefaultSelector() as selector:
            while not message.is_published() and (left_s := until_s - time.monotonic()) > 0:
                if (socket := client.socket()) is None:
                    return
                interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
                selector.register(socket, interest)
                happened = selector.select(left_s)
                selector.unregister(socket)
                self._attend(client, [(key.fileobj, mask) for key, mask in happened])

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
        if status != self._said:
            self._say(status)
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
        self._client.publish(self._topics.up, payload, qos=1)
        self._waiting_since_s = None
        self._window.handed(rows[0].seq, rows[-1].last_seq, len(rows), digest(payload), time.monotonic())
        self.traffic.batches += 1
        self.traffic.events += len(rows)
        self.traffic.bytes += len(payload)
        return self._client.socket() is not None

    def _encode(self, rows: list[Pending], oldest: int) -> tuple[list[Pending], bytes]:
        """A batch of as many of ``rows`` as fit the wire; one event always fits."""
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
                )
            except BatchError:
                if len(rows) == 1:
                    raise
                rows = rows[: (len(rows) + 1) // 2]

    # --------------------------------------------------------------------------------------- hearing

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            if message.topic == self._topics.ack:
                self._hear(decode(bytes(message.payload), Ack))
            elif (hint := decode(bytes(message.payload), Hint)).look == "deployment":
                self._look()
            else:
                self._hint(hint)
        except MessageError as error:
            log.warning("a message on %s is not readable: %s", message.topic, error)
        except OutboxError as error:
            log.error("%s", error)
            self._window.hold(time.monotonic(), 1.0)

    def _hear(self, ack: Ack) -> None:
        if ack.refused_digest:
            self._hear_refusal(ack)
        if ack.epoch != self._epoch or self._epoch != self._outbox.epoch:
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
            self._tell(
                "node_lost",
                f"the cloud has events up to {ack.high_water_mark}, this node has numbered {last_seq} only: "
                "it was put back to an earlier day; a new epoch begins",
            )
            self._forget(wait=True)
            self._outbox.begin_epoch()
            self._new_window()

    def _hear_refusal(self, ack: Ack) -> None:
        self.traffic.refusals += 1
        bad = self._window.refused(ack.refused_digest)
        log.warning("the cloud cannot read a batch: %s", ack.refused_reason)
        if not bad:
            return
        if self._outbox.refused(bad):
            self._tell("refused", f"event {bad} was given up: {ack.refused_reason}")
        else:
            self._window.hold(time.monotonic(), self._settings.ack_timeout_s)

    def _tell(self, problem: str, detail: str) -> None:
        log.error("%s", detail)
        facts = {"problem": problem, "detail": detail[:500], "epoch": self._epoch}
        self._report(Event(UPLINK_TYPE, self._enrolment.node, self._clock(), Priority.EVENT, facts))
