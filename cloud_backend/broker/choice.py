"""Choice of the broker: an installed Mosquitto, else iotcore (rumqttd), which comes with the package; or an
external one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from cloud_backend.broker.broker import Broker, Users
from cloud_backend.broker.child import free_port
from cloud_backend.broker.iotcore import IotcoreBroker
from cloud_backend.broker.mosquitto import MosquittoBroker
from common.broker_tls import tls_context
from common.config.cloud import MqttSettings
from common.errors import BrokerError, ConfigError

_log = structlog.get_logger("edgeloop.broker")
KINDS = ("auto", "mosquitto", "iotcore", "external")


def open_broker(settings: MqttSettings, folder: Path, users: Users) -> Broker:
    """The broker of ``settings``, not started yet; its files lie in ``folder``.

    Raises `ConfigError` for an unknown kind and `BrokerError` for one that is not installed.
    """
    kind = settings.broker
    if kind not in KINDS:
        raise ConfigError(f"mqtt.broker: {kind!r} is not one of {', '.join(KINDS)}")
    if (settings.tls or settings.ca_file) and kind != "external":
        raise ConfigError("mqtt.tls and mqtt.ca_file are for an external broker: set mqtt.broker to external")
    broker_authority(settings)
    if kind == "external":
        return ExternalBroker(settings.host, settings.port)
    program = find_mosquitto()
    if kind == "mosquitto" and program is None:
        raise BrokerError(
            "mosquitto is not installed: apt-get install mosquitto, or set mqtt.broker to iotcore"
        )
    port = settings.port or free_port(settings.host)
    if program is not None and kind != "iotcore":
        return MosquittoBroker(program, folder, settings.host, port, users, settings.max_connections)
    return IotcoreBroker(folder, settings.host, port, settings.max_connections)


def broker_authority(settings: MqttSettings) -> str:
    """The authority (PEM) of an external broker's certificate; empty for those of the system.

    Raises `ConfigError` for a file that is not one.
    """
    if not settings.ca_file:
        return ""
    try:
        authority = Path(settings.ca_file).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"mqtt.ca_file: {settings.ca_file} cannot be read: {error}") from error
    tls_context(authority)
    return authority


def find_mosquitto() -> str | None:
    """Path of an installed Mosquitto; Debian puts it where only root's PATH looks."""
    return shutil.which("mosquitto") or shutil.which(
        "mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
    )


class ExternalBroker:
    """An external broker: nothing to start, and its users are added by its administrator."""

    kind = "external"
    pid = None

    def __init__(self, host: str, port: int) -> None:
        if not port:
            raise ConfigError("mqtt.port: an external broker needs its port")
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
        """Log that the broker's administrator has to add the node."""
        _log.warning(
            "the external broker has no user for this node yet: write its files with `edgeloop cloud "
            "broker-config` and reload them (SIGHUP)",
            node=node,
            site=site,
        )

    def remove_node(self, site: str, node: str) -> None:
        """Log that the broker's administrator has to remove the node."""
        _log.warning(
            "the external broker still has a user for this node: write its files with `edgeloop cloud "
            "broker-config` and reload them (SIGHUP)",
            node=node,
            site=site,
        )

    def tidy(self) -> None:
        """Nothing to tidy."""
