"""The sources that judge counting, virtual scenes and real clips, judged on all cores: one process a core.

A counter is named by a function that makes it, since sessions of models do not pass from process to process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from queue import Queue
from typing import TypeVar

from apps.retail.training.clips import judge_clip, read_truths
from apps.retail.training.counting import Counter, count
from apps.retail.training.judged import Judged
from apps.retail.training.virtual_scenes import VirtualScene, judge_scene, judged_scenes
from common.bundle import open_bundle
from common.model.inference import load_model
from common.model.profile import find_profile, usable_cores

Result = TypeVar("Result")
MakeCounter = Callable[[], Counter]


def app_counter(bundle_path: Path) -> Counter:
    """Counting by the app with the model file of a bundle that this device prefers."""
    return partial(count, load_model(open_bundle(bundle_path), find_profile()))


def counting_tasks(
    make_counter: MakeCounter, duration_s: float, data_path: Path
) -> list[Callable[[], Judged]]:
    """A task for each virtual scene, the longest first, and each clip."""
    scenes = [partial(_on_scene, make_counter, each, duration_s) for each in judged_scenes(round(duration_s))]
    clips = [partial(_on_clip, make_counter, each.clip, data_path) for each in read_truths()]
    return [*reversed(scenes), *clips]


def run_all(tasks: Sequence[Callable[[], Result]]) -> Iterator[Result]:
    """Results of ``tasks`` as they come, each computed on one core. Raises what a task raised."""
    context = multiprocessing.get_context("spawn")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    free: Queue[int] = context.Queue()  # pyright: ignore[reportAssignmentType]: it has no common base
    for core in cores:
        free.put(core)
    workers = min(len(tasks), len(cores) or usable_cores())
    initial = {"initializer": _take_core, "initargs": (free,)} if cores else {}
    with ProcessPoolExecutor(max(1, workers), mp_context=context, **initial) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _on_scene(make_counter: MakeCounter, scene: VirtualScene, duration_s: float) -> Judged:
    return judge_scene(make_counter(), scene, duration_s)


def _on_clip(make_counter: MakeCounter, clip: str, data_path: Path) -> Judged:
    (truth,) = (each for each in read_truths() if each.clip == clip)
    return judge_clip(make_counter(), truth, data_path)


def _take_core(free: Queue[int]) -> None:
    """Bind this process to a core: threads that spin would take the other processes' time."""
    os.sched_setaffinity(0, {free.get()})
