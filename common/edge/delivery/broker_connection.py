"""One connection of a node to the broker: a fresh MQTT client, its sealed messages and its socket.

Nothing is queued outside the outbox, so a connection that ends is thrown away with its client. A connection
that the broker refuses, or on which it refuses the subscriptions, never becomes `BrokerConnection.ready`.
"""

from __future__ import annotations

import logging
import os
import selectors
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from common.config.node import Enrolment
from common.connection import Address
from common.sealing import Seal

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 5.0
MAX_WAIT_S = 5.0
"""Longest wait for the socket; the MQTT client's own timers need it."""


class WakePipe:
    """Wakes a thread that waits in `BrokerConnection.wait`."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)

    def fileno(self) -> int:
        return self._out

    def wake(self) -> None:
        """From any thread."""
        with suppress(BlockingIOError):  # It is awake already.
            os.write(self._in, b"\0")

    def drain(self) -> None:
        """Take the wake-ups that came."""
        with suppress(BlockingIOError):
            os.read(self._out, 4096)

    def close(self) -> None:
        os.close(self._in)
        os.close(self._out)


class BrokerConnection:
    """One connection; everything here belongs to one thread.

    ``wake`` ends a `wait`. ``on_ready`` is called when the broker has accepted the node and its
    subscriptions, ``on_message`` with topic and payload of each message.
    """

    def __init__(
        self,
        enrolment: Enrolment,
        broker: Address,
        seal: Seal,
        *,
        client_id: str,
        tls: ssl.SSLContext | None,
        in_flight_batches: int,
        topics: tuple[str, ...],
        wake: WakePipe,
        on_ready: Callable[[], None],
        on_message: Callable[[str, bytes], None],
    ) -> None:
        self.ready = False
        """Whether the broker has accepted this node and its subscriptions."""
        self._ready_s: float | None = None
        self._broker = broker
        self._seal = seal
        self._topics = topics
        self._wake = wake
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake, selectors.EVENT_READ)
        self._on_ready = on_ready
        self._on_message = on_message
        client = self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if tls is not None:
            client.tls_set_context(tls)  # pyright: ignore[reportUnknownMemberType]: partly typed library
        client.max_inflight_messages_set(in_flight_batches + 8)
        if enrolment.mqtt_password:
            client.username_pw_set(f"{enrolment.site}/{enrolment.node}", enrolment.mqtt_password)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_client_message

    @property
    def alive(self) -> bool:
        """Whether there is a socket: false once the connection has ended."""
        return self._client.socket() is not None

    @property
    def lasted_s(self) -> float | None:
        """Time since it became ready; None if it never did."""
        return None if self._ready_s is None else time.monotonic() - self._ready_s

    def open(self, will_topic: str, will: bytes) -> None:
        """Begin to connect, with ``will`` as the retained last will. Raises ``OSError``."""
        self._client.will_set(will_topic, self._seal.close(will_topic, will), qos=1, retain=True)
        self._client.connect(self._broker.host, self._broker.port, keepalive=KEEPALIVE_S)

    def publish(self, topic: str, body: bytes, *, retain: bool = False) -> tuple[mqtt.MQTTMessageInfo, bytes]:
        """Send ``body`` sealed, at QoS 1. Returns the state of the message, and its payload."""
        payload = self._seal.close(topic, body)
        return self._client.publish(topic, payload, qos=1, retain=retain), payload

    def deliver(self, topic: str, body: bytes, timeout_s: float, *, retain: bool = False) -> None:
        """`publish`, and wait until the broker has it, the connection ends, or ``timeout_s`` is over."""
        message, _ = self.publish(topic, body, retain=retain)
        until_s = time.monotonic() + timeout_s
        # `is_published` raises an error for a message with which the connection ended.
        while self.alive and not message.is_published() and (left_s := until_s - time.monotonic()) > 0:
            self.wait(left_s)

    def wait(self, seconds: float) -> None:
        """Wait for the socket or the wake pipe, at most ``seconds``, and handle what came."""
        socket = self._client.socket()
        if socket is None:
            return
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        self._selector.register(socket, interest)
        try:
            happened = self._selector.select(min(seconds, MAX_WAIT_S))
        finally:
            self._selector.unregister(socket)
        for key, mask in happened:
            if key.fileobj is self._wake:
                self._wake.drain()
                continue
            if mask & selectors.EVENT_READ:
                self._client.loop_read()
            if mask & selectors.EVENT_WRITE and self._client.socket() is not None:
                self._client.loop_write()
        if self._client.socket() is not None:
            self._client.loop_misc()

    def close(self) -> None:
        if self.ready:
            log.info("disconnected from the broker")
        self.ready = False
        with suppress(OSError, ValueError):
            self._client.disconnect()
        self._selector.close()

    def _on_connect(
        self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            log.warning(
                "the broker at %s:%d refuses this node: %s", self._broker.host, self._broker.port, reason
            )
            return
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(
        self, client: mqtt.Client, _userdata: Any, _mid: int, reasons: Any, _properties: Any
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            log.warning("the broker refuses this node the subscription to its topics: %s", reasons)
            client.disconnect()
            return
        self.ready, self._ready_s = True, time.monotonic()
        log.info("connected to %s:%d", self._broker.host, self._broker.port)
        self._on_ready()

    def _on_client_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self._on_message(message.topic, bytes(message.payload))
