"""Faults of the camera, applied to finished pictures: all but ``moved``, which is another pose."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera.pinhole import PinholeCamera

Image = NDArray[np.uint8]

FAULTS = {
    "black": "no light reaches the sensor",
    "frozen": "the picture of the span's first frame comes again and again",
    "blinded": "a lamp shines into the lens",
    "moved": "the camera was turned by 9 degrees and lifted by 4",
    "defocus": "the lens is out of focus",
    "gone": "no frames come",
    "resolution": "frames come in half the width and height",
}


def moved(camera: PinholeCamera) -> PinholeCamera:
    """The camera after somebody has turned it."""
    return replace(camera, yaw_deg=camera.yaw_deg + 9.0, pitch_deg=camera.pitch_deg - 4.0)


def spoil(image: Image, fault: str, frame: int) -> Image:
    """The picture as a camera with ``fault`` gives it; unchanged for those that are not of one picture."""
    height, width = image.shape[:2]
    if fault == "black":
        grain = np.random.default_rng(frame).integers(0, 4, (height, width, 1), np.uint8)
        return np.repeat(grain, 3, axis=2)
    if fault == "blinded":
        x = (np.arange(width, dtype=np.float32) - 0.45 * width) / width
        y = (np.arange(height, dtype=np.float32) - 0.35 * height) / width
        glare = np.rint(255 * np.minimum(1.15 * np.exp(-(x[None] ** 2 + y[:, None] ** 2) / 0.05), 1)).astype(
            np.uint8
        )
        glare = np.where(glare > 210, 255, glare + 45).astype(np.uint8)
        return np.asarray(cv2.add(image, cv2.cvtColor(glare, cv2.COLOR_GRAY2BGR)), np.uint8)
    if fault == "defocus":
        return np.asarray(cv2.GaussianBlur(image, (0, 0), width / 90), np.uint8)
    if fault == "resolution":
        half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        return np.asarray(half, np.uint8)
    return image
