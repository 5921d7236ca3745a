"""Pinhole camera: intrinsics, pose, projection, and the homography of the floor.

World coordinates are metres: x to the right and y forward at yaw 0, z up, the floor at z = 0. Image
coordinates are pixels: u to the right, v down, pixel centres at whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import cos, radians, sin, tan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.vision.geometry import GroundPlane

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PinholeCamera:
    """A camera without lens distortion; yaw turns to the right, pitch down."""

    position_m: tuple[float, float, float]
    yaw_deg: float
    pitch_deg: float
    horizontal_fov_deg: float
    width_px: int = 640
    height_px: int = 480

    @property
    def size_px(self) -> tuple[int, int]:
        return self.width_px, self.height_px

    @cached_property
    def focal_px(self) -> float:
        return self.width_px / 2 / tan(radians(self.horizontal_fov_deg) / 2)

    @cached_property
    def intrinsics(self) -> Floats:
        """The matrix K, ``(3, 3)``, in pixels."""
        f = self.focal_px
        return np.array([[f, 0, (self.width_px - 1) / 2], [0, f, (self.height_px - 1) / 2], [0, 0, 1.0]])

    @cached_property
    def rotation(self) -> Floats:
        """World to camera axes (right, down, forward), ``(3, 3)``."""
        yaw, pitch = radians(self.yaw_deg), radians(self.pitch_deg)
        heading = np.array([sin(yaw), cos(yaw), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        return np.array(
            [
                [cos(yaw), -sin(yaw), 0.0],
                -heading * sin(pitch) - up * cos(pitch),
                heading * cos(pitch) - up * sin(pitch),
            ]
        )

    def project(self, points_m: NDArray[Any]) -> NDArray[Any]:
        """Floating-point world points ``(..., 3)`` as ``(..., 3)``: u and v in px, depth on the axis in m.

        A point behind the camera has a depth below 0 and no meaningful u and v.
        """
        dtype = points_m.dtype
        seen = (points_m - np.array(self.position_m, dtype)) @ self.rotation.T.astype(dtype)
        depth = seen[..., 2:]
        seen[..., :2] *= dtype.type(self.focal_px) / np.where(np.abs(depth) < 1e-6, dtype.type(1e-6), depth)
        seen[..., :2] += self.intrinsics[:2, 2].astype(dtype)
        return seen

    @cached_property
    def ground_plane(self) -> GroundPlane:
        """The homography between the floor and the picture."""
        translation = -self.rotation @ np.array(self.position_m)
        return GroundPlane(self.intrinsics @ np.column_stack([self.rotation[:, :2], translation]))

    def rays(self, oversampling: int = 1) -> NDArray[np.float32]:
        """Directions in the world, ``(height, width, 3)`` times ``oversampling``, of depth 1."""
        u = (np.arange(self.width_px * oversampling) + 0.5) / oversampling - 0.5
        v = (np.arange(self.height_px * oversampling) + 0.5) / oversampling - 0.5
        centre = self.intrinsics[:2, 2]
        right = (u - centre[0]) / self.focal_px
        down = (v - centre[1]) / self.focal_px
        plane = np.stack(np.broadcast_arrays(right[None, :], down[:, None], 1.0), axis=-1)
        return (plane.astype(np.float32) @ self.rotation.astype(np.float32)).astype(np.float32)
