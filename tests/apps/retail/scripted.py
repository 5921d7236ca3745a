"""A store without a network: the model gives the boxes of a script, so that people walk where a test says."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from apps.retail.app import RetailSettings
from apps.retail.domain import CameraLayout
from apps.retail.edge.app import RetailEdge
from common.app.edge import Arrays, EdgeContext, Reading, Sample
from common.app.events import EventData
from common.bundle import Limits, Lineage, Manifest, TensorSpec
from common.messages import Event
from common.vision.detections import CLASSES

SIDE_PX = 320
ANCHORS = 20
BEGIN_NS = 1_780_000_020 * 10**9 // (60 * 10**9) * 60 * 10**9
"""A full minute."""
STEP_NS = 100_000_000
WALKER = (24.0, 60.0)
"""Width and height of a person."""
MANIFEST = Manifest(
    app="retail",
    version="v1",
    task="detection",
    inputs=[TensorSpec(name="frames", dtype="uint8", shape=[1, SIDE_PX, SIDE_PX, 3])],
    outputs=[TensorSpec(name="boxes", dtype="float32", shape=[1, 4 + len(CLASSES), ANCHORS])],
    precision="float32",
    licence="none",
    limits=Limits(latency_ms=100),
    lineage=Lineage(data={}, code=""),
    tolerance={},
    classes=list(CLASSES),
    parameters={"detector": {"head": "ultralytics"}},
)


class ScriptedModel:
    """`common.app.edge.Model` whose objects are set before each run: foot points, and a score for all."""

    def __init__(self) -> None:
        self.manifest = MANIFEST
        self.feet: Sequence[tuple[float, float]] = ()
        self.score = 0.9
        self.novelty: float | None = None

    def run(self, inputs: Arrays) -> Arrays:
        assert inputs["frames"].shape == (1, SIDE_PX, SIDE_PX, 3)
        boxes = np.zeros((1, 4 + len(CLASSES), ANCHORS), np.float32)
        for anchor, (x, y) in enumerate(self.feet):
            boxes[0, :4, anchor] = x, y - WALKER[1] / 2, *WALKER
            boxes[0, 4, anchor] = self.score
        outputs: dict[str, NDArray[Any]] = {"boxes": boxes}
        if self.novelty is not None:
            outputs["novelty"] = np.array([self.novelty], np.float32)
        return outputs


class Store:
    """The app on scripted cameras; time goes on by `STEP_NS` a frame of the camera."""

    def __init__(self, layout: CameraLayout | None = None, **settings: Any) -> None:
        values: dict[str, Any] = {"cameras": {"door": layout} if layout is not None else {}}
        self.settings = RetailSettings(**(values | settings))
        self.model = ScriptedModel()
        self.edge = RetailEdge(EdgeContext(self.settings, self.model))
        self.time_ns: dict[str, int] = {}
        self.events: list[Event] = []
        self.samples: list[Sample] = []

    def frame(
        self, *feet: tuple[float, float], camera: str = "door", picture: NDArray[np.uint8] | None = None,
        step_ns: int = STEP_NS, recorded: bool = False, **attributes: Any,
    ) -> list[EventData]:  # fmt: skip
        """One frame with people whose feet are there; data of the events."""
        self.time_ns[camera] = self.time_ns.get(camera, BEGIN_NS - STEP_NS) + step_ns
        self.model.feet = feet
        frame = scenery(self.time_ns[camera]) if picture is None else picture
        reading = Reading(camera, self.time_ns[camera], 1, frame, attributes=attributes, recorded=recorded)
        return self._take(self.edge.process(reading, reading.captured_ns))

    def pass_time(self, seconds: int, *, begin_ns: int | None = None) -> list[EventData]:
        """Seconds without a frame on the node's clock, from the newest frame on; data of the events."""
        begin_ns = max(self.time_ns.values()) if begin_ns is None else begin_ns
        found: list[EventData] = []
        for second in range(1, seconds + 1):
            found += self._take(self.edge.pass_time(begin_ns + second * 10**9))
        return found

    def _take(self, results: Iterable[Event | Sample]) -> list[EventData]:
        found: list[EventData] = []
        for result in results:
            if isinstance(result, Sample):
                self.samples.append(result)
            else:
                self.events.append(result)
                assert isinstance(result.data, EventData)
                found.append(result.data)
        return found

    def walk(self, *path: tuple[float, float], camera: str = "door", step_px: float = 6.0) -> None:
        """One person along the points of a path, alone."""
        for begin, end in itertools.pairwise(path):
            steps = max(1, round(np.hypot(end[0] - begin[0], end[1] - begin[1]) / step_px))
            for step in range(steps):
                share = (step + 1) / steps
                self.frame(
                    (begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1])),
                    camera=camera,
                )
        self.wait(2.5, camera=camera)

    def wait(self, seconds: float, *feet: tuple[float, float], camera: str = "door") -> None:
        """Frames with the same people, or nobody."""
        for _ in range(round(seconds * 1e9 / STEP_NS)):
            self.frame(*feet, camera=camera)

    def of(self, kind: type[Any]) -> list[Any]:
        """Data of all events of a type so far."""
        return [event.data for event in self.events if isinstance(event.data, kind)]

    def restart(self) -> None:
        """A new instance from the stored state."""
        from common.edge.processing.state import decode_state, encode_state

        saved = encode_state(self.edge.snapshot())
        self.edge = RetailEdge(EdgeContext(self.settings, self.model))
        self.edge.restore(decode_state(saved))


def scenery(seed: int) -> NDArray[np.uint8]:
    """A picture with edges and noise, in which a camera is healthy; another one for each of 7 seeds."""
    return _PICTURES[seed // STEP_NS % len(_PICTURES)]


def _scenery(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    picture = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
    picture[40:120, 60:200] = 170
    picture[180:260, 150:300] = 40
    picture[::20] = 130
    return picture + rng.integers(0, 6, picture.shape, np.uint8)


_PICTURES = [_scenery(seed) for seed in range(7)]


def layout(**parts: Any) -> CameraLayout:
    """A layout from plain values."""
    return msgspec.convert(parts, CameraLayout)


DOOR = {"name": "door", "start": (300, 160), "end": (20, 160)}
"""A line across the picture; walking up is in."""


def upward(x: float = 160.0) -> Iterable[tuple[float, float]]:
    """A way through the door."""
    return (x, 280.0), (x, 80.0)
