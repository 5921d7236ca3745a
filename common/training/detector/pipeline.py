"""The detector's training from start weights to a sealed bundle, as a job of a camera app calls it.

::

    splits ─► labels of agreeing teachers ─► fine-tuning (if any epochs) ─► fit of the class branch ─► choice
           ─► summary outputs ─► INT8 gate ─► bundle

The choice is between the start weights, every checkpoint, and the better of these with its class branch
fitted in NumPy (`common.training.detector.last_layers`) with each of `RIDGES`, by the mean mAP50-95 on
``detect/val`` and on the held-out fold of the training images: where training does not help, the start
weights are shipped. The fit is on a `fitting_mix`. Checkpoints and labels are kept in a work folder, from
which a job that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.app.training import TrainContext
from common.bundle import Bundle, Limits, Lineage, Manifest, TensorSpec, file_digest
from common.datasets import find_folders, not_found, one_of
from common.errors import DatasetError
from common.model.inference import OnnxModel, open_session
from common.model.openvino_session import open_openvino_session
from common.training.detector.bundle import INT8_MODEL, MODEL, run_openvino, write_detector_bundle
from common.training.detector.dataset import (
    LabelledImage,
    Splits,
    digest_of,
    load_splits,
    read_images,
    with_truth,
    write_yolo,
)
from common.training.detector.evaluation import MIN_SCORE, Accuracy, Detect, evaluate_detector
from common.training.detector.export import INPUT, OUTPUT, SIZE_PX, export_onnx
from common.training.detector.fine_tuning import Recipe, fine_tune
from common.training.detector.last_layers import (
    FeatureReader,
    Fit,
    fit_class_branch,
    read_class_branch,
    read_examples,
    write_class_branch,
)
from common.training.detector.quantization import quantize
from common.training.detector.summary import add_summary, fit_novelty
from common.training.detector.teachers import (
    PICODET_FILE,
    YOLOX_FILE,
    PicoDet,
    add_agreed_labels,
    yolox_teacher,
)
from common.training.lineage import lineage_of
from common.vision.detections import CLASSES, PERSON
from common.vision.detector import PARAMETER, TASK, Detector, DetectorSpec

START_FILE = "yolo11n_six64.pt"
FILLED_NAMES = ("hw_",)
"""Beginnings of the names of images in which teachers have filled in boxes before."""
FILLED_STEP = 3
"""Of those images, which are much alike, one of so many is in the mix."""
CALIBRATION_IMAGES = 200
NOVELTY_IMAGES = 1000
FITTED_IMAGES = 2500
"""Most images on which the class branch is fitted: about 170 MB of features."""
RIDGES = (1e-3, 1e-1)
"""Pulls of the fit to the start weights that are tried (`last_layers.Fit`)."""
NO_FINE_TUNING = Recipe(epochs=0)
Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Files that the training starts from."""

    start: Path
    yolox: Path
    picodet: Path


@dataclass(frozen=True, slots=True)
class Chosen:
    """The graph that is shipped, and the mean mAP50-95 of each that was compared, by name."""

    name: str
    graph: Path
    scores: Mapping[str, float]


def find_sources(root: Path) -> Sources:
    """The start weights and teachers below ``root``. Raises `DatasetError` for an absent one."""
    found: list[Path] = []
    for name in (START_FILE, YOLOX_FILE, PICODET_FILE):
        folders = find_folders(root, Path(name).stem, [name])
        if not folders:
            raise not_found(root, f"model {name}", Path(name).stem, [name])
        found.append(one_of(folders, name) / name)
    return Sources(*found)


def train_detector(
    context: TrainContext,
    *,
    app: str,
    golden: Sequence[NDArray[np.uint8]],
    rendered: Sequence[LabelledImage] = (),
    recipe: Recipe = NO_FINE_TUNING,
    work: Path,
) -> Bundle:
    """Make the detector's bundle in ``context.output`` from the data sets and models below
    ``context.data_path``.

    ``golden`` are rendered frames for the golden cases, ``rendered`` images of `store_frames` to train on,
    ``work`` keeps what a next run goes on from. Raises `DatasetError` and `TrainingError`.
    """
    if context.data_path is None:
        raise DatasetError(
            "the detector is trained on data sets: name their folder with --data, in a cloud EDGELOOP_DATA"
        )
    work.mkdir(parents=True, exist_ok=True)
    sources, splits = find_sources(context.data_path), load_splits(context.data_path)
    labelled = label_splits(splits, sources, work, _part(context.progress, 0.0, 0.2))
    labelled = replace(labelled, train=(*labelled.train, *rendered))
    checkpoints: tuple[Path, ...] = ()
    if recipe.epochs:
        train, held_out = work / "train", work / "held_out"
        write_yolo(labelled.train, train)
        write_yolo(labelled.held_out, held_out)
        progress = _part(context.progress, 0.2, 0.75)
        checkpoints = fine_tune(sources.start, train, held_out, work / "tuning", recipe, progress)
    chosen = choose(
        [sources.start, *checkpoints], labelled, work, context.seed, _part(context.progress, 0.75, 0.85)
    )
    frames = [image.frame() for image in drawn(fitting_mix(labelled.train), NOVELTY_IMAGES, context.seed)]
    reader = FeatureReader(chosen.graph)
    novelty = fit_novelty(np.stack([reader.pooled(frame) for frame in frames]))
    add_summary(chosen.graph, context.output / MODEL, novelty)
    int8 = quantize(
        context.output / MODEL,
        context.output / INT8_MODEL,
        frames[:CALIBRATION_IMAGES],
        lambda path: guarded_accuracy(openvino_detect(path), labelled),
        progress=_part(context.progress, 0.85, 1.0),
    )
    lineage = _lineage(context, labelled, sources)
    parameters = {
        "training": {
            "shipped": chosen.name,
            "epochs": recipe.epochs,
            "map50_95": {name: round(score, 4) for name, score in chosen.scores.items()},
            "int8_float_part": int8.level,
            "int8_losses": {
                level: {name: round(loss, 4) for name, loss in by_set.items()}
                for level, by_set in int8.losses
            },
        }
    }
    return write_detector_bundle(
        context.output,
        golden,
        app=app,
        version=context.version,
        lineage=lineage,
        int8_run=run_openvino,
        parameters=parameters,
    )


def label_splits(splits: Splits, sources: Sources, work: Path, progress: Progress) -> Splits:
    """``splits`` with the training part's missing objects added where both teachers find them.

    What was labelled before is read from ``work``. ``val`` and the judging images stay as published.
    """
    parts: dict[str, tuple[LabelledImage, ...]] = {}
    for at, (name, images) in enumerate((("train", splits.train), ("held_out", splits.held_out))):
        folder = work / "labelled" / name
        if not (folder / "done").is_file():
            progress(at / 2, f"teacher labels of {len(images)} images")
            first, second = yolox_teacher(sources.yolox), PicoDet(sources.picodet)
            open_ones = (image for image in images if not image.name.startswith(FILLED_NAMES))
            filled = [image for image in images if image.name.startswith(FILLED_NAMES)]
            write_yolo((*add_agreed_labels(open_ones, first, second), *filled), folder)
            (folder / "done").touch()
        parts[name] = read_images(folder / "images", folder / "labels")
    return replace(splits, train=parts["train"], held_out=parts["held_out"])


def choose(candidates: Sequence[Path], splits: Splits, work: Path, seed: int, progress: Progress) -> Chosen:
    """The best of ``candidates`` (checkpoints), or that with its class branch fitted, by the mean mAP50-95 on
    ``val`` and ``held_out``."""
    graphs = [work / f"{weights.stem}.onnx" for weights in candidates]
    scores: dict[str, float] = {}
    for at, (weights, graph) in enumerate(zip(candidates, graphs, strict=True)):
        progress(at / (len(candidates) + 1), f"evaluating {weights.stem}")
        export_onnx(weights, graph)
        scores[weights.stem] = _choice_score(graph, splits)
    best = graphs[int(np.argmax(list(scores.values())))]
    progress(len(candidates) / (len(candidates) + 1), f"fitting the class branch of {best.stem}")
    images = drawn(fitting_mix(splits.train), FITTED_IMAGES, seed)
    examples = read_examples(FeatureReader(best), with_truth(images))
    compared = [best]
    for ridge in RIDGES:
        fitted = work / f"{best.stem}_ridge_{ridge:g}.onnx"
        branch = fit_class_branch(examples, read_class_branch(best), Fit(ridge=ridge))
        write_class_branch(best, branch, fitted)
        scores[fitted.stem] = _choice_score(fitted, splits)
        compared.append(fitted)
    shipped = max(compared, key=lambda graph: scores[graph.stem])
    return Chosen(shipped.stem, shipped, scores)


def fitting_mix(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """``images`` with one of `FILLED_STEP` of those in `FILLED_NAMES`: roads do not outweigh people."""
    filled = [image for image in images if image.name.startswith(FILLED_NAMES)]
    return [image for image in images if not image.name.startswith(FILLED_NAMES)] + filled[::FILLED_STEP]


def drawn(images: Sequence[LabelledImage], count: int, seed: int) -> list[LabelledImage]:
    """At most ``count`` images, drawn by ``seed``."""
    order = np.random.default_rng(seed).permutation(len(images))[:count]
    return [images[index] for index in order]


def accuracy_on(detect: Detect, images: Iterable[LabelledImage]) -> Accuracy:
    """Accuracy of ``detect`` on ``images``."""
    return evaluate_detector(detect, with_truth(images)).accuracy()


def guarded_accuracy(detect: Detect, splits: Splits) -> dict[str, float]:
    """What INT8 must keep: AP50-95 of all classes on ``val``, and of people on ``held_out`` pictures with
    people."""
    people = [image for image in splits.held_out if (image.classes == PERSON).any()]
    found = {"val": accuracy_on(detect, splits.val).map50_95}
    if people:
        found["held-out people"] = accuracy_on(detect, people).figures()["person_ap50_95"]
    return found


def onnx_detect(path: Path, threads: int = 1) -> Detect:
    """An exported graph as a detector in ONNX Runtime, down to `MIN_SCORE`."""
    return _detect(path, open_session(path, threads=threads))


def openvino_detect(path: Path, threads: int = 1) -> Detect:
    """An exported graph as a detector in OpenVINO. Raises `BundleIncompatible` where that is not
    installed."""
    return _detect(path, open_openvino_session(path, threads))


def _detect(path: Path, session: Any) -> Detect:
    (shape,) = (list(node.shape) for node in session.get_outputs() if node.name == OUTPUT)
    manifest = Manifest(
        app="",
        version=path.stem,
        task=TASK,
        inputs=[TensorSpec(name=INPUT, dtype="uint8", shape=[1, SIZE_PX, SIZE_PX, 3])],
        outputs=[TensorSpec(name=OUTPUT, dtype="float32", shape=shape)],
        precision="",
        licence="",
        limits=Limits(latency_ms=0.0),
        lineage=Lineage(data={}, code=""),
        tolerance={},
        classes=list(CLASSES),
        parameters={PARAMETER: DetectorSpec(head="ultralytics")},
    )
    return partial(Detector(OnnxModel(manifest, session)).detect, min_score=MIN_SCORE)


def _choice_score(graph: Path, splits: Splits) -> float:
    detect = onnx_detect(graph)
    parts = [accuracy_on(detect, images).map50_95 for images in (splits.val, splits.held_out)]
    return float(np.mean(parts))


def _lineage(context: TrainContext, splits: Splits, sources: Sources) -> Lineage:
    data = {
        "train": digest_of(splits.train),
        "held_out": digest_of(splits.held_out),
        "val": digest_of(splits.val),
        **{path.name: file_digest(path) for path in (sources.start, sources.yolox, sources.picodet)},
    }
    return lineage_of(context, data)


def _part(progress: Progress, begin: float, end: float) -> Progress:
    return lambda fraction, message: progress(begin + (end - begin) * fraction, message)
