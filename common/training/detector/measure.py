"""Accuracy and CPU time of a detector bundle's model files, beside YOLOX-Nano and PicoDet-S in the same
matcher.

``python -m common.training.detector.measure BUNDLE --data FOLDER`` prints a JSON line for each model file and
set (`accuracy_lines`), then one for each model file, runtime and number of threads (`speed_lines`). Speed is
process CPU time, the least of alternating runs, so that a busy machine changes it little.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from common.bundle import Bundle, open_bundle
from common.model.inference import OPENVINO, open_session
from common.model.openvino_session import open_openvino_session
from common.training.detector.dataset import LabelledImage, load_splits, with_truth
from common.training.detector.evaluation import MIN_SCORE, Detect, evaluate_detector
from common.training.detector.export import INPUT, OUTPUT
from common.training.detector.pipeline import find_sources, onnx_detect, openvino_detect
from common.training.detector.teachers import PicoDet, yolox_teacher

RUNS = 20
Sets = Mapping[str, Sequence[LabelledImage]]


def detectors_of(bundle: Bundle) -> dict[str, Detect]:
    """The bundle's model files, each in its runtime, by name."""
    return {
        f"{each.file} ({each.runtime})": (openvino_detect if each.runtime == OPENVINO else onnx_detect)(
            bundle.path / each.file
        )
        for each in bundle.manifest.model_files()
    }


def accuracy_lines(detectors: Mapping[str, Detect], sets: Sets) -> Iterator[dict[str, Any]]:
    """Figures with 95 % intervals over the images, a line for each detector and set."""
    for set_name, images in sets.items():
        for name, detect in detectors.items():
            found = evaluate_detector(detect, with_truth(images))
            yield {
                "detector": name,
                "set": set_name,
                "images": found.images,
                **{figure: round(value, 4) for figure, value in found.accuracy().figures().items()},
                "intervals": {
                    figure: [round(low, 4), round(high, 4)]
                    for figure, (low, high) in found.intervals().items()
                },
            }


def speed_lines(bundle: Bundle) -> Iterator[dict[str, Any]]:
    """CPU milliseconds of one run of each model file in each runtime, on one thread and on two."""
    frame: NDArray[np.uint8] = bundle.golden()[0][INPUT][:1]
    runs: dict[tuple[str, str, int], Callable[[], Any]] = {}
    for each in bundle.manifest.model_files():
        path = bundle.path / each.file
        for threads in (1, 2):
            for runtime, session in (
                ("onnxruntime", open_session(path, threads=threads)),
                (OPENVINO, open_openvino_session(path, threads)),
            ):
                runs[each.file, runtime, threads] = partial(session.run, [OUTPUT], {INPUT: frame})
    least = dict.fromkeys(runs, float("inf"))
    for _ in range(RUNS):
        for key, run in runs.items():
            started = time.process_time()
            run()
            least[key] = min(least[key], time.process_time() - started)
    for (file, runtime, threads), seconds in least.items():
        yield {"file": file, "runtime": runtime, "threads": threads, "cpu_ms": round(seconds * 1e3, 1)}


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    data: Annotated[Path, typer.Option(help="Folder with detect, persons and models.")],
) -> None:
    """Measure a detector bundle."""
    bundle = open_bundle(folder)
    splits, sources = load_splits(data), find_sources(data)
    others = {
        "yolox_nano": partial(yolox_teacher(sources.yolox).detect, min_score=MIN_SCORE),
        "picodet_s": partial(PicoDet(sources.picodet).detect, min_score=MIN_SCORE),
    }
    sets = {"detect/val": splits.val, "persons (judged)": splits.judged_persons}
    for line in speed_lines(bundle):
        sys.stdout.write(json.dumps(line) + "\n")
    for line in accuracy_lines(detectors_of(bundle) | others, sets):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    typer.run(main)
