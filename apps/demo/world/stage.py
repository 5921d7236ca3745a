"""Stage of a show: one cloud and three nodes with virtual subjects, and queries about them.

`Stage.clear` builds it again in a fresh folder, any number of times. `Stage.ready` restarts stopped processes
and restores cut networks, so that steps can run in any order.

The stage uses public interfaces only: the command line, the HTTP API, the node's metrics on loopback, and the
virtual source with its file of injected faults. A second instance of the source provides the ground truth, as
a plant's maintenance or a clinician would know it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from apps.demo.world.processes import Children, ShowError, wait_until
from apps.demo.world.shows import Show
from apps.demo.world.snapshot import waiting_events
from apps.demo.world.world import CloudSite, EdgeNode, Settings
from common.app.edge import Source
from common.app.spec import find_app
from common.bundle import Bundle, open_bundle
from common.cloud_client import CloudClient

T = TypeVar("T")
SOAK_S = 4.0
STOP_S = 1.5
"""Drain time of the processes when the stage is cleared; their data is discarded anyway."""
STEP_TIMEOUT_S = 600.0
"""Bound of each wait: a busy machine takes many times longer than a quiet one."""
CAUGHT_UP_EVENTS = 60
"""Unacknowledged events below which a node counts as caught up: one second of a virtual engine."""

CLOUD_SETTINGS: Settings = {"rollout": {"soak_s": SOAK_S, "check_interval_s": 0.3, "silence_s": 60.0}}
NODE_SETTINGS: Settings = {
    "ota": {"poll_interval_s": 1.5, "shadow_readings": 20},
    "uplink": {"reconnect_min_s": 0.2, "reconnect_max_s": 1.0, "ack_timeout_s": 2.0},
    "telemetry": {"health_interval_s": 1.0},
}
"""Short periods for a show: nodes poll for a model every 1.5 s and soak it for seconds."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Completeness of one node's events in the cloud."""

    node: str
    epochs: int
    events: int
    missing: int
    duplicated: int


class Stage:
    """A context manager that stops every process it has started."""

    def __init__(self, folder: Path, show: Show, *, cloud_settings: Settings | None = None) -> None:
        self.children = Children(folder / "logs")
        self._root = folder
        self._cloud_settings = {**CLOUD_SETTINGS, **(cloud_settings or {})}
        self._interruption = ""
        self._lock = threading.Lock()
        self._set_up(0, show)

    def _set_up(self, number: int, show: Show) -> None:
        self.show = show
        self.app = show.app
        self.subjects = show.subjects
        self.number = number
        """Number of calls of `clear`."""
        self.folder = self._root / f"reset-{number}" if number else self._root
        self._client: CloudClient | None = None
        self.began_ns = int(time.time() - show.recording_lead_s) * 10**9 if show.recording_lead_s else 0
        """Start of the recordings; 0 for sources without a start time."""
        self.cloud = CloudSite(self.children, self.folder / "cloud", settings=self._cloud_settings)
        settings = {**NODE_SETTINGS, **show.node_settings}
        self.nodes = [
            EdgeNode(self.children, self.folder / name, name, app=self.app, settings=settings)
            for name in self.subjects
        ]

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt("the show ends")
        self.children.stop()
        self._disconnect()

    @property
    def client(self) -> CloudClient:
        """Client of the running cloud."""
        with self._lock:  # A live view has a thread of its own.
            if self._client is None:
                self._client = self.cloud.client()
            return self._client

    # ------------------------------------------------------------------------------------------ set-up

    def start_nodes(self) -> list[dict[str, Any]]:
        """Enrol and start the nodes that do not run; returns all nodes once the cloud lists them online."""
        for node in self.nodes:
            if not node.links:
                node.enrol(self.cloud, self.show.sites.get(node.name, self.show.site))
            if not node.alive:
                node.start(self.source(node), "--speed", str(self.show.speed))

        def online() -> list[dict[str, Any]]:
            known = {node["node"]: node for node in self.get("/v1/nodes", limit=100)["items"]}
            found = [known.get(node.name, {}) for node in self.nodes]
            return found if all(n.get("state") == "online" and n.get("version") for n in found) else []

        return self.wait(online, f"{len(self.nodes)} nodes are online")

    def ready(self, *, plugged: bool = True) -> None:
        """Start what does not run and, if ``plugged``, restore all networks."""
        if not self.cloud.alive:
            self.cloud.start()
        cut = [node for node in self.nodes if node.is_cut] if plugged else []
        for node in cut:
            node.restore()
        if not all(node.alive for node in self.nodes):
            self.start_nodes()
        for node in cut:
            # The position of a subject is read from the cloud, so the cloud must be up to date.
            self.wait(lambda node=node: self._caught_up(node), f"{node.name} has sent its queued events")

    def find_node(self, name: str) -> EdgeNode:
        """The node called ``name``. Raises `ShowError` for an unknown name."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            raise ShowError(f"no node {name!r}; available: {', '.join(self.subjects)}")
        return found

    def clear(self, show: Show | None = None) -> None:
        """Stop all processes and set up a fresh folder, for the same show or another one.

        The data of the nodes is discarded.
        """
        running = [each.child for each in (*self.nodes, self.cloud) if each.alive]
        for child in running:
            child.terminate()
        deadline = time.monotonic() + STOP_S
        for child in running:
            child.stop(max(0.1, deadline - time.monotonic()))
        self._disconnect()
        self._set_up(self.number + 1, show or self.show)

    def interrupt(self, reason: str) -> None:
        """Make the running wait, or else the next one, fail with ``reason``."""
        self._interruption = reason

    def resume(self) -> None:
        """Discard an interruption that no wait has consumed."""
        self._interruption = ""

    def _disconnect(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
        for node in self.nodes:
            node.close()

    # ---------------------------------------------------------------------------------------- queries

    def get(self, path: str, **query: Any) -> Any:
        """GET of the cloud's API. Raises `ShowError` if the cloud does not run."""
        if not self.cloud.alive:
            raise ShowError("the cloud does not run")
        return self.client.get(path, **query)

    def app_path(self, path: str) -> str:
        return f"/v1/apps/{self.app}/{path}"

    def wait(self, condition: Callable[[], T | None], what: str, timeout_s: float = STEP_TIMEOUT_S) -> T:
        """Wait for ``condition``. Raises `ShowError` at once if a child process ends."""
        return wait_until(condition, what=what, timeout_s=timeout_s, poll_s=0.2, failed=self._failure)

    def production(self) -> str:
        """The version in production."""
        return self.get("/v1/status")["apps"][self.app]["production"]

    def bundle(self, version: str) -> Bundle:
        """A model of the registry."""
        folder = self.cloud.folder / "models" / self.app / version
        if not folder.exists():
            folder = find_app(self.app).starter  # In production until a first rollout is done.
        return open_bundle(folder, app=self.app)

    def node(self, name: str) -> dict[str, Any]:
        """The node as the cloud reports it."""
        return self.get(f"/v1/nodes/{name}")

    def events(self, node: str, **query: Any) -> list[dict[str, Any]]:
        """All events of a node in the cloud."""
        return self.client.items(f"/v1/nodes/{node}/events", limit=500, **query)

    def stream(self, node: str) -> Stream:
        """Check a node's events in the cloud for missing and duplicated sequence numbers."""
        ranges: dict[str, list[tuple[int, int]]] = {}
        for event in self.events(node):
            last = event["data"]["through"] if event["type"] == "edgeloop.gap" else event["seq"]
            ranges.setdefault(event["epoch"], []).append((event["seq"], last))
        missing, duplicated = count_missing_and_duplicated(ranges.values())
        events = sum(map(len, ranges.values()))
        return Stream(node, len(ranges), events, missing, duplicated)

    def source(self, node: EdgeNode) -> str:
        """URI of a node's virtual source."""
        query = "&".join(f"{name}={value}" for name, value in self.parameters(node).items())
        return f"virtual:{self.show.source_kind_of(node.name)}?{query}"

    def open_source(self, node: EdgeNode) -> Source:
        """A second instance of a node's virtual source, at full speed.

        It yields the same readings and holds their ground truth, independent of the node.
        """
        kind = self.show.source_kind_of(node.name)
        return find_app(self.app).load_virtual()(kind, self.parameters(node), 0.0)

    def inject_file(self, node: EdgeNode) -> Path:
        """File from which a node's virtual source reads injected faults."""
        return node.folder / "inject.txt"

    def parameters(self, node: EdgeNode) -> dict[str, str]:
        """Parameters of a node's virtual source."""
        seed = 1 + self.nodes.index(node)
        parameters = {"seed": str(seed), "name": node.name, "inject": str(self.inject_file(node))}
        if self.began_ns:
            began = datetime.fromtimestamp(self.began_ns // 10**9, UTC)
            parameters["start"] = began.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {**parameters, **self.show.parameters.get(node.name, {})}

    def _caught_up(self, node: EdgeNode) -> bool:
        waiting = waiting_events(node)
        return waiting is not None and waiting < CAUGHT_UP_EVENTS

    def _failure(self) -> str | None:
        if self._interruption:
            return self._interruption
        if not self.cloud.alive:
            return self.cloud.child.exit_report()
        return next(
            (reason for node in self.nodes if node.alive is False and (reason := _exit_reason(node))), None
        )


def _exit_reason(node: EdgeNode) -> str | None:
    try:
        return node.child.exit_report()
    except ShowError:
        return None  # Not started yet.


def count_missing_and_duplicated(streams: Iterable[Sequence[tuple[int, int]]]) -> tuple[int, int]:
    """``(missing, duplicated)`` sequence numbers; each stream is a list of ``(first, last)`` ranges."""
    missing = duplicated = 0
    for ranges in streams:
        expected = 1
        for first, last in sorted(ranges):
            missing += max(0, first - expected)
            duplicated += max(0, expected - first)
            expected = max(expected, last + 1)
    return missing, duplicated
