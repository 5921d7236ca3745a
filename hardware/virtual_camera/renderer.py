"""The picture of a world frame and the exact truth of its boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera.background import Background, draw_background
from hardware.virtual_camera.effects import Effects, ImageSensor
from hardware.virtual_camera.figures import Figure, FigurePainter
from hardware.virtual_camera.light import LIGHTS, Light
from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.raster import hide_behind, lay_over, motion_blurred
from hardware.virtual_camera.scene import Scene
from hardware.virtual_camera.shadows import shadow_layer
from hardware.virtual_camera.world import WorldFrame

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
_NEAREST_M = 0.6
_CLASSES = np.array([2, 4, 5], np.int16)  # of the kinds of vehicles


@dataclass(frozen=True)
class Visible:
    """People and vehicles, arrays over those with a pixel in the picture, hidden or not."""

    ids: NDArray[np.int64]
    classes: NDArray[np.int16]
    """0 is a person, 2 a car, 4 a bus, 5 a truck."""
    full_boxes_px: Floats
    """``(n, 4)``: left, top, right, bottom of the whole body, beyond the picture's edge too."""
    visible_boxes_px: Floats
    """``(n, 4)``: of the pixels that are seen; NaN where there is none."""
    visibility: Floats
    """``(n,)``: seen pixels of the body, as a share of those that would be without occlusion, times the share
    of the full box that is in the picture."""
    foot_points_px: Floats
    """``(n, 2)``: the floor position (of a vehicle: of its middle) in the picture."""
    depths_m: Floats


@dataclass(frozen=True)
class Picture:
    """``image`` ``(height, width, 3)`` uint8 BGR, and who is in it."""

    image: Image
    visible: Visible


@dataclass(frozen=True)
class _Objects:
    """Everything with an identity, by row: people first, then vehicles."""

    ids: NDArray[np.int64]
    classes: NDArray[np.int16]
    floors_m: Floats
    boxes_px: Floats


class Renderer:
    """Pictures of one scene; a picture is a function of the world frame, the light and the camera."""

    def __init__(self, scene: Scene, effects: Effects = Effects(), seed: int = 0) -> None:
        self.scene = scene
        self.effects = effects
        self._painter = FigurePainter(scene, effects)
        self._sensor = ImageSensor(effects, seed)

    def draw(
        self, world: WorldFrame, light: Light = LIGHTS["day"], camera: PinholeCamera | None = None
    ) -> Picture:
        """The picture of ``world`` under ``light``, from ``camera`` (the scene's where None)."""
        camera = camera or self.scene.camera
        background = draw_background(self.scene, camera, light)
        image = background.picture.copy()
        near = _in_view(world, camera)
        if self.effects.shadows:
            self._cast_shadows(image, world, near, light, camera, background)
        figures, boxes = self._painter.draw(world, near, light, camera)
        figures.sort(key=lambda figure: -figure.patch.depth_m)
        owners = np.full(image.shape[:2], 255, np.uint8)
        for figure in figures:
            patch = figure.patch
            hide_behind(patch, background.depth_m)
            covered = patch.pixels[:, :, 3] > 127
            owners[patch.window][covered] = figure.row if figure.row >= 0 else 254
            lay_over(image, motion_blurred(patch, figure.shift_px) if self.effects.motion_blur else patch)
        vehicles = world.vehicles
        objects = _Objects(
            np.concatenate([world.ids[near], vehicles.ids]),
            np.concatenate([np.zeros(len(near), np.int16), _CLASSES[vehicles.kinds]]),
            np.concatenate([world.positions_m[near], vehicles.positions_m]),
            boxes,
        )
        visible = _measure(objects, figures, owners, camera)
        return Picture(self._sensor.expose(image, world.frame, light.noise), visible)

    def _cast_shadows(
        self,
        image: Image,
        world: WorldFrame,
        near: NDArray[np.int64],
        light: Light,
        camera: PinholeCamera,
        background: Background,
    ) -> None:
        """Darken the floor where bodies keep the lamps' light off it, in place."""
        layer = shadow_layer(self.scene, world, near, light, camera)
        full = cv2.resize(layer, camera.size_px, interpolation=cv2.INTER_LINEAR)
        full[np.isfinite(background.depth_m)] = 255
        cv2.multiply(image, cv2.cvtColor(full, cv2.COLOR_GRAY2BGR), dst=image, scale=1 / 255)


def _in_view(world: WorldFrame, camera: PinholeCamera) -> NDArray[np.int64]:
    """Rows of the people whose bodies may be in the picture."""
    if not len(world.ids):
        return np.zeros(0, np.int64)
    chest = np.column_stack([world.positions_m, np.full(len(world.ids), 0.9)])
    at = camera.project(chest)
    reach = 1.3 * camera.focal_px / np.maximum(at[:, 2], 0.1)
    inside = (at[:, 2] > _NEAREST_M + 0.4) & (at[:, 0] > -reach) & (at[:, 1] > -reach)
    inside &= (at[:, 0] < camera.width_px + reach) & (at[:, 1] < camera.height_px + reach)
    return np.flatnonzero(inside)


def _measure(objects: _Objects, figures: list[Figure], owners: Image, camera: PinholeCamera) -> Visible:
    """The visible part of each object, from the owner of every pixel."""
    boxes, count = objects.boxes_px, len(objects.ids)
    seen = np.full((count, 4), np.nan)
    visibility, depths = np.zeros(count), np.zeros(count)
    for figure in figures:
        if figure.row < 0 or figure.full_px == 0:
            continue
        mask = np.equal(owners[figure.patch.window], figure.row).view(np.uint8)
        pixels = cv2.countNonZero(mask)
        low, high = np.maximum(boxes[figure.row, :2], 0), boxes[figure.row, 2:]
        inside = np.prod(np.minimum(high, camera.size_px) - low)
        share = inside / np.prod(high - boxes[figure.row, :2])
        visibility[figure.row] = pixels / figure.full_px * min(1.0, share)
        depths[figure.row] = figure.patch.depth_m
        if pixels:
            x, y, width, height = cv2.boundingRect(mask)
            left, top = x + figure.patch.left, y + figure.patch.top
            seen[figure.row] = (left, top, left + width, top + height)
    rows = np.array(sorted(figure.row for figure in figures if figure.row >= 0 and figure.full_px), np.int64)
    feet = camera.project(np.column_stack([objects.floors_m, np.zeros(count)]))[:, :2]
    return Visible(
        objects.ids[rows],
        objects.classes[rows],
        boxes[rows],
        seen[rows],
        visibility[rows],
        feet[rows],
        depths[rows],
    )
