"""Whole bodies behind partial boxes: where a person stands whose feet are hidden.

A detector's box ends where the visible part of a person ends, so a person behind another one ends at the
waist and seems to stand farther away. The head is hidden far less often, and a camera sees the people at one
place at one height: `PersonHeights` learns that height from the boxes themselves, and gives the foot point of
a head. At the crowded virtual entrance, half of the upper edges of boxes of people seen to 40 to 60 % lay
within 1.4 % of the height of the true ones; half of the lower edges lay at least 21 % above them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.vision.detections import PERSON, Detections

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
BODY = (("height", np.float64), ("ratio", np.float64), ("learnt_at", np.float64, 2))
"""Fields of a track: height in px, its ratio to that of an average person there, and the last foot point that
the heights of people were learnt from."""


class PersonHeights:
    """Height in the picture of an average person by the y of the feet: a line, learnt from a camera's boxes.

    A line is exact for a camera without lens distortion whose picture is upright. Boxes that are much shorter
    than it are left out, as people who are partly hidden. The past fades, so a moved camera is learnt again.
    """

    MIN_BOXES = 30
    MEMORY_BOXES = 1000.0
    """Boxes after which an old one weighs 1 / e; at first a third of those that were learnt."""
    SHORTER, TALLER = 0.15, 0.3
    """Differences from the learnt height, as shares of it, up to which a box is learnt."""
    MIN_RANGE = 0.1
    """Spread of the feet, in heights, from which a slope is learnt."""
    MAX_SLOPE = 0.7
    """Slope from which heads say little about feet: the camera hangs hardly above the heads."""
    MAX_SPREAD = 0.2
    """Spread of the heights about the line, as a share of them, beyond which there is no line."""

    def __init__(self) -> None:
        self._sums = np.zeros(6)
        self._boxes = 0
        self._fit()

    def _fit(self) -> None:
        self.slope, self.offset_px, self.ready = 0.0, 0.0, False
        weight, y, height, yy, yh, hh = self._sums
        if self._boxes < self.MIN_BOXES:
            return
        mean_y, mean = y / weight, height / weight
        spread = yy / weight - mean_y**2
        if spread > (self.MIN_RANGE * mean) ** 2:
            self.slope = max(0.0, (yh / weight - mean_y * mean) / spread)
        self.offset_px = mean - self.slope * mean_y
        rest = hh / weight - mean**2 - self.slope**2 * spread
        self.ready = bool(self.slope <= self.MAX_SLOPE and rest <= (self.MAX_SPREAD * mean) ** 2)

    def learn(self, feet_y_px: Floats, heights_px: Floats) -> None:
        """Learn from boxes of people who are seen whole, as far as is known."""
        if self._boxes >= self.MIN_BOXES:
            share = heights_px / self.at(feet_y_px) - 1
            fitting = (share > -self.SHORTER) & (share < self.TALLER)
            feet_y_px, heights_px = feet_y_px[fitting], heights_px[fitting]
        if not len(feet_y_px):
            return
        y, height = feet_y_px, heights_px
        columns = np.stack((np.ones_like(y), y, height, y * y, y * height, height * height))
        memory = min(self.MEMORY_BOXES, max(self.MIN_BOXES, self._boxes / 3))
        self._sums *= np.exp(-len(y) / memory)
        self._sums += columns @ (1 / np.maximum(height, 1.0) ** 2)
        self._boxes += len(y)
        self._fit()

    def at(self, feet_y_px: Floats) -> Floats:
        """Heights in px of average people whose feet are there; from `MIN_BOXES` on."""
        return np.maximum(self.slope * feet_y_px + self.offset_px, 1.0)

    def feet_below(self, heads_y_px: Floats, ratios: Floats) -> Floats:
        """The y of the feet of heads (upper edges of boxes) of people of ``ratios`` times that height."""
        return (heads_y_px + ratios * self.offset_px) / np.maximum(1 - ratios * self.slope, 0.05)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values and arrays."""
        return {"sums": self._sums.copy(), "boxes": self._boxes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`."""
        self._sums, self._boxes = np.array(state["sums"], np.float64), int(state["boxes"])
        self._fit()


def hidden_feet(boxes_xyxy: Floats) -> Mask:
    """(n,): whether another box, which reaches lower, covers part of the lower edge of each box."""
    left, top, right, bottom = boxes_xyxy.T
    shared = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    width, height = np.maximum(right - left, 1e-6), bottom - top
    covers = shared > 0.2 * width[:, None]
    covers &= (bottom > (bottom + 0.05 * height)[:, None]) & (top < bottom[:, None])
    return covers.any(axis=1)


def parts_of_others(boxes_xyxy: Floats, scores: NDArray[Any], reach_px: Floats, share: float) -> Mask:
    """(n,): whether each box, the best first, has the head of a better one, within its ``reach_px``, and less
    than ``share`` of its score.

    The upper half of a person overlaps the whole too little for the suppression of the detector.
    """
    x, y = heads_of(boxes_xyxy).T
    reach = reach_px[:, None]
    same = (np.abs(x[:, None] - x) < reach) & (np.abs(y[:, None] - y) < reach)
    same &= scores < share * scores[:, None]
    parts = np.zeros(len(x), np.bool_)
    for row in range(len(x)):
        if not parts[row]:
            parts[row + 1 :] |= same[row, row + 1 :]
    return parts


def heads_of(boxes_xyxy: NDArray[Any]) -> Floats:
    """(n, 2): the middle of the upper edge of each box."""
    return np.column_stack(((boxes_xyxy[:, 0] + boxes_xyxy[:, 2]) / 2, boxes_xyxy[:, 1])).astype(np.float64)


class Bodies:
    """Foot points and heights of tracks from their detections; ``tracks`` have the fields `BODY`."""

    SAME_HEAD = 0.1
    """Distance in heights within which two heads are one person's,"""
    PART_SCORE = 0.95
    """where the score of the one is less than this share of the other's."""
    CLEAR_SCORE = 0.6
    """Score from which a short box is a short person rather than one who is partly hidden."""
    RATIOS = (0.5, 1.4)
    """Ratios to an average person's height that a person may have."""
    WHOLE = 0.12
    """Difference from a person's height up to which a box is the whole person."""
    EDGE_PX = 4.0
    """Distance from the lower edge of the picture at which a box is cut off by it."""
    MAX_RATIO_STEP = 0.02
    """Most that one box changes a person's ratio, so that a few wrong boxes change it little."""
    LEARNT_STEP = 0.15
    """Heights that a person walks between two boxes that the heights are learnt from."""

    def __init__(self, frame_height_px: float) -> None:
        """Boxes that end at ``frame_height_px``, the lower edge of the picture, are taken as cut off."""
        self.person_heights = PersonHeights()
        self._frame_height_px = frame_height_px

    def distinct(self, detections: Detections) -> Detections:
        """The detections of different people; all of them as long as the heights are not known."""
        people = np.flatnonzero(detections.classes == PERSON)
        if not self.person_heights.ready or len(people) < 2:
            return detections
        order = people[np.argsort(-detections.scores[people], kind="stable")]
        boxes = detections.boxes_xyxy_px[order].astype(np.float64)
        heights = self.person_heights.feet_below(boxes[:, 1], np.ones(len(boxes))) - boxes[:, 1]
        parts = parts_of_others(
            boxes, detections.scores[order], self.SAME_HEAD * np.maximum(heights, 1.0), self.PART_SCORE
        )
        kept = order[~parts]
        others = np.flatnonzero(detections.classes != PERSON)
        return detections[np.sort(np.concatenate((kept, others)))]

    def hidden(self, detections: Detections) -> Mask:
        """(n,): whether the feet of a person are hidden by another one, or below the picture."""
        hidden = np.zeros(len(detections), np.bool_)
        people = np.flatnonzero(detections.classes == PERSON)
        boxes = detections.boxes_xyxy_px[people].astype(np.float64)
        hidden[people] = hidden_feet(boxes) | (boxes[:, 3] >= self._frame_height_px - self.EDGE_PX)
        return hidden

    def heights(self, tracks: NDArray[Any], feet_y_px: Floats) -> Floats:
        """(n,): heights of the bodies of tracks whose feet are there."""
        if not self.person_heights.ready:
            return tracks["height"]
        people = tracks["class_scores"].argmax(axis=1) == PERSON
        return np.where(people, tracks["ratio"] * self.person_heights.at(feet_y_px), tracks["height"])

    def measure(self, tracks: NDArray[Any], detections: Detections, hidden: Mask) -> Floats:
        """(n, 2): the foot points that detections show; height and ratio of their tracks are updated."""
        boxes = detections.boxes_xyxy_px.astype(np.float64)
        bottom, height = boxes[:, 3], boxes[:, 3] - boxes[:, 1]
        self._learn(tracks, detections, hidden)
        people = detections.classes == PERSON
        feet = np.column_stack((heads_of(boxes)[:, 0], bottom))
        shorter = people & hidden & (height < 0.9 * tracks["height"])
        feet[shorter, 1] = (boxes[:, 1] + tracks["height"])[shorter]
        tracks["height"] += np.where(hidden, 0.0, 0.2) * (height - tracks["height"])
        if self.person_heights.ready:
            ratio, least, most = height / self.person_heights.at(bottom), *self.RATIOS
            shown = people & ~hidden & (ratio > least) & (ratio < most)
            taller = ratio > tracks["ratio"]
            step = np.clip(0.2 * (ratio - tracks["ratio"]), -self.MAX_RATIO_STEP, self.MAX_RATIO_STEP)
            tracks["ratio"] += np.where(shown & (taller | (detections.scores >= self.CLEAR_SCORE)), step, 0.0)
            below = self.person_heights.feet_below(boxes[:, 1], tracks["ratio"])
            whole = shown & (np.abs(ratio / tracks["ratio"] - 1) < self.WHOLE)
            feet[:, 1] = np.where(people, np.where(whole, (bottom + below) / 2, below), bottom)
        return feet

    def _learn(self, tracks: NDArray[Any], detections: Detections, hidden: Mask) -> None:
        """Learn the heights of people from those who walk and are seen well."""
        boxes = detections.boxes_xyxy_px.astype(np.float64)
        height, feet = boxes[:, 3] - boxes[:, 1], np.column_stack((heads_of(boxes)[:, 0], boxes[:, 3]))
        clear = ~hidden & (detections.classes == PERSON) & (detections.scores >= 0.5) & (tracks["hits"] >= 2)
        clear &= np.linalg.norm(feet - tracks["learnt_at"], axis=1) > self.LEARNT_STEP * height
        tracks["learnt_at"][clear] = feet[clear]
        self.person_heights.learn(feet[clear, 1], height[clear])

    def begin(self, begun: NDArray[Any], detections: Detections, hidden: Mask) -> Floats:
        """(n, 2): the foot points of new tracks; height and ratio are set."""
        boxes = detections.boxes_xyxy_px.astype(np.float64)
        feet = np.column_stack((heads_of(boxes)[:, 0], boxes[:, 3]))
        begun["height"] = np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
        begun["ratio"], begun["learnt_at"] = 1.0, -np.inf
        if self.person_heights.ready:
            ratio, (least, most) = begun["height"] / self.person_heights.at(feet[:, 1]), self.RATIOS
            clear = ~hidden & (ratio > least) & (ratio < most)
            clear &= (ratio > 1) | (detections.scores >= self.CLEAR_SCORE)
            begun["ratio"][clear] = np.clip(1 + 0.3 * (ratio - 1), 0.85, 1.25)[clear]
            partial = (detections.classes == PERSON) & ~clear
            feet[partial, 1] = self.person_heights.feet_below(boxes[:, 1], begun["ratio"])[partial]
        return feet
