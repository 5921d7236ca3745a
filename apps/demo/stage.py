"""The stage of the show: one cloud, a few virtual machines with their nodes, and what can be asked of them.

Everything here goes through what any user has: the command line, the HTTP API, the node's metrics on
loopback, and the files of the virtual source (``stage``: what happens to the machine; ``truth``: what
really happened, which is what a plant's maintenance would know).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from apps.demo.client import CloudClient
from apps.demo.processes import Children, ShowError, wait_until
from apps.demo.world import CloudSite, EdgeNode, Settings
from common import durable

T = TypeVar("T")
SOAK_S = 4.0

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

    def __init__(self, folder: Path, app: str, machines: Sequence[str]) -> None:
        self.folder = folder
        self.app = app
        self._closing = ExitStack()
        self.children = Children(folder / "logs")
        self.cloud = CloudSite(self.children, folder / "cloud", settings=CLOUD_SETTINGS)
        self.nodes = [
            EdgeNode(self.children, folder / name, name, app=app, settings=NODE_SETTINGS) for name in machines
        ]

    def __enter__(self) -> Stage:
        self._closing.enter_context(self.children)
        for node in self.nodes:
            self._closing.callback(node.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @cached_property
    def client(self) -> CloudClient:
        """The API; first used once the cloud has started."""
        return self._closing.enter_context(self.cloud.client())

    def ask(self, path: str, **query: Any) -> Any:
        """GET of the cloud's API. Raises `ShowError` while there is no cloud."""
        if not self.cloud.alive:
            raise ShowError("the cloud does not run")
        return self.client.get(path, **query)

    def app_path(self, path: str) -> str:
        return f"/v1/apps/{self.app}/{path}"

    def wait(self, condition: Callable[[], T], what: str, timeout_s: float) -> T:
        """Wait for ``condition``; the death of any child ends the wait at once."""
        return wait_until(condition, what=what, timeout_s=timeout_s, poll_s=0.2, failed=self._death)

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

    def direct(self, orders: Mapping[str, Any]) -> None:
        """Tell all virtual machines what happens to them from now on."""
        for node in self.nodes:
            durable.write(self.stage_file(node), msgspec.json.encode(orders))

    def stage_file(self, node: EdgeNode) -> Path:
        return node.folder / "stage.json"

    def truth_file(self, node: EdgeNode) -> Path:
        return node.folder / "truth.jsonl"

    def truths(self, node: EdgeNode) -> list[dict[str, Any]]:
        """What really happened to a node's machine so far: one record for each run that ended."""
        try:
            lines = self.truth_file(node).read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line) for line in lines if line.endswith(b"\n")]

    def _death(self) -> str | None:
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
