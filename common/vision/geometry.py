"""Plane geometry of pictures and of the ground: lines, polygons, and the homography between the two.

Points are arrays (n, 2). In a picture x points right and y down. All functions take all points at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]


def signed_distances(points: ArrayLike, start: ArrayLike, end: ArrayLike) -> Points:
    """(n,): distance of each point from the infinite line through ``start`` and ``end``.

    Positive on the right-hand side of the way from ``start`` to ``end`` as seen in the picture, negative on
    the left. Raises `ValueError` where the two are the same point.
    """
    origin, along = _origin_and_direction(start, end)
    offsets = np.asarray(points, np.float64).reshape(-1, 2) - origin
    return (along[0] * offsets[:, 1] - along[1] * offsets[:, 0]) / math.hypot(*along)


def places_along(points: ArrayLike, start: ArrayLike, end: ArrayLike) -> Points:
    """(n,): place of each point's foot on the line: 0 at ``start``, 1 at ``end``, beyond outside of both."""
    origin, along = _origin_and_direction(start, end)
    return (np.asarray(points, np.float64).reshape(-1, 2) - origin) @ along / (along @ along)


def contains(polygon: ArrayLike, points: ArrayLike) -> NDArray[np.bool_]:
    """(n,): whether each point lies in the polygon (m, 2) by the even-odd rule, or on its edge."""
    corners = np.asarray(polygon, np.float64)
    x, y = np.asarray(points, np.float64).reshape(-1, 2).T[:, :, None]
    ends = np.roll(corners, -1, axis=0)
    (x1, y1), (x2, y2) = corners.T, ends.T
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing_x = x1 + (y - y1) / (y2 - y1) * (x2 - x1)
    crosses = ((y1 > y) != (y2 > y)) & (x < crossing_x)
    inside = np.count_nonzero(crosses, axis=1) % 2 == 1
    turned = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
    on_line = np.abs(turned) <= 1e-9 * np.maximum(1.0, np.abs(ends - corners).max(axis=1))
    between = (x - x1) * (x - x2) <= 0
    between &= (y - y1) * (y - y2) <= 0
    return inside | (on_line & between).any(axis=1)


def segments_cross(a: ArrayLike, b: ArrayLike, c: ArrayLike, d: ArrayLike) -> bool:
    """Whether the segments from ``a`` to ``b`` and from ``c`` to ``d`` have a point in common."""
    first, second = np.array((a, b), np.float64), np.array((c, d), np.float64)

    def turn(p: Points, q: Points, r: Points) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    def within(p: Points, q: Points, r: Points) -> bool:
        return bool((np.minimum(p, q) <= r).all() and (r <= np.maximum(p, q)).all())

    (p, q), (r, s) = first, second
    turns = turn(r, s, p), turn(r, s, q), turn(p, q, r), turn(p, q, s)
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = ((r, s, p), (r, s, q), (p, q, r), (p, q, s))
    return any(value == 0 and within(*end) for value, end in zip(turns, ends, strict=True))


def polygon_problem(polygon: ArrayLike) -> str:
    """Reason for which this is no simple polygon with an area; empty if it is one."""
    corners = np.asarray(polygon, np.float64)
    if corners.ndim != 2 or corners.shape[1:] != (2,) or len(corners) < 3:
        return f"a polygon has at least three corners (x, y), not the shape {corners.shape}"
    if not np.isfinite(corners).all():
        return "it has a corner that is not finite"
    ends = np.roll(corners, -1, axis=0)
    area = abs(float(np.sum(corners[:, 0] * ends[:, 1] - ends[:, 0] * corners[:, 1]))) / 2
    if area <= 1e-12:
        return "it has no area"
    count = len(corners)
    for first in range(count):
        for second in range(first + 2, count - (first == 0)):
            if segments_cross(corners[first], ends[first], corners[second], ends[second]):
                return f"its edges {first + 1} and {second + 1} cross"
    return ""


def _origin_and_direction(start: ArrayLike, end: ArrayLike) -> tuple[Points, Points]:
    origin = np.asarray(start, np.float64)
    along = np.asarray(end, np.float64) - origin
    if not along.any():
        raise ValueError(f"a line needs two points, not {origin.tolist()} twice")
    return origin, along


@dataclass(frozen=True, slots=True)
class GroundPlane:
    """Homography between a picture (px) and the ground (m), as a 3 by 3 matrix from ground to picture."""

    matrix: NDArray[np.float64]

    @classmethod
    def from_points(cls, image_px: ArrayLike, ground_m: ArrayLike) -> GroundPlane:
        """From at least four points known in both, no three of the first four on a line.

        Normalised direct linear transform, least squares for more than four points (Hartley and Zisserman,
        Multiple View Geometry, 2nd ed., algorithm 4.2). Raises `ValueError`.
        """
        image, ground = np.asarray(image_px, np.float64), np.asarray(ground_m, np.float64)
        if image.shape != ground.shape or image.ndim != 2 or image.shape[1] != 2 or len(image) < 4:
            raise ValueError(
                f"a ground plane needs four or more points (x, y) in the picture and on the ground, "
                f"not {image.shape} and {ground.shape}"
            )
        to_image, to_ground = _normalisation(image), _normalisation(ground)
        (u, v), (x, y) = _apply(to_image, image).T, _apply(to_ground, ground).T
        zero, one = np.zeros_like(x), np.ones_like(x)
        rows = np.concatenate(
            (
                np.column_stack((x, y, one, zero, zero, zero, -u * x, -u * y, -u)),
                np.column_stack((zero, zero, zero, x, y, one, -v * x, -v * y, -v)),
            )
        )
        _, values, vectors = np.linalg.svd(rows)
        if values[7] < 1e-9 * values[0]:
            raise ValueError("the points do not determine a ground plane: too many of them lie on one line")
        matrix = np.linalg.inv(to_image) @ vectors[8].reshape(3, 3) @ to_ground
        if abs(np.linalg.det(vectors[8].reshape(3, 3))) < 1e-12:
            raise ValueError("the points do not determine a ground plane: three of them lie on one line")
        return cls._oriented(matrix, ground)

    @classmethod
    def from_camera(
        cls,
        height_m: float,
        pitch_rad: float,
        focal_px: float,
        principal_px: tuple[float, float],
        roll_rad: float = 0.0,
    ) -> GroundPlane:
        """From a pinhole camera ``height_m`` above the ground that looks down by ``pitch_rad``.

        Ground coordinates: x to the right of the camera, y ahead of it, from the point below it.
        Raises `ValueError` for a camera that is not above the ground.
        """
        if not height_m > 0 or not focal_px > 0:
            raise ValueError(f"a camera has a height and a focal length, not {height_m:g} m, {focal_px:g} px")
        sine, cosine = math.sin(pitch_rad), math.cos(pitch_rad)
        # Columns: the camera's coordinates (right, down, ahead) of ground x, of ground y, of the origin.
        ground = np.array(((1.0, 0.0, 0.0), (0.0, -sine, cosine * height_m), (0.0, cosine, sine * height_m)))
        turned = np.array(
            (
                (math.cos(roll_rad), math.sin(roll_rad), 0.0),
                (-math.sin(roll_rad), math.cos(roll_rad), 0.0),
                (0.0, 0.0, 1.0),
            )
        )
        centre_x, centre_y = principal_px
        lens = np.array(((focal_px, 0.0, centre_x), (0.0, focal_px, centre_y), (0.0, 0.0, 1.0)))
        return cls(lens @ turned @ ground)

    @classmethod
    def _oriented(cls, matrix: NDArray[np.float64], ground: Points) -> GroundPlane:
        """With positive depth in front of the camera. Raises `ValueError` for points on both sides."""
        depths = ground @ matrix[2, :2] + matrix[2, 2]
        if (depths > 0).any() and (depths < 0).any():
            raise ValueError("the points contradict each other: some would lie behind the camera")
        return cls(matrix * np.sign(depths[0]) / np.linalg.norm(matrix))

    def to_ground(self, points_px: ArrayLike) -> Points:
        """(n, 2) m on the ground; NaN for a point at the horizon or above it."""
        inverse = np.linalg.inv(self.matrix)
        ground = _homogeneous(points_px) @ inverse.T
        # The point lies in front of the camera where its depth, 1 / the third coordinate, is positive.
        visible = ground[:, 2] > 1e-12
        return np.where(
            visible[:, None], ground[:, :2] / np.where(visible, ground[:, 2], 1.0)[:, None], np.nan
        )

    def to_image(self, points_m: ArrayLike) -> Points:
        """(n, 2) px in the picture; NaN for a point behind the camera."""
        image = _homogeneous(points_m) @ self.matrix.T
        visible = image[:, 2] > 1e-12
        return np.where(visible[:, None], image[:, :2] / np.where(visible, image[:, 2], 1.0)[:, None], np.nan)


def _homogeneous(points: ArrayLike) -> NDArray[np.float64]:
    flat = np.asarray(points, np.float64).reshape(-1, 2)
    return np.column_stack((flat, np.ones(len(flat))))


def _normalisation(points: Points) -> NDArray[np.float64]:
    """The similarity that moves the points' mean to 0 and their mean distance from it to the root of 2."""
    mean = points.mean(axis=0)
    distance = np.linalg.norm(points - mean, axis=1).mean()
    if not distance > 0:
        raise ValueError("the points are all the same")
    scale = math.sqrt(2) / distance
    return np.array(((scale, 0.0, -scale * mean[0]), (0.0, scale, -scale * mean[1]), (0.0, 0.0, 1.0)))


def _apply(matrix: NDArray[Any], points: Points) -> Points:
    return points @ matrix[:2, :2].T + matrix[:2, 2]
