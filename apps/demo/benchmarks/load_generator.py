"""Load generator: simulated nodes that fill a cloud's store, over its API and its broker like any node.

Every node is enrolled, connects with its own password, and sends events of one machine: remaining life, a
health event every `HEALTH_EVERY` events, an alarm every `ALARM_EVERY`. The values are drawn with a seed and
have no meaning.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from apps.demo.world.processes import ShowError, wait_until
from common.cloud_client import CloudClient
from common.config.node import Enrolment
from common.messages import Ack, Event, Priority, Status, encode, encode_batch, encode_event, topics
from common.sealing import Seal

BATCH_EVENTS = 1000
"""Events in one batch; the uplink's own default."""
HEALTH_EVERY = 200
ALARM_EVERY = 2000
AHEAD_BATCHES = 20
"""Unacknowledged batches; a fifth of the capacity of the cloud's inbox."""
SITES = 10
EPOCH = "load"
VERSION = "1.0.0"
PERIOD_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """One simulated node and its events."""

    enrolment: Enrolment
    events: int
    last_ns: int

    def batches(self) -> Iterator[bytes]:
        """Its whole stream; the same values every time."""
        source = f"/{self.enrolment.site}/{self.enrolment.node}"
        rng = random.Random(self.enrolment.node)  # noqa: S311  not for security
        for first in range(1, self.events + 1, BATCH_EVENTS):
            last = min(first + BATCH_EVENTS - 1, self.events)
            yield encode_batch(
                [
                    encode_event(self._event(seq, rng), source=source, epoch=EPOCH, seq=seq)
                    for seq in range(first, last + 1)
                ],
                source=source,
                epoch=EPOCH,
                first=first,
                last=last,
                sent_ns=time.time_ns(),
                oldest=1,
            )

    def _event(self, seq: int, rng: random.Random) -> Event:
        name = self.enrolment.node
        time_ns = self.last_ns - (self.events - seq) * PERIOD_NS
        if seq == 1:
            details: dict[str, Any] = {
                "app": "industrial",
                "version": VERSION,
                "profile": "cpu",
                "virtual": True,
            }
            return Event("edgeloop.node.started", name, time_ns, Priority.EVENT, details)
        if seq % HEALTH_EVERY == 0:
            return Event("edgeloop.node.health", name, time_ns, Priority.TELEMETRY, self._health(seq, rng))
        machine, cycle = f"{name}-machine", 1 + seq % 250
        rul = max(0.0, 125.0 - cycle / 2 + rng.gauss(0, 5))
        life = {
            "run": seq // 250,
            "cycle": cycle,
            "rul_cycles": round(rul, 2),
            "lower_cycles": round(max(0.0, rul - 12), 2),
            "upper_cycles": round(rul + 12, 2),
            "novelty": round(rng.random(), 3),
            "version": VERSION,
        }
        if seq % ALARM_EVERY == 1:
            alarm = life | {"horizon_cycles": 30.0, "sensors": ["T50", "P30"], "sensor_cycles": [-9.1, -4.2]}
            return Event("industrial.maintenance_due", machine, time_ns, Priority.ALARM, alarm)
        return Event("industrial.rul", machine, time_ns, Priority.TELEMETRY, life)

    def _health(self, seq: int, rng: random.Random) -> dict[str, Any]:
        p50_ms = 0.2 + 0.05 * rng.random()
        return {
            "version": VERSION,
            "slot": "a",
            "step": "confirmed",
            "confirmed": True,
            "readings": seq,
            "latency_p50_ms": round(p50_ms, 4),
            "latency_p99_ms": round(3 * p50_ms, 4),
            "outbox_events": rng.randrange(50),
            "outbox_bytes": 0,
            "drift": False,
            "bytes_raw": 192 * seq,
            "bytes_sent": 60 * seq,
            "cpu_s": round(0.003 * seq, 2),
            "rss_bytes": 115_000_000,
            "virtual": True,
        }


def enrol_nodes(client: CloudClient, count: int, events: int) -> list[SimulatedNode]:
    """Enrol ``count`` nodes at `SITES` sites, to send ``events`` events each."""
    now_ns = time.time_ns()
    nodes: list[SimulatedNode] = []
    for number in range(count):
        body = {"node": node_name(number), "site": f"site-{number % SITES}"}
        enrolment = msgspec.convert(client.post("/v1/nodes", body), Enrolment)
        nodes.append(SimulatedNode(enrolment, events, now_ns))
    return nodes


def node_name(number: int) -> str:
    return f"load-{number:04d}"


def send_all(nodes: list[SimulatedNode]) -> None:
    """Send all events of all nodes, one node after the other, and wait for their acknowledgement."""
    for node in nodes:
        with _Connection(node) as connection:
            connection.send_all()


class _Connection:
    """One node's connection to the broker."""

    def __init__(self, node: SimulatedNode) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        self._node = node
        self._seal = Seal.of(node.enrolment.wire_key)
        self._topics = topics(node.enrolment.site, node.enrolment.node)
        self._ready = threading.Event()
        self._acked = 0
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.username_pw_set(
            f"{node.enrolment.site}/{node.enrolment.node}", node.enrolment.mqtt_password
        )
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = self._mark_ready
        self._client.on_message = self._handle_ack

    def _subscribe(self, *_: object) -> None:
        self._client.subscribe([(self._topics.ack, 1)])

    def _mark_ready(self, *_: object) -> None:
        self._ready.set()

    def __enter__(self) -> _Connection:
        self._client.connect(self._node.enrolment.mqtt_host, self._node.enrolment.mqtt_port)
        self._client.loop_start()
        if not self._ready.wait(10):
            raise ShowError(f"the broker refuses {self._node.enrolment.node}")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send_all(self) -> None:
        online = Status("online", "industrial", VERSION, time.time_ns())
        status = self._topics.status
        self._client.publish(status, self._seal.close(status, encode(online)), qos=1, retain=True)
        for number, batch in enumerate(self._node.batches()):
            self._await_ack((number - AHEAD_BATCHES) * BATCH_EVENTS)
            self._client.publish(self._topics.up, self._seal.close(self._topics.up, batch), qos=1)
        self._await_ack(self._node.events)

    def _await_ack(self, mark: int) -> None:
        name = self._node.enrolment.node
        wait_until(
            lambda: self._acked >= mark, what=f"{name} acknowledged up to {mark}", timeout_s=60, poll_s=0.002
        )

    def _handle_ack(self, _client: Any, _user: Any, message: Any) -> None:
        ack = msgspec.json.decode(self._seal.open(message.topic, message.payload), type=Ack)
        self._acked = max(self._acked, ack.high_water_mark)
