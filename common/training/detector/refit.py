"""A detector bundle with its class branch fitted to new frames: minutes on one core, without torch.

The float graph and its INT8 variant get the same class branch, whose last convolutions are in float in both,
and the same novelty, fitted to replayed and new frames: what was learnt is no longer novel. With fewer than
`MIN_PICTURES` of them the parent's novelty stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.bundle import Bundle, Lineage
from common.training.detector.bundle import run_onnx, run_openvino, write_detector_bundle
from common.training.detector.evaluation import Truth
from common.training.detector.export import INPUT
from common.training.detector.last_layers import (
    Example,
    FeatureReader,
    Fit,
    fit_class_branch,
    read_class_branch,
    write_class_branch,
)
from common.training.detector.summary import MIN_PICTURES, fit_novelty, write_novelty

Frames = Iterable[tuple[NDArray[np.uint8], Truth]]
FEW_FRAMES = Fit(ridge=0.02)
"""About a hundred new frames move the parent less than its own training did."""


def refit_bundle(
    parent: Bundle,
    output: Path,
    new: Frames,
    replayed: Frames,
    *,
    version: str,
    lineage: Lineage,
    settings: Fit = FEW_FRAMES,
    progress: Callable[[float, str], None] = lambda _fraction, _message: None,
) -> Bundle:
    """The ``parent`` fitted to ``new`` frames with their true boxes, in the folder ``output``.

    ``replayed`` frames are of what the parent knows and must go on to know. Golden cases have the parent's
    frames. Equal frames give equal graphs. Raises `TrainingError` for too few true boxes, or a parent that is
    no exported detector.
    """
    progress(0.0, "features")
    reader = FeatureReader(parent.model_path())
    examples: list[Example] = []
    pooled: list[NDArray[np.float32]] = []
    for frame, truth in chain(replayed, new):
        examples.append(reader.example(frame, truth))
        pooled.append(examples[-1].pooled)
    branch = fit_class_branch(
        examples,
        read_class_branch(parent.model_path()),
        settings,
        progress=lambda fraction, message: progress(0.5 + 0.4 * fraction, message),
    )
    novelty = fit_novelty(np.stack(pooled)) if len(pooled) >= MIN_PICTURES else None
    output.mkdir(parents=True, exist_ok=True)
    for each in parent.manifest.model_files():
        write_class_branch(parent.path / each.file, branch, output / each.file)
        if novelty is not None:
            write_novelty(output / each.file, novelty)
    progress(0.95, "writing the bundle")
    return write_detector_bundle(
        output,
        list(parent.golden()[0][INPUT]),
        app=parent.manifest.app,
        version=version,
        lineage=lineage,
        int8_run=run_openvino if find_spec("openvino") else run_onnx,
        parameters={"training": {"fitted": "class branch", "frames": len(examples)}},
    )
