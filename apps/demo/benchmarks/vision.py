"""Speed of a node with the retail app: against its model alone, and against Ultralytics' ObjectCounter.

The node is a whole one in this process (decoding, detector, tracker, counting, outbox), without a cloud. The
model alone is its session on tensors that are ready. ObjectCounter runs the same clip with the same weights
(those of the float graph of the starter, of which the node runs the file that the device prefers) and its
defaults, in a process of its own, in a Python that has Ultralytics.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.app.edge import Reading
from common.app.spec import AppSpec, find_app
from common.bundle import open_bundle
from common.config.node import NodeSettings, OutboxSettings, TelemetrySettings
from common.edge.node import Node
from common.edge.node_health import rss_bytes
from common.errors import ConfigError
from common.messages import Event
from common.model.inference import load_model
from common.model.profile import find_profile
from common.vision.detector import read_spec
from common.vision.preprocessing import Letterbox

APP = "retail"
WARM_FRAMES = 20
TENSORS = 16
KEPT_FRAMES = 100
"""Frames of a live clip, which is repeated."""
POLL_S = 0.002
LAYOUT = {
    "lines": [
        {"name": "across", "start": [760, 300], "end": [10, 300]},
        {"name": "down", "start": [380, 10], "end": [380, 570]},
    ],
    "zones": [{"name": "middle", "polygon": [[200, 150], [560, 150], [560, 450], [200, 450]]}],
}
OBJECT_COUNTER = """
import json, sys, time
import cv2
from ultralytics import solutions
clip, weights, frames, warm = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
counter = solutions.ObjectCounter(model=weights, show=False, verbose=False)
capture = cv2.VideoCapture(clip)
for index in range(frames):
    if index == warm:
        begun, cpu = time.perf_counter(), time.process_time()
    good, frame = capture.read()
    if not good:
        frames = index
        break
    counter(frame)
took, cpu = time.perf_counter() - begun, time.process_time() - cpu
print(json.dumps({"fps": (frames - warm) / took, "cpu_ms": cpu / (frames - warm) * 1e3}))
"""


class Rate(msgspec.Struct, frozen=True):
    """Frames per second, and CPU time of a frame."""

    fps: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class LiveRun:
    """Cameras in real time: latencies of frames from capture to commit, and what was dropped by camera.

    ``rss_mb`` is the process's memory after ``rss_s`` each.
    """

    latencies_ms: NDArray[np.float64]
    fps: float
    dropped: Mapping[str, int]
    offered: Mapping[str, int]
    rss_mb: NDArray[np.float64]
    rss_s: NDArray[np.float64]

    def mean_rss_mb(self, begin_s: float, end_s: float) -> float:
        """Mean memory between two times."""
        return float(self.rss_mb[(self.rss_s >= begin_s) & (self.rss_s <= end_s)].mean())


def clip_spec() -> AppSpec:
    """The app, whose virtual source is a clip in real time."""
    return replace(find_app(APP), virtual=f"{__name__}:open_live_clip", virtual_kinds=("clip",))


def node_rate(clip: Path, frames: int, folder: Path) -> Rate:
    """A node on a clip at full speed, from its decoding to the last frame decided; then it commits."""
    node = Node(_settings(folder, [f"file:{clip}"], speed=0.0), None, find_app(APP))
    node.start()
    try:
        _wait(lambda: node.processing.decisions.usable >= WARM_FRAMES)
        first, begun_s, cpu_s = node.processing.decisions.usable, time.perf_counter(), time.process_time()
        _wait(lambda: node.processing.decisions.usable >= frames)
        done = node.processing.decisions.usable - first
        took_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
    finally:
        node.stop()
    return Rate(done / took_s, cpu_s / done * 1e3)


def bare_rate(clip: Path, frames: int) -> Rate:
    """The model's session alone, on tensors of the clip's frames."""
    model = load_model(open_bundle(find_app(APP).starter, app=APP), find_profile())
    spec, given = read_spec(model.manifest), model.manifest.inputs[0]
    letterbox = Letterbox(spec.image, given.shape, given.dtype)
    tensors = [letterbox.write(frame)[0].copy() for frame in itertools.islice(frames_of(clip), TENSORS)]
    names = [output.name for output in model.manifest.outputs]
    for tensor in tensors:
        model.session.run(names, {given.name: tensor})
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    for index in range(frames):
        model.session.run(names, {given.name: tensors[index % len(tensors)]})
    took_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
    return Rate(frames / took_s, cpu_s / frames * 1e3)


def write_weights(target: Path) -> None:
    """The starter's float graph as ObjectCounter takes it."""
    from common.training.detector.ultralytics_graph import write_ultralytics_graph

    bundle = open_bundle(find_app(APP).starter, app=APP)
    write_ultralytics_graph(bundle.path / bundle.manifest.model, target)


def object_counter_rate(python: Path, weights: Path, clip: Path, frames: int) -> Rate:
    """ObjectCounter on the clip. Raises `ConfigError` with the end of its output where it fails."""
    arguments = [str(clip), str(weights), str(frames), str(WARM_FRAMES)]
    ran = subprocess.run(
        [str(python), "-c", OBJECT_COUNTER, *arguments], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        detail = ran.stderr.strip().rpartition("\n")[2]
        raise ConfigError(
            f"{python} cannot run ObjectCounter ({detail}): install ultralytics and shapely there"
        )
    return msgspec.json.decode(ran.stdout.strip().splitlines()[-1], type=Rate)


def run_live(
    clip: Path,
    cameras: int,
    frames_per_s: float,
    seconds: float,
    folder: Path,
    outbox: OutboxSettings = OutboxSettings(),
) -> LiveRun:
    """Cameras in real time on one node; with a commit interval of 0 each frame is committed by itself."""
    sources = [f"virtual:clip?path={clip}&fps={frames_per_s:g}&name=camera-{n}" for n in range(cameras)]
    node = _MeasuredNode(_settings(folder, sources, speed=1.0, outbox=outbox), None, clip_spec())
    node.start()
    rss: list[tuple[float, float]] = []
    try:
        _wait(lambda: node.processing.decisions.usable >= WARM_FRAMES)
        node.latencies_ms.clear()
        begun_s, first = time.perf_counter(), node.processing.decisions.usable
        while (elapsed_s := time.perf_counter() - begun_s) < seconds:
            rss.append((elapsed_s, rss_bytes() / 1e6))
            time.sleep(min(1.0, seconds / 20, seconds - elapsed_s + POLL_S))
        done, took_s = node.processing.decisions.usable - first, time.perf_counter() - begun_s
        dropped = dict(node.queue.dropped_by)
    finally:
        node.stop()
    offered = {f"camera-{n}": round(frames_per_s * took_s) for n in range(cameras)}
    rss_s, rss_mb = np.array(rss).T
    return LiveRun(np.array(node.latencies_ms), done / took_s, dropped, offered, rss_mb, rss_s)


class _MeasuredNode(Node):
    """A node that records how long after its capture each decided frame was committed."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.latencies_ms: list[float] = []
        super().__init__(*arguments, **named)
        decide = self.processing.decisions.decide
        self._captured_ns: list[int] = []

        def decided(reading: Reading) -> list[Event]:
            self._captured_ns.append(reading.captured_ns)
            return decide(reading)

        self.processing.decisions.decide = decided

    def _on_commit(self, events: Sequence[Event], last_seq: int) -> None:
        now_ns = time.time_ns()
        self.latencies_ms += [(now_ns - each) / 1e6 for each in self._captured_ns]
        self._captured_ns.clear()
        super()._on_commit(events, last_seq)


@dataclass
class LiveClip:
    """`common.app.edge.Source`: a clip in a loop as a live camera, frames decoded before it begins."""

    path: Path
    frames_per_s: float
    name: str
    live: bool = True
    virtual: bool = False
    _closed: list[bool] = field(default_factory=list[bool])

    def readings(self, after: int | None) -> Iterator[Reading]:
        frames = list(itertools.islice(frames_of(self.path), KEPT_FRAMES))
        position, due_s = (after or 0) + 1, time.monotonic()
        while not self._closed:
            image = frames[position % len(frames)]
            yield Reading(self.name, time.time_ns(), position, image, attributes={"layout": LAYOUT})
            position += 1
            due_s += 1 / self.frames_per_s
            time.sleep(max(0.0, due_s - time.monotonic()))

    def close(self) -> None:
        self._closed.append(True)


def open_live_clip(_kind: str, parameters: Mapping[str, str], _speed: float) -> LiveClip:
    """The source ``virtual:clip?path=...&fps=...&name=...``."""
    return LiveClip(Path(parameters["path"]), float(parameters["fps"]), parameters["name"])


def frames_of(clip: Path) -> Iterator[NDArray[np.uint8]]:
    """Frames of a clip. Needs OpenCV."""
    import cv2

    capture = cv2.VideoCapture(str(clip))
    try:
        while True:
            good, frame = capture.read()
            if not good:
                return
            yield np.asarray(frame, np.uint8)
    finally:
        capture.release()


def use_cores(count: int) -> int:
    """Bind this process to so many cores where the system can; how many it has."""
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    cores = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, cores)
    return len(cores)


def _settings(
    folder: Path, sources: Sequence[str], speed: float, outbox: OutboxSettings = OutboxSettings()
) -> NodeSettings:
    clip_name = Path(sources[0].partition(":")[2]).stem
    return NodeSettings(
        app=APP,
        source=list(sources) if len(sources) > 1 else sources[0],
        data=str(folder),
        speed=speed,
        settings={"cameras": {clip_name: LAYOUT}},
        outbox=outbox,
        telemetry=TelemetrySettings(health_interval_s=3600.0),
    )


def _wait(condition: Any) -> None:
    while not condition():
        time.sleep(POLL_S)
