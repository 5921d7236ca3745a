"""Figures of ``edgeloop bench vision`` from the measurements of `apps.demo.benchmarks.vision`."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np

from apps.demo.benchmarks.vision import (
    LiveRun,
    Rate,
    bare_rate,
    node_rate,
    object_counter_rate,
    run_live,
    use_cores,
    write_weights,
)
from common.config.node import OutboxSettings
from common.errors import DatasetError

MEMORY_S = 60.0
"""Time over which memory is averaged at the beginning and the end of a live run."""
SETTLED_S = 300.0
"""Time after which a node's memory should not grow any more."""


class Printer(Protocol):
    """Prints figures and notes."""

    def figure(
        self,
        name: str,
        value: float,
        unit: str,
        against: str | None = None,
        other: float | None = None,
        **more: str,
    ) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command."""

    clip: Path | None
    rounds: int
    frames: int
    live_s: float
    frames_per_s: float
    cameras: int
    cores: int
    ultralytics: Path | None
    weights: Path | None


def print_figures(show: Printer, options: Options) -> None:
    """Measure and print. Raises `DatasetError` where the clip or the weights are missing."""
    clip = _file(options.clip, "video/vtest.avi", "--clip")
    show.note(f"on {use_cores(options.cores)} cores")
    with tempfile.TemporaryDirectory(prefix="edgeloop-bench-") as folder:
        if options.rounds:
            _at_full_speed(show, options, clip, Path(folder))
        if options.live_s:
            _live(show, options, clip, Path(folder))


def _at_full_speed(show: Printer, options: Options, clip: Path, folder: Path) -> None:
    nodes: list[Rate] = []
    bares: list[Rate] = []
    counters: list[Rate] = []
    weights = options.weights
    if options.ultralytics is not None and weights is None:
        weights = folder / "starter.onnx"
        write_weights(weights)
    for number in range(options.rounds):
        nodes.append(node_rate(clip, options.frames, folder / f"node-{number}"))
        bares.append(bare_rate(clip, options.frames))
        if options.ultralytics is not None and weights is not None:
            counters.append(object_counter_rate(options.ultralytics, weights, clip, options.frames))
    fps, bare = median(each.fps for each in nodes), median(each.fps for each in bares)
    show.figure("vision_fps", fps, "frames/s", "session_run", bare)
    cpu_ms = median(each.cpu_ms for each in nodes)
    show.figure("vision_cpu_ms", cpu_ms, "ms", "session_run", median(each.cpu_ms for each in bares))
    if counters:
        counted = median(each.fps for each in counters)
        show.figure("vision_speed", fps, "frames/s", "ultralytics_object_counter", counted)
        counted_ms = median(each.cpu_ms for each in counters)
        show.figure("vision_cpu_ms", cpu_ms, "ms", "ultralytics_object_counter", counted_ms)
    else:
        show.note("vision_speed is left out: name a Python with Ultralytics by --ultralytics")


def _live(show: Printer, options: Options, clip: Path, folder: Path) -> None:
    each_frame = OutboxSettings(commit_interval_s=0.0)
    one = run_live(clip, 1, options.frames_per_s, options.live_s, folder / "one", each_frame)
    for share in (50, 99):
        show.figure(f"vision_latency_p{share}_ms", float(np.percentile(one.latencies_ms, share)), "ms")
    _memory(show, one, options.live_s)
    if not options.cameras:
        return
    several = run_live(clip, options.cameras, options.frames_per_s, options.live_s, folder / "several")
    offered = options.frames_per_s * options.cameras
    show.figure("vision_live_fps", several.fps, "frames/s", "offered", offered, cameras=str(options.cameras))
    for camera, frames in several.offered.items():
        dropped = 100 * several.dropped.get(camera, 0) / max(1, frames)
        show.figure("vision_dropped_percent", dropped, "%", camera=camera)


def _memory(show: Printer, run: LiveRun, seconds: float) -> None:
    """Memory once it has settled, and at the end; the growth between them."""
    span_s = min(MEMORY_S, seconds / 5)
    settled_s = min(SETTLED_S, seconds / 2)
    parts = (("settled", settled_s), ("end", seconds - span_s))
    settled, end = (run.mean_rss_mb(begin_s, begin_s + span_s) for _, begin_s in parts)
    for (name, begin_s), value in zip(parts, (settled, end), strict=True):
        show.figure("vision_memory_mb", value, "MB", at=name, after_s=f"{begin_s:.0f}")
    show.figure("vision_memory_growth_mb", end - settled, "MB")


def _file(named: Path | None, place: str, option: str) -> Path:
    data = os.environ.get("EDGELOOP_DATA", "")
    path = named or Path(data) / place
    if not path.is_file():
        raise DatasetError(f"there is no {path}: name a file by {option}, or set EDGELOOP_DATA")
    return path
