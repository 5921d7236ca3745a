"""Snapshots of the world for a live view, and the thread that takes them.

`Watcher` polls the cloud's API and the metrics of the nodes. A cloud that does not answer (while it starts)
leaves the last snapshot in place.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import urllib3

from apps.demo.world.world import EdgeNode
from common.errors import EdgeloopError

HISTORY = 48
"""Points in the sparkline of a subject."""
PERIOD_S = 0.5
"""Polling period of the watcher."""


@dataclass(frozen=True, slots=True)
class SubjectView:
    """One subject as its app's cloud side reports it."""

    line: str
    position: str = ""
    """Position in the recording, in the subject's own terms."""
    alarm: str = ""
    """Empty without an open alarm."""
    point: float = 0.0
    """Sparkline value in [0, 1]."""
    point_key: tuple[int, int] = (0, 0)
    """``(series, number)``: a changed key adds a point, a changed series starts a new sparkline."""


SnapshotView = Callable[[Callable[..., Any], str], Mapping[str, SubjectView]]
"""Queries the subjects of an app: ``view(get, app)`` returns the `SubjectView` of each node by its name."""


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """One node and its subject."""

    node: str
    cut: bool = False
    state: str = "unknown"
    version: str = ""
    step: str = ""
    waiting: int | None = None
    """Unacknowledged events in the node's outbox; None if the node does not answer."""
    drift: bool = False
    subject: SubjectView | None = None
    """None before the first report."""
    history: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The world at one moment."""

    nodes: tuple[NodeSnapshot, ...] = ()
    job: str = ""
    job_progress: float = 0.0
    rollout: str = ""
    bytes_sent: int = 0
    bytes_raw: int = 0
    """Size of all readings."""
    events: int = 0


class Watcher:
    """Takes snapshots in a thread of its own and keeps the latest; a context manager."""

    def __init__(
        self, nodes: Sequence[EdgeNode], get: Callable[..., Any], app: str, view: SnapshotView
    ) -> None:
        self.snapshot = Snapshot(tuple(NodeSnapshot(node.name) for node in nodes))
        self._nodes = nodes
        self._get = get
        self._app = app
        self._view = view
        self._history: dict[str, deque[float]] = {node.name: deque(maxlen=HISTORY) for node in nodes}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            try:
                self.snapshot = self._take()
            except EdgeloopError:
                continue  # The cloud does not answer now; the last snapshot stays.

    def _take(self) -> Snapshot:
        known = {node["node"]: node for node in self._get("/v1/nodes", limit=100)["items"]}
        subjects = self._view(self._get, self._app)
        nodes = tuple(
            self._node(node, old, known.get(node.name, {}), subjects.get(node.name))
            for node, old in zip(self._nodes, self.snapshot.nodes, strict=True)
        )
        job, progress = self._job()
        healths = [each.get("health") or {} for each in known.values()]
        return Snapshot(
            nodes=nodes,
            job=job,
            job_progress=progress,
            rollout=self._rollout(),
            bytes_sent=sum(node.bytes_up() for node in self._nodes),
            bytes_raw=sum(int(health.get("bytes_raw", 0)) for health in healths),
            events=int(self._get("/v1/status")["counts"]["committed"]),
        )

    def _node(
        self, node: EdgeNode, old: NodeSnapshot, known: dict[str, Any], subject: SubjectView | None
    ) -> NodeSnapshot:
        health = known.get("health") or {}
        new = replace(
            old,
            cut=node.is_cut,
            state=known.get("state", "unknown"),
            version=known.get("version", ""),
            step=known.get("step", ""),
            waiting=waiting_events(node),
            drift=health.get("drift") in (True, "drift"),
        )
        if subject is None:
            return new
        history = self._history[node.name]
        last_key = old.subject.point_key if old.subject else None
        if subject.point_key != last_key:
            if last_key is not None and subject.point_key[0] != last_key[0]:
                history.clear()
            history.append(subject.point)
        return replace(new, subject=subject, history=tuple(history))

    def _job(self) -> tuple[str, float]:
        jobs = self._get(f"/v1/apps/{self._app}/jobs", limit=1)["items"]
        if not jobs:
            return "", 0.0
        job = jobs[0]
        return f"{job['state']}: {job['message']}" if job["message"] else job["state"], job["progress"]

    def _rollout(self) -> str:
        rollouts = self._get(f"/v1/apps/{self._app}/rollouts", limit=1)["items"]
        if not rollouts:
            return ""
        rollout = rollouts[0]
        waves = len(rollout["waves"])
        return f"{rollout['version']}: {rollout['state']}, wave {min(rollout['wave'] + 1, waves)} of {waves}"


def metrics(node: EdgeNode) -> dict[str, float]:
    """Metrics of a node by name, summed over labels; empty if the node does not answer."""
    try:
        port = int((node.data / "telemetry.port").read_text("utf-8"))
        answer = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics", timeout=2.0, retries=False)
    except (OSError, ValueError, urllib3.exceptions.HTTPError):
        return {}
    found: dict[str, float] = {}
    for line in answer.data.decode().splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found


def waiting_events(node: EdgeNode) -> int | None:
    """Unacknowledged events in the node's outbox; None if the node does not answer."""
    value = metrics(node).get("edgeloop_outbox_events")
    return None if value is None else int(value)


def clock_text(seconds: float) -> str:
    """``m:ss``."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
