"""Figures: people, trolleys and vehicles, drawn one by one into patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera import trolley
from hardware.virtual_camera.body import COARSE, COARSE_CORNERS, FACES, PARTS, SKIRT, Pose, pose_bodies
from hardware.virtual_camera.effects import Effects
from hardware.virtual_camera.light import Light, body_illumination, illumination_of_people
from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.raster import Patch, draw_faces
from hardware.virtual_camera.scene import Scene
from hardware.virtual_camera.vehicle import turn_to, vehicle_body
from hardware.virtual_camera.world import WorldFrame

Floats = NDArray[np.float64]
_FARTHEST_M = 120.0
_SMALL_PX = 95.0
"""People below this stature in the picture are drawn with fewer faces."""
_MAX_BLUR_PX = 24.0


@dataclass
class Figure:
    """An object on its way into the picture; ``row`` counts people, then vehicles; -1 for a trolley."""

    patch: Patch
    row: int
    shift_px: tuple[float, float]
    full_px: int = 0


class FigurePainter:
    """Figures of one scene, lit by its lamps; ``near`` are the rows of the people in view."""

    def __init__(self, scene: Scene, effects: Effects) -> None:
        self._scene = scene
        self._effects = effects
        self._illumination = body_illumination(scene)
        self._scratch = np.zeros(0, np.uint8)

    def draw(
        self, world: WorldFrame, near: NDArray[np.int64], light: Light, camera: PinholeCamera
    ) -> tuple[list[Figure], Floats]:
        """All figures, and the full boxes ``(n, 4)`` of people and vehicles, in the order of rows."""
        pixels = camera.width_px * camera.height_px
        if len(self._scratch) < pixels * 16:
            self._scratch = np.zeros(pixels * 16, np.uint8)
        people, boxes = self._people(world, near, light, camera)
        trolleys = self._trolleys(world, near, light, camera)
        vehicles, vehicle_boxes = self._vehicles(world, len(near), light, camera)
        return people + trolleys + vehicles, np.concatenate([boxes, vehicle_boxes])

    def _people(
        self, world: WorldFrame, near: NDArray[np.int64], light: Light, camera: PinholeCamera
    ) -> tuple[list[Figure], Floats]:
        """The people's patches, and their full boxes ``(n, 4)``."""
        if not len(near):
            return [], np.zeros((0, 4))
        looks = [world.looks[row] for row in near]
        velocities = world.velocities_mps[near]
        pose = Pose(
            world.positions_m[near],
            world.headings_rad[near],
            world.phases_rad[near],
            np.sqrt((velocities**2).sum(-1)),
            world.trolleys[near],
        )
        bodies = pose_bodies(looks, pose)
        places = camera.project(bodies.points_m)
        depths = camera.project(bodies.centres_m)[..., 2]
        depths[:, SKIRT] -= 0.15  # over the thighs, which are within it
        view = np.array(camera.position_m, np.float32) - bodies.points_m[:, FACES[:, 0]]
        facing = (view * bodies.normals).sum(-1) > 0
        colours = bodies.colours * self._illumination.shade(bodies.normals)
        colours *= illumination_of_people(self._scene, light, pose.positions_m)[:, None]
        colours = _fogged(colours, depths[:, :1, None], light)
        shifts = self._shift_px(pose.positions_m, velocities, camera)
        boxes = np.full((len(near), 4), np.nan)
        figures: list[Figure] = []
        for index in range(len(near)):
            small = camera.focal_px * looks[index].height_m < _SMALL_PX * depths[index, 0]
            rows = np.flatnonzero(facing[index, COARSE] if small else facing[index])
            faces = COARSE[rows] if small else rows
            order = np.argsort(-depths[index, PARTS[faces]], kind="stable")
            faces, rows = faces[order], rows[order]
            corners = places[index, COARSE_CORNERS[rows] if small else FACES[rows]]
            if not len(faces) or corners[..., 2].min() < 0.2:
                continue
            boxes[index, :2] = corners[..., :2].min((0, 1))
            boxes[index, 2:] = corners[..., :2].max((0, 1))
            patch = draw_faces(
                corners[..., :2],
                colours[index, faces],
                float(depths[index, 0]),
                camera.size_px,
                self._scratch,
                _margin(shifts[index]) if self._effects.motion_blur else 0,
            )
            if patch is not None:
                full = int(np.count_nonzero(patch.pixels[:, :, 3] > 127))
                figures.append(Figure(patch, index, tuple(shifts[index]), full))
        return figures, boxes

    def _trolleys(
        self, world: WorldFrame, near: NDArray[np.int64], light: Light, camera: PinholeCamera
    ) -> list[Figure]:
        figures: list[Figure] = []
        for row in near[world.trolleys[near]]:
            rods = trolley.trolley_rods(world.positions_m[row], float(world.headings_rad[row]))
            ends = camera.project(rods)
            if ends[..., 2].min() < 0.3:
                continue
            along = ends[:, 1, :2] - ends[:, 0, :2]
            aside = np.stack([-along[:, 1], along[:, 0]], axis=1)
            aside /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-3)
            thick = np.maximum(trolley.RADII_M * camera.focal_px / ends[..., 2].mean(1), 0.45)
            aside *= thick[:, None]
            quads = np.stack(
                [
                    ends[:, 0, :2] - aside,
                    ends[:, 1, :2] - aside,
                    ends[:, 1, :2] + aside,
                    ends[:, 0, :2] + aside,
                ],
                axis=1,
            )
            order = np.argsort(-ends[..., 2].mean(1), kind="stable")
            brightness = illumination_of_people(self._scene, light, world.positions_m[row : row + 1])
            colours = _fogged(trolley.COLOURS * brightness, ends[..., 2].mean(1)[:, None], light)
            patch = draw_faces(
                quads[order],
                colours[order],
                float(ends[..., 2].mean()),
                camera.size_px,
                self._scratch,
            )
            if patch is not None:
                figures.append(Figure(patch, -1, (0.0, 0.0)))
        return figures

    def _vehicles(
        self, world: WorldFrame, first_row: int, light: Light, camera: PinholeCamera
    ) -> tuple[list[Figure], Floats]:
        """The vehicles' patches, with rows from ``first_row`` on, and their full boxes ``(n, 4)``."""
        vehicles = world.vehicles
        figures: list[Figure] = []
        boxes = np.full((len(vehicles.ids), 4), np.nan)
        place = np.array(camera.position_m, np.float32)
        for index, number in enumerate(vehicles.ids.tolist()):
            body = vehicle_body(number, int(vehicles.kinds[index]), bool(vehicles.braking[index]))
            turn, floor = turn_to(vehicles.headings_rad[index]), vehicles.positions_m[index]
            points = body.points_m @ turn + np.array([*floor, 0], np.float32)
            at = camera.project(points)
            if at[..., 2].min() < 0.3 or at[..., 2].max() > _FARTHEST_M:
                continue
            normals = body.normals @ turn
            facing = np.flatnonzero(((place - points[:, 0]) * normals).sum(-1) > 0)
            colours = body.colours * self._illumination.shade(normals)
            colours *= illumination_of_people(self._scene, light, floor[None])
            colours[body.glowing] = body.colours[body.glowing]
            colours = _fogged(colours, at[..., 2].mean(1)[:, None], light)[facing]
            corners = at[facing, :, :2]
            if not len(corners):
                continue
            boxes[index, :2], boxes[index, 2:] = corners.min((0, 1)), corners.max((0, 1))
            velocity = vehicles.speeds_mps[index] * turn[1, :2].astype(float)
            shift = self._shift_px(floor[None], velocity[None], camera)[0]
            margin = _margin(shift) if self._effects.motion_blur else 0
            patch = draw_faces(
                corners, colours, float(at[..., 2].mean()), camera.size_px, self._scratch, margin
            )
            if patch is not None:
                full = int(np.count_nonzero(patch.pixels[:, :, 3] > 127))
                figures.append(Figure(patch, first_row + index, tuple(shift), full))
        return figures, boxes

    def _shift_px(self, positions_m: Floats, velocities_mps: Floats, camera: PinholeCamera) -> Floats:
        """Movement of the body's middle in the picture within one exposure, ``(n, 2)``."""
        points = np.column_stack([positions_m, np.full(len(positions_m), 1.0)])
        later = points + np.column_stack([velocities_mps * self._effects.exposure_s, np.zeros(len(points))])
        shift = camera.project(later)[:, :2] - camera.project(points)[:, :2]
        return np.clip(shift, -_MAX_BLUR_PX, _MAX_BLUR_PX)


def _fogged(colours: NDArray[np.float32], depth_m: NDArray[np.float32], light: Light) -> NDArray[np.float32]:
    if not light.fog_per_m:
        return colours
    clear = np.exp(-light.fog_per_m * depth_m)
    return np.minimum(colours, 255) * clear + np.array(light.fog_colour, np.float32) * (1 - clear)


def _margin(shift_px: Floats) -> int:
    return int(np.abs(shift_px).max() / 2) + 1
