"""Detector bundles: a float graph, its INT8 variant, golden cases, and the manifest.

Two origins: a graph of `common.training.detector.export` (its weights come by way of Ultralytics: AGPL-3.0),
and Megvii's published YOLOX files (Apache-2.0) as ``edgeloop data get yolox_nano`` brings them. Both run in
`common.vision.detector.Detector`. Golden pictures are drawn from a seed: no picture of a data set is in a
bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.bundle import (
    Bundle,
    DriftSpec,
    Limits,
    Lineage,
    Manifest,
    TensorSpec,
    Variant,
    file_digest,
    seal,
    write_golden,
)
from common.errors import DatasetError
from common.model.inference import OPENVINO, open_session
from common.model.openvino_session import open_openvino_session
from common.training.detector.export import INPUT, OUTPUT
from common.training.detector.summary import NOVELTY, RATE, STRONGEST
from common.training.detector.teachers import yolox_manifest
from common.vision.detections import CLASSES
from common.vision.detector import PARAMETER, TASK, DetectorSpec
from common.vision.preprocessing import ImageInput, Letterbox

MODEL, INT8_MODEL = "model.onnx", "model.int8.onnx"
ULTRALYTICS_LICENCE = "AGPL-3.0"
LATENCY_LIMIT_MS = 2000.0
"""A run on a small board that is busy: golden cases take the time of the wall clock."""
DRIFT_INTERVAL_S = 2.0
BOUND_SIDES = 4.0
"""Coordinates and sizes of boxes stay within so many sides of the picture."""
YOLOX_FILES = {
    "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d": ("yolox_nano.onnx", 416),
    "e8af074932d4ed7e232278e3055cefcdea3edf178874a3694ae292649fb464dd": ("yolox_nano.onnx", 416),
    "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063": ("yolox_s.onnx", 640),
}
"""Known files by their SHA-256: name, and side of the input in pixels. The first and the last are Megvii's
release 0.1.1rc0 (`datasets/yolox_nano.md`, `datasets/yolox_s.md`), the second is an export of YOLOX-Nano by
PyTorch 1.11."""
Run = Callable[[Path, Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]


def write_detector_bundle(
    output: Path,
    golden: Sequence[NDArray[np.uint8]],
    *,
    app: str,
    version: str,
    lineage: Lineage,
    int8_run: Run | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Bundle:
    """Seal the bundle in ``output``, which holds ``model.onnx`` and perhaps ``model.int8.onnx``.

    ``golden`` are the frames of the golden cases, rendered ones: they are published with the bundle.
    ``int8_run`` gives the expected outputs of the INT8 graph (by default ONNX Runtime's).
    """
    size_px, anchors = _shape(output / MODEL)
    letterbox = Letterbox(ImageInput(), [1, size_px, size_px, 3], "uint8")
    inputs = {INPUT: _tensors(letterbox, golden)}
    names = (OUTPUT, STRONGEST, NOVELTY)
    outputs = _chosen(run_onnx(output / MODEL, inputs), names)
    int8 = (output / INT8_MODEL).is_file()
    variants: dict[str, Mapping[str, NDArray[Any]]] = {}
    if int8:
        variants[INT8_MODEL] = _chosen((int8_run or run_onnx)(output / INT8_MODEL, inputs), names)
    write_golden(output, inputs, outputs, variants)
    manifest = Manifest(
        app=app,
        version=version,
        task=TASK,
        model=MODEL,
        inputs=[TensorSpec(name=INPUT, dtype="uint8", shape=[1, size_px, size_px, 3])],
        outputs=[
            TensorSpec(name=OUTPUT, dtype="float32", shape=[1, 4 + len(CLASSES), anchors], unit="px, score"),
            TensorSpec(name=STRONGEST, dtype="float32", shape=[1, len(CLASSES)], columns=list(CLASSES)),
            TensorSpec(name=NOVELTY, dtype="float32", shape=[1]),
        ],
        precision="float32",
        licence=ULTRALYTICS_LICENCE,
        limits=Limits(latency_ms=LATENCY_LIMIT_MS),
        lineage=lineage,
        tolerance={OUTPUT: 1.0, STRONGEST: 0.01, NOVELTY: 0.02},
        classes=list(CLASSES),
        drift=DriftSpec(output=NOVELTY, threshold=1.0, rate=RATE, interval_s=DRIFT_INTERVAL_S),
        variants=[
            Variant(
                file=INT8_MODEL,
                precision="int8",
                runtime=OPENVINO,
                tolerance={OUTPUT: float(size_px), STRONGEST: 0.15, NOVELTY: 0.3},
            )
        ]
        if int8
        else [],
        parameters={
            PARAMETER: msgspec.to_builtins(DetectorSpec(head="ultralytics")),
            "output_bounds": {
                OUTPUT: [-BOUND_SIDES * size_px, BOUND_SIDES * size_px],
                STRONGEST: [0.0, 1.0],
                NOVELTY: [0.0, 1e6],
            },
            **(parameters or {}),
        },
    )
    return seal(output, manifest)


def write_yolox_bundle(
    source: Path, output: Path, golden: Sequence[NDArray[np.uint8]], *, app: str, version: str, code: str
) -> Bundle:
    """Bundle of one of `YOLOX_FILES`, for teams that cannot accept AGPL-3.0.

    Raises `DatasetError` for another file.
    """
    digest = file_digest(source)
    if digest not in YOLOX_FILES:
        raise DatasetError(
            f"{source} is no published YOLOX file: its SHA-256 is {digest[:12]}...; "
            "`edgeloop data get yolox_nano` fetches one"
        )
    name, size_px = YOLOX_FILES[digest]
    output.mkdir(parents=True, exist_ok=True)
    (output / MODEL).write_bytes(source.read_bytes())
    manifest = yolox_manifest(version, digest, app=app, latency_ms=LATENCY_LIMIT_MS, size_px=size_px)
    shape = [length or 1 for length in manifest.inputs[0].shape]
    image = ImageInput(layout="nchw", letterbox="corner")
    letterbox = Letterbox(image, [*shape], manifest.inputs[0].dtype)
    inputs = {"images": _tensors(letterbox, golden)}
    write_golden(output, inputs, _chosen(run_onnx(output / MODEL, inputs), ("output",)))
    return seal(
        output,
        msgspec.structs.replace(
            manifest,
            lineage=Lineage(data={name: digest}, code=code),
            parameters={
                PARAMETER: msgspec.to_builtins(DetectorSpec(head="yolox", image=image)),
                "output_bounds": {"output": [-1e4, 1e4]},
            },
        ),
    )


def run_onnx(path: Path, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """Outputs of a graph in ONNX Runtime by name, of each case alone, stacked along the first axis."""
    session = open_session(path)
    names = [node.name for node in session.get_outputs()]
    return _run_cases(lambda case: session.run(names, case), names, inputs)


def run_openvino(path: Path, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """The same in OpenVINO."""
    session = open_openvino_session(path, 1)
    names = [node.name for node in session.get_outputs()]
    return _run_cases(lambda case: session.run(names, case), names, inputs)


def _run_cases(
    run: Callable[[dict[str, NDArray[Any]]], Sequence[Any]],
    names: Sequence[str],
    inputs: Mapping[str, NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    count = len(next(iter(inputs.values())))
    cases = [run({name: value[case : case + 1] for name, value in inputs.items()}) for case in range(count)]
    return {name: np.concatenate([np.array(case[at]) for case in cases]) for at, name in enumerate(names)}


def _tensors(letterbox: Letterbox, frames: Sequence[NDArray[np.uint8]]) -> NDArray[Any]:
    return np.concatenate([letterbox.write(frame)[0].copy() for frame in frames])


def _chosen(outputs: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    return {name: outputs[name] for name in names}


def _shape(path: Path) -> tuple[int, int]:
    """Side of the input in pixels, and number of anchors."""
    session = open_session(path)
    (boxes,) = (node.shape for node in session.get_outputs() if node.name == OUTPUT)
    return int(session.get_inputs()[0].shape[1]), int(boxes[2])
