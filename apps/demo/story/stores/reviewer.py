"""A simulated reviewer of pictures, who knows the truth of the virtual cameras.

The node's detector proposes boxes, as on the page *Review*. The reviewer accepts them, or corrects those of a
picture in which a box is nobody or a person has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.demo.story.stores.store_fleet import StoreFleet
from apps.demo.world.stage import Stage
from apps.demo.world.world import EdgeNode
from common.vision.detections import PERSON, intersection_over_union

SHOWN_SCORE = 0.35
"""Score from which a box is proposed as a person, as on the page *Review*."""
SAME_PERSON = 0.5
"""Intersection over union from which the reviewer leaves a box as it is."""
Boxes = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels of pictures: people, boxes of the detector, and of these those that are right."""

    pictures: int = 0
    corrected: int = 0
    people: int = 0
    proposed: int = 0
    kept: int = 0

    def __add__(self, other: Labelled) -> Labelled:
        return Labelled(
            self.pictures + other.pictures,
            self.corrected + other.corrected,
            self.people + other.people,
            self.proposed + other.proposed,
            self.kept + other.kept,
        )


@dataclass(slots=True)
class Reviewer:
    """The reviewer on the stage."""

    stage: Stage
    stores: StoreFleet

    def label(self, node: EdgeNode, sample: dict[str, Any]) -> Labelled:
        """Label one picture."""
        arrays = self.stage.get(f"/v1/samples/{sample['id']}/content")["arrays"]
        proposed = _proposed(arrays)
        people = self.stores.true_boxes(node, sample["captured_ns"])
        kept = kept_boxes(proposed, people)
        corrected = kept < len(people) or kept < len(proposed)
        label: dict[str, Any] = {
            "subject": sample["subject"],
            "group": sample["group"],
            "kind": "boxes",
            "body": {
                "boxes_xyxy_px": (people if corrected else proposed).round(1).tolist(),
                "proposed_by": f"the node's detector {sample['attributes']['version']}",
                "corrected": corrected,
            },
        }
        self.stage.client.post(self.stage.app_path("labels"), label)
        return Labelled(1, int(corrected), len(people), len(proposed), kept)


def _proposed(arrays: dict[str, Any]) -> Boxes:
    boxes = np.array(arrays["boxes_xyxy_px"], np.float32).reshape(-1, 4)
    scores, classes = np.array(arrays["scores"], np.float32), np.array(arrays["classes"], np.int16)
    return boxes[(scores >= SHOWN_SCORE) & (classes == PERSON)]


def kept_boxes(proposed: Boxes, people: Boxes) -> int:
    """Boxes that are of one person each."""
    if not len(proposed) or not len(people):
        return 0
    overlap = intersection_over_union(proposed, people)
    owners = np.where(overlap.max(axis=1) >= SAME_PERSON, overlap.argmax(axis=1), -1)
    return len(set(owners[owners >= 0].tolist()))
