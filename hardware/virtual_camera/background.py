"""The picture of what stands still, with its depth, made once for a camera and a light.

Every panel is intersected with the rays of the pixels at twice the resolution, the nearest wins, and the
result is lit per pixel with soft darkness around furniture and along walls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera.light import Light, light_at
from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.scene import Panel, Scene
from hardware.virtual_camera.textures import draw_texture

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
_OVERSAMPLING = 2
_BACKGROUNDS_LIMIT = 16
"""Backgrounds that are kept: 2 MB each at 640x480."""
_BAND_PX = 32
_SKY_DEPTH_M = 1000.0
_SKY, _DARK = (235, 215, 200), (190, 196, 200)


@dataclass(frozen=True)
class Background:
    """``picture`` ``(height, width, 3)`` BGR; ``depth_m`` of what may hide people, infinite elsewhere.

    Both cannot be written to.
    """

    picture: Image
    depth_m: Floats


@lru_cache(maxsize=_BACKGROUNDS_LIMIT)
def draw_background(scene: Scene, camera: PinholeCamera, light: Light) -> Background:
    """The empty scene under ``light``."""
    layers = _layers(scene, camera)
    darkness = _contact_darkness(scene)
    picture = np.empty((camera.height_px, camera.width_px, 3), np.uint8)
    hiding = np.empty((camera.height_px, camera.width_px), np.float32)
    rays = camera.rays(_OVERSAMPLING)
    for top in range(0, camera.height_px, _BAND_PX):  # in bands, whose arrays stay in the cache
        rows = slice(top, min(top + _BAND_PX, camera.height_px))
        fine = slice(rows.start * _OVERSAMPLING, rows.stop * _OVERSAMPLING)
        band, depth = _draw_band(scene, camera, light, layers, darkness, rays[fine], fine.start)
        size = (camera.width_px, rows.stop - rows.start)
        picture[rows] = np.rint(cv2.resize(np.clip(band, 0, 255), size, interpolation=cv2.INTER_AREA))
        hiding[rows] = depth[::_OVERSAMPLING, ::_OVERSAMPLING]
    picture.flags.writeable = hiding.flags.writeable = False
    return Background(picture, hiding)


def _draw_band(
    scene: Scene,
    camera: PinholeCamera,
    light: Light,
    layers: Sequence[_Layer],
    darkness: Floats,
    rays: Floats,
    top: int,
) -> tuple[Floats, Floats]:
    """Lit colours ``(rows, width, 3)`` and depths of what hides people, of rows from ``top`` on."""
    shape = rays.shape[:2]
    depth = np.full(shape, _SKY_DEPTH_M, np.float32)
    hiding = np.full(shape, np.inf, np.float32)
    albedo = np.empty((*shape, 3), np.float32)
    albedo[:] = _SKY if scene.outdoors else _DARK
    normals = -rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    glow = np.full(shape, 1.0 if scene.outdoors else 0.3, np.float32)
    for layer in layers:
        rows = slice(max(layer.rows.start - top, 0), min(layer.rows.stop - top, shape[0]))
        if rows.start >= rows.stop:
            continue
        place = rows, layer.columns
        view = rays[place]
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = layer.offset_m / (view @ layer.normal)
        hit = np.isfinite(distance) & (distance > 0.05) & (distance < depth[place])
        at = view * np.where(hit, distance, 0)[..., None] - layer.corner
        a, b = at @ layer.across, at @ layer.up
        hit &= (a >= 0) & (a <= 1) & (b >= 0) & (b <= 1)
        if not hit.any():
            continue
        level = np.clip(
            np.log2(np.maximum(distance, 0.05) * layer.texels_per_m_and_px), 0, len(layer.textures) - 1
        )
        level = np.where(hit, np.rint(level), -1)
        for number, texture in enumerate(layer.textures):
            chosen = level == number
            if chosen.any():
                high, wide = texture.shape[:2]
                albedo[place][chosen] = cv2.remap(
                    texture, a * (wide - 1), b * (high - 1), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
                )[chosen]
        depth[place][hit] = distance[hit]
        hiding[place][hit] = distance[hit] if layer.panel.hides else np.inf
        normals[place][hit] = layer.normal
        glow[place][hit] = layer.panel.glow

    points = rays * depth[..., None] + np.array(camera.position_m, np.float32)
    lit = light_at(scene, light, points, normals) * _darkened(darkness, points)[..., None]
    own = (0.15 + 0.85 * light.daylight) * np.array(light.tint, np.float32)
    lit += glow[..., None] * (own - lit)
    albedo *= lit
    if light.fog_per_m:
        clear = np.exp(-light.fog_per_m * depth)[..., None]
        albedo = albedo * clear + np.array(light.fog_colour, np.float32) * (1 - clear)
    return albedo, hiding


@dataclass(frozen=True)
class _Layer:
    """A panel as one camera sees it: vectors from the camera, textures from fine to coarse."""

    panel: Panel
    normal: Floats
    corner: Floats
    across: Floats
    """Scaled so that a point's product with it runs from 0 to 1; so is ``up``."""
    up: Floats
    offset_m: np.float32
    textures: list[Image]
    texels_per_m_and_px: float
    """Texture pixels that one pixel covers, for each metre of depth."""
    rows: slice
    columns: slice


@lru_cache(maxsize=1)  # For the next light of the same scene.
def _layers(scene: Scene, camera: PinholeCamera) -> Sequence[_Layer]:
    """What stands still in the picture of ``camera``."""
    panels = [*scene.panels, *(panel for box in scene.boxes for panel in box.panels())]
    return [layer for panel in panels if (layer := _layer(panel, camera)) is not None]


def _layer(panel: Panel, camera: PinholeCamera) -> _Layer | None:
    """The panel for ``camera``; None where it is out of the picture."""
    corner, across, up = (np.array(value, float) for value in (panel.corner_m, panel.across_m, panel.up_m))
    rows, columns = _window(
        camera.project(np.stack([corner, corner + across, corner + up, corner + across + up])), camera
    )
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    normal = np.cross(across, up)
    normal /= np.linalg.norm(normal)
    to_corner = corner - np.array(camera.position_m)
    if normal @ to_corner > 0:
        normal = -normal
    size_m = float(np.linalg.norm(across)), float(np.linalg.norm(up))
    textures = [draw_texture(panel.texture, *size_m, panel.colour)]
    texels = textures[0].shape[1] / size_m[0] / (camera.focal_px * _OVERSAMPLING)
    while min(textures[-1].shape[:2]) > 8 and len(textures) < 6:
        textures.append(np.asarray(cv2.pyrDown(textures[-1]), np.uint8))
    return _Layer(
        panel,
        normal.astype(np.float32),
        to_corner.astype(np.float32),
        (across / (across @ across)).astype(np.float32),
        (up / (up @ up)).astype(np.float32),
        np.float32(normal @ to_corner),
        textures,
        texels,
        rows,
        columns,
    )


def _window(corners: NDArray[np.float64], camera: PinholeCamera) -> tuple[slice, slice]:
    """Rows and columns that hold a panel: all of them where a corner is behind the camera."""
    limit = np.array([camera.width_px, camera.height_px]) * _OVERSAMPLING
    if (corners[:, 2] < 0.1).any():
        if (corners[:, 2] < 0.1).all():
            return slice(0, 0), slice(0, 0)
        return slice(0, int(limit[1])), slice(0, int(limit[0]))
    low = np.clip((corners[:, :2].min(0) * _OVERSAMPLING).astype(int) - 2, 0, limit)
    high = np.clip((corners[:, :2].max(0) * _OVERSAMPLING).astype(int) + 4, 0, limit)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


_MAP_PX_PER_M, _MAP_LOW_M, _MAP_M = 20, -15.0, 60.0


def _contact_darkness(scene: Scene) -> Floats:
    """Share of furniture and walls around each floor point, 0 to 1, as a map of the floor."""
    size = int(_MAP_M * _MAP_PX_PER_M)
    solid = np.zeros((size, size), np.uint8)
    for box in scene.boxes:
        if box.low_m[2] < 0.3 and box.high_m[2] > 0.1:
            start = (np.array(box.low_m[:2]) - _MAP_LOW_M) * _MAP_PX_PER_M
            end = (np.array(box.high_m[:2]) - _MAP_LOW_M) * _MAP_PX_PER_M
            cv2.rectangle(solid, start.astype(int).tolist(), end.astype(int).tolist(), 255, -1)
    for start_m, end_m in scene.walls:
        ends = ((np.array([start_m, end_m]) - _MAP_LOW_M) * _MAP_PX_PER_M).astype(int)
        cv2.line(solid, ends[0].tolist(), ends[1].tolist(), 255, 2)
    blurred = cv2.GaussianBlur(solid, (0, 0), 0.28 * _MAP_PX_PER_M)
    return np.divide(blurred, 255, dtype=np.float32)


def _darkened(darkness: Floats, points_m: Floats) -> Floats:
    """Factors below 1 on the floor beside furniture and walls."""
    u, v = ((points_m[..., axis] - _MAP_LOW_M) * _MAP_PX_PER_M for axis in (0, 1))
    cover = cv2.remap(darkness, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    height_m = np.maximum(points_m[..., 2], 0)
    return 1 - 0.75 * np.asarray(cover, np.float32) * np.exp(-height_m / 0.12)
