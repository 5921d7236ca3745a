"""Real brokers for tests, and a client that waits instead of sleeping."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from cloud_backend.broker.broker import Broker, Users
from cloud_backend.broker.choice import find_mosquitto, open_broker
from common.config.cloud import MqttSettings
from tests.waiting import PATIENCE_S

KINDS = ("mosquitto", "iotcore")


def make_broker(kind: str, folder: Path, users: Users = dict, port: int = 0) -> Broker:
    """A broker of this kind, not started; skips where it is not installed."""
    if kind == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    return open_broker(MqttSettings(broker=kind, port=port), folder, users)


class MqttClient:
    """A client of a test: what arrives is kept, and can be waited for."""

    def __init__(
        self, port: int, user: str = "", password: str = "", will: tuple[str, bytes] | None = None
    ) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.refused = ""
        self._changed = threading.Condition()
        self._ready = False
        self._client = Client(CallbackAPIVersion.VERSION2, clean_session=True)
        if user:
            self._client.username_pw_set(user, password)
        if will:
            self._client.will_set(*will, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._note(lambda: setattr(self, "_ready", True))
        self._client.on_message = lambda _c, _u, m: self._note(
            lambda: self.received.append((m.topic, bytes(m.payload)))
        )
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]  any number works
        self._connected = False
        self._client.connect("127.0.0.1", port, keepalive=30)
        self._client.loop_start()
        self.wait(lambda: self._connected or bool(self.refused))

    def subscribe(self, *topics: str) -> None:
        """Subscribe, and wait until the broker has it."""
        self._ready = False
        self._client.subscribe([(topic, 1) for topic in topics])
        self.wait(lambda: self._ready)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish, and wait until the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE_S)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something that arrives makes ``condition`` true."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), (
                f"received {self.received[:5]}, {self.refused}"
            )

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> MqttClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_connect(
        self, _client: object, _user: object, _flags: object, code: Any, _properties: object
    ) -> None:
        def note() -> None:
            self._connected = not code.is_failure
            self.refused = str(code) if code.is_failure else ""

        self._note(note)

    def _note(self, change: Callable[[], None]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()
