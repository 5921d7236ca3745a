"""The stage of the show: one cloud, a few virtual machines with their nodes, and what can be asked of them.

It can be set up again (`Stage.clear`), in a fresh folder, as often as wanted; `Stage.ready` puts right what
an act before left undone (a node that was stopped, a network that is cut), so acts need no order.

Everything here goes through what any user has: the command line, the HTTP API, the node's metrics on
loopback, and the virtual source with its file of injected faults. The source is opened here a second time
for its ground truth, which is what a plant's maintenance would know.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

from apps.demo.story.shows import Show
from apps.demo.story.story import Script
from apps.demo.world.processes import Children, ShowError, wait_until
from apps.demo.world.snapshot import waiting_events
from apps.demo.world.world import CloudSite, EdgeNode, Settings
from common.app.edge import Source
from common.app.spec import find_app
from common.bundle import Bundle, open_bundle
from common.cloud_client import CloudClient

T = TypeVar("T")
SOAK_S = 4.0
STOP_S = 1.5
"""How long the processes may drain when the stage is cleared: what they hold is thrown away anyway."""
PATIENCE_S = 600.0
"""Bound of each step of the show: a busy machine takes many times longer than a quiet one."""
CAUGHT_UP_EVENTS = 60
"""Events on the way at which a node counts as heard: a second of a virtual engine."""

CLOUD_SETTINGS: Settings = {"rollout": {"soak_s": SOAK_S, "tick_s": 0.3, "silence_s": 60.0}}
NODE_SETTINGS: Settings = {
    "ota": {"poll_s": 1.5, "shadow_readings": 20},
    "uplink": {"reconnect_first_s": 0.2, "reconnect_last_s": 1.0, "ack_timeout_s": 2.0},
    "telemetry": {"health_s": 1.0},
}
"""A show cannot wait: nodes look every 1.5 s for a model, and soak it for seconds."""


@dataclass(frozen=True, slots=True)
class Stream:
    """How complete one node's events are in the cloud."""

    node: str
    epochs: int
    events: int
    missing: int
    doubled: int


class Stage:
    """A context manager; what it starts, it stops."""

    def __init__(self, folder: Path, show: Show, *, cloud_settings: Settings | None = None) -> None:
        self.children = Children(folder / "logs")
        self._root = folder
        self._cloud_settings = {**CLOUD_SETTINGS, **(cloud_settings or {})}
        self._interruption = ""
        self._lock = threading.Lock()
        self._set_up(0, show)

    def script(self, *, again: bool) -> Script:
        """What is played; with ``again`` it ends with nodes that run, so that it can be played once more."""
        return resolve_name(self.show.script)(self, again=again)

    def _set_up(self, number: int, show: Show) -> None:
        self.show = show
        self.app = show.app
        self.subjects = show.subjects
        self.number = number
        """How often the stage was cleared."""
        self.folder = self._root / f"again-{number}" if number else self._root
        self._client: CloudClient | None = None
        self.began_ns = int(time.time() - show.begins_before_s) * 10**9 if show.begins_before_s else 0
        """When the recordings begin; 0 where sources have no time of their own."""
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
        self._let_go()

    @property
    def client(self) -> CloudClient:
        """The API; first used once the cloud has started."""
        with self._lock:  # A live view asks from a thread of its own.
            if self._client is None:
                self._client = self.cloud.client()
            return self._client

    # ----------------------------------------------------------------------------------- setting it up

    def start_nodes(self) -> list[dict[str, Any]]:
        """Enrol and start the nodes that do not run yet; what the cloud knows of all once they are online."""
        for node in self.nodes:
            if not node.links:
                node.enrol(self.cloud, self.show.site)
            if not node.alive:
                node.start(self.source(node), "--speed", str(self.show.speed))

        def online() -> list[dict[str, Any]]:
            known = {node["node"]: node for node in self.ask("/v1/nodes", limit=100)["items"]}
            found = [known.get(node.name, {}) for node in self.nodes]
            return found if all(n.get("state") == "online" and n.get("version") for n in found) else []

        return self.wait(online, f"{len(self.nodes)} nodes are online")

    def ready(self, *, plugged: bool = True) -> None:
        """Make sure that the cloud and all nodes run and, if ``plugged``, that no network is cut."""
        if not self.cloud.alive:
            self.cloud.start()
        cut = [node for node in self.nodes if node.is_cut] if plugged else []
        for node in cut:
            node.restore()
        if not all(node.alive for node in self.nodes):
            self.start_nodes()
        for node in cut:
            # Where a machine is, is asked of the cloud: it must have heard of it.
            self.wait(lambda node=node: self._caught_up(node), f"{node.name} has sent what it kept")

    def find_node(self, name: str) -> EdgeNode:
        """The node called ``name``. Raises `ShowError` where there is none."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            raise ShowError(f"there is no node {name!r}; there are {', '.join(self.subjects)}")
        return found

    def clear(self, show: Show | None = None) -> None:
        """Stop all, and be as at the start, in a fresh folder, for the same show or another one.

        What the nodes hold is thrown away.
        """
        running = [each.child for each in (*self.nodes, self.cloud) if each.alive]
        for child in running:
            child.terminate()
        deadline = time.monotonic() + STOP_S
        for child in running:
            child.stop(max(0.1, deadline - time.monotonic()))
        self._let_go()
        self._set_up(self.number + 1, show or self.show)

    def interrupt(self, reason: str) -> None:
        """End the wait of the act that runs now, or of the next one: it fails for ``reason``."""
        self._interruption = reason

    def resume(self) -> None:
        """Forget an interruption that no wait has heard of."""
        self._interruption = ""

    def _let_go(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
        for node in self.nodes:
            node.close()

    # ------------------------------------------------------------------------------- what can be asked

    def ask(self, path: str, **query: Any) -> Any:
        """GET of the cloud's API. Raises `ShowError` while there is no cloud."""
        if not self.cloud.alive:
            raise ShowError("the cloud does not run")
        return self.client.get(path, **query)

    def app_path(self, path: str) -> str:
        return f"/v1/apps/{self.app}/{path}"

    def wait(self, condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
        """Wait for ``condition``; the death of any child ends the wait at once."""
        return wait_until(condition, what=what, timeout_s=patience_s, poll_s=0.2, failed=self._death)

    def production(self) -> str:
        """The version in production."""
        return self.ask("/v1/status")["apps"][self.app]["production"]

    def bundle(self, version: str) -> Bundle:
        """A model of the registry."""
        folder = self.cloud.folder / "models" / self.app / version
        if not folder.exists():
            folder = find_app(self.app).starter  # In production until a first rollout is done.
        return open_bundle(folder, app=self.app)

    def node(self, name: str) -> dict[str, Any]:
        """What the cloud knows of a node."""
        return self.ask(f"/v1/nodes/{name}")

    def events(self, node: str, **query: Any) -> list[dict[str, Any]]:
        """All events of a node in the cloud."""
        return self.client.items(f"/v1/nodes/{node}/events", limit=500, **query)

    def stream(self, node: str) -> Stream:
        """Count a node's events by their place in the stream: holes, and places that are there twice."""
        places: dict[str, list[tuple[int, int]]] = {}
        for event in self.events(node):
            last = event["data"]["through"] if event["type"] == "edgeloop.gap" else event["seq"]
            places.setdefault(event["epoch"], []).append((event["seq"], last))
        missing, doubled = count_places(places.values())
        events = sum(map(len, places.values()))
        return Stream(node, len(places), events, missing, doubled)

    def source(self, node: EdgeNode) -> str:
        """URI of a node's virtual source."""
        query = "&".join(f"{name}={value}" for name, value in self._parameters(node).items())
        return f"virtual:{self.show.kind}?{query}"

    def open_source(self, node: EdgeNode) -> Source:
        """A node's virtual source, opened once more as fast as it can be read.

        It gives the same to whoever opens it, and knows its own truth, which therefore does not come from the
        node.
        """
        return find_app(self.app).load_virtual()(self.show.kind, self._parameters(node), 0.0)

    def inject_file(self, node: EdgeNode) -> Path:
        """The file in which a node's virtual source looks for what is to happen."""
        return node.folder / "inject.txt"

    def _parameters(self, node: EdgeNode) -> dict[str, str]:
        seed = 1 + self.nodes.index(node)
        given = {"seed": str(seed), "name": node.name, "inject": str(self.inject_file(node))}
        if self.began_ns:
            began = datetime.fromtimestamp(self.began_ns // 10**9, UTC)
            given["start"] = began.strftime("%Y-%m-%dT%H:%M:%SZ")
        return given | self.show.parameters.get(node.name, {})

    def _caught_up(self, node: EdgeNode) -> bool:
        waiting = waiting_events(node)
        return waiting is not None and waiting < CAUGHT_UP_EVENTS

    def _death(self) -> str | None:
        if self._interruption:
            return self._interruption
        if not self.cloud.alive:
            return self.cloud.child.death()
        return next(
            (reason for node in self.nodes if node.alive is False and (reason := _death_of(node))), None
        )


def _death_of(node: EdgeNode) -> str | None:
    try:
        return node.child.death()
    except ShowError:
        return None  # It has not been started yet.


def count_places(streams: Iterable[Sequence[tuple[int, int]]]) -> tuple[int, int]:
    """``(missing, doubled)`` sequence numbers of streams that are given as ``(first, last)`` places."""
    missing = doubled = 0
    for places in streams:
        expected = 1
        for first, last in sorted(places):
            missing += max(0, first - expected)
            doubled += max(0, expected - first)
            expected = max(expected, last + 1)
    return missing, doubled
