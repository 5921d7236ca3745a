"""Letterbox: a frame scaled into a model's input with its aspect ratio kept, and the way back for boxes.

The buffers are allocated once for each shape of frames; a frame is written once, by the resize. A model that
takes uint8 in the layout ``nhwc`` needs nothing more; any other gets one conversion into its buffer.
"""

# OpenCV is an optional extra, and its types are incomplete.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Layout = Literal["nhwc", "nchw"]


class ImageInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Format of the frames of a model: ``parameters["image"]`` of a manifest of a camera model.

    The size and the dtype (``uint8`` or ``float32``) are those of the manifest's input. A pixel is multiplied
    by ``scale`` (1 / 255 for models in [0, 1]); uint8 inputs have scale 1. ``pad_value`` is that of a pixel
    before scaling.
    """

    layout: Layout = "nhwc"
    colour: Literal["bgr", "rgb"] = "bgr"
    scale: float = 1.0
    letterbox: Literal["centre", "corner"] = "centre"
    pad_value: int = 114


@dataclass(frozen=True, slots=True)
class Placement:
    """Position of a frame in the model's input: ``input = frame * (scale_x, scale_y) + (left, top)``."""

    frame_width: int
    frame_height: int
    width: int
    height: int
    left: int
    top: int

    @property
    def scale_x(self) -> float:
        return self.width / self.frame_width

    @property
    def scale_y(self) -> float:
        return self.height / self.frame_height

    def to_input(self, boxes_xyxy_px: NDArray[Any]) -> NDArray[np.float32]:
        """Boxes (n, 4) of the frame in pixels of the input."""
        return (boxes_xyxy_px * self._scales() + self._offsets()).astype(np.float32)

    def to_frame(self, boxes_xyxy: NDArray[Any]) -> NDArray[np.float32]:
        """Boxes (n, 4) of the input in pixels of the frame, clipped to it; the inverse of `to_input`."""
        boxes = (np.asarray(boxes_xyxy, np.float64) - self._offsets()) / self._scales()
        limits = np.array((self.frame_width, self.frame_height) * 2)
        return np.clip(boxes, 0, limits).astype(np.float32)

    def _scales(self) -> NDArray[np.float64]:
        return np.array((self.scale_x, self.scale_y) * 2)

    def _offsets(self) -> NDArray[np.float64]:
        return np.array((self.left, self.top) * 2, np.float64)


def place(frame_width: int, frame_height: int, width: int, height: int, letterbox: str) -> Placement:
    """The largest place of a frame's shape in an input of ``width`` and ``height``, in whole pixels."""
    scale = min(width / frame_width, height / frame_height)
    inner_width = min(width, max(1, round(frame_width * scale)))
    inner_height = min(height, max(1, round(frame_height * scale)))
    centred = letterbox == "centre"
    left = (width - inner_width) // 2 if centred else 0
    top = (height - inner_height) // 2 if centred else 0
    return Placement(frame_width, frame_height, inner_width, inner_height, left, top)


class Letterbox:
    """Writes frames into the input tensor of one model; belongs to one thread.

    ``shape`` is that of the manifest's input, of four dimensions: the batch (1 or None) and three fixed ones.
    """

    def __init__(self, image: ImageInput, shape: list[int | None], dtype: str) -> None:
        """Raises `ValueError` for a shape, dtype or scale that no camera model has."""
        _, *inner = shape
        channels = inner.pop(2 if image.layout == "nhwc" else 0) if len(inner) == 3 else None
        height, width = inner if len(inner) == 2 else (None, None)
        if channels != 3 or height is None or width is None:
            raise ValueError(f"an image input in {image.layout} has no shape {shape}")
        if dtype not in ("uint8", "float32") or (dtype == "uint8" and image.scale != 1.0):
            raise ValueError(f"an image input of {dtype} with scale {image.scale:g} is not supported")
        self._image = image
        self.size = width, height
        self._pixels = np.full((1, height, width, 3), image.pad_value, np.uint8)
        planes = (1, 3, height, width) if image.layout == "nchw" else self._pixels.shape
        direct = dtype == "uint8" and image.layout == "nhwc" and image.colour == "bgr"
        self._tensor: NDArray[Any] = self._pixels if direct else np.empty(planes, dtype)
        self._placement: Placement | None = None

    def write(self, frame_bgr: NDArray[np.uint8]) -> tuple[NDArray[Any], Placement]:
        """The input tensor for a frame (height, width, 3) in BGR, and the frame's place in it.

        The tensor is reused: it holds until the next call. Raises `ValueError` for anything but a frame.
        """
        import cv2  # pyright: ignore[reportMissingImports]: the extra [vision]

        if (
            frame_bgr.dtype != np.uint8
            or frame_bgr.ndim != 3
            or frame_bgr.shape[2] != 3
            or not frame_bgr.size
        ):
            raise ValueError(f"a frame is (height, width, 3) uint8, not {frame_bgr.shape} {frame_bgr.dtype}")
        height, width = frame_bgr.shape[:2]
        placement = self._placement
        if placement is None or (placement.frame_width, placement.frame_height) != (width, height):
            placement = place(width, height, *self.size, self._image.letterbox)
            self._placement = placement
            self._pixels.fill(self._image.pad_value)
        inner = self._pixels[
            0,
            placement.top : placement.top + placement.height,
            placement.left : placement.left + placement.width,
        ]
        if inner.shape == frame_bgr.shape:
            np.copyto(inner, frame_bgr)
        else:
            cv2.resize(frame_bgr, (placement.width, placement.height), dst=inner)
        if self._tensor is not self._pixels:
            self._convert()
        return self._tensor, placement

    def _convert(self) -> None:
        pixels = self._pixels if self._image.colour == "bgr" else self._pixels[..., ::-1]
        if self._image.layout == "nchw":
            pixels = pixels.transpose(0, 3, 1, 2)
        if self._image.scale == 1.0:
            np.copyto(self._tensor, pixels)
        else:
            np.multiply(pixels, np.float32(self._image.scale), out=self._tensor)
