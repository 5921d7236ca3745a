"""Sends the most expensive batches for a cloud at full speed: ``flooder.py ENROLMENT KIND``.

``poison``: batches of many small events that a projection rejects. ``large``: batches that decompress to
megabytes. ``noise``: sealed payloads that are not batches.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec
import zstandard
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from common.config.node import Enrolment
from common.messages import Event, Priority, encode_batch, encode_event, topics
from common.sealing import Seal

IN_FLIGHT = 20


def batches(enrolment: Enrolment, kind: str):
    """Payloads without an end; each batch continues the stream as if all before had been taken."""
    source, first = f"/{enrolment.site}/{enrolment.node}", 1
    epoch = f"flood-{os.getpid()}"
    count = 5000 if kind == "poison" else 900
    data = {"x": 1} if kind == "poison" else {"x": "y" * 4000}
    while True:
        if kind == "noise":
            yield zstandard.compress(os.urandom(100_000))
            continue
        event = Event("industrial.rul", "m", time.time_ns(), Priority.EVENT, data)
        last = first + count - 1
        bodies = [encode_event(event, source=source, epoch=epoch, seq=seq) for seq in range(first, last + 1)]
        now_ns = time.time_ns()
        payload = encode_batch(
            bodies, source=source, epoch=epoch, first=first, last=last, sent_ns=now_ns, oldest=first
        )
        for _ in range(20):  # Made once, sent often: a flooder need not work for each.
            yield payload
        first = last + 1


def main() -> None:
    path, kind = sys.argv[1:]
    enrolment = msgspec.json.decode(Path(path).read_bytes(), type=Enrolment)
    topic, seal = topics(enrolment.site, enrolment.node).up, Seal.of(enrolment.wire_key)
    client = Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(f"{enrolment.site}/{enrolment.node}", enrolment.mqtt_password)
    client.max_inflight_messages_set(IN_FLIGHT)
    client.connect(enrolment.mqtt_host, enrolment.mqtt_port)
    client.loop_start()
    for number, payload in enumerate(batches(enrolment, kind)):
        sent = client.publish(topic, seal.close(topic, payload), qos=1)
        if number % IN_FLIGHT == 0:
            sent.wait_for_publish()
        if number == 10 * IN_FLIGHT:
            sys.stdout.write("flooding\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
