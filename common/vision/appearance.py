"""Appearance of a person in one frame: the colours of the clothes, as six numbers. No face, no identity.

- `appearance` has the median colour and brightness of the upper and the lower body. Two pictures of one
  person in one light differ little (`difference`); so do two people in like clothes. It serves for minutes,
  not for days.
- `colour_share` is the share of the upper body that has one given colour, for uniforms. A shadow changes it
  little, since brightness counts little; so black, white and grey are no colours here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

UPPER, LOWER = (0.18, 0.5), (0.52, 0.85)
"""Parts of a box from above: the trunk below the head, and the legs."""
MIDDLE = (0.25, 0.75)
"""Part of a box from the left, which has little background."""
SIDE_SAMPLES = 24
"""Pixels of a part that are looked at, on each side at most."""
ALIKE = 1.0
"""Difference up to which two appearances may be one person's. At the virtual entrance by day, half of the
pairs of pictures of one person and 2 % of those of two people were within it."""
MAX_ANGLE_RAD = 0.2
"""Angle between two colours as vectors up to which they are the same but for the light on them."""
LIGHT_RATIOS = (0.3, 2.5)
"""Ratios of the brightness of a pixel to that of a colour between which they may be the same."""
MIN_SATURATION = 0.35
"""Saturation from which a colour can be told from ordinary clothes in another light."""
Colour = tuple[int, int, int]
"""Blue, green, red."""


def appearance(frame_bgr: NDArray[np.uint8], box_xyxy_px: NDArray[Any]) -> NDArray[np.float32] | None:
    """(6,): ten times the shares of blue and green, and the logarithm of the brightness, of both parts.

    None for a box without pixels in the frame.
    """
    numbers: list[float] = []
    for part in (UPPER, LOWER):
        pixels = _pixels(frame_bgr, box_xyxy_px, part)
        if not len(pixels):
            return None
        total = pixels.sum(axis=1, keepdims=True) + 1
        shares = np.median(pixels[:, :2] / total, axis=0)
        numbers += [*(10 * shares).tolist(), float(np.log(np.median(total) / 3 + 4))]
    return np.array(numbers, np.float32)


def difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Of two appearances; at least 0."""
    return float(np.abs(first - second).sum())


def colour_share(frame_bgr: NDArray[np.uint8], box_xyxy_px: NDArray[Any], colour: Colour) -> float:
    """Share in [0, 1] of the upper body of a person that has a colour, whatever the light on it."""
    pixels = _pixels(frame_bgr, box_xyxy_px, UPPER)
    if not len(pixels):
        return 0.0
    wanted = np.array(colour, np.float32)
    length, wanted_length = np.linalg.norm(pixels, axis=1), float(np.linalg.norm(wanted))
    cosine = pixels @ wanted / np.maximum(length * wanted_length, 1e-3)
    ratio = length / max(wanted_length, 1e-3)
    like = (cosine >= np.cos(MAX_ANGLE_RAD)) & (ratio >= LIGHT_RATIOS[0]) & (ratio <= LIGHT_RATIOS[1])
    return float(like.mean())


def saturation(colour: Colour) -> float:
    """Of a colour, in [0, 1], as in HSV."""
    return (max(colour) - min(colour)) / max(1, *colour)


def _pixels(frame: NDArray[np.uint8], box: NDArray[Any], part: tuple[float, float]) -> NDArray[np.float32]:
    """(n, 3): pixels of a part of a person's box, at most `SIDE_SAMPLES` squared."""
    left, top, right, bottom = (float(value) for value in box)
    height, width = bottom - top, right - left
    rows = _indices(top + part[0] * height, top + part[1] * height, frame.shape[0])
    columns = _indices(left + MIDDLE[0] * width, left + MIDDLE[1] * width, frame.shape[1])
    return frame[np.ix_(rows, columns)].reshape(-1, 3).astype(np.float32)


def _indices(begin: float, end: float, limit: int) -> NDArray[np.intp]:
    first, last = max(0, int(begin)), min(limit, int(np.ceil(end)))
    if last <= first:
        return np.zeros(0, np.intp)
    return np.linspace(first, last - 1, min(SIDE_SAMPLES, last - first)).astype(np.intp)
