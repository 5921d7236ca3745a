"""Detections: the boxes of one frame as arrays, the value that flows through all of `common.vision`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
PERSON, BICYCLE, CAR, MOTORCYCLE, BUS, TRUCK = range(len(CLASSES))
NO_TRACK = -1
"""Track id of a detection that belongs to no confirmed track."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects in one frame, one row each.

    ``boxes_xyxy_px`` (n, 4) float32 are left, top, right, bottom in the frame's pixels; ``scores`` (n,)
    float32 lie in [0, 1]; ``classes`` (n,) int16 index `CLASSES`; ``track_ids`` (n,) int64 are `NO_TRACK`
    where there is none. ``bodies_xyxy_px`` (n, 4), where they are known, are the boxes of the whole bodies,
    of which a part may be hidden or out of the picture.

    >>> two = Detections.of([[0, 0, 10, 20], [5, 5, 9, 9]], scores=[0.9, 0.3])
    >>> len(two), two[two.scores > 0.5].foot_points_px.tolist()
    (2, [[5.0, 20.0]])
    """

    boxes_xyxy_px: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int16]
    track_ids: NDArray[np.int64]
    bodies_xyxy_px: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls,
        boxes_xyxy_px: ArrayLike,
        scores: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        track_ids: ArrayLike | None = None,
    ) -> Detections:
        """Detections of arrays or lists; by default score 1, persons, no track. Raises `ValueError`."""
        boxes = np.asarray(boxes_xyxy_px, np.float32).reshape(-1, 4)
        count = len(boxes)
        columns = (
            np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32),
            np.full(count, PERSON, np.int16) if classes is None else np.asarray(classes, np.int16),
            np.full(count, NO_TRACK, np.int64) if track_ids is None else np.asarray(track_ids, np.int64),
        )
        for column in columns:
            if column.shape != (count,):
                raise ValueError(f"{count} boxes need columns of that length, not {column.shape}")
        return cls(boxes, *columns)

    @classmethod
    def empty(cls) -> Detections:
        """No detection."""
        return cls.of(np.empty((0, 4), np.float32))

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: Any) -> Detections:
        """The rows of a mask, of indices or of a slice, as views where NumPy gives views."""
        if isinstance(rows, (int, np.integer)):
            rows = [rows]
        bodies = None if self.bodies_xyxy_px is None else self.bodies_xyxy_px[rows]
        return Detections(
            self.boxes_xyxy_px[rows], self.scores[rows], self.classes[rows], self.track_ids[rows], bodies
        )

    def with_track_ids(self, track_ids: NDArray[np.int64]) -> Detections:
        """The same boxes with other track ids."""
        return replace(self, track_ids=track_ids)

    @property
    def whole_boxes_px(self) -> NDArray[np.float32]:
        """(n, 4): the whole bodies where they are known, otherwise the boxes."""
        return self.boxes_xyxy_px if self.bodies_xyxy_px is None else self.bodies_xyxy_px

    @property
    def foot_points_px(self) -> NDArray[np.float32]:
        """(n, 2): the middle of the lower edge of each whole box, where the object stands on the ground."""
        boxes = self.whole_boxes_px
        return np.column_stack(((boxes[:, 0] + boxes[:, 2]) * np.float32(0.5), boxes[:, 3]))

    @property
    def sizes_px(self) -> NDArray[np.float32]:
        """(n, 2): width and height of each whole box."""
        boxes = self.whole_boxes_px
        return boxes[:, 2:] - boxes[:, :2]


def intersection_over_union(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    """(n, m): overlap of each of the n boxes with each of the m; 0 where both are empty."""
    width = np.minimum(first[:, None, 2], second[:, 2]) - np.maximum(first[:, None, 0], second[:, 0])
    height = np.minimum(first[:, None, 3], second[:, 3]) - np.maximum(first[:, None, 1], second[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    total = box_areas(first)[:, None] + box_areas(second) - shared
    return np.divide(shared, total, out=np.zeros(total.shape, np.float32), where=total > 0)


def box_areas(boxes_xyxy: NDArray[Any]) -> NDArray[Any]:
    """(n,): areas; 0 for a box whose right or lower edge is before its left or upper one."""
    sizes = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    return sizes[:, 0] * sizes[:, 1]
