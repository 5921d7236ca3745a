"""Effects of a picture that cost time, and the noise and brightness of the image sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
_NOISE_MARGIN_PX = 64


@dataclass(frozen=True, slots=True)
class Effects:
    """Effects of a picture, each of which can be switched off."""

    shadows: bool = True
    noise: bool = True
    motion_blur: bool = True
    rolling_brightness: float = 0.0
    """Amplitude of the bands of lamps at mains frequency over a rolling shutter, as a share."""
    exposure_s: float = 1 / 50


PLAIN = Effects(shadows=False, noise=False, motion_blur=False)


class ImageSensor:
    """Rolling brightness and noise, as functions of the seed and the frame index."""

    def __init__(self, effects: Effects, seed: int) -> None:
        self._effects = effects
        self._seed = seed
        self._grain: dict[float, tuple[Image, Image]] = {}
        """Noise to add and to subtract, by its standard deviation."""

    def expose(self, image: Image, frame: int, noise: float) -> Image:
        """The picture of the light in ``image``; ``noise`` is its standard deviation in steps of 8 bits."""
        height, width = image.shape[:2]
        rng = np.random.default_rng([self._seed, frame])
        if self._effects.rolling_brightness:
            wave = np.sin(2 * np.pi * (np.arange(height) / (height * 0.55) + rng.random()))
            gain = np.rint(160 * (1 + self._effects.rolling_brightness * wave)).astype(np.uint8)
            rows = np.ascontiguousarray(np.broadcast_to(gain[:, None, None], image.shape))
            image = np.asarray(cv2.multiply(image, rows, scale=1 / 160), np.uint8)
        if self._effects.noise:
            if noise not in self._grain:
                shape = (height + _NOISE_MARGIN_PX, width + _NOISE_MARGIN_PX, 3)
                grain = np.random.default_rng(self._seed).standard_normal(shape, np.float32)
                grain = np.rint(grain * noise)
                self._grain[noise] = (
                    np.maximum(grain, 0).astype(np.uint8),
                    np.maximum(-grain, 0).astype(np.uint8),
                )
            y, x = rng.integers(0, _NOISE_MARGIN_PX, 2)
            brighter, darker = (part[y : y + height, x : x + width] for part in self._grain[noise])
            image = np.asarray(cv2.subtract(cv2.add(image, brighter), darker), np.uint8)
        return image
