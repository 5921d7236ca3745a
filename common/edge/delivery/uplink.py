"""Uplink: the thread that delivers the outbox to the cloud by MQTT and receives acks and hints.

The thread owns the connection (`common.edge.delivery.broker_connection`) and the stream
(`common.edge.delivery.stream_sender`), so nothing here needs a lock: it waits for the socket, for
`Uplink.wake` or for the send window's next moment, and never polls. The status topic is ``online`` while the
node is there, and the last will ``offline``.

A message from the broker counts only with the seal of the cloud and for this session
(`common.edge.delivery.cloud_messages`). Waits grow after connections that end soon after they began: another
client may use this node's identity.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable

from common.broker_tls import tls_context
from common.clock import Clock
from common.config.node import Enrolment, UplinkSettings
from common.connection import Address
from common.edge.delivery.broker_connection import CONNECT_TIMEOUT_S, BrokerConnection, WakePipe
from common.edge.delivery.cloud_messages import CloudMessages
from common.edge.delivery.cloud_notices import CloudNotices
from common.edge.delivery.node_presence import NodePresence
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.reconnection import Reconnection
from common.edge.delivery.stream_sender import StreamSender, Traffic
from common.errors import OutboxError
from common.messages import Event, Hint, Status, topics
from common.sealing import Seal

log = logging.getLogger(__name__)

GOODBYE_S = 1.0
"""Longest wait of a stopping node until the broker has its last status."""


class Uplink:
    """Sends what is in the outbox and forgets what the cloud has.

    ``status`` returns the status to publish. ``check_now`` is called when there may be another model,
    ``hint`` with any other hint. ``report`` takes events about the uplink itself.
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
        rng: random.Random | None = None,
    ) -> None:
        rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._enrolment = enrolment
        self._outbox = outbox
        self._settings = settings
        self._check_now = check_now
        self.broker = Address(enrolment.mqtt_host, enrolment.mqtt_port)
        """Address of the next connection; any thread may set it."""
        self._tls = tls_context(enrolment.mqtt_ca) if enrolment.mqtt_tls else None
        self._topics = topics(enrolment.site, enrolment.node)
        self._seal = Seal.of(enrolment.wire_key)
        self._session = secrets.token_hex(8)
        # Whoever connects with a client's id ends its connection: this one is in no message, not even a hash.
        self._client_id = f"edgeloop:{enrolment.site}:{enrolment.node}:{secrets.token_hex(16)}"
        self._presence = NodePresence(status, self._session, clock)
        self._connection: BrokerConnection | None = None
        self._reconnection = Reconnection(settings, rng)
        self._stop = threading.Event()
        self._drain_until_s = 0.0
        self._wake = WakePipe()
        self._notices = CloudNotices(enrolment.node, clock, report)
        self._sender = StreamSender(
            outbox,
            f"/{enrolment.site}/{enrolment.node}",
            self._session,
            settings,
            clock,
            rng,
            self._notices,
            self._publish_batch,
        )
        self._messages = CloudMessages(
            self._seal,
            self._session,
            self._topics.ack,
            self._sender,
            self._notices,
            check_now=check_now,
            hint=hint,
        )

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this node and its subscriptions."""
        connection = self._connection
        return connection is not None and connection.ready

    @property
    def traffic(self) -> Traffic:
        """Counts since the start."""
        return self._sender.traffic

    @property
    def shared(self) -> bool:
        """Whether another device lately used this node's identity."""
        return self._notices.shared

    @property
    def limited(self) -> bool:
        """Whether the cloud lately took less than this node sent."""
        return self._notices.limited

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wake.wake()

    def stop(self, drain_timeout_s: float = 0.0) -> None:
        """End `run` once the outbox is empty, or after ``drain_timeout_s`` (at once if not connected)."""
        self._drain_until_s = time.monotonic() + drain_timeout_s
        self._stop.set()
        self.wake()

    def close(self) -> None:
        """Release the resources, once the thread has ended and nobody calls `wake`."""
        self._wake.close()

    # ------------------------------------------------------------------------------- the uplink thread

    def run(self) -> None:
        """Connect, send and listen until `stop`."""
        while not self._stop.is_set():
            connection = self._connection = self._new_connection()
            try:
                connection.open(self._topics.status, self._presence.will())
                self._serve(connection)
            except OSError as error:
                log.info("no connection to the broker: %s", error)
            finally:
                connection.close()
                self._connection = None
            problem = self._reconnection.ended(connection.lasted_s)
            if problem and not self._stop.is_set():
                self._notices.count("short_connections", problem)
            self._stop.wait(self._reconnection.wait_s())

    def _new_connection(self) -> BrokerConnection:
        return BrokerConnection(
            self._enrolment,
            self.broker,
            self._seal,
            client_id=self._client_id,
            tls=self._tls,
            in_flight_batches=self._settings.in_flight_batches,
            topics=(self._topics.ack, self._topics.hint),
            wake=self._wake,
            on_ready=self._on_ready,
            on_message=self._messages.receive,
        )

    def _serve(self, connection: BrokerConnection) -> None:
        """Work until the connection ends or it is time to stop."""
        began_s = time.monotonic()
        while connection.alive and not self._is_over(connection):
            if not connection.ready and time.monotonic() - began_s > 2 * CONNECT_TIMEOUT_S:
                log.info("the broker does not answer")
                return
            wait_s = self._work(connection) if connection.ready else 1.0
            connection.wait(wait_s)
        if connection.ready and connection.alive:
            connection.deliver(self._topics.status, self._presence.offline(), GOODBYE_S, retain=True)

    def _work(self, connection: BrokerConnection) -> float:
        """Publish what there is. Returns after how many seconds there may be more to do."""
        if (status := self._presence.due()) is not None:
            connection.publish(self._topics.status, status, retain=True)
        self._notices.flush()
        try:
            return self._sender.send(draining=self._stop.is_set())
        except OutboxError as error:
            log.error("%s", error)
            self._sender.pause(1.0)
            return 1.0

    def _is_over(self, connection: BrokerConnection) -> bool:
        if not self._stop.is_set():
            return False
        return not connection.ready or not self._outbox.events or time.monotonic() >= self._drain_until_s

    # -------------------------------------------------------------------------------------- publishing

    def _publish_batch(self, body: bytes) -> bytes | None:
        connection = self._connection
        if connection is None or not connection.alive:
            return None
        return connection.publish(self._topics.up, body)[1]

    def _on_ready(self) -> None:
        assert self._connection is not None
        self.traffic.connections += 1
        self._sender.connected()
        self._connection.publish(self._topics.status, self._presence.online(), retain=True)
        self._check_now()
