"""The virtual camera as a source: ``virtual:entrance?seed=7&fps=10&light=fog:60-120&fault=black:30-40``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from common.app.edge import Reading
from common.app.virtual import PacedSource, ReadingAt, check_parameters, whole_number
from common.errors import ConfigError, MessageError
from common.messages import parse_time
from common.vision.crossing_matches import TimedCrossing
from hardware.virtual_camera.effects import PLAIN, Effects
from hardware.virtual_camera.faults import FAULTS, moved, spoil
from hardware.virtual_camera.light import LIGHTS, Light, find_light
from hardware.virtual_camera.pinhole import PinholeCamera
from hardware.virtual_camera.renderer import Renderer, Visible
from hardware.virtual_camera.scenes import SCENES, load_scene
from hardware.virtual_camera.timetable import ALWAYS, Timetable, parse_timetable, read_injected
from hardware.virtual_camera.world import World, WorldFrame

MIN_VISIBILITY = 0.3
"""Share of a body that must be seen for an observer to mark it."""
MIN_CONTRAST = 0.05
"""Share of its contrast that fog must leave: the threshold of the meteorological optical range."""
DENSITIES = MappingProxyType({"none": 0.0, "sparse": 0.35, "normal": 1.0, "busy": 2.0, "crowded": 4.0})
PARAMETERS = MappingProxyType(
    {
        "seed": "world and noise; the same seed gives the same frames",
        "fps": "frames per second",
        "size": "width x height in pixels, such as 640x480",
        "people": ", ".join(DENSITIES),
        "light": f"{', '.join(LIGHTS)}; by time: fog:60-120,night:200-300 in seconds",
        "inject": "file with lines SECOND LIGHT: from that second on that light, also while the source runs",
        "fault": f"{', '.join(FAULTS)}; by time: black:30-40",
        "effects": "full, or plain without shadows, noise and motion blur",
        "flicker": "amplitude of rolling brightness in percent",
        "start": "time of the first frame in UTC, such as 2026-01-01T00:00:00Z (now)",
        "name": "name of the camera, the subject of its readings",
    }
)


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """Parameters of a virtual camera."""

    scene: str
    seed: int = 0
    frames_per_s: int = 10
    size_px: tuple[int, int] = (640, 480)
    density: float = 1.0
    light: Timetable = ALWAYS
    injected: Path | None = None
    """A file that names lights while the world runs, one ``SECOND LIGHT`` a line."""
    fault: Timetable = ALWAYS
    effects: Effects = field(default_factory=Effects)
    name: str = ""


@dataclass(frozen=True)
class Shot:
    """One frame with its truth; ``image`` is empty ``(0, 0, 3)`` while the camera is gone.

    ``visible`` and ``camera`` are what the lens would see, whatever the fault does to the picture.
    """

    frame: int
    image: NDArray[np.uint8]
    world: WorldFrame
    visible: Visible
    camera: PinholeCamera
    light: Light
    fault: str | None

    @property
    def recognizable(self) -> NDArray[np.bool_]:
        """``(n,)``: of `visible`, those whom an observer would mark: at least `MIN_VISIBILITY` of the body is
        seen, and fog leaves `MIN_CONTRAST` of its contrast."""
        clear = np.exp(-self.light.fog_per_m * self.visible.depths_m)
        return (self.visible.visibility >= MIN_VISIBILITY) & (clear >= MIN_CONTRAST)

    @property
    def recognizable_boxes_px(self) -> NDArray[np.float32]:
        """``(m, 4)``: the whole bodies of `recognizable`, as far as they are in the picture."""
        width, height = self.camera.size_px
        boxes = self.visible.full_boxes_px[self.recognizable]
        return np.clip(boxes, 0, (width, height, width, height)).astype(np.float32)


class VirtualCamera:
    """Frames by index. Going forward costs a frame each; elsewhere, see `world.World.frame`."""

    def __init__(self, options: CameraOptions) -> None:
        self.options = options
        self.scene = load_scene(options.scene)
        width, height = options.size_px
        self.camera = replace(self.scene.camera, width_px=width, height_px=height)
        self._world = World(self.scene, options.seed, options.frames_per_s, options.density)
        self._renderer = Renderer(self.scene, options.effects, options.seed)
        self._frozen: tuple[int, NDArray[np.uint8]] | None = None

    def world(self, frame: int) -> WorldFrame:
        """The truth without a picture."""
        return self._world.frame(frame)

    def crossings_in(self, world: WorldFrame) -> list[TimedCrossing]:
        """The crossings that a frame completes, at the time between the two frames of the pass."""
        rate_hz = self.options.frames_per_s
        return [
            TimedCrossing(each.line, each.direction, (each.frame - 0.5) / rate_hz) for each in world.crossings
        ]

    def shot(self, frame: int, light_name: str | None = None) -> Shot:
        """Picture and truth of a frame, in the light of its time or in the one that is named."""
        time_s = frame / self.options.frames_per_s
        fault = self.options.fault.at(time_s)
        name = fault.name if fault else None
        if fault and name == "frozen" and frame > self._first_frame(fault.start_s):
            image = self._frozen_image(self._first_frame(fault.start_s))
        else:
            image = None
        world = self._world.frame(frame)
        camera = moved(self.camera) if name == "moved" else self.camera
        light = find_light(self.scene, light_name) if light_name else self._light(time_s)
        picture = self._renderer.draw(world, light, camera)
        if image is None:
            image = spoil(picture.image, name, frame) if name else picture.image
        if name == "gone":
            image = np.zeros((0, 0, 3), np.uint8)
        return Shot(frame, image, world, picture.visible, camera, light, name)

    def _first_frame(self, start_s: float) -> int:
        return int(np.ceil(start_s * self.options.frames_per_s - 1e-9))

    def _frozen_image(self, frame: int) -> NDArray[np.uint8]:
        if self._frozen is None or self._frozen[0] != frame:
            light = self._light(frame / self.options.frames_per_s)
            picture = self._renderer.draw(self._world.frame(frame), light, self.camera)
            self._frozen = frame, picture.image
        return self._frozen[1].copy()

    def _light(self, time_s: float) -> Light:
        timetable = self.options.light
        if self.options.injected is not None:
            timetable = Timetable((*timetable.spans, *read_injected(self.options.injected, LIGHTS)))
        span = timetable.at(time_s)
        return find_light(self.scene, span.name if span else "day")


class VirtualCameraSource(PacedSource):
    """Readings of a virtual camera; none while it is gone."""

    def readings(self, after: int | None) -> Iterator[Reading]:
        for reading in super().readings(after):
            if reading.values.size:
                yield reading


def open_camera(
    scene: str,
    parameters: Mapping[str, str],
    speed: float,
    attributes_of: Callable[[VirtualCamera], Mapping[str, object]] = lambda _: {},
) -> VirtualCameraSource:
    """The source ``virtual:SCENE?...``; ``speed`` is as in `PacedSource`. Raises `ConfigError`.

    Capture times advance by the frame rate from the first frame on, at any speed; with ``start`` they are a
    recording's. ``attributes_of`` gives the attributes of all readings of a camera.
    """
    options = read_options(scene, parameters)
    first_ns = _start_ns(parameters.get("start"))
    name = options.name or scene
    period_ns = round(1e9 / options.frames_per_s)

    def open_readings() -> ReadingAt:
        camera = VirtualCamera(options)
        attributes = attributes_of(camera)
        start_ns = first_ns

        def reading_at(position: int, captured_ns: int) -> Reading:
            nonlocal start_ns
            if start_ns is None:
                start_ns = captured_ns - position * period_ns
            return Reading(
                name,
                start_ns + position * period_ns,
                position,
                camera.shot(position).image,
                rate_hz=float(options.frames_per_s),
                attributes=attributes,
                recorded=speed != 1.0 or first_ns is not None,
            )

        return reading_at

    return VirtualCameraSource(open_readings, period_ns / 1e9, speed)


def read_options(scene: str, parameters: Mapping[str, str]) -> CameraOptions:
    """Options from the query of a URI. Raises `ConfigError`."""
    check_parameters(f"virtual:{scene}", parameters, PARAMETERS)
    if scene not in SCENES:
        raise ConfigError(f"there is no scene {scene!r}; there are {', '.join(SCENES)}")
    effects = {"full": Effects(), "plain": PLAIN}.get(parameters.get("effects", "full"))
    if effects is None:
        raise ConfigError(f"effects={parameters['effects']} is neither full nor plain")
    density = DENSITIES.get(parameters.get("people", "normal"))
    if density is None:
        raise ConfigError(f"people={parameters['people']} is none of {', '.join(DENSITIES)}")
    return CameraOptions(
        scene,
        whole_number(parameters, "seed", 0, 0),
        whole_number(parameters, "fps", 10, 1),
        _size(parameters.get("size", "640x480")),
        density,
        parse_timetable("light", parameters.get("light", "day"), LIGHTS),
        Path(parameters["inject"]) if parameters.get("inject") else None,
        parse_timetable("fault", parameters.get("fault", ""), FAULTS),
        replace(effects, rolling_brightness=whole_number(parameters, "flicker", 0, 0) / 100),
        parameters.get("name", ""),
    )


def _start_ns(text: str | None) -> int | None:
    try:
        return parse_time(text) if text else None
    except MessageError as error:
        raise ConfigError(f"start={text}: {error}") from None


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (
        width.isdecimal() and height.isdecimal() and 64 <= int(width) <= 4096 and 64 <= int(height) <= 4096
    ):
        raise ConfigError(f"size={text} is no size in pixels from 64x64 to 4096x4096; write 640x480")
    return int(width), int(height)
