"""The cameras on the stage: the truth of their virtual worlds, and scores of the live counts against it.

The truth comes from a second instance of each virtual world: who crosses which line, and who is where in a
picture. A picture's time is a function of its number, so that a time names a frame.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.demo.world.snapshot import metrics
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode
from common import durable
from common.vision.crossing_matches import WITHIN_S, TimedCrossing, match_crossings
from hardware.virtual_camera.source import VirtualCamera, read_options

LEAD_S = 1.0
"""Time between an injection and its beginning: a running camera must read it in time."""
DAY = "day"
WARM_UP_S = 2.0
"""Time from a beginning that is not scored: a track is sure of itself after some pictures."""
CLEARING_S = 2.0
"""Time in which somebody who passes a line is clear of it: the world reports a crossing then."""
SETTLING_S = 1.5
"""Time before the newest picture of which crossings may come late."""
HEALTH_LAG_NS = 500_000_000
"""Time by which a health event must be newer than a crossing for both to be in the cloud."""


@dataclass(frozen=True, slots=True)
class CountScore:
    """Counted crossings against the true ones; a ``right`` one is matched with a true one of its own."""

    true: int = 0
    counted: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        return self.right / max(1, self.true)

    def __add__(self, other: CountScore) -> CountScore:
        return CountScore(self.true + other.true, self.counted + other.counted, self.right + other.right)

    def __str__(self) -> str:
        return f"{self.counted} counted, {self.true} true, {self.right} of these found ({self.recall:.0%})"


def score_counts(
    counted: Iterable[TimedCrossing], true: Iterable[TimedCrossing], began_s: float, ended_s: float
) -> CountScore:
    """Match each true crossing of a time with one counted one at most, nearest pairs first."""
    truth = [each for each in true if began_s <= each.time_s < ended_s]
    found = [each for each in counted if began_s - WITHIN_S <= each.time_s < ended_s + WITHIN_S]
    inside = sum(began_s <= each.time_s < ended_s for each in found)
    return CountScore(len(truth), inside, len(match_crossings(found, truth)))


class TrueCrossings:
    """The crossings of a virtual world, known up to a frame; it goes forward only."""

    def __init__(self, camera: VirtualCamera) -> None:
        self._camera = camera
        self._rate_hz = camera.options.frames_per_s
        self._frame = 0
        self._found: list[TimedCrossing] = []

    def until(self, time_s: float) -> list[TimedCrossing]:
        """All crossings that are complete at a time, and perhaps later ones."""
        for frame in range(self._frame + 1, round(time_s * self._rate_hz) + 1):
            self._found += self._camera.crossings_in(self._camera.world(frame))
            self._frame = frame
        return self._found


@dataclass(slots=True)
class StoreFleet:
    """Cameras and their truth. Times are seconds of a recording, unless they end in ``_ns``."""

    stage: Stage
    light: dict[str, str] = field(default_factory=dict)
    """The present light, by node; day where there is none."""
    learnt: dict[str, str] = field(default_factory=dict)
    """Light that a version was trained on, by version."""
    _cameras: dict[str, VirtualCamera] = field(default_factory=dict)
    _crossings: dict[str, TrueCrossings] = field(default_factory=dict)

    def seconds(self, time_ns: int) -> float:
        return (time_ns - self.stage.began_ns) / 1e9

    def position_s(self, node: EdgeNode) -> float:
        """Time of the newest picture that a node has decided on."""
        newest = self.stage.get(
            f"/v1/nodes/{node.name}/events", limit=1, order="newest", type="retail.crossed"
        )
        reported = max((self.seconds(event["time_ns"]) for event in newest["items"]), default=0.0)
        readings = metrics(node).get("edgeloop_readings_total", 0.0)  # Of this process.
        return max(reported, readings / self._rate_hz(node))

    def change_light(self, light: str, nodes: Sequence[EdgeNode]) -> dict[str, float]:
        """Change the light at some cameras; returns the beginning by node."""
        began_s: dict[str, float] = {}
        for node in nodes:
            began_s[node.name] = round(self.position_s(node) + LEAD_S, 1)
            file = self.stage.inject_file(node)
            before = file.read_text("utf-8") if file.exists() else ""
            durable.write(file, f"{before}{began_s[node.name]} {light}\n".encode())
            self.light[node.name] = light
        return began_s

    def score(self, node: EdgeNode, began_s: float, ended_s: float) -> CountScore:
        """The counts of a node in the cloud, against the truth."""
        events = self.stage.events(node.name, type="retail.crossed")
        counted = [
            TimedCrossing(event["data"]["line"], event["data"]["direction"], self.seconds(event["time_ns"]))
            for event in events
        ]
        return score_counts(counted, self.true_crossings(node, ended_s), began_s, ended_s)

    def true_crossings(self, node: EdgeNode, ended_s: float) -> list[TimedCrossing]:
        """The true crossings of all lines of a camera up to a time, and perhaps later ones."""
        if node.name not in self._crossings:
            self._crossings[node.name] = TrueCrossings(self._new_camera(node))
        return self._crossings[node.name].until(ended_s + CLEARING_S)

    def true_boxes(self, node: EdgeNode, captured_ns: int) -> NDArray[np.float32]:
        """``(n, 4)``: boxes of the people in a picture who are recognizable."""
        if node.name not in self._cameras:
            self._cameras[node.name] = self._new_camera(node)
        camera = self._cameras[node.name]
        return camera.shot(round(self.seconds(captured_ns) * self._rate_hz(node))).recognizable_boxes_px

    def samples(self, node: EdgeNode, began_s: float) -> list[dict[str, Any]]:
        """Pictures that a node has uploaded, from a time on, oldest first."""
        found = [
            sample
            for sample in self.stage.client.items("/v1/samples", app=self.stage.app, limit=200)
            if sample["node"] == node.name and self.seconds(sample["captured_ns"]) >= began_s
        ]
        return sorted(found, key=lambda sample: sample["captured_ns"])

    def known_lights(self) -> set[str]:
        """Lights of the rounds that the model in production has learnt."""
        path = self.stage.app_path(f"models/{self.stage.production()}/lineage")
        versions = {link["version"] for link in self.stage.get(path)["chain"]}
        return {light for version, light in self.learnt.items() if version in versions}

    def wait_for_scores(self, began_s: Mapping[str, float], min_crossings: int) -> dict[str, CountScore]:
        """Scores of some nodes from a time on, once they have so many true crossings together."""
        nodes = [self.stage.find_node(name) for name in began_s]

        def enough() -> bool:
            found = 0
            for node in nodes:
                until_s = self.position_s(node) - SETTLING_S
                known = self.true_crossings(node, until_s)
                found += sum(began_s[node.name] + WARM_UP_S <= each.time_s < until_s for each in known)
            return found >= min_crossings

        self.stage.wait(enough, f"{min_crossings} true crossings")
        return self.scores_since(began_s)

    def scores_since(self, began_s: Mapping[str, float]) -> dict[str, CountScore]:
        """Scores of some nodes from a time on, once the cloud has what they have counted up to now."""
        nodes = [self.stage.find_node(name) for name in began_s]
        ended_s = self.settle(nodes)
        return {
            node.name: self.score(node, began_s[node.name] + WARM_UP_S, ended_s[node.name]) for node in nodes
        }

    def settle(self, nodes: Sequence[EdgeNode]) -> dict[str, float]:
        """Wait until the cloud has all crossings so far; returns the time up to which it has, by node."""
        ended_s = {node.name: self.position_s(node) - SETTLING_S for node in nodes}
        now_ns = time.time_ns()

        def settled() -> bool:
            return all(self._newest_health_ns(node) > now_ns + HEALTH_LAG_NS for node in nodes)

        self.stage.wait(settled, "all crossings so far are in the cloud")
        return ended_s

    def _newest_health_ns(self, node: EdgeNode) -> int:
        path = f"/v1/nodes/{node.name}/events"
        items = self.stage.get(path, limit=1, order="newest", type="edgeloop.node.health")["items"]
        return items[0]["time_ns"] if items else 0

    def _new_camera(self, node: EdgeNode) -> VirtualCamera:
        kind = self.stage.show.source_kind_of(node.name)
        return VirtualCamera(read_options(kind, self.stage.parameters(node)))

    def _rate_hz(self, node: EdgeNode) -> int:
        return int(self.stage.parameters(node)["fps"])
