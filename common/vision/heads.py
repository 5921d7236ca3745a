"""Heads: raw outputs of detection networks decoded to boxes in the input's pixels, and class-wise NMS.

``ultralytics``  (1, 4 + classes, anchors): centre, width, height in pixels, then a score by class
                 (YOLOv8, YOLO11)
``yolox``        (1, anchors, 5 + classes), raw: ``centre = (xy + cell) * stride``,
                 ``size = exp(wh) * stride``, ``score = objectness * class score``, strides 8, 16, 32
                 (Ge et al., arXiv:2107.08430)

An anchor has one class, its best one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.vision.detections import box_areas

Head = Literal["ultralytics", "yolox"]
YOLOX_STRIDES = (8, 16, 32)


class Decoded(NamedTuple):
    """Candidates before NMS: boxes (n, 4) in the input's pixels, scores (n,), columns (n,) of the classes."""

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    columns: NDArray[np.intp]


Decode = Callable[[NDArray[Any], NDArray[np.intp], float, tuple[int, int]], Decoded]


def decode_ultralytics(
    output: NDArray[Any], wanted: NDArray[np.intp], min_score: float, _size: tuple[int, int]
) -> Decoded:
    """Candidates of at least ``min_score`` in one of the class columns ``wanted``."""
    rows = output[0]
    by_class = rows[4:] if len(wanted) == len(rows) - 4 else rows[4 + wanted]
    anchors = np.flatnonzero(by_class.max(axis=0) >= min_score)
    scores, columns = _best(by_class[:, anchors].T, wanted)
    return Decoded(_corners(rows[:2, anchors].T, rows[2:4, anchors].T), scores, columns)


def decode_yolox(
    output: NDArray[Any], wanted: NDArray[np.intp], min_score: float, size: tuple[int, int]
) -> Decoded:
    """As `decode_ultralytics`; ``size`` is the input's width and height. Raises `ValueError`."""
    rows = output[0]
    cells, strides = _yolox_grid(*size)
    if len(rows) != len(cells):
        raise ValueError(f"a yolox head for {size} has {len(cells)} anchors, not {len(rows)}")
    objectness = rows[:, 4]
    anchors = np.flatnonzero(objectness >= min_score)  # A class score is at most 1.
    kept = rows[anchors]
    scores, columns = _best(kept[:, 5 + wanted] * kept[:, 4:5], wanted)
    stride = strides[anchors, None]
    sizes = np.exp(np.minimum(kept[:, 2:4], 20.0)) * stride
    boxes = _corners((kept[:, :2] + cells[anchors]) * stride, sizes)
    enough = scores >= min_score
    return Decoded(boxes[enough], scores[enough], columns[enough])


DECODERS: dict[Head, Decode] = {"ultralytics": decode_ultralytics, "yolox": decode_yolox}


def non_maximum_suppression(
    boxes_xyxy: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], max_iou: float
) -> NDArray[np.intp]:
    """Rows that remain, best score first: none overlaps a better one of its class by more than ``max_iou``.

    Greedy (Neubeck and Van Gool, ICPR 2006); of equal scores the earlier row is the better one. Memory and
    time grow with candidates times remaining rows.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, kinds = boxes_xyxy[order], classes[order]
    areas = box_areas(boxes)
    left, top, right, bottom = (np.ascontiguousarray(column) for column in boxes.T)
    alive = np.ones(len(order), np.bool_)
    kept: list[int] = []
    for row in range(len(order)):
        if not alive[row]:
            continue
        kept.append(row)
        rest = slice(row + 1, None)
        width = np.minimum(right[row], right[rest]) - np.maximum(left[row], left[rest])
        height = np.minimum(bottom[row], bottom[rest]) - np.maximum(top[row], top[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        overlaps = shared > max_iou * (areas[row] + areas[rest] - shared)
        alive[rest] &= ~(overlaps & (kinds[rest] == kinds[row]))
    return order[kept]


def _best(by_class: NDArray[Any], wanted: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    best = by_class.argmax(axis=1)
    scores = by_class[np.arange(len(best)), best].astype(np.float32, copy=False)
    return scores, wanted[best]


def _corners(centres: NDArray[Any], sizes: NDArray[Any]) -> NDArray[np.float32]:
    half = sizes * np.float32(0.5)
    return np.concatenate((centres - half, centres + half), axis=1, dtype=np.float32)


@lru_cache(maxsize=4)
def _yolox_grid(width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cell (anchors, 2) and stride (anchors,) of each anchor, fine strides first, row by row."""
    cells: list[NDArray[np.float32]] = []
    strides: list[NDArray[np.float32]] = []
    for stride in YOLOX_STRIDES:
        across, down = width // stride, height // stride
        index = np.arange(across * down)
        cells.append(np.column_stack((index % across, index // across)).astype(np.float32))
        strides.append(np.full(len(index), stride, np.float32))
    return np.concatenate(cells), np.concatenate(strides)
