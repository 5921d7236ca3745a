"""Which broker runs, behind a start/stop interface of a few lines.

Mosquitto where it is installed, else iotcore (rumqttd), which comes with the package; or one that
someone else runs. Nothing in edgeloop depends on what they keep: no session is persistent, and what is
lost on the way is sent again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import structlog

from cloud_backend.broker.child import free_port
from common.config import MqttSettings
from common.errors import BrokerError, ConfigError
from common.messages import BATCH_LIMIT_BYTES

_log = structlog.get_logger("edgeloop.broker")
PACKET_LIMIT_BYTES = BATCH_LIMIT_BYTES + 44 * 1024
"""Largest MQTT packet: a batch, its topic, and room to spare (300 KiB)."""
KINDS = ("auto", "mosquitto", "iotcore", "external")

Users = Callable[[], Mapping[str, str]]
"""Gives every user of the broker with the hash of the password (`cloud_backend.access.tokens`)."""


class Broker(Protocol):
    """A broker that the cloud starts and stops, on ``host:port``."""

    kind: str
    host: str
    port: int

    @property
    def pid(self) -> int | None: ...

    def start(self) -> None:
        """Start it, or start it again after it died. Raises `BrokerError`.

        A child dies with the thread that called this.
        """
        ...

    def stop(self) -> None: ...

    def alive(self) -> bool: ...

    def add_node(self, site: str, node: str, password: str) -> None:
        """Let a newly enrolled node in; ``password`` as it was given to the node."""
        ...

    def tidy(self) -> None:
        """Keep what it writes bounded; called now and then."""
        ...


def open_broker(settings: MqttSettings, folder: Path, users: Users) -> Broker:
    """The broker that ``settings`` ask for, not started yet; its files lie in ``folder``.

    Raises `ConfigError` for an unknown kind and `BrokerError` for one that is not installed.
    """
    kind = settings.broker
    if kind not in KINDS:
        raise ConfigError(f"mqtt.broker: {kind!r} is not one of {', '.join(KINDS)}")
    if kind == "external":
        return ExternalBroker(settings.host, settings.port)
    program = find_mosquitto()
    if kind == "mosquitto" and program is None:
        raise BrokerError(
            "mosquitto is not installed: apt-get install mosquitto, or set mqtt.broker to iotcore"
        )
    port = settings.port or free_port(settings.host)
    if program is not None and kind != "iotcore":
        from cloud_backend.broker.mosquitto import MosquittoBroker

        return MosquittoBroker(program, folder, settings.host, port, users)
    from cloud_backend.broker.iotcore import IotcoreBroker

    return IotcoreBroker(folder, settings.host, port)


def find_mosquitto() -> str | None:
    """Path of an installed Mosquitto; Debian puts it where only root's PATH looks."""
    return shutil.which("mosquitto") or shutil.which(
        "mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
    )


class ExternalBroker:
    """A broker that someone else runs: nothing to start, and users are theirs to add."""

    kind = "external"
    pid = None

    def __init__(self, host: str, port: int) -> None:
        if not port:
            raise ConfigError("mqtt.port: the port of an external broker must be given")
        self.host = host
        self.port = port

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def alive(self) -> bool:
        """Whether it is there shows in the consumer's connection."""
        return True

    def add_node(self, site: str, node: str, password: str) -> None:  # noqa: ARG002
        """Say that the broker's own administrator has to let the node in."""
        _log.warning(
            "add this node to the external broker with the password of its enrolment", node=node, site=site
        )

    def tidy(self) -> None:
        """Nothing to tidy."""
