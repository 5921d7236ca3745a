"""Which broker runs: Mosquitto where it is installed, else iotcore (rumqttd), which comes with the package;
or one that someone else runs.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from cloud_backend.broker.broker import Broker, Users
from cloud_backend.broker.child import free_port
from cloud_backend.broker.iotcore import IotcoreBroker
from cloud_backend.broker.mosquitto import MosquittoBroker
from common.config import MqttSettings
from common.errors import BrokerError, ConfigError

_log = structlog.get_logger("edgeloop.broker")
KINDS = ("auto", "mosquitto", "iotcore", "external")


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
        return MosquittoBroker(program, folder, settings.host, port, users)
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

    def remove_node(self, site: str, node: str) -> None:
        """Say that the broker's own administrator has to remove the user."""
        _log.warning("remove the user of this node from the external broker", node=node, site=site)

    def tidy(self) -> None:
        """Nothing to tidy."""
