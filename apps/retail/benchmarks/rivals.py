"""Counting and detection of the starter beside other detectors and another counter.

::

    python -m apps.retail.benchmarks.rivals --data DIR [--seconds 600] [--counter NAME] [--json]

Counters, on the virtual scenes and clips of ``edgeloop model evaluate retail``, with its truth and scoring:

``starter``         the app with the model file of its starter that this device prefers
``yolox_nano``      the app with YOLOX-Nano in float
``object_counter``  Ultralytics' ``solutions.ObjectCounter`` with its defaults and the weights of the
                    starter's float graph (extra ``train-vision``), one counter a line, persons only; its
                    crossings are what its totals grow by from frame to frame

Then the detectors YOLOX-Nano and PicoDet-S in the matcher of the evaluation (``--no-detection`` leaves them
out). Each line of ``--json`` is a figure of one counter and source, or of one detector and set.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from apps.retail.app import SPEC
from apps.retail.domain import CameraLayout, CountingLine
from apps.retail.training.counting import Counter, count
from apps.retail.training.evaluation import LONG_S, UNITS, evaluate_all, judged_sets
from apps.retail.training.judged import Judged, intervals
from apps.retail.training.sources import MakeCounter, app_counter, counting_tasks, run_all
from common.app.edge import Reading
from common.bundle import file_digest, open_bundle
from common.cli import print_object
from common.model.inference import OnnxModel, open_session
from common.training.detector.evaluation import MIN_SCORE, Detect
from common.training.detector.pipeline import find_sources
from common.training.detector.teachers import PicoDet, yolox_manifest, yolox_teacher
from common.training.detector.ultralytics_graph import write_ultralytics_graph
from common.vision.crossing_matches import TimedCrossing
from common.vision.geometry import signed_distances

Facts = dict[str, Any]
log = logging.getLogger(__name__)


def yolox_counter(path: Path) -> Counter:
    """Counting by the app with YOLOX-Nano."""
    manifest = yolox_manifest("yolox_nano", file_digest(path), app="retail")
    return partial(count, OnnxModel(manifest, open_session(path)))


def object_counter(weights: Path) -> Counter:
    """Counting by Ultralytics' ``ObjectCounter`` with its defaults, one counter a line."""
    with redirect_stdout(sys.stderr):  # Its log goes where standard output was at its import.
        from ultralytics import solutions  # pyright: ignore[reportMissingImports]: extra train-vision

    def crossings(readings: Iterable[Reading], layout: CameraLayout) -> list[TimedCrossing]:
        counters: dict[str, Any] = {
            line.name: solutions.ObjectCounter(
                model=str(weights), region=[line.start, line.end], classes=[0], show=False, verbose=False
            )
            for line in layout.lines
        }
        directions = {line.name: _directions(line) for line in layout.lines}
        totals = dict.fromkeys(counters, (0, 0))
        found: list[TimedCrossing] = []
        begin_ns: int | None = None
        for reading in readings:
            begin_ns = reading.captured_ns if begin_ns is None else begin_ns
            time_s = (reading.captured_ns - begin_ns) / 1e9
            for name, counter in counters.items():
                counter(reading.values.copy())
                now = (counter.in_count, counter.out_count)
                for direction, before, after in zip(directions[name], totals[name], now, strict=True):
                    found += [TimedCrossing(name, direction, time_s)] * (after - before)
                totals[name] = now
        return found

    return crossings


def _directions(line: CountingLine) -> tuple[str, str]:
    """Our names of what ``ObjectCounter`` counts as in (to the right, or down) and as out."""
    (start_x, start_y), (end_x, end_y) = line.start, line.end
    upright = abs(end_x - start_x) < abs(end_y - start_y)
    beyond = (start_x + 1, start_y) if upright else (start_x, start_y + 1)
    to_right = signed_distances(np.array([beyond]), line.start, line.end)[0] > 0
    return ("in", "out") if to_right else ("out", "in")


def counting_rows(counters: Mapping[str, MakeCounter], data: Path, seconds: int) -> Iterator[Facts]:
    """Rows for each counter and virtual scene or clip, as they come."""
    tasks: list[Callable[[], tuple[str, Judged, float]]] = [
        partial(_timed, name, task)
        for name, make_counter in counters.items()
        for task in counting_tasks(make_counter, seconds, data)
    ]
    for name, judged, took_s in run_all(tasks):
        log.info("%s on %s took %.0f s", name, judged.source, took_s)
        found, ends = judged.score, intervals([judged])
        for figure, value in found.figures().items():
            low, high = ends.get(figure, (None, None))
            yield {
                "figure": figure,
                "value": value,
                "lower": low,
                "upper": high,
                "unit": UNITS[figure],
                "counter": name,
                "source": judged.source,
                "crossings": found.true,
                "counted": found.counted,
            }


def _timed(name: str, task: Callable[[], Judged]) -> tuple[str, Judged, float]:
    begun_s = time.monotonic()
    return name, task(), time.monotonic() - begun_s


def detection_rows(detectors: Mapping[str, Detect], data: Path) -> Iterator[Facts]:
    """Rows for each detector and set."""
    for set_name, pictures in judged_sets(data).items():
        for name, found in evaluate_all(detectors, pictures).items():
            ends = found.intervals()
            for figure, value in found.accuracy().figures().items():
                low, high = ends.get(figure, (None, None))
                of = {"detector": name, "set": set_name, "images": found.images}
                yield {"figure": figure, "value": value, "lower": low, "upper": high, "unit": "AP"} | of


def main(
    data: Annotated[Path, typer.Option(help="Folder with detect, persons, video and models.")],
    seconds: Annotated[int, typer.Option(help="Length of each virtual scene.", min=18)] = LONG_S,
    counter: Annotated[list[str] | None, typer.Option(help="Only this counter; repeat for several.")] = None,
    detection: Annotated[bool, typer.Option(help="Whether detectors are measured too.")] = True,
    json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
) -> None:
    """Measure rivals of the retail app's starter."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    sources, starter = find_sources(data), open_bundle(SPEC.starter, app=SPEC.name)
    with tempfile.TemporaryDirectory(prefix="edgeloop-rivals-") as folder:
        weights = Path(folder) / "starter.onnx"
        write_ultralytics_graph(starter.path / "model.onnx", weights)
        counters: dict[str, MakeCounter] = {
            "starter": partial(app_counter, starter.path),
            "yolox_nano": partial(yolox_counter, sources.yolox),
            "object_counter": partial(object_counter, weights),
        }
        if importlib.util.find_spec("ultralytics") is None:
            counters.pop("object_counter")
            log.warning("object_counter is left out: pip install 'edgeloop[train-vision]'")
        wanted = {name: make for name, make in counters.items() if not counter or name in counter}
        for row in counting_rows(wanted, data, seconds):
            _show(row, json=json)
    if detection:
        detectors: dict[str, Detect] = {
            "yolox_nano": partial(yolox_teacher(sources.yolox).detect, min_score=MIN_SCORE),
            "picodet_s": partial(PicoDet(sources.picodet).detect, min_score=MIN_SCORE),
        }
        for row in detection_rows(detectors, data):
            _show(row, json=json)


def _show(row: Facts, *, json: bool) -> None:
    if json:
        print_object(row)
        return
    of = " ".join(str(row[key]) for key in ("counter", "source", "detector", "set") if key in row)
    typer.echo(f"{of:50s} {row['figure']:20s} {row['value']:8.3f}  [{row['lower']}, {row['upper']}]")


if __name__ == "__main__":
    typer.run(main)
