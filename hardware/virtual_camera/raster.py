"""Rasterising: lit quadrangles into a patch with transparency, patches into a frame by depth.

Everything that moves is drawn far to near into its own patch at two or three times the resolution, reduced
by area (which smooths its edges), masked by the depth of what stands still, blurred by its motion, and laid
over the frame. A patch is premultiplied BGR with its coverage as the fourth channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
_FRACTION_BITS = 3
BODY_DEPTH_M = 0.3
"""What stands still hides something that moves only if it is nearer by this."""


@dataclass(frozen=True)
class Illumination:
    """Light on a face: ``ambient + sky * (1 + n_z) / 2 + key * max(0, n . direction)``, times the colour."""

    ambient: float = 0.42
    sky: float = 0.3
    key: float = 0.42
    direction: tuple[float, float, float] = (0.25, -0.45, 0.86)
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of blue, green and red."""

    def shade(self, normals: Floats) -> Floats:
        """Factors ``(..., 3)`` of unit normals ``(..., 3)``."""
        key = np.maximum(0.0, normals @ np.array(self.direction, np.float32))
        light = self.ambient + self.sky * (1 + normals[..., 2]) / 2 + self.key * key
        return (light[..., None] * np.array(self.tint)).astype(np.float32)


@dataclass(frozen=True)
class Patch:
    """A drawn object: its place in the frame and its premultiplied picture ``(height, width, 4)``."""

    left: int
    top: int
    pixels: Image
    depth_m: float

    @property
    def window(self) -> tuple[slice, slice]:
        height, width = self.pixels.shape[:2]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def draw_faces(
    points: Floats, colours: Floats, depth_m: float, size: tuple[int, int], scratch: Image, margin_px: int = 0
) -> Patch | None:
    """Faces in painter's order as a patch; None where nothing is inside of the picture.

    ``points`` ``(faces, corners, 2)`` in pixels, ``colours`` ``(faces, 3)`` BGR, ``size`` (width, height) of
    the frame. ``margin_px`` is room for blur around it; ``scratch`` is overwritten, at least 16 bytes for
    each pixel of the frame.
    """
    if not len(points):
        return None
    low = np.floor(points.min(axis=(0, 1))).astype(int) - 1 - margin_px
    high = np.ceil(points.max(axis=(0, 1))).astype(int) + 2 + margin_px
    left, top = max(low[0], 0), max(low[1], 0)
    width, height = min(high[0], size[0]) - left, min(high[1], size[1]) - top
    if width < 2 or height < 2:
        return None
    fine = 3 if high[1] - low[1] < 110 and width * height * 9 < size[0] * size[1] * 4 else 2
    shape = (height * fine, width * fine, 4)
    canvas = scratch[: shape[0] * shape[1] * 4].reshape(shape)
    canvas[:] = 0
    corners = np.rint(((points - (left, top) + 0.5) * fine - 0.5) * (1 << _FRACTION_BITS)).astype(np.int32)
    bgra = np.empty((len(colours), 4))
    bgra[:, :3] = np.clip(colours, 0, 255)
    bgra[:, 3] = 255
    fill = cv2.fillConvexPoly
    for face, colour in zip(corners, bgra.tolist(), strict=True):
        fill(canvas, face, colour, 8, _FRACTION_BITS)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return Patch(left, top, np.asarray(small, np.uint8), depth_m)


def lay_over(frame: Image, patch: Patch) -> None:
    """Blend a patch over the frame, in place."""
    target = frame[patch.window]
    clear = cv2.cvtColor(cv2.bitwise_not(patch.pixels[:, :, 3]), cv2.COLOR_GRAY2BGR)
    dimmed = cv2.multiply(target, clear, scale=1 / 255)
    frame[patch.window] = cv2.add(dimmed, patch.pixels[:, :, :3])


def hide_behind(patch: Patch, static_depth_m: NDArray[np.float32]) -> None:
    """Clear the patch where something that stands still is nearer, in place."""
    nearer = static_depth_m[patch.window] < patch.depth_m - BODY_DEPTH_M
    if nearer.any():
        patch.pixels[nearer] = 0


def motion_blurred(patch: Patch, shift_px: tuple[float, float]) -> Patch:
    """The patch smeared along a movement within the exposure."""
    length = int(np.hypot(*shift_px) + 0.5)
    if length < 1:
        return patch
    radius = (length + 1) // 2
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    half = np.array(shift_px) / 2
    ends = np.rint((np.stack([-half, half]) + radius) * 16).astype(int)
    cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, 1, cv2.LINE_AA, 4)
    pixels = cv2.filter2D(patch.pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_CONSTANT)
    return Patch(patch.left, patch.top, np.asarray(pixels, np.uint8), patch.depth_m)
