"""Cloud and nodes of a benchmark, as real processes, and what is read of them from outside.

Progress of a stream is read from the cloud's database; CPU time comes from the kernel.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.demo.world.processes import Children, ShowError, wait_until
from apps.demo.world.stage import SOAK_S
from apps.demo.world.world import CloudSite, EdgeNode, Rewriter, Settings

if TYPE_CHECKING:
    from paho.mqtt.client import Client

INDUSTRIAL = "industrial"
SITE = "bench"
START_TIMEOUT_S = 120.0
CLOUD_SETTINGS: Settings = {"rollout": {"soak_s": SOAK_S, "check_interval_s": 0.2}}
CLOUD_USER = "CLOUD"
"""The cloud's own user at its broker, with the password from its folder of secrets."""


class BenchSite:
    """A cloud, and nodes as each measurement needs them; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._closing = ExitStack()
        self._children = Children(folder / "logs")
        self.cloud = CloudSite(self._children, folder / "cloud", settings=CLOUD_SETTINGS)
        self.nodes_made = 0
        """Number of nodes so far; seeds their virtual sources."""

    def __enter__(self) -> BenchSite:
        self._closing.enter_context(self._children)
        self.cloud.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def make_node(
        self, settings: Settings, *, app: str = INDUSTRIAL, rewrite_http: Rewriter | None = None
    ) -> EdgeNode:
        """A new enrolled node, not started."""
        self.nodes_made += 1
        name = f"bench-{self.nodes_made}"
        node = EdgeNode(self._children, self.folder / name, name, app=app, settings=settings)
        node.enrol(self.cloud, SITE, rewrite_http=rewrite_http)
        return node

    def turbofan(self, node: EdgeNode) -> str:
        """URI of a virtual engine for a node just made."""
        return f"virtual:turbofan?seed={self.nodes_made}&name={node.name}"

    def wait_committed(self, node: EdgeNode, events: int, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until more than ``events`` events of a node are committed."""
        wait_until(
            lambda: self.committed(node) > events,
            what=f"more than {events} events of {node.name}",
            timeout_s=timeout_s,
            failed=node.child.exit_report,
        )

    def committed(self, node: EdgeNode) -> int:
        """Committed events of a node, from the cloud's database."""
        return self._read("SELECT coalesce(sum(high_water_mark), 0) FROM stream WHERE node = ?", node.name)

    def gaps(self, node: EdgeNode) -> int:
        """Gap events of a node, from the cloud's database."""
        return self._read(
            "SELECT count(*) FROM event JOIN stream ON stream.id = event.stream_id "
            "WHERE stream.node = ? AND event.type = 'edgeloop.gap'",
            node.name,
        )

    def transactions(self) -> int:
        """Transactions of ingest so far, as counted by the cloud."""
        with self.cloud.client() as client:
            return int(client.get("/v1/status")["ingest"].get("transactions", 0))

    def broker_client(self) -> BrokerClient:
        password = (self.cloud.folder / "secrets" / "mqtt-password").read_text("ascii").strip()
        return BrokerClient(self.cloud.file.mqtt_host, self.cloud.file.mqtt_port, password)

    def _read(self, query: str, *values: Any) -> int:
        file = self.cloud.folder / "cloud.sqlite"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
            return int(connection.execute(query, values).fetchone()[0])


class BrokerClient:
    """A paho client as the cloud's own user; a context manager that connects it."""

    def __init__(self, host: str, port: int, password: str) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._address = host, port
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(CLOUD_USER, password)
        self._client.max_inflight_messages_set(100)

    def __enter__(self) -> Client:
        connected = threading.Event()

        def on_connect(*_: object) -> None:
            connected.set()

        self._client.on_connect = on_connect
        self._client.connect(*self._address)
        self._client.loop_start()
        if not connected.wait(10):
            raise ShowError("the broker does not answer")
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far (Linux; all threads, no children)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
