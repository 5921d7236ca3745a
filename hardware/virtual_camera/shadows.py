"""Shadows of people and vehicles on the floor, as a factor of half the picture's size."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera.light import Light
from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.scene import Scene
from hardware.virtual_camera.traffic import LENGTHS_M
from hardware.virtual_camera.vehicle import turn_to
from hardware.virtual_camera.world import WorldFrame

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]

SUN_SHADOW = np.array([-0.75, 0.55])
"""Where the shadow of something 1 m high ends outdoors, in m."""
_CIRCLE = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)
_FAINT = 0.04
_REACH_M = 3.5
"""Lamps further away cast no shadow that is seen."""


def shadow_layer(
    scene: Scene, world: WorldFrame, people: NDArray[np.int64], light: Light, camera: PinholeCamera
) -> Image:
    """Light that is left on the floor, 255 where all is, ``(height / 2, width / 2)``; ``people`` are rows."""
    layer = np.full((camera.height_px // 2, camera.width_px // 2), 255, np.uint8)
    shadows = [
        shadow
        for row in people.tolist()
        for shadow in _of_person(scene, world.positions_m[row], world.looks[row].height_m)
    ]
    shadows += list(_of_vehicles(world))
    if shadows:
        ends = np.cumsum([len(outline) for outline, _ in shadows])[:-1]
        floor = np.concatenate([outline for outline, _ in shadows])
        at = camera.project(np.column_stack([floor, np.zeros(len(floor))]))
        for points, (_, dark) in zip(np.split(at, ends), shadows, strict=True):
            if points[:, 2].min() > 0.2:
                _darken(layer, points, dark * float(np.exp(-light.fog_per_m * points[0, 2])))
    return np.asarray(cv2.blur(cv2.blur(layer, (7, 5)), (7, 5)), np.uint8)


def _of_person(scene: Scene, floor_m: Floats, height_m: float) -> Iterator[tuple[Floats, float]]:
    """Outlines on the floor in m, and the share of light that each takes."""
    feet = floor_m + 0.2 * _CIRCLE
    if scene.outdoors:
        yield np.concatenate([feet, floor_m + SUN_SHADOW * height_m + 0.17 * _CIRCLE]), 0.42
        return
    yield feet, 0.3
    for lamp in scene.lamps:
        way = floor_m - lamp.at_m[:2]
        gap = float(np.hypot(*way))
        if gap < _REACH_M and lamp.at_m[2] > height_m + 0.5:
            top = way * height_m / (lamp.at_m[2] - height_m) * 0.8
            dark = 0.26 * (1 - gap / _REACH_M)
            if dark > _FAINT:
                yield np.concatenate([feet, floor_m + top + 0.17 * _CIRCLE]), dark


def _of_vehicles(world: WorldFrame) -> Iterator[tuple[Floats, float]]:
    vehicles = world.vehicles
    for index, floor in enumerate(vehicles.positions_m):
        half = np.array([0.95, LENGTHS_M[vehicles.kinds[index]] / 2 + 0.05])
        turn = turn_to(float(vehicles.headings_rad[index]))[:2, :2].astype(float)
        ground = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half @ turn + floor
        yield np.concatenate([ground, ground + SUN_SHADOW * 1.2]), 0.45
        yield ground, 0.7


def _darken(layer: Image, at: Floats, dark: float) -> None:
    """Take the share ``dark`` from the hull of projected points, in place."""
    hull = cv2.convexHull((at[:, :2] * 4).astype(np.int32)[:, None])[:, 0]  # 3 bits of fraction
    x, y, width, height = cv2.boundingRect(hull)
    left, top = max(x // 8 - 1, 0), max(y // 8 - 1, 0)
    right, bottom = min((x + width) // 8 + 2, layer.shape[1]), min((y + height) // 8 + 2, layer.shape[0])
    if left >= right or top >= bottom:
        return
    part = layer[top:bottom, left:right]
    shade = np.zeros(part.shape, np.uint8)
    hull -= np.array([8 * left, 8 * top], np.int32)
    cv2.fillConvexPoly(shade, hull, round(255 * dark), cv2.LINE_AA, 3)
    part[:] = cv2.multiply(part, cv2.bitwise_not(shade), scale=1 / 255)
