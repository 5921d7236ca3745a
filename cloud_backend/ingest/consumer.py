"""MQTT in, the transaction, acks out.

Two threads: ``ingest-receive`` is paho's loop; it decodes what arrives and puts it into the bounded
inbox. ``ingest-commit`` takes groups from there, commits each as one transaction and acks. When the
database is unwell the group waits and is tried again; the inbox fills, and what does not fit is dropped:
the nodes have it still and send it again, because nothing was acked.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from ssl import SSLContext
from typing import Any

import structlog
from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine

from cloud_backend.ingest.arrival import Message, Reconnected, read_batch, read_status
from cloud_backend.ingest.commit import Answer, Committer
from cloud_backend.ingest.inbox import Inbox
from cloud_backend.ingest.projections import Projections
from cloud_backend.store.engine import is_outage
from common.clock import Clock
from common.config import IngestSettings
from common.errors import MessageError
from common.messages import STATUS_TOPICS, UP_TOPICS, Hint, encode, node_of_topic, topics

_log = structlog.get_logger("edgeloop.ingest")
ROOM_WAIT_S = 1.0
"""How long receiving waits for room in the inbox; far below the keep-alive, so the connection stands."""
KEEP_ALIVE_S = 15
LEAVE_S = 1.0
"""How long stopping waits until the broker has the last ack: what it has not taken, a disconnect drops."""
QUEUED_ACKS = 10_000
"""Most acks and hints that wait for the broker; a node whose ack is lost sends again and gets another."""


class Consumer:
    """Ingest of one cloud, from the broker at ``host:port``."""

    def __init__(
        self,
        engine: Engine,
        projections: Projections,
        settings: IngestSettings,
        *,
        host: str,
        port: int,
        user: str,
        password: str,
        clock: Clock,
        tls: SSLContext | None = None,
    ) -> None:
        self._committer = Committer(engine, projections, settings)
        self._settings = settings
        self._address = host, port
        self._clock = clock
        self._inbox = Inbox(settings.queue_events)
        self._counts: Counter[str] = Counter()
        self._subscribed = False
        self._published: MQTTMessageInfo | None = None
        self._unwell = threading.Event()
        self._stopping = threading.Event()
        self._client = self._create_client(user, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self.problem = ""
        """Why the cloud has no connection to the broker, and what to do; empty where it has one."""
        self._threads = [
            threading.Thread(target=self._receive, name="ingest-receive"),
            threading.Thread(target=self._commit, name="ingest-commit"),
        ]

    @property
    def connected(self) -> bool:
        """Whether the broker has the cloud's subscriptions."""
        return self._subscribed

    def counts(self) -> dict[str, Any]:
        """What ingest did since it started, and how it is now."""
        return {
            **self._committer.counts,
            **self._counts,
            "waiting_events": len(self._inbox),
            "database": "unwell" if self._unwell.is_set() else "well",
        }

    def start(self) -> None:
        """Start both threads; the connection comes when the broker is there."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Receive nothing more, commit and ack what was received, and leave the broker."""
        self._inbox.close()
        self._stopping.set()
        if self._threads[1].is_alive():
            self._threads[1].join(timeout_s)
        if self._published is not None:
            with suppress(RuntimeError, ValueError):  # It was never queued; who waits for it sends again.
                self._published.wait_for_publish(LEAVE_S)
        self._client.disconnect()
        if self._threads[0].is_alive():
            self._threads[0].join(timeout_s)

    def hint(self, site: str, node: str, look: str = "deployment", version: str = "") -> None:
        """Tell one node to look now. A node that is offline does not get it; it looks by itself in time."""
        self._publish(topics(site, node).hint, encode(Hint(look, version)))

    # ------------------------------------------------------------------------------------- receiving

    def _create_client(self, user: str, password: str) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edgeloop-cloud-{secrets.token_hex(4)}",
            clean_session=True,
        )
        client.username_pw_set(user, password)
        client.reconnect_delay_set(0.1, 5)  # type: ignore[arg-type]  any number works
        client.max_inflight_messages_set(1000)
        client.max_queued_messages_set(QUEUED_ACKS)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.message_callback_add(UP_TOPICS, self._on_batch)
        client.message_callback_add(STATUS_TOPICS, self._on_status)
        return client

    def _receive(self) -> None:
        self._client.connect_async(*self._address, keepalive=KEEP_ALIVE_S)
        if not self._stopping.is_set():
            self._client.loop_forever(retry_first_connection=True)

    def _on_connect(
        self, client: Client, _user: object, _flags: object, code: Any, _properties: object
    ) -> None:
        if code.is_failure:
            self.problem = (
                f"the broker at {self._address[0]}:{self._address[1]} refuses the cloud: {code}; an external "
                "broker needs the users and access rules of `edgeloop cloud broker-config`"
            )
            _log.error(self.problem)
            return
        self.problem = ""
        _log.info("connected to the broker", host=self._address[0], port=self._address[1])
        self._inbox.put(Reconnected(), 0)
        client.subscribe([(UP_TOPICS, 1), (STATUS_TOPICS, 1)])

    def _on_subscribe(self, _client: object, _user: object, _mid: int, codes: Any, _p: object) -> None:
        if any(code.is_failure for code in codes):
            self.problem = (
                f"the broker does not let the cloud listen ({', '.join(map(str, codes))}): its access rules "
                "are not those of `edgeloop cloud broker-config`"
            )
            _log.error(self.problem)
            return
        self._counts["subscribed"] += 1
        self._subscribed = True

    def _on_connect_fail(self, _client: object, _user: object) -> None:
        problem = (
            f"no connection to the broker at {self._address[0]}:{self._address[1]}: it does not run there, "
            "or its TLS is not what mqtt.tls and mqtt.ca_file say"
        )
        if problem != self.problem and not self._stopping.is_set():
            self.problem = problem
            _log.error(problem)

    def _on_disconnect(self, _client: object, _user: object, _flags: object, code: Any, _p: object) -> None:
        self._subscribed = False
        if not self._stopping.is_set():
            _log.warning("lost the broker", reason=str(code))

    def _on_batch(self, _client: object, _user: object, message: MQTTMessage) -> None:
        arrived_ns = self._clock()
        try:
            site, node = node_of_topic(message.topic)
        except MessageError:
            self._counts["strange_topics"] += 1
            return
        if message.retain:
            return
        if self._unwell.is_set() and len(self._inbox) >= self._settings.queue_events:
            self._counts["batches_dropped"] += 1
        else:
            self._put(read_batch(site, node, message.payload, arrived_ns))
        self._counts["batches_received"] += 1

    def _on_status(self, _client: object, _user: object, message: MQTTMessage) -> None:
        try:
            site, node = node_of_topic(message.topic)
            status = read_status(site, node, message.payload, self._clock(), message.retain)
        except MessageError as error:
            self._counts["strange_statuses"] += 1
            _log.debug("status not readable", topic=message.topic[:200], error=str(error))
            return
        self._put(status)

    def _put(self, message: Message) -> None:
        if not self._inbox.put(message, 0 if self._unwell.is_set() else ROOM_WAIT_S):
            self._counts["batches_dropped"] += 1

    # ------------------------------------------------------------------------------------ committing

    def _commit(self) -> None:
        while group := self._inbox.take(self._settings.transaction_events):
            for answer in self._commit_when_well(group):
                self._answer(answer)

    def _commit_when_well(self, group: Sequence[Message]) -> Sequence[Answer]:
        wait_s = self._settings.retry_first_s
        while True:
            try:
                answers = self._committer.commit(group)
            except Exception as error:  # noqa: BLE001  this thread must outlive whatever a group does
                if not is_outage(error):
                    _log.exception("a group of messages was dropped")
                    self._counts["groups_failed"] += 1
                    return []
                if not self._unwell.is_set():
                    _log.error(
                        "the database takes nothing; nothing is acked until it does", error=_first_line(error)
                    )
                    self._unwell.set()
                if self._stopping.wait(wait_s):
                    return []
                wait_s = min(2 * wait_s, self._settings.retry_last_s)
                continue
            if self._unwell.is_set():
                self._unwell.clear()
                _log.info("the database takes events again")
            return answers

    def _answer(self, answer: Answer) -> None:
        self._publish(topics(answer.site, answer.node).ack, encode(answer.ack))

    def _publish(self, topic: str, payload: bytes) -> None:
        if self._client.is_connected():
            self._published = self._client.publish(topic, payload, qos=1)


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
