"""Connection of the cloud to the broker: subscriptions, reconnection, and publishing of acks and hints.

Callbacks run in the thread ``ingest-receive``, which is paho's loop. A lost connection is established again
automatically; `BrokerConnection.problem` names the reason while there is none, and what to do.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLContext
from typing import Any

import structlog
from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion

from common.messages import STATUS_TOPICS, UP_TOPICS

_log = structlog.get_logger("edgeloop.ingest")
KEEP_ALIVE_S = 15
LEAVE_S = 1.0
"""Time for the broker to take the last ack when stopping: a disconnect drops what it has not taken."""
QUEUED_ACKS = 10_000
"""Limit of acks and hints queued for the broker; a node whose ack is lost resends and gets another."""
MAX_RECONNECT_S = 5

OnMessage = Callable[[MQTTMessage], None]


class BrokerConnection:
    """The cloud's client at the broker at ``host:port``. One thread receives, any may publish."""

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        *,
        tls: SSLContext | None,
        on_connected: Callable[[], object],
        on_batch: OnMessage,
        on_status: OnMessage,
    ) -> None:
        self._host = host
        self._port = port
        self._on_connected = on_connected
        self._on_batch = on_batch
        self._on_status = on_status
        self._last_published: MQTTMessageInfo | None = None
        self._stopping = threading.Event()
        self.subscribed = False
        """Whether the broker has the cloud's subscriptions."""
        self.subscriptions = 0
        """Number of times that the broker accepted the subscriptions."""
        self.problem = ""
        """Reason why there is no connection, and what to do; empty where there is one."""
        self._client = self._create_client(user, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._thread = threading.Thread(target=self._receive, name="ingest-receive")

    def start(self) -> None:
        """Start to connect; messages arrive once the broker is up."""
        self._thread.start()

    def stop_waiting(self) -> None:
        """Report no connection problem from here on: `close` follows."""
        self._stopping.set()

    def close(self, timeout_s: float) -> None:
        """Wait until the broker has the last ack, for `LEAVE_S` at most, and disconnect."""
        self._stopping.set()
        if self._last_published is not None:
            with suppress(RuntimeError, ValueError):  # It was never queued: its node sends again.
                self._last_published.wait_for_publish(LEAVE_S)
        self._client.disconnect()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1. Does nothing without a connection."""
        if self._client.is_connected():
            self._last_published = self._client.publish(topic, payload, qos=1)

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._client.is_connected()

    def _create_client(self, user: str, password: str) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edgeloop-cloud-{secrets.token_hex(16)}",
            clean_session=True,
        )
        client.username_pw_set(user, password)
        client.reconnect_delay_set(0.1, MAX_RECONNECT_S)  # type: ignore[arg-type]  any number works
        client.max_inflight_messages_set(1000)
        client.max_queued_messages_set(QUEUED_ACKS)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_connect_fail = self._unreachable
        client.message_callback_add(UP_TOPICS, lambda _client, _user, message: self._on_batch(message))
        client.message_callback_add(STATUS_TOPICS, lambda _client, _user, message: self._on_status(message))
        return client

    def _receive(self) -> None:
        self._client.connect_async(self._host, self._port, keepalive=KEEP_ALIVE_S)
        if not self._stopping.is_set():
            self._client.loop_forever(retry_first_connection=True)

    def _connected(
        self, client: Client, _user: object, _flags: object, code: Any, _properties: object
    ) -> None:
        if code.is_failure:
            self.problem = (
                f"the broker at {self._host}:{self._port} refuses the cloud: {code}; an external "
                "broker needs the users and access rules of `edgeloop cloud broker-config`"
            )
            _log.error(self.problem)
            return
        self.problem = ""
        _log.info("connected to the broker", host=self._host, port=self._port)
        self._on_connected()
        client.subscribe([(UP_TOPICS, 1), (STATUS_TOPICS, 1)])

    def _subscribed(self, _client: object, _user: object, _mid: int, codes: Any, _p: object) -> None:
        if any(code.is_failure for code in codes):
            self.problem = (
                f"the broker refuses the cloud's subscriptions ({', '.join(map(str, codes))}): its access "
                "rules are not those of `edgeloop cloud broker-config`"
            )
            _log.error(self.problem)
            return
        self.subscriptions += 1
        self.subscribed = True

    def _unreachable(self, _client: object, _user: object) -> None:
        problem = (
            f"no connection to the broker at {self._host}:{self._port}: no broker listens there, "
            "or its TLS does not match mqtt.tls and mqtt.ca_file"
        )
        if problem != self.problem and not self._stopping.is_set():
            self.problem = problem
            _log.error(problem)

    def _disconnected(self, _client: object, _user: object, _flags: object, code: Any, _p: object) -> None:
        self.subscribed = False
        if not self._stopping.is_set():
            _log.warning("lost the connection to the broker", reason=str(code))
