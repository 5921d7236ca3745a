"""Labelled pictures of the field: the blurred JPEG of a sample with the boxes of a reviewer or teacher.

A label of the kind `BOXES` has the body ``{"boxes_xyxy_px": [[left, top, right, bottom], ...]}``: all persons
of the picture. The newest label counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.app.training import LabelledSample
from common.training.detector.evaluation import Truth
from common.vision.detections import PERSON

BOXES = "boxes"
BOXES_LIMIT = 500
Boxes = list[tuple[float, float, float, float]]


def labelled_pictures(
    samples: Sequence[LabelledSample], refused: list[str]
) -> Iterator[tuple[NDArray[np.uint8], Truth]]:
    """Frame and truth of each labelled sample; why others were left out is added to ``refused``."""
    for each in samples:
        labels = [label for label in each.labels if label.kind == BOXES]
        if not labels:
            continue
        newest = max(labels, key=lambda label: label.created_ns)
        try:
            boxes = msgspec.convert(newest.body.get("boxes_xyxy_px"), Boxes)[:BOXES_LIMIT]
            frame = _decode(each.sample.arrays.get("jpeg"))
        except (msgspec.ValidationError, ValueError) as error:
            refused.append(f"{each.sample.group}: {error}")
            continue
        height, width = frame.shape[:2]
        corners = np.clip(np.array(boxes, np.float32).reshape(-1, 4), 0, (width, height, width, height))
        whole = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        corners = corners[whole].astype(np.float32)
        yield frame, Truth(corners, np.full(len(corners), PERSON, np.int16))


def _decode(content: Any) -> NDArray[np.uint8]:
    """The picture of a JPEG. Raises `ValueError`."""
    import cv2

    array = np.asarray(content if content is not None else (), np.uint8)
    frame: Any = cv2.imdecode(array, cv2.IMREAD_COLOR) if array.ndim == 1 and array.size else None
    if frame is None:
        raise ValueError("its picture cannot be read")
    return frame
