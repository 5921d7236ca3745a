"""iotcore (rumqttd) as a child, without users: every program that reaches its port may read and write.

Messages are not secret to programs of this machine, and count only with a seal (`common.sealing`). A node's
client id is random and in no message, so that no program can take its connection over. iotcore has no limits
per client: for those, and for nodes on other machines, use Mosquitto.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

import structlog

from cloud_backend.broker.broker import PACKET_LIMIT_BYTES
from cloud_backend.broker.child import BrokerChild
from common.errors import BrokerError

_log = structlog.get_logger("edgeloop.broker")


class IotcoreBroker:
    """`cloud_backend.broker.broker.Broker` by the broker that comes with the package."""

    kind = "iotcore"

    def __init__(self, folder: Path, host: str, port: int, max_connections: int = 10_000) -> None:
        if not _is_loopback(host):
            raise BrokerError(
                f"iotcore has no access rules, so it listens on loopback only, not on {host}: "
                "install Mosquitto to let nodes on other machines in"
            )
        self.host = host
        self.port = port
        self._child = BrokerChild(
            folder, host, port, ["iotcore", host, str(port), str(PACKET_LIMIT_BYTES), str(max_connections)]
        )

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid

    def start(self) -> None:
        """Start it."""
        _log.warning(
            "the broker is iotcore: every program on this machine may read its topics and take its "
            "connections; messages count only with a node's key"
        )
        self._child.start()

    def stop(self) -> None:
        """End it."""
        self._child.stop()

    def alive(self) -> bool:
        """Whether it runs."""
        return self._child.alive()

    def add_node(self, site: str, node: str, password: str) -> None:
        """Nothing to do: everyone on this machine is let in."""

    def remove_node(self, site: str, node: str) -> None:
        """Nothing to do: ingest takes nothing from a retired node."""

    def tidy(self) -> None:
        """Keep its log bounded."""
        self._child.trim_log()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
