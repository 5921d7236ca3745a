"""What the audience sees of the world at one moment, and the thread that looks.

`Watcher` asks the cloud's API and the nodes' own metrics a few times a second. What does not answer (a
node whose network is cut, a cloud that starts) leaves the last picture as it was, marked as such.
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
"""Points that are kept for each subject."""
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Picture:
    """What the app's cloud side says of one subject, in the words of its show."""

    line: str
    place: str = ""
    """When that was, in the subject's own terms."""
    alarm: str = ""
    """Empty while there is none."""
    point: float = 0.0
    """A value in [0, 1] for the line of blocks."""
    point_key: tuple[int, int] = (0, 0)
    """``(series, number)``: there is a new point when it changes, and a new line with a new series."""


Look = Callable[[Callable[..., Any], str], Mapping[str, Picture]]
"""Asks the cloud about an app's subjects: ``look(ask, app)`` gives a picture for each node."""


@dataclass(frozen=True, slots=True)
class NodeScene:
    """One node and its subject."""

    node: str
    cut: bool = False
    state: str = "unknown"
    version: str = ""
    step: str = ""
    waiting: int | None = None
    """Events in the node's outbox that the cloud has not acked."""
    drift: bool = False
    picture: Picture | None = None
    history: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """All of the world that the audience sees."""

    nodes: tuple[NodeScene, ...] = ()
    job: str = ""
    job_progress: float = 0.0
    rollout: str = ""
    bytes_sent: int = 0
    bytes_raw: int = 0
    """What sending every reading would have cost."""
    events: int = 0


class Watcher:
    """Looks at the world in a thread of its own and keeps the latest `Scene`."""

    def __init__(self, nodes: Sequence[EdgeNode], ask: Callable[..., Any], app: str, look: Look) -> None:
        self.scene = Scene(tuple(NodeScene(node.name) for node in nodes))
        self._nodes = nodes
        self._ask = ask
        self._app = app
        self._look_at = look
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
        while not self._stop.wait(LOOK_S):
            try:
                self.scene = self._look()
            except EdgeloopError:
                continue  # The cloud does not answer now; the picture stays as it is.

    def _look(self) -> Scene:
        known = {node["node"]: node for node in self._ask("/v1/nodes", limit=100)["items"]}
        pictures = self._look_at(self._ask, self._app)
        nodes = tuple(
            self._node(node, old, known.get(node.name, {}), pictures.get(node.name))
            for node, old in zip(self._nodes, self.scene.nodes, strict=True)
        )
        job, progress = self._job()
        healths = [each.get("health") or {} for each in known.values()]
        return Scene(
            nodes=nodes,
            job=job,
            job_progress=progress,
            rollout=self._rollout(),
            bytes_sent=sum(node.bytes_up() for node in self._nodes),
            bytes_raw=sum(int(health.get("bytes_raw", 0)) for health in healths),
            events=int(self._ask("/v1/status")["counts"]["committed"]),
        )

    def _node(
        self, node: EdgeNode, old: NodeScene, known: dict[str, Any], picture: Picture | None
    ) -> NodeScene:
        health = known.get("health") or {}
        scene = replace(
            old,
            cut=node.is_cut,
            state=known.get("state", "unknown"),
            version=known.get("version", ""),
            step=known.get("step", ""),
            waiting=waiting_events(node),
            drift=health.get("drift") in (True, "drift"),
        )
        if picture is None:
            return scene
        history = self._history[node.name]
        before = old.picture.point_key if old.picture else None
        if picture.point_key != before:
            if before is not None and picture.point_key[0] != before[0]:
                history.clear()
            history.append(picture.point)
        return replace(scene, picture=picture, history=tuple(history))

    def _job(self) -> tuple[str, float]:
        jobs = self._ask(f"/v1/apps/{self._app}/jobs", limit=1)["items"]
        if not jobs:
            return "", 0.0
        job = jobs[0]
        return f"{job['state']}: {job['message']}" if job["message"] else job["state"], job["progress"]

    def _rollout(self) -> str:
        rollouts = self._ask(f"/v1/apps/{self._app}/rollouts", limit=1)["items"]
        if not rollouts:
            return ""
        rollout = rollouts[0]
        waves = len(rollout["waves"])
        return f"{rollout['version']}: {rollout['state']}, wave {min(rollout['wave'] + 1, waves)} of {waves}"


def metrics(node: EdgeNode) -> dict[str, float]:
    """The node's own metrics by name (labels left out, summed), read over loopback; empty if it is silent."""
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
    """Events in the node's outbox that the cloud has not acked; None where the node is silent."""
    value = metrics(node).get("edgeloop_outbox_events")
    return None if value is None else int(value)


def clock_text(seconds: float) -> str:
    """``m:ss``."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
