"""Labels by two teachers where they agree: boxes that a data set lacks.

The teachers are YOLOX-Nano (Ge et al., arXiv:2107.08430) and PicoDet-S (Yu et al., arXiv:2111.00902), both of
COCO's 80 classes at 416 x 416. A box is added where both find an object of one class with overlapping boxes,
and the image has no labelled box there. Nothing that is labelled is changed or removed.
"""

# ONNX Runtime has no types; OpenCV is imported where it is installed.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.bundle import Limits, Lineage, Manifest, TensorSpec, file_digest
from common.model.inference import OnnxModel, open_session
from common.training.detector.dataset import LabelledImage
from common.vision.detections import NO_TRACK, Detections, intersection_over_union
from common.vision.detector import MIN_SIZE_PX, PARAMETER, TASK, Detector, DetectorSpec
from common.vision.heads import YOLOX_STRIDES, non_maximum_suppression
from common.vision.preprocessing import ImageInput

YOLOX_FILE, PICODET_FILE = "yolox_nano.onnx", "picodet_s_416_coco.onnx"
SIZE_PX = 416
COCO_CLASSES = {"person": 0, "bicycle": 1, "car": 2, "motorcycle": 3, "bus": 5, "truck": 7}
"""Column of each of our classes among COCO's 80."""
COCO_COLUMNS = [next((name for name, at in COCO_CLASSES.items() if at == column), "") for column in range(80)]
PICODET_STRIDES = (8, 16, 32, 64)
PICODET_MEAN_BGR = np.array((103.53, 116.28, 123.675), np.float32)
PICODET_SCALE_BGR = np.array((57.375, 57.12, 58.395), np.float32)
CANDIDATES_LIMIT = 1000


class Teacher(Protocol):
    """Anything that detects as `common.vision.detector.Detector` does."""

    def detect(self, frame_bgr: NDArray[np.uint8], min_score: float) -> Detections: ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """Rules by which two teachers' boxes become a label. Scores and overlaps (IoU) are in [0, 1]."""

    min_score: float = 0.35
    """Score that both teachers reach."""
    min_iou: float = 0.6
    """Overlap of the two teachers' boxes."""
    max_labelled_iou: float = 0.3
    """Overlap with a labelled box of any class from which an object counts as labelled."""


def yolox_manifest(
    version: str, digest: str, *, app: str = "", latency_ms: float = 1000.0, size_px: int = SIZE_PX
) -> Manifest:
    """Manifest of one of Megvii's published files, by default of ``yolox_nano.onnx``, without files, golden
    cases and bounds."""
    anchors = sum((size_px // stride) ** 2 for stride in YOLOX_STRIDES)
    return Manifest(
        app=app,
        version=version,
        task=TASK,
        inputs=[TensorSpec(name="images", dtype="float32", shape=[1, 3, size_px, size_px])],
        outputs=[TensorSpec(name="output", dtype="float32", shape=[1, anchors, 85])],
        precision="float32",
        licence="Apache-2.0",
        limits=Limits(latency_ms=latency_ms),
        lineage=Lineage(data={"yolox_nano.onnx": digest}, code=""),
        tolerance={"output": 0.05},
        classes=COCO_COLUMNS,
        parameters={
            PARAMETER: DetectorSpec(head="yolox", image=ImageInput(layout="nchw", letterbox="corner"))
        },
    )


def yolox_teacher(path: Path) -> Detector:
    """YOLOX-Nano from its ONNX file. Raises `BundleIncompatible`."""
    manifest = yolox_manifest("yolox_nano", file_digest(path))
    return Detector(OnnxModel(manifest, open_session(path)))


class PicoDet:
    """PicoDet-S from its ONNX file without decoding: class scores and box distributions at four strides.

    A side's distance is the mean of a distribution over 0 to 7 strides (generalized focal loss, Li et al.,
    arXiv:2006.04388).
    """

    def __init__(self, path: Path, max_iou: float = 0.65) -> None:
        """Raises `BundleIncompatible` for a file that is no model."""
        self._session = open_session(path)
        self._input = self._session.get_inputs()[0].name
        self._max_iou = max_iou
        self._columns = np.array(list(COCO_CLASSES.values()))

    def detect(self, frame_bgr: NDArray[np.uint8], min_score: float) -> Detections:
        """Objects of at least ``min_score``, best first."""
        import cv2

        pixels = cv2.resize(frame_bgr, (SIZE_PX, SIZE_PX))  # As in its training, without letterbox.
        tensor = (pixels - PICODET_MEAN_BGR) / PICODET_SCALE_BGR
        feed = {self._input: np.ascontiguousarray(tensor.transpose(2, 0, 1)[None], np.float32)}
        outputs: list[NDArray[Any]] = self._session.run(None, feed)
        strides = len(PICODET_STRIDES)
        scores = np.concatenate([rows[0][:, self._columns] for rows in outputs[:strides]])
        boxes = np.concatenate(
            [
                picodet_boxes(rows[0], stride)
                for rows, stride in zip(outputs[strides:], PICODET_STRIDES, strict=True)
            ]
        )
        classes = scores.argmax(axis=1)
        best = scores.max(axis=1)
        order = np.argsort(-best, kind="stable")[:CANDIDATES_LIMIT]
        order = order[best[order] >= min_score]
        kept = order[non_maximum_suppression(boxes[order], best[order], classes[order], self._max_iou)]
        height, width = frame_bgr.shape[:2]
        in_frame = np.clip(boxes[kept] / SIZE_PX, 0, 1) * np.array([width, height, width, height], np.float32)
        found = Detections.of(in_frame, best[kept], classes[kept])
        return found[(found.sizes_px >= MIN_SIZE_PX).all(axis=1)]


def picodet_boxes(distributions: NDArray[Any], stride: int) -> NDArray[np.float32]:
    """Boxes ``(cells, 4)`` in the input's pixels of logits ``(cells, 4 * bins)`` of one stride."""
    side = -(-SIZE_PX // stride)
    cells = np.arange(side * side)
    centres = (np.stack([cells % side, cells // side], axis=1) + 0.5) * stride
    logits = distributions.reshape(len(cells), 4, -1).astype(np.float64)
    shares = np.exp(logits - logits.max(axis=2, keepdims=True))
    shares /= shares.sum(axis=2, keepdims=True)
    distances = shares @ np.arange(logits.shape[2]) * stride
    corners = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
    return corners.astype(np.float32)


def agreed(first: Detections, second: Detections, rule: Agreement) -> Detections:
    """Objects that both found, one row each: the mean box weighted by the scores, and the lesser score.

    Pairs are taken greedily by overlap, each box once.
    """
    a, b = first[first.scores >= rule.min_score], second[second.scores >= rule.min_score]
    overlap = intersection_over_union(a.boxes_xyxy_px, b.boxes_xyxy_px)
    overlap = np.where(a.classes[:, None] == b.classes, overlap, 0.0)
    pairs: list[tuple[int, int]] = []
    while overlap.size and overlap.max() >= rule.min_iou:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        pairs.append((int(row), int(column)))
        overlap[row, :] = overlap[:, column] = 0.0
    rows, columns = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    left, right = a[rows], b[columns]
    share = (left.scores / (left.scores + right.scores))[:, None]
    return Detections(
        (left.boxes_xyxy_px * share + right.boxes_xyxy_px * (1 - share)).astype(np.float32),
        np.minimum(left.scores, right.scores),
        left.classes,
        np.full(len(rows), NO_TRACK, np.int64),
    )


def unlabelled(found: Detections, labelled_xyxy_px: NDArray[Any], rule: Agreement) -> Detections:
    """Those of ``found`` where no labelled box lies."""
    if not len(found) or not len(labelled_xyxy_px):
        return found
    overlap = intersection_over_union(found.boxes_xyxy_px, labelled_xyxy_px)
    return found[overlap.max(axis=1) < rule.max_labelled_iou]


def add_agreed_labels(
    images: Iterable[LabelledImage], first: Teacher, second: Teacher, rule: Agreement = Agreement()
) -> Iterator[LabelledImage]:
    """``images`` with the objects that both teachers find and the labels lack."""
    for image in images:
        frame = image.frame()
        height, width = frame.shape[:2]
        found = agreed(first.detect(frame, rule.min_score), second.detect(frame, rule.min_score), rule)
        new = unlabelled(found, image.truth(height, width).boxes_xyxy_px, rule)
        sides = np.array([width, height, width, height], np.float32)
        yield replace(
            image,
            boxes=np.concatenate([image.boxes, new.boxes_xyxy_px / sides]),
            classes=np.concatenate([image.classes, new.classes]),
        )
