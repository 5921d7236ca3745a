"""Light: lamps and daylight of a scene by time of day, on surfaces that stand still and on people."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera.raster import Illumination
from hardware.virtual_camera.scene import Scene

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Light:
    """Conditions of the picture: strength of the lights, air, and the camera's noise."""

    name: str
    lamps: float = 1.0
    daylight: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fog_per_m: float = 0.0
    fog_colour: tuple[float, float, float] = (205, 202, 200)
    noise: float = 1.0
    """Standard deviation of the noise of a pixel, in steps of 8 bits."""


LIGHTS = {
    light.name: light
    for light in (
        Light("day", noise=2.5),
        Light("fog", lamps=0.85, daylight=0.9, fog_per_m=0.17, noise=2.0),
        Light("night", lamps=0.62, daylight=0.1, tint=(1.02, 0.92, 0.84), noise=5.0),
        Light("dense_fog", lamps=0.85, daylight=0.9, fog_per_m=0.43, noise=2.0),
        Light("dark", lamps=0.14, daylight=0.02, tint=(1.02, 0.92, 0.84), noise=5.0),
    )
}


def find_light(scene: Scene, name: str) -> Light:
    """The light called ``name`` in a scene: fog is thinner outdoors, where one sees further.

    Raises `KeyError` for a name that is not in `LIGHTS`.
    """
    light = LIGHTS[name]
    return replace(light, fog_per_m=light.fog_per_m * 0.24) if scene.outdoors else light


def light_at(scene: Scene, light: Light, points_m: Floats, normals: Floats) -> Floats:
    """Factors ``(..., 3)`` (BGR) of lamps and daylight at world points with unit normals."""
    total = np.zeros((*points_m.shape[:-1], 3), np.float32)
    outside = scene.daylight * light.daylight * (0.72 if scene.outdoors else 1.0)
    total += (0.1 if scene.outdoors else 0.34) * light.lamps + 0.36 * outside
    sky = np.maximum(normals[..., 2], 0) if scene.outdoors else np.maximum(normals[..., 1] * 0.7 + 0.3, 0)
    near = 1.0 if scene.outdoors else np.exp(-np.maximum(points_m[..., 1], 0) / 3.5)
    total += (0.75 * outside * sky * near)[..., None]
    for lamp in scene.lamps:
        way = np.array(lamp.at_m, np.float32) - points_m
        square = _dot(way, way)
        facing = np.maximum(_dot(way, normals) / np.sqrt(square), 0)
        total += (light.lamps * lamp.strength * 2.1 * facing / (2.0 + square))[..., None] * np.array(
            lamp.colour, np.float32
        )
    return total * np.array(light.tint, np.float32)


def _dot(a: Floats, b: Floats) -> Floats:
    """Products of the vectors in the last axis, without a sum over an axis of three, which is slow."""
    products = a * b
    return np.asarray(products[..., 0] + products[..., 1] + products[..., 2], np.float32)


def illumination_of_people(scene: Scene, light: Light, positions_m: NDArray[np.float64]) -> Floats:
    """Factors ``(n, 3)`` at people's chests, to multiply `Illumination` by."""
    points = np.column_stack([positions_m, np.full(len(positions_m), 1.2)]).astype(np.float32)
    up = np.broadcast_to(np.array([0, 0, 1], np.float32), points.shape)
    return light_at(scene, light, points, up)


def body_illumination(scene: Scene) -> Illumination:
    """The distribution of light over a body of unit brightness."""
    shape = Illumination()
    return replace(shape, direction=(0.45, -0.4, 0.8)) if scene.outdoors else shape
