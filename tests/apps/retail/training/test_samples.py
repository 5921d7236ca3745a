"""Labelled pictures of the field: the newest label counts, and what cannot be read is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from apps.retail.training.samples import BOXES, labelled_pictures
from common.app.edge import Sample
from common.app.training import Label, LabelledSample

cv2 = pytest.importorskip("cv2")


def labelled(*bodies: dict[str, Any], jpeg: Any = None, kind: str = BOXES) -> LabelledSample:
    picture = np.full((120, 160, 3), 80, np.uint8)
    content = np.frombuffer(cv2.imencode(".jpg", picture)[1].tobytes(), np.uint8) if jpeg is None else jpeg
    sample = Sample("door", "door/1", 0, {"low_margin": 1.0}, {"jpeg": content}, {})
    labels = [
        Label("retail", "door", "door/1", kind, body, "reviewer", created_ns)
        for created_ns, body in enumerate(bodies)
    ]
    return LabelledSample("digest", sample, labels, held_out=False)


def test_the_newest_label_gives_the_boxes_clipped_to_the_picture() -> None:
    boxes = [[10, 10, 50, 100], [140, 20, 500, 110], [30, 30, 30, 40]]
    ((frame, truth),) = labelled_pictures([labelled({"boxes_xyxy_px": []}, {"boxes_xyxy_px": boxes})], [])
    assert frame.shape == (120, 160, 3)
    assert truth.boxes_xyxy_px.tolist() == [[10, 10, 50, 100], [140, 20, 160, 110]]


def test_a_picture_without_people_is_a_picture_to_learn_from() -> None:
    ((_, truth),) = labelled_pictures([labelled({"boxes_xyxy_px": []})], [])
    assert len(truth.classes) == 0


def test_what_has_no_label_is_left_out_and_what_cannot_be_read_is_named() -> None:
    refused: list[str] = []
    samples = [
        labelled(),
        labelled({"boxes_xyxy_px": []}, kind="other"),
        labelled({"boxes_xyxy_px": "all"}),
        labelled({"boxes_xyxy_px": []}, jpeg=np.arange(9, dtype=np.uint8)),
    ]
    assert list(labelled_pictures(samples, refused)) == []
    assert len(refused) == 2
    assert all("door/1" in reason for reason in refused)
