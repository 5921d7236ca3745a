"""An uplink that runs over an outbox, and the cloud's end under the test's control."""

from __future__ import annotations

import random
import threading
from typing import Any

from cloud_backend.access.tokens import CLOUD_USER
from cloud_backend.broker.broker import Broker
from common.clock import anchored_clock
from common.config.node import Enrolment, UplinkSettings
from common.edge.delivery.outbox import Outbox
from common.edge.delivery.uplink import Uplink
from common.messages import (
    Ack,
    Batch,
    Event,
    Hint,
    Status,
    decode,
    decode_batch,
    encode,
    topics,
)
from tests.brokers import MqttClient
from tests.builders import make_event
from tests.cloud_backend.ingest.nodes import seal_of, wire_key_of
from tests.waiting import PATIENCE_S, wait_for

SITE, NODE = "plant", "node-1"
TOPICS = topics(SITE, NODE)
PASSWORD = "a password"
SEAL = seal_of()
QUICK = UplinkSettings(
    batch_events=100,
    ack_timeout_s=0.5,
    linger_s=0.01,
    reconnect_min_s=0.05,
    reconnect_max_s=0.2,
    in_flight_batches=4,
)


def enrolment(port: int, password: str = PASSWORD) -> Enrolment:
    """Of the node, with a broker at ``port``."""
    return Enrolment(
        NODE, SITE, "http://127.0.0.1:9", "127.0.0.1", port, password, "token", {}, wire_key_of()
    )


class Running:
    """An uplink with its thread, and what it reported."""

    def __init__(self, outbox: Outbox, port: int, settings: UplinkSettings, password: str) -> None:
        self.outbox = outbox
        self.looks = threading.Event()
        self.hints: list[Hint] = []
        self.reports: list[Event] = []
        self.version = "1"
        self.uplink = Uplink(
            enrolment(port, password),
            outbox,
            settings,
            anchored_clock(),
            status=lambda: Status("online", "sums", self.version),
            check_now=self.looks.set,
            hint=self.hints.append,
            report=self.reports.append,
            rng=random.Random(1),
        )
        self.thread = threading.Thread(target=self.uplink.run, name="uplink")
        self.thread.start()

    def keep(self, count: int, **options: Any) -> None:
        self.outbox.commit([make_event(number, **options) for number in range(count)])
        self.uplink.wake()

    def stop(self, drain_timeout_s: float = 0.0) -> None:
        self.uplink.stop(drain_timeout_s)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


class Cloud:
    """The other end, under the test's control: ``answer`` decides the answer to a payload."""

    def __init__(self, broker: Broker) -> None:
        self.client = MqttClient(broker.port, CLOUD_USER, PASSWORD)
        self.client.subscribe(TOPICS.up, TOPICS.status)
        self.mark = self.turn = 0
        self.taken: list[int] = []

    def received(self, topic: str) -> list[bytes]:
        """The bodies of what the node sent on a topic."""
        received = list(self.client.received)
        return [SEAL.open(topic, payload) for each, payload in received if each == topic]

    def batches(self) -> list[Batch]:
        return [decode_batch(body) for body in self.received(TOPICS.up)]

    def statuses(self) -> list[Status]:
        return [decode(body, Status) for body in self.received(TOPICS.status)]

    def publish(self, topic: str, message: Ack | Hint) -> None:
        self.client.publish(topic, SEAL.close(topic, encode(message)))

    def ack(self, epoch: str, mark: int, **more: Any) -> None:
        """Answer the newest batch, as often as is wanted: each answer counts as one to a batch of its own."""
        self.turn += 1
        self.publish(TOPICS.ack, Ack(epoch, mark, session=self.session, turn=self.turn, **more))

    def hint(self, action: str, version: str = "") -> Hint:
        self.turn += 1
        hint = Hint(action, version, self.session, self.turn)
        self.publish(TOPICS.hint, hint)
        return hint

    @property
    def session(self) -> str:
        return wait_for(self.statuses, "a status")[-1].session
