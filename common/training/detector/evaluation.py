"""Detection accuracy by the COCO protocol: AP at ten IoU thresholds, 101 recall points, 100 boxes an image.

Method: T.-Y. Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014, and its evaluation code:
within an image and class, detections in the order of their scores each take the free true box of highest IoU
at or above the threshold. A class without true boxes in the set is left out of the means. There are no area
ranges and no crowd regions. Intervals are percentile bootstraps over images (Efron, Tibshirani 1993, ch. 13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.vision.detections import CLASSES, PERSON, Detections, intersection_over_union

Floats = NDArray[np.float64]
Detect = Callable[[NDArray[np.uint8]], Detections]
"""A detector: boxes in the pixels of a BGR frame ``(height, width, 3)``, down to a low score."""

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
DETECTIONS_LIMIT = 100
"""Most detections of a class in an image that count: those of highest score."""
MIN_SCORE = 0.001
"""Score down to which a detector is evaluated."""


@dataclass(frozen=True, slots=True)
class Truth:
    """True boxes of one image: corners in pixels ``(n, 4)``, classes ``(n,)``."""

    boxes_xyxy_px: NDArray[np.float32]
    classes: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """AP ``(thresholds,)`` by class, for classes with true boxes in the set."""

    ap: Mapping[int, Floats]

    @property
    def map50(self) -> float:
        return self._mean(slice(0, 1))

    @property
    def map50_95(self) -> float:
        return self._mean(slice(None))

    def ap50(self, of_class: int) -> float:
        """AP at IoU 0.5 of a class; NaN without true boxes of it."""
        return float(self.ap[of_class][0]) if of_class in self.ap else float("nan")

    def figures(self) -> dict[str, float]:
        """``detection_map50``, ``detection_map50_95``, ``person_ap50``, ``person_ap50_95``."""
        person = self.ap.get(PERSON)
        return {
            "detection_map50": self.map50,
            "detection_map50_95": self.map50_95,
            "person_ap50": self.ap50(PERSON),
            "person_ap50_95": float("nan") if person is None else float(person.mean()),
        }

    def _mean(self, thresholds: slice) -> float:
        if not self.ap:
            return float("nan")
        return float(np.mean([values[thresholds].mean() for values in self.ap.values()]))


@dataclass(frozen=True, slots=True)
class _Matches:
    """Detections of one class over the set, by falling score."""

    images: NDArray[np.intp]
    correct: NDArray[np.bool_]
    """``(detections, thresholds)``"""
    true_boxes: NDArray[np.intp]
    """Number of true boxes by image."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Matched detections of a set of images."""

    images: int
    _by_class: Mapping[int, _Matches]

    def accuracy(self, weights: NDArray[Any] | None = None) -> Accuracy:
        """AP with each image counted ``weights[image]`` times, by default once."""
        counts = np.ones(self.images) if weights is None else np.asarray(weights, dtype=np.float64)
        found = {each: _average_precision(matches, counts) for each, matches in self._by_class.items()}
        return Accuracy({each: ap for each, ap in found.items() if ap is not None})

    def intervals(
        self, *, resamples: int = 300, level: float = 0.95, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Bootstrap interval of every figure over the images."""
        rng = np.random.default_rng(seed)
        rows = [
            list(self.accuracy(counts).figures().values())
            for counts in rng.multinomial(self.images, np.full(self.images, 1 / self.images), size=resamples)
        ]
        names = list(self.accuracy().figures())
        values = np.asarray(rows)
        ends: dict[str, tuple[float, float]] = {}
        for column, name in enumerate(names):
            known = values[np.isfinite(values[:, column]), column]
            if len(known):
                low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
                ends[name] = (float(low), float(high))
        return ends


def evaluate_detector(detect: Detect, images: Iterable[tuple[NDArray[np.uint8], Truth]]) -> Evaluation:
    """Run ``detect`` over ``images`` (frame, truth), one at a time, and match its boxes."""
    found: list[Detections] = []
    truths: list[Truth] = []
    for frame, truth in images:
        found.append(detect(frame))
        truths.append(truth)
    return match_detections(found, truths)


def match_detections(found: Sequence[Detections], truths: Sequence[Truth]) -> Evaluation:
    """Match the detections of each image with its true boxes. Raises ``ValueError`` for unequal lengths."""
    by_class: dict[int, _Matches] = {}
    for each in range(len(CLASSES)):
        images: list[NDArray[np.intp]] = []
        scores: list[NDArray[np.float32]] = []
        correct: list[NDArray[np.bool_]] = []
        counts: list[int] = []
        for image, (detections, truth) in enumerate(zip(found, truths, strict=True)):
            mine = np.flatnonzero(detections.classes == each)
            order = np.argsort(-detections.scores[mine], kind="stable")[:DETECTIONS_LIMIT]
            mine = mine[order]
            true_boxes = truth.boxes_xyxy_px[truth.classes == each]
            images.append(np.full(len(mine), image, dtype=np.intp))
            scores.append(detections.scores[mine])
            correct.append(_match_image(detections.boxes_xyxy_px[mine], true_boxes))
            counts.append(len(true_boxes))
        if not any(counts):
            continue
        order = np.argsort(-np.concatenate(scores), kind="stable")
        by_class[each] = _Matches(
            np.concatenate(images)[order],
            np.concatenate(correct)[order],
            np.asarray(counts, dtype=np.intp),
        )
    return Evaluation(len(truths), by_class)


def _match_image(boxes: NDArray[np.float32], true_boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each detection, by falling score, is correct: ``(detections, thresholds)``."""
    correct = np.zeros((len(boxes), len(IOU_THRESHOLDS)), dtype=np.bool_)
    if not len(boxes) or not len(true_boxes):
        return correct
    iou = intersection_over_union(boxes, true_boxes)
    taken = np.zeros((len(IOU_THRESHOLDS), len(true_boxes)), dtype=np.bool_)
    rows = np.arange(len(IOU_THRESHOLDS))
    for detection in np.flatnonzero(iou.max(axis=1) >= IOU_THRESHOLDS[0]):
        free = np.where(taken, -1.0, iou[detection])
        # COCO's code gives equal IoU to the later true box.
        best = free.shape[1] - 1 - np.argmax(free[:, ::-1], axis=1)
        hit = free[rows, best] >= IOU_THRESHOLDS - 1e-10
        correct[detection] = hit
        taken[rows[hit], best[hit]] = True
    return correct


def _average_precision(matches: _Matches, weights: Floats) -> Floats | None:
    """AP at each threshold; None where no true box has weight."""
    total = float(weights @ matches.true_boxes)
    if total <= 0:
        return None
    each = weights[matches.images]
    hits = np.cumsum(matches.correct * each[:, None], axis=0)
    seen = np.cumsum(each)
    recall = hits / total
    precision = hits / np.maximum(seen, 1e-12)[:, None]
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    ap = np.zeros(len(IOU_THRESHOLDS))
    for threshold in range(len(IOU_THRESHOLDS)):
        at = np.searchsorted(recall[:, threshold], RECALL_POINTS, side="left")
        reached = at < len(recall)
        ap[threshold] = envelope[at[reached], threshold].sum() / len(RECALL_POINTS)
    return ap
