"""Virtual scenes with exact truth: for judging the counting, and frames to train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.retail.domain import CameraLayout
from apps.retail.training.counting import Counter
from apps.retail.training.judged import Judged
from apps.retail.virtual.cameras import SCENES, layout_of
from common.app.edge import Reading
from common.training.detector.evaluation import Truth
from common.vision.crossing_matches import TimedCrossing
from hardware.virtual_camera.source import VirtualCamera, read_options

FRAMES_PER_S = 10
WORLD_BEGIN_NS = 1_750_000_000 * 10**9
LIGHTS = ("day", "fog", "night")
SIZE, SMALL_SIZE = "640x480", "416x312"
"""Size of the pictures, and where time is short that of the network's input."""
Picture = tuple[NDArray[np.uint8], Truth]


@dataclass(frozen=True, slots=True)
class VirtualScene:
    """A scene to judge by: its name, and the parameters of its virtual camera."""

    name: str
    scene: str
    parameters: tuple[tuple[str, str], ...]

    def open(self) -> VirtualCamera:
        """The camera; a new one begins at frame 0."""
        return VirtualCamera(read_options(self.scene, dict(self.parameters) | {"fps": str(FRAMES_PER_S)}))


JUDGED = (
    ("sparse", "doorway", "sparse", 9000),
    ("busy", "doorway", "busy", 9001),
    ("crowded", "doorway", "crowded", 9002),
    ("busy_oblique", "entrance", "busy", 9001),
)
"""Name, scene, people and seed of the judged scenes."""


def judged_scenes(duration_s: int, size: str = SIZE) -> tuple[VirtualScene, ...]:
    """Entrances seen by a camera that is hung for counting, from sparse to crowded, and a busy one by one
    that looks along the floor; each a third of the time in each of `LIGHTS`."""
    third = duration_s // 3
    light = f"fog:{third}-{2 * third},night:{2 * third}-{3 * third}"
    return tuple(
        VirtualScene(name, scene, (("seed", str(seed)), ("people", people), ("light", light), ("size", size)))
        for name, scene, people, seed in JUDGED
    )


def layout_of_scene(camera: VirtualCamera) -> CameraLayout:
    """Lines and zones of the camera's scene."""
    return layout_of(camera.scene, camera.camera)


def readings_of(camera: VirtualCamera, frames: int, truth: list[TimedCrossing]) -> Iterator[Reading]:
    """The first frames of a virtual camera as readings; the crossings since the first are added to
    ``truth``."""
    step_ns = 10**9 // FRAMES_PER_S
    for frame in range(frames):
        shot = camera.shot(frame)
        if frame:
            truth += [each for each in camera.crossings_in(shot.world) if each.time_s > 0]
        if shot.image.size:
            yield Reading("camera", WORLD_BEGIN_NS + frame * step_ns, frame, shot.image)


def judge_scene(counter: Counter, scene: VirtualScene, duration_s: float) -> Judged:
    """Counting on the first ``duration_s`` of a scene."""
    camera, truth = scene.open(), list[TimedCrossing]()
    counted = counter(readings_of(camera, round(duration_s * FRAMES_PER_S), truth), layout_of_scene(camera))
    return Judged(scene.name, duration_s, counted, truth, virtual=True)


@dataclass(frozen=True, slots=True)
class RenderedFrames:
    """``frames`` of each scene and light, ``step`` apart; the same for the same values. Those of one scene
    are held together: 185 MB for 67 frames of 640x480 in three lights."""

    seed: int
    frames: int
    step: int
    scenes: tuple[str, ...] = SCENES
    lights: tuple[str, ...] = LIGHTS
    size: str = SIZE

    def __iter__(self) -> Iterator[Picture]:
        for scene in self.scenes:
            busy = busy_scene(self.seed + SCENES.index(scene), scene, self.size)
            for pictures in labelled_frames(busy, self.lights, self.frames, self.step).values():
                yield from pictures


def busy_scene(seed: int, scene: str, size: str = SIZE) -> VirtualScene:
    """A scene with many people, by day."""
    people = "normal" if scene == "crowd" else "busy"
    return VirtualScene(scene, scene, (("seed", str(seed)), ("people", people), ("size", size)))


def labelled_frames(
    scene: VirtualScene, lights: Sequence[str], frames: int, step: int
) -> Mapping[str, Sequence[Picture]]:
    """``frames`` of a scene, ``step`` apart, in each of ``lights``, with the boxes of those who are
    recognizable in it: pictures by light."""
    camera = scene.open()
    found: dict[str, list[Picture]] = {light: [] for light in lights}
    for index in range(frames):
        for light, pictures in found.items():
            shot = camera.shot(index * step, light)
            classes = shot.visible.classes[shot.recognizable].astype(np.int16)
            pictures.append((shot.image, Truth(shot.recognizable_boxes_px, classes)))
    return found
