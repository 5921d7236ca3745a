"""The stage of the show: one cloud, a few virtual machines with their nodes, and what can be asked of them.

Everything here goes through what any user has: the command line, the HTTP API, the node's metrics on
loopback, and the virtual source with its file of injected faults. The source is opened here a second time
for its ground truth, which is what a plant's maintenance would know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from apps.demo.client import CloudClient
from apps.demo.processes import Children, ShowError, wait_until
from apps.demo.world import CloudSite, EdgeNode, Settings
from common import durable
from common.app import find_app

T = TypeVar("T")
SOAK_S = 4.0
LATE_CYCLE = 100
"""From this cycle on, a run may end before the cloud has heard of it."""

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


@dataclass(frozen=True, slots=True)
class Truth:
    """What became of one run of one machine."""

    machine: str
    run: int
    cycle: int
    """The last one: the machine failed after it."""
    fault: str

    @property
    def group(self) -> str:
        return f"{self.machine}/run-{self.run}"


class Stage:
    """A context manager; what it starts, it stops."""

    def __init__(self, folder: Path, app: str, kind: str, machines: Sequence[str]) -> None:
        self.folder = folder
        self.app = app
        self.kind = kind
        """Kind of the virtual source."""
        self._truths: dict[str, list[Truth]] = {}
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

    def source(self, node: EdgeNode) -> str:
        """URI of a node's virtual source."""
        query = "&".join(f"{name}={value}" for name, value in self._parameters(node).items())
        return f"virtual:{self.kind}?{query}"

    def current_run(self, node: EdgeNode) -> tuple[int, int]:
        """``(run, cycle)`` that the cloud last heard of a node's machine; ``(0, 0)`` before the first."""
        machines = self.ask(self.app_path("machines"), limit=100)["items"]
        return next(((m["run"], m["cycle"]) for m in machines if m["machine"] == node.name), (0, 0))

    def inject(self, fault: str) -> dict[str, int]:
        """Let ``fault`` grow in the runs of all machines from the next one on; the first such run of each."""
        first: dict[str, int] = {}
        for node in self.nodes:
            run, cycle = self.current_run(node)
            first[node.name] = run + (1 if cycle < LATE_CYCLE else 2)
            file = self._inject_file(node)
            lines = file.read_text("utf-8") if file.exists() else ""
            durable.write(file, f"{lines}{first[node.name]} {fault}\n".encode())
        return first

    def truths(self, node: EdgeNode) -> list[Truth]:
        """What the plant knows of a node's machine: each run that has ended, with its true last cycle.

        The virtual source gives the same runs to whoever opens it, so the truth does not come from the node.
        """
        known = self._truths.setdefault(node.name, [])
        source = find_app(self.app).load_virtual()(self.kind, self._parameters(node), 0.0)
        run, _ = self.current_run(node)
        for number in range(len(known), run):
            made = source.machines[0].run(number)  # type: ignore[attr-defined]
            known.append(Truth(node.name, number, made.failure_cycle, made.fault))
        return known

    def _parameters(self, node: EdgeNode) -> dict[str, str]:
        seed = 1 + self.nodes.index(node)
        return {"seed": str(seed), "name": node.name, "inject": str(self._inject_file(node))}

    def _inject_file(self, node: EdgeNode) -> Path:
        return node.folder / "inject.txt"

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
