"""Ingest: MQTT in, the transaction, acks out.

Two threads: ``ingest-receive`` (`cloud_backend.ingest.broker_connection`) decodes messages and puts them
into the bounded inbox. ``ingest-commit`` takes groups from there, commits each as one transaction and acks.
During an outage of the database the group is retried; the inbox fills, and what does not fit is dropped: the
nodes still have it and send it again, because nothing was acked.

A message counts only with the seal of the node whose topic it came on. A node over its share
(`cloud_backend.ingest.admission`) has its batches dropped before they are unpacked, and is notified.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from ssl import SSLContext
from typing import Any

import msgspec
import structlog
from paho.mqtt.client import MQTTMessage
from sqlalchemy import Engine

from cloud_backend.access.wire_keys import WireKeys
from cloud_backend.ingest.admission import Admission
from cloud_backend.ingest.broker_connection import BrokerConnection
from cloud_backend.ingest.commit import Committer
from cloud_backend.ingest.inbox import Inbox
from cloud_backend.ingest.node_problems import Kind, NodeProblems, keep_problems
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.received import Message, Reconnected, read_batch, read_status
from cloud_backend.ingest.sessions import StatusSessions
from cloud_backend.ingest.transaction import NodeAck
from cloud_backend.ingest.unsealing import Unsealer, first_line
from cloud_backend.store.engine import is_outage
from common.clock import Clock
from common.config.cloud import IngestSettings
from common.errors import MessageError
from common.messages import Ack, Hint, SettingsChange, encode, node_of_topic, topics
from common.sealing import name_of

_log = structlog.get_logger("edgeloop.ingest")
ROOM_WAIT_S = 1.0
"""Longest wait of the receiving thread for room in the inbox; far below the keep-alive of the connection."""
FAILURE_COST_BYTES = 1024 * 1024
"""Cost in a node's share of an event that a projection cannot process: it takes some milliseconds."""


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
        self._clock = clock
        self._keys = keys
        self._sessions = StatusSessions()
        self._inbox = Inbox(settings.queue_events, settings.queue_bytes, settings.node_queue_bytes)
        self._admission = Admission(self._inbox, settings)
        self._counts: Counter[str] = Counter()
        self._unsealer = Unsealer(keys, self._problems, self._counts, clock)
        self._hinting = threading.Lock()
        self._unwell = threading.Event()
        self._stopping = threading.Event()
        self._broker = BrokerConnection(
            host,
            port,
            user,
            password,
            tls=tls,
            on_connected=lambda: self._inbox.put(Reconnected(), 0),
            on_batch=self._on_batch,
            on_status=self._on_status,
        )
        self._thread = threading.Thread(target=self._commit, name="ingest-commit")

    @property
    def connected(self) -> bool:
        """Whether the broker has the cloud's subscriptions."""
        return self._broker.subscribed

    @property
    def problem(self) -> str:
        """Reason why the cloud has no connection to the broker, and what to do; empty where it has one."""
        return self._broker.problem

    def counts(self) -> dict[str, Any]:
        """Counters since the start, and the present state."""
        return {
            **self._committer.counts,
            **self._counts,
            **({"subscribed": self._broker.subscriptions} if self._broker.subscriptions else {}),
            "waiting_events": len(self._inbox),
            "waiting_bytes": self._inbox.bytes,
            "database": "unwell" if self._unwell.is_set() else "well",
        }

    def start(self) -> None:
        """Start both threads; the connection is established once the broker is up."""
        self._broker.start()
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop receiving, commit and ack what was received, and disconnect."""
        self._inbox.close()
        self._stopping.set()
        self._broker.stop_waiting()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._broker.close(timeout_s)

    def hint(self, site: str, node: str, action: str = "deployment", version: str = "") -> None:
        """Request an action of one node. An offline node misses the hint; it polls by itself."""
        self._send_hint(site, node, Hint(action, version))

    def change_settings(self, site: str, node: str, change: SettingsChange) -> None:
        """Send one node a change of its app's settings. An offline node misses it."""
        self._send_hint(site, node, Hint("settings", change=change))

    def _send_hint(self, site: str, node: str, hint: Hint) -> None:
        with self._hinting:  # In the order of the numbers: a node ignores a lower one after a higher.
            session, number = self._sessions.newest(site, node), self._sessions.number(self._clock())
            hint = msgspec.structs.replace(hint, session=session, number=number)
            self._publish(site, node, topics(site, node).hint, encode(hint))

    # ------------------------------------------------------------------------------------- receiving

    def _on_batch(self, message: MQTTMessage) -> None:
        arrived_ns = self._clock()
        try:
            site, node = node_of_topic(message.topic)
        except MessageError:
            self._counts["strange_topics"] += 1
            return
        if message.retain or (body := self._unsealer.open(site, node, message)) is None:
            return
        now_s = time.monotonic()
        alone = self._admission.is_alone(node, now_s)
        well = not self._unwell.is_set()
        if well and not self._admission.admits(node, body, now_s, alone=alone):
            self._limit(site, node, bytes(message.payload), arrived_ns)
            return
        if not well and len(self._inbox) >= self._settings.queue_events:
            self._counts["batches_dropped"] += 1
        else:
            with self._admission.reading(node):
                arrival = read_batch(site, node, body, arrived_ns)
            # Receiving waits for room only where nobody else waits behind it.
            if not self._put(arrival, ROOM_WAIT_S if alone else 0) and well and not alone:
                self._limit(site, node, bytes(message.payload), arrived_ns)
        self._counts["batches_received"] += 1

    def _on_status(self, message: MQTTMessage) -> None:
        try:
            site, node = node_of_topic(message.topic)
            if (body := self._unsealer.open(site, node, message)) is None:
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

    def _limit(self, site: str, node: str, payload: bytes, now_ns: int) -> None:
        """Count a dropped batch of a node over its share, and notify the node when that is due."""
        self._counts["batches_limited"] += 1
        detail = "over its share: its batches are dropped, and it sends them again later"
        self._problems.add(node, "limited", detail, now_ns)
        if not self._admission.is_notice_due(node, time.monotonic()):
            return
        ack = Ack("", 0, limited=name_of(payload), retry_after_s=self._settings.retry_after_s)
        self._ack(NodeAck(site, node, ack))

    def report_problem(self, node: str, kind: Kind, detail: str) -> None:
        """Count a problem of a node that another part found, for its page. Any thread may call."""
        self._problems.add(node, kind, detail, self._clock())

    def keep_problems(self) -> None:
        """Write the counted problems of nodes to the store; a periodic task."""
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
            for ack in self._commit_when_well(group):
                self._ack(ack)

    def _commit_when_well(self, group: Sequence[Message]) -> Sequence[NodeAck]:
        wait_s = self._settings.retry_min_s
        while True:
            try:
                acks = self._committer.commit(group)
            except Exception as error:  # noqa: BLE001  this thread must outlive whatever a group does
                if not is_outage(error):
                    _log.exception("a group of messages was dropped")
                    self._counts["groups_failed"] += 1
                    return []
                if not self._unwell.is_set():
                    _log.error(
                        "outage of the database: nothing is acked until it ends", error=first_line(error)
                    )
                    self._unwell.set()
                if self._stopping.wait(wait_s):
                    return []
                wait_s = min(2 * wait_s, self._settings.retry_max_s)
                continue
            for node, failures in self._committer.take_failures().items():
                self._inbox.charge(node, failures * FAILURE_COST_BYTES)
            if self._unwell.is_set():
                self._unwell.clear()
                _log.info("the outage of the database is over")
            return acks

    def _ack(self, ack: NodeAck) -> None:
        self._publish(ack.site, ack.node, topics(ack.site, ack.node).ack, encode(ack.ack))

    def _publish(self, site: str, node: str, topic: str, body: bytes) -> None:
        seal = self._keys.seal(site, node)
        if seal is not None and self._broker.connected:
            self._broker.publish(topic, seal.close(topic, body))
