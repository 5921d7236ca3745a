"""Privacy: heads made unrecognisable before a picture is encoded.

The head of every person box of any score above a low bar is blurred, whether or not the person is tracked.
The region is the upper part of the box with a margin (a head leans out of it), coarsened to a few cells:
what is left of a face are `CELLS` averages on its longer side, which no sharpening brings back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.vision.detections import PERSON, Detections

MIN_SCORE = 0.05
"""Score from which a box may be a person: low, since a missed head cannot be called back."""
HEAD_SHARE = 0.35
"""Share of a box, from above, that has the head: 1/8 of a standing, 1/3 of a sitting person."""
MARGIN_SHARE = 0.15
"""What is added around it, as a share of the box's width (at the sides) and of the head's height (above)."""
CELLS = 4
NEAR_SQUARE = 1.2
"""Ratio of height to width under which a box is a person cut off or close up: all of it is blurred."""


def head_boxes(detections: Detections, width: int, height: int) -> NDArray[np.int64]:
    """(n, 4): left, top, right, bottom of the persons' head regions, in whole pixels inside the frame."""
    people = detections[(detections.classes == PERSON) & (detections.scores >= MIN_SCORE)]
    boxes = people.boxes_xyxy_px.astype(np.float64)
    sizes = boxes[:, 2:] - boxes[:, :2]
    share = np.where(sizes[:, 1] < NEAR_SQUARE * sizes[:, 0], 1.0, HEAD_SHARE)
    head_heights = share * sizes[:, 1]
    side = MARGIN_SHARE * sizes[:, 0]
    regions = np.column_stack(
        (
            np.floor(boxes[:, 0] - side),
            np.floor(boxes[:, 1] - MARGIN_SHARE * head_heights),
            np.ceil(boxes[:, 2] + side),
            np.ceil(boxes[:, 1] + head_heights),
        )
    )
    limits = np.array((width, height, width, height))
    return np.clip(regions, 0, limits).astype(np.int64)


def blur_heads(frame_bgr: NDArray[np.uint8], detections: Detections) -> NDArray[np.uint8]:
    """A copy of the frame (height, width, 3) with the heads of all persons blurred.

    ``detections`` are those of this frame from the low bar `MIN_SCORE` on: with a higher bar of the detector,
    heads are missed.
    """
    blurred = frame_bgr.copy()
    height, width = frame_bgr.shape[:2]
    for left, top, right, bottom in head_boxes(detections, width, height).tolist():
        region = blurred[top:bottom, left:right]
        if region.size:
            region[:] = _coarse(region)
    return blurred


def _coarse(region: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The region as the averages of its cells, square ones as far as that goes."""
    height, width = region.shape[:2]
    cell = max(1, -(-max(height, width) // CELLS))
    coarse = np.empty_like(region)
    for top in range(0, height, cell):
        for left in range(0, width, cell):
            place = slice(top, top + cell), slice(left, left + cell)
            coarse[place] = region[place].mean(axis=(0, 1))
    return coarse
