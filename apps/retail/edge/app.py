"""Decisions at the store: visitors counted from the frames of one or several cameras.

A reading is one frame ``(height, width, 3)`` in BGR, its subject the camera. One detector serves all cameras;
each has its own tracks, lines, zones, health and counts (`apps.retail.edge.camera`). Rules:

- Each crossing of a line gives ``retail.crossed``, of an entrance with the occupancy of the area behind it.
  Nobody leaves an empty area: ``retail.contradiction``.
- Each minute with frames gives one ``retail.line_minute`` a line and one ``retail.zone_minute`` a zone, with
  zeros too, marked as incomplete where frames or the camera's health were.
- A zone over its limit is an alarm at once, and within it for 10 s its end.
- A camera's trouble is reported when it begins and ends; counting goes on. A camera that gives no frames is
  ``gone``, by the node's time where no other one gives frames, and its open minutes end. A recording is never
  gone by the node's time.
- A part of a layout that cannot be used is reported with ``retail.camera_begun``; the others count.
- A frame that comes late or twice is refused. A clock that was set back by more than `LATE_S` begins a new
  count of the camera; occupancy is kept.
- No picture leaves the process, but with blurred heads where the settings ``samples`` and ``stills`` allow
  it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from apps.retail import events
from apps.retail.app import RetailSettings
from apps.retail.domain import MINUTE_NS, CameraLayout
from apps.retail.edge.areas import Areas
from apps.retail.edge.camera import CameraCounter
from apps.retail.edge.layouts import check_layout, find_layout
from apps.retail.edge.samples import Pictures
from apps.retail.edge.silence import SilenceWatch
from common.app.edge import Arrays, EdgeContext, Model, Reading, Sample, State
from common.app.events import EventData, make_event
from common.bundle import Manifest
from common.errors import ReadingError
from common.messages import Event
from common.subjects import SubjectMap
from common.vision.detections import PERSON
from common.vision.detector import Detector
from common.vision.lines import Crossing

LATE_S = 10.0
"""Time by which a frame may be older than the newest one and still count as late."""
MIN_SIDE_PX = 32
PROBLEMS_SENT = 3
NODE = ""
"""The node's own clock in the watch by its time: no name of a camera."""


class RetailEdge:
    """`common.app.edge.EdgeApp` of the retail app."""

    def __init__(self, context: EdgeContext) -> None:
        self._settings: RetailSettings = context.settings
        self._model = _ObservedModel(context.model)
        self._detector = Detector(self._model)
        self._version = context.model.manifest.version
        self._pictures = Pictures(self._settings)
        self._min_score = min(self._settings.tracker.low_score, self._pictures.min_score)
        self._cameras = SubjectMap[CameraCounter](
            self._settings.max_cameras,
            self._settings.forget_camera_after_days * 86_400,
            setting="max_cameras",
        )
        self._areas = Areas()
        self._silence = SilenceWatch()
        self._node_silence = SilenceWatch()
        """By the node's time; not part of the state."""
        self._requested: dict[str, CameraLayout] = {}
        """Layouts as the settings or the source name them, of the cameras in ``_cameras``."""
        self._confirmed: set[str] = set()
        """Cameras whose layout this instance has compared with the requested one."""

    def process(self, reading: Reading, now_ns: int) -> Iterable[Event | Sample]:
        frame = _frame(reading)
        name, captured_ns = reading.subject, reading.captured_ns
        known = self._cameras.find(name, captured_ns)
        _refuse_late(known, reading)
        detections = self._detector.detect(frame, self._min_score)
        people = detections[detections.classes == PERSON]

        results: list[Event | Sample] = []
        camera = self._camera(reading, known, results)
        dropped = reading.attributes.get("dropped", 0)
        counted = camera.count(frame, people, captured_ns, dropped if isinstance(dropped, int) else 0)
        for gone in self._cameras.keep(name, captured_ns, camera):
            results += self._forget(gone.subject, gone.state, gone.captured_ns)
        for crossing, entry in counted.crossings:
            results += self._crossed(name, camera, crossing, returned=entry.returned)
        limits = camera.limits.changes(counted.zones, captured_ns, self._version)
        results += [self._event(each, name, camera, captured_ns) for each in limits]
        results += self._health(name, camera, captured_ns)
        results += self._over(name, camera, captured_ns)
        self._silence.seen(name, captured_ns)
        self._node_silence.seen(name, now_ns)
        results += self._find_gone(self._silence)
        results += self._pictures.choose(reading, camera, detections, self._model.outputs, self._version)
        return results

    def pass_time(self, now_ns: int) -> Iterable[Event]:
        """Cameras that give no frames, and what of their minutes is over."""
        for name in self._cameras:
            if self._cameras[name].recorded:
                self._node_silence.forget(name)
        self._node_silence.seen(NODE, now_ns)
        return list(self._find_gone(self._node_silence))

    def _camera(
        self, reading: Reading, known: CameraCounter | None, results: list[Event | Sample]
    ) -> CameraCounter:
        """The camera of a reading: the known one, or a new one where it is new or has another layout."""
        name, captured_ns = reading.subject, reading.captured_ns
        back = known is not None and known.captured_ns is not None and captured_ns < known.captured_ns
        if known is not None and name in self._confirmed and not back:
            return known
        requested, problems = find_layout(self._settings.cameras, name, reading.attributes)
        self._confirmed.add(name)
        if known is not None and requested == self._requested.get(name) and not back:
            return known
        self._requested[name] = requested
        height, width = reading.values.shape[:2]
        usable = check_layout(requested, (width, height), problems)
        camera = CameraCounter(usable, self._settings.tracker, self._settings.health)
        camera.recorded = reading.recorded
        if known is not None:
            camera.health.restore(known.health.snapshot())
            results += self._end(name, known)
        begun = events.CameraBegun(
            width_px=width,
            height_px=height,
            lines=[line.name for line in camera.layout.lines],
            zones=[zone.name for zone in camera.layout.zones],
            layout=requested.version,
            problems=usable.problems[:PROBLEMS_SENT],
            more_problems=max(0, len(usable.problems) - PROBLEMS_SENT),
            pictures=self._pictures.allowed,
            version=self._version,
        )
        used = events.CameraLayoutUsed(layout=_json_values(camera.layout), version=self._version)
        results += [self._event(each, name, camera, captured_ns) for each in (begun, used)]
        return camera

    def _crossed(
        self, name: str, camera: CameraCounter, crossing: Crossing, *, returned: bool
    ) -> Iterator[Event]:
        line = next(line for line in camera.layout.lines if line.name == crossing.line)
        occupancy = self._areas.behind(name, line)
        consistent = occupancy is None or occupancy.add(crossing.direction)
        data = events.Crossed(
            line=line.name,
            direction=crossing.direction,
            area=line.area,
            people=None if occupancy is None else occupancy.people,
            returned=returned,
            layout=camera.layout.version,
            version=self._version,
        )
        yield self._event(data, name, camera, crossing.time_ns)
        if occupancy is not None and not consistent:
            found = events.Contradiction(
                line=line.name, area=line.area, total=occupancy.contradictions, version=self._version
            )
            yield self._event(found, name, camera, crossing.time_ns)

    def _health(self, name: str, camera: CameraCounter, time_ns: int) -> Iterator[Event]:
        troubles = camera.troubles
        if troubles != camera.reported:
            camera.reported = troubles
            camera.minutes.spoil(troubles)
            data = events.CameraHealthChanged(troubles=list(troubles), version=self._version)
            yield self._event(data, name, camera, time_ns)

    def _over(self, name: str, camera: CameraCounter, now_ns: int) -> Iterator[Event]:
        """Minutes and heat maps that are over."""
        for begin_ns, data in camera.minutes.close(now_ns, camera.layout, self._version):
            yield self._event(data, name, camera, begin_ns)
        period_ns = self._settings.heat_map_minutes * MINUTE_NS
        for data in camera.heat_maps(period_ns, self._version):
            yield self._event(data, name, camera, now_ns)

    def _end(self, name: str, camera: CameraCounter) -> Iterator[Event]:
        """All that is open of a camera that counts no more."""
        for begin_ns, data in camera.minutes.close(None, camera.layout, self._version):
            yield self._event(data, name, camera, begin_ns)
        for data in camera.heat_maps(MINUTE_NS, self._version, ending=True):
            yield self._event(data, name, camera, camera.captured_ns or 0)

    def _find_gone(self, silence: SilenceWatch) -> Iterator[Event]:
        for name, silent_ns in silence.silent(self._settings.health.gone_s):
            camera = self._cameras[name]
            time_ns = (camera.captured_ns or 0) + silent_ns
            if not camera.gone:
                camera.gone = True
                yield from self._health(name, camera, time_ns)
            yield from self._over(name, camera, time_ns)

    def _forget(self, name: str, camera: CameraCounter, captured_ns: int) -> Iterator[Event]:
        yield from self._end(name, camera)
        yield self._event(events.CameraForgotten(version=self._version), name, camera, captured_ns)
        self._silence.forget(name)
        self._node_silence.forget(name)
        self._requested.pop(name, None)
        self._confirmed.discard(name)
        self._areas.forget(name)

    @staticmethod
    def _event(data: EventData, name: str, camera: CameraCounter, time_ns: int) -> Event:
        return make_event(data, name, time_ns, recorded=camera.recorded)

    def snapshot(self) -> State:
        return {
            "cameras": self._cameras.snapshot(CameraCounter.snapshot),
            "requested": {name: msgspec.to_builtins(layout) for name, layout in self._requested.items()},
            "areas": self._areas.snapshot(),
            "silence": self._silence.snapshot(),
        }

    def restore(self, state: State) -> None:
        settings = self._settings

        def restored(_name: str, saved: Any) -> CameraCounter:
            return CameraCounter.restored(saved, settings.tracker, settings.health)

        self._cameras.restore(state["cameras"], restored)
        self._requested = {
            name: msgspec.convert(layout, CameraLayout) for name, layout in state["requested"].items()
        }
        self._areas.restore(state["areas"])
        self._silence.restore(state["silence"])
        self._node_silence = SilenceWatch()
        for name in self._cameras:
            self._node_silence.seen(name, 0)
        self._confirmed = set()


class _ObservedModel:
    """A model that keeps the outputs of its last run."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.outputs: Arrays = {}

    @property
    def manifest(self) -> Manifest:
        return self._model.manifest

    def run(self, inputs: Arrays) -> Arrays:
        self.outputs = self._model.run(inputs)
        return self.outputs


def _json_values(layout: CameraLayout) -> dict[str, Any]:
    """A layout as it is read from the wire: lists, no tuples."""
    return msgspec.json.decode(msgspec.json.encode(layout))


def _frame(reading: Reading) -> NDArray[np.uint8]:
    """The frame of a reading. Raises `ReadingError` for anything else."""
    shape, dtype = reading.values.shape, reading.values.dtype
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < MIN_SIDE_PX:
        raise ReadingError(
            f"reading {reading.position} of {reading.subject} has shape {shape} of {dtype}; a frame is "
            f"(height, width, 3) of uint8 with sides of at least {MIN_SIDE_PX} pixels"
        )
    return reading.values


def _refuse_late(camera: CameraCounter | None, reading: Reading) -> None:
    """Raises `ReadingError` for a frame that comes late or twice."""
    if camera is None or camera.captured_ns is None:
        return
    late_s = (camera.captured_ns - reading.captured_ns) / 1e9
    if 0 <= late_s <= LATE_S:
        raise ReadingError(
            f"frame {reading.position} of {reading.subject} is {late_s:.3f} s older than the newest one, or "
            "comes twice: it is left out"
        )
