"""MQTT in, the transaction, acks out.

Two threads: ``ingest-receive`` is paho's loop; it decodes what arrives and puts it into the bounded
inbox. ``ingest-commit`` takes groups from there, commits each as one transaction and acks. When the
database is unwell the group waits and is tried again; the inbox fills, and what does not fit is dropped:
the nodes have it still and send it again, because nothing was acked.

A message counts only with the seal of the node whose topic it came on. A node that sends more than its share
(of the inbox, or a second) has its batches dropped before they are unpacked, and is told.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from ssl import SSLContext
from typing import Any

import structlog
from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from cloud_backend.access.wire_keys import WireKeys
from cloud_backend.ingest.commit import Answer, Committer
from cloud_backend.ingest.inbox import Inbox
from cloud_backend.ingest.node_problems import Kind, NodeProblems, keep_problems
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.rates import NODES_LIMIT, NodeRates, ReadingTime
from cloud_backend.ingest.received import Message, Reconnected, cost_bytes, read_batch, read_status
from cloud_backend.ingest.sessions import StatusSessions
from cloud_backend.store.engine import is_outage
from common.clock import Clock
from common.config.cloud import IngestSettings
from common.errors import MessageError, SealError
from common.messages import (
    STATUS_TOPICS,
    UP_TOPICS,
    Ack,
    Hint,
    encode,
    node_of_topic,
    plain_size,
    topics,
)
from common.sealing import name_of

_log = structlog.get_logger("edgeloop.ingest")
ROOM_WAIT_S = 1.0
"""How long receiving waits for room in the inbox; far below the keep-alive, so the connection stands."""
KEEP_ALIVE_S = 15
LEAVE_S = 1.0
"""How long stopping waits until the broker has the last ack: what it has not taken, a disconnect drops."""
FAILURE_COST_BYTES = 1024 * 1024
"""What an event that a projection cannot digest counts for in a node's share: it costs some milliseconds."""
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
        keys: WireKeys,
        clock: Clock,
        tls: SSLContext | None = None,
    ) -> None:
        self._engine = engine
        self._problems = NodeProblems()
        self._committer = Committer(engine, projections, settings, self._problems)
        self._settings = settings
        self._address = host, port
        self._clock = clock
        self._keys = keys
        self._sessions = StatusSessions()
        self._inbox = Inbox(settings.queue_events, settings.queue_bytes, settings.node_queue_bytes)
        self._rates = NodeRates(settings.node_batches_per_s, settings.node_bytes_per_s)
        self._reading_time = ReadingTime()
        self._told_s: OrderedDict[str, float] = OrderedDict()
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
            "waiting_bytes": self._inbox.bytes,
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

    def hint(self, site: str, node: str, action: str = "deployment", version: str = "") -> None:
        """Request an action of one node. An offline node misses the hint; it polls by itself."""
        session = self._sessions.newest(site, node)
        hint = Hint(action, version, session, self._sessions.number(self._clock()))
        self._publish(site, node, topics(site, node).hint, encode(hint))

    # ------------------------------------------------------------------------------------- receiving

    def _create_client(self, user: str, password: str) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edgeloop-cloud-{secrets.token_hex(16)}",
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
        if (body := self._open(site, node, message)) is None:
            return
        now_s = time.monotonic()
        alone = self._reading_time.is_alone(node, now_s)
        well = not self._unwell.is_set()
        if well and not self._may_send(node, body, alone, now_s):
            self._limit(site, node, message.payload, arrived_ns)
            return
        if not well and len(self._inbox) >= self._settings.queue_events:
            self._counts["batches_dropped"] += 1
        else:
            arrival = read_batch(site, node, body, arrived_ns)
            self._reading_time.spent(node, time.monotonic() - now_s, time.monotonic())
            # Receiving waits for room only where nobody else waits behind it.
            if not self._put(arrival, ROOM_WAIT_S if alone else 0) and well and not alone:
                self._limit(site, node, message.payload, arrived_ns)
        self._counts["batches_received"] += 1

    def _on_status(self, _client: object, _user: object, message: MQTTMessage) -> None:
        try:
            site, node = node_of_topic(message.topic)
            if (body := self._open(site, node, message)) is None:
                return
            status = read_status(site, node, body, self._clock(), message.retain)
            if not self._sessions.is_current(status):
                self._counts["old_statuses"] += 1
                return
        except MessageError as error:
            self._counts["strange_statuses"] += 1
            _log.debug("status not readable", topic=message.topic[:200], error=str(error))
            return
        self._put(status)

    def _open(self, site: str, node: str, message: MQTTMessage) -> bytes | None:
        """The body of a message that the node itself has sealed; None for any other, which is counted."""
        try:
            for again in (False, True):
                seal = self._keys.seal(site, node, again=again)
                if seal is None:
                    self._counts["not_enrolled"] += 1
                    return None
                with suppress(SealError):
                    return seal.open(message.topic, message.payload)
        except SQLAlchemyError as error:
            self._counts["batches_dropped"] += 1
            _log.warning("whether a node is enrolled cannot be looked up", error=_first_line(error))
            return None
        if message.retain:  # Of an enrolment before, most likely; nobody sent it now.
            self._counts["old_statuses"] += 1
            return None
        self._counts["messages_rejected"] += 1
        self._problems.add(
            node, "rejected", "a message in this node's name was not sealed with its key", self._clock()
        )
        return None

    def _may_send(self, node: str, body: bytes, alone: bool, now_s: float) -> bool:
        return (
            (alone or self._reading_time.has_share(node, now_s))
            and self._inbox.has_room(node, cost_bytes(body), alone=alone)
            and self._rates.take(node, plain_size(body), now_s)
        )

    def _limit(self, site: str, node: str, payload: bytes, now_ns: int) -> None:
        """Drop a batch of a node that sends more than its share; now and then the node is told."""
        self._counts["batches_limited"] += 1
        detail = "it sends more than is taken of one node: its batches are dropped, and it sends them later"
        self._problems.add(node, "limited", detail, now_ns)
        now_s = time.monotonic()
        if now_s - self._told_s.get(node, float("-inf")) < self._settings.limited_s:
            return
        self._told_s[node] = now_s
        self._told_s.move_to_end(node)
        if len(self._told_s) > NODES_LIMIT:
            self._told_s.popitem(last=False)
        ack = Ack("", 0, limited=name_of(payload), limited_s=self._settings.limited_s)
        self._answer(Answer(site, node, ack))

    def report_problem(self, node: str, kind: Kind, detail: str) -> None:
        """Count a problem of a node that was seen elsewhere, for its page. Any thread may call."""
        self._problems.add(node, kind, detail, self._clock())

    def keep_problems(self) -> None:
        """Write what was seen of nodes to the store; called now and then."""
        if problems := self._problems.take():
            with self._engine.begin() as connection:
                keep_problems(connection, problems)

    def _put(self, message: Message, wait_s: float = ROOM_WAIT_S) -> bool:
        taken = self._inbox.put(message, 0 if self._unwell.is_set() else wait_s)
        self._counts["batches_dropped"] += not taken
        return taken

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
            for node, failures in self._committer.take_failures().items():
                self._inbox.charge(node, failures * FAILURE_COST_BYTES)
            if self._unwell.is_set():
                self._unwell.clear()
                _log.info("the database takes events again")
            return answers

    def _answer(self, answer: Answer) -> None:
        self._publish(answer.site, answer.node, topics(answer.site, answer.node).ack, encode(answer.ack))

    def _publish(self, site: str, node: str, topic: str, body: bytes) -> None:
        seal = self._keys.seal(site, node)
        if seal is not None and self._client.is_connected():
            self._published = self._client.publish(topic, seal.close(topic, body), qos=1)


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0]
