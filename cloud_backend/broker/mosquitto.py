"""Mosquitto as a child: generated configuration, password file and access rules.

A node's user is ``<site>/<node>``, the middle of its topics. It may write its own ``up`` and ``status``
and read its own ``ack`` and ``hint``, nothing else. Client ids of nodes and cloud are random and
in no message, so no client can end the connection of another by taking its id. ``use_username_as_clientid``
would do the same for nodes, but two devices with one enrolment would then cut each other off instead of
being detected while both go on (`common.edge.delivery.uplink`).
"""

from __future__ import annotations

import getpass
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path, PurePath

from cloud_backend.access.tokens import CLOUD_USER, hash_password, mqtt_user
from cloud_backend.broker.broker import PACKET_LIMIT_BYTES, Users
from cloud_backend.broker.child import BrokerChild, connections_within
from common import durable
from common.messages import TOPIC_ROOT

_CONFIGURATION = """\
listener {port} {host}
user {user}
persistence false
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/rules
max_packet_size {packet_bytes}
max_inflight_messages 200
max_queued_messages 2000
max_queued_bytes 67108864
max_keepalive 300
max_connections {connections}
connection_messages false
log_dest stderr
log_type error
log_type warning
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""
ACCESS_RULES = f"""\
user {CLOUD_USER}
topic readwrite {TOPIC_ROOT}/#

pattern write {TOPIC_ROOT}/%u/up
pattern write {TOPIC_ROOT}/%u/status
pattern read {TOPIC_ROOT}/%u/ack
pattern read {TOPIC_ROOT}/%u/hint
"""


class MosquittoBroker:
    """`cloud_backend.broker.broker.Broker` by an installed Mosquitto."""

    kind = "mosquitto"

    def __init__(
        self,
        program: str,
        folder: Path,
        host: str,
        port: int,
        users: Users,
        max_connections: int = 10_000,
    ) -> None:
        self._max_connections = max_connections
        self.host = host
        self.port = port
        self._folder = folder.resolve()
        self._users = users
        self._hashes: dict[str, str] = {}
        self._lock = threading.Lock()
        arguments = ["exec", program, "-c", str(self._folder / "mosquitto.conf")]
        self._child = BrokerChild(self._folder, host, port, arguments)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid

    def start(self) -> None:
        """Write its files and start it."""
        # Changing the user would make the kernel forget that it has to die with us.
        user = getpass.getuser() if os.geteuid() else "root"
        connections = connections_within(self._max_connections)
        text = configuration(self.host, self.port, self._folder, user, connections)
        durable.write(self._folder / "mosquitto.conf", text.encode(), mode=0o600)
        durable.write(self._folder / "rules", ACCESS_RULES.encode(), mode=0o600)
        with self._lock:
            self._hashes = dict(self._users())
            self._write_passwords()
        self._child.start()

    def stop(self) -> None:
        """End it."""
        self._child.stop()

    def alive(self) -> bool:
        """Whether it runs."""
        return self._child.alive()

    def add_node(self, site: str, node: str, password: str) -> None:
        """Add the node to the password file and have it read."""
        with self._lock:
            self._hashes[mqtt_user(site, node)] = hash_password(password)
            self._write_passwords()
        self._child.signal(signal.SIGHUP)

    def remove_node(self, site: str, node: str) -> None:
        """Take the node out of the password file; on reading it Mosquitto ends its connection."""
        with self._lock:
            self._hashes.pop(mqtt_user(site, node), None)
            self._write_passwords()
        self._child.signal(signal.SIGHUP)

    def tidy(self) -> None:
        """Keep its log bounded."""
        self._child.trim_log()

    def _write_passwords(self) -> None:
        durable.write(self._folder / "passwords", password_lines(self._hashes).encode(), mode=0o600)


def configuration(host: str, port: int, folder: PurePath, user: str, connections: int = 10_000) -> str:
    """Mosquitto's configuration with one listener, whose options may follow; ``user`` is the system's."""
    return _CONFIGURATION.format(
        host=host,
        port=port,
        folder=folder,
        packet_bytes=PACKET_LIMIT_BYTES,
        connections=connections,
        user=user,
    )


def password_lines(hashes: Mapping[str, str]) -> str:
    """Mosquitto's password file."""
    return "".join(f"{user}:{password}\n" for user, password in sorted(hashes.items()))
