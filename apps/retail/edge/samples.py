"""Pictures that may leave the node, heads blurred: to learn from, and stills to draw lines and zones on.

Pictures to learn from are frames with uncertain detections or unlike the training, one of a camera in
``sample_interval_s`` at most, only with the setting ``samples``. Stills have the reason `STILL`, only with
the setting ``stills``. The heads of all person boxes from `MIN_SCORE` on are blurred before a picture is
encoded as JPEG; the picture is nowhere else. It has at most `PICTURE_LIMIT_BYTES`. Each sample is a group of
its own, since its label, the boxes, belongs to one picture.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from apps.retail.app import RetailSettings
from apps.retail.edge.camera import CameraCounter
from common.app.edge import Arrays, Reading, Sample
from common.errors import SampleError
from common.vision.detections import PERSON, Detections
from common.vision.privacy import MIN_SCORE, blur_heads

log = logging.getLogger(__name__)

UNCERTAIN = (0.2, 0.5)
"""Scores between which a person is uncertain."""
MIN_REASON = 0.3
"""Least reason for which a picture is offered."""
QUALITIES = (85, 70, 50, 30)
"""Of the JPEG, the first with which it is within its limit."""
PICTURE_LIMIT_BYTES = 150_000
PICTURE_SIDE_PX = 1280
"""Longest side of a picture that leaves the node; a larger frame is made smaller."""
STILL = "still"
"""Reason of a still; it is highest, so that a still is sent first."""
NOVELTY = "novelty"
"""Model output that is 1 at the 99th percentile of the training pictures, where a model has it."""


class Pictures:
    """Choice of the frames that become samples; the time of the last one is kept with each camera."""

    def __init__(self, settings: RetailSettings) -> None:
        self._settings = settings

    @property
    def allowed(self) -> list[Literal["samples", "stills"]]:
        """Kinds of pictures that may leave the node."""
        kinds: tuple[Literal["samples", "stills"], ...] = ("samples", "stills")
        return [kind for kind in kinds if getattr(self._settings, kind)]

    @property
    def min_score(self) -> float:
        """Score from which boxes are needed, so that their heads are blurred; 1 where no picture leaves."""
        return MIN_SCORE if self._settings.samples or self._settings.stills else 1.0

    def choose(
        self, reading: Reading, camera: CameraCounter, detections: Detections, outputs: Arrays, version: str
    ) -> Iterator[Sample]:
        """The still, or the sample to learn from, that a frame is. Needs OpenCV where there is one."""
        settings, now_ns = self._settings, reading.captured_ns
        reasons: dict[str, float] = {}
        if settings.stills and _is_due(camera.still_ns, now_ns, settings.still_hours * 3600):
            camera.still_ns, reasons = now_ns, {STILL: 1.0}
        elif settings.samples and _is_due(camera.sampled_ns, now_ns, settings.sample_interval_s):
            found = reasons_of(detections, outputs)
            if max(found.values()) >= MIN_REASON:
                camera.sampled_ns, reasons = now_ns, found
        if reasons:
            try:
                yield make_sample(reading, detections, reasons, version)
            except SampleError as error:
                log.warning("no picture of %s: %s", reading.subject, error)


def _is_due(last_ns: int | None, now_ns: int, interval_s: float) -> bool:
    return last_ns is None or now_ns - last_ns >= interval_s * 1e9


def reasons_of(detections: Detections, outputs: Arrays) -> dict[str, float]:
    """Scores in [0, 1] of a frame by reason: the share of uncertain persons, and the novelty."""
    people = detections[detections.classes == PERSON].scores
    low, high = UNCERTAIN
    uncertain = int(np.count_nonzero((people >= low) & (people < high)))
    certain = int(np.count_nonzero(people >= high))
    reasons = {"low_margin": uncertain / (uncertain + certain) if uncertain else 0.0}
    if NOVELTY in outputs:
        reasons["novelty"] = min(1.0, float(np.max(outputs[NOVELTY])) / 2)
    return reasons


def make_sample(
    reading: Reading, detections: Detections, reasons: Mapping[str, float], version: str
) -> Sample:
    """The sample of a frame, with its boxes down to `MIN_SCORE` for the reviewer.

    Needs OpenCV (extra ``vision``). Raises `SampleError` for a picture above its limit at any quality.
    """
    picture, scale = _small(blur_heads(reading.values, detections))
    height, width = picture.shape[:2]
    return Sample(
        subject=reading.subject,
        group=f"{reading.subject}/{reading.captured_ns}",
        captured_ns=reading.captured_ns,
        reasons=reasons,
        arrays={
            "jpeg": _encode(picture),
            "boxes_xyxy_px": (detections.boxes_xyxy_px * scale).astype(np.float32),
            "scores": detections.scores,
            "classes": detections.classes,
        },
        attributes={"width_px": width, "height_px": height, "version": version, "heads": "blurred"},
    )


def _small(frame_bgr: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """The frame within `PICTURE_SIDE_PX`, and its scale."""
    longest = max(frame_bgr.shape[:2])
    if longest <= PICTURE_SIDE_PX:
        return frame_bgr, 1.0
    import cv2

    scale = PICTURE_SIDE_PX / longest
    size = round(frame_bgr.shape[1] * scale), round(frame_bgr.shape[0] * scale)
    return np.asarray(cv2.resize(frame_bgr, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _encode(frame_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    for quality in QUALITIES:
        _, content = cv2.imencode(".jpg", frame_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if content.size <= PICTURE_LIMIT_BYTES:
            return np.frombuffer(content.tobytes(), np.uint8)
    raise SampleError(f"it has more than {PICTURE_LIMIT_BYTES} bytes at the lowest quality")
