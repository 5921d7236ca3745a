"""An enrolled node that sends any event."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from common.cloud_client import CloudClient
from common.messages import Event, encode_batch, encode_event, topics
from common.sealing import Seal
from tests.brokers import MqttClient

if TYPE_CHECKING:
    pass


class ScriptedNode:
    """An enrolled node that sends any event, of an app that is not installed; a context manager."""

    def __init__(self, client: CloudClient, name: str) -> None:
        self.name = name
        self._source = f"/strange/{name}"
        self._epoch = f"e{time.time_ns()}"
        self._sent = 0
        enrolment = client.post("/v1/nodes", {"node": name, "site": "strange"})
        self._seal = Seal.of(enrolment["wire_key"])
        self._mqtt = MqttClient(enrolment["mqtt_port"], f"strange/{name}", enrolment["mqtt_password"])

    def __enter__(self) -> ScriptedNode:
        return self

    def __exit__(self, *_: object) -> None:
        self._mqtt.close()

    def send(self, *events: Event) -> None:
        first = self._sent + 1
        self._sent += len(events)
        bodies = [
            encode_event(event, source=self._source, epoch=self._epoch, seq=seq)
            for seq, event in enumerate(events, first)
        ]
        batch = encode_batch(
            bodies,
            source=self._source,
            epoch=self._epoch,
            first=first,
            last=self._sent,
            sent_ns=time.time_ns(),
            oldest=first,
        )
        topic = topics("strange", self.name).up
        self._mqtt.publish(topic, self._seal.close(topic, batch))
