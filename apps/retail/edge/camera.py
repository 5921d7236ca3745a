"""One camera: tracks, counting decisions, health, minutes and heat map, from the detections of each frame.

::

    Detections ─> Tracker ─> Scene (lines, zones) ─> StaffWatch ─> Entries ─> Minutes, heat map, ZoneLimits
    frame ─> CameraHealth ─> troubles ─> Minutes (incomplete)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from apps.retail.domain import CameraLayout, CountingZone
from apps.retail.edge.entries import Entries, Entry, Person
from apps.retail.edge.layouts import UsableLayout, check_layout
from apps.retail.edge.limits import ZoneLimits
from apps.retail.edge.minutes import Minutes, Occupied
from apps.retail.edge.staff import StaffWatch
from apps.retail.events import HeatMap
from common.vision.appearance import appearance
from common.vision.camera_health import CameraHealth, HealthSettings, Trouble
from common.vision.detections import Detections
from common.vision.lines import Crossing
from common.vision.scene import Scene
from common.vision.tracker import Tracker, TrackerSettings

HEAT_CELLS_EACH = 200
"""Cells of a heat map in one event."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Result of one frame: crossings by visitors, with what their entries are, and the zones at its time."""

    crossings: list[tuple[Crossing, Entry]]
    zones: dict[str, Occupied]


class CameraCounter:
    """Counting for one camera; its state is bounded by the tracks in view and the cells of its plan."""

    def __init__(self, usable: UsableLayout, tracker: TrackerSettings, health: HealthSettings) -> None:
        self.usable = usable
        self.minutes = Minutes()
        self.health = CameraHealth(health)
        self.gone = False
        self.recorded = False
        """Whether its capture times are those of a recording."""
        self.reported: tuple[str, ...] = ()
        self.captured_ns: int | None = None
        self.sampled_ns: int | None = None
        self.still_ns: int | None = None
        self._tracker = Tracker(tracker, usable.size_px[1])
        layout = usable.layout
        self._scene = Scene(layout.lines, layout.zones, *usable.size_px)
        self._staff = StaffWatch(layout.zones, layout.uniforms)
        self._entries = {line.name: Entries(line) for line in layout.lines}
        self.limits = ZoneLimits(layout.zones)
        self._heat = usable.new_heat()
        self._heat_from_ns: int | None = None

    @property
    def layout(self) -> CameraLayout:
        return self.usable.layout

    @property
    def troubles(self) -> tuple[str, ...]:
        """Names of the camera's current troubles."""
        found = set(self.health.troubles) | ({Trouble.GONE} if self.gone else set[Trouble]())
        return tuple(sorted(each.value for each in found))

    def count(
        self, frame_bgr: NDArray[np.uint8], detections: Detections, captured_ns: int, dropped: int
    ) -> Counted:
        """Take in the persons of one frame."""
        step_s = 0.0 if self.captured_ns is None else max(0.0, (captured_ns - self.captured_ns) / 1e9)
        self.captured_ns = captured_ns
        self.gone = False
        self.health.update(frame_bgr, captured_ns)
        tracks = self._tracker.update(self._in_layout(detections, frame_bgr.shape), captured_ns)
        decided = self._scene.update(tracks, captured_ns)
        boxes_px = self._in_frame(decided.tracks, frame_bgr.shape)
        self._staff.update(self._scene.zones, decided.tracks, boxes_px, frame_bgr, captured_ns)
        zones = {zone.name: self._occupied(zone, captured_ns) for zone in self.layout.zones}
        self.minutes.observe(captured_ns, step_s, self.troubles, dropped, zones)
        crossings: list[tuple[Crossing, Entry]] = []
        for crossing in decided.crossings:
            if crossing.track_id not in self._staff:
                person = self._person(crossing, decided.tracks, boxes_px, frame_bgr)
                entry = self._entries[crossing.line].cross(crossing, person)
                self.minutes.cross(crossing, entry)
                crossings.append((crossing, entry))
        for visit in decided.visits:
            if visit.track_id not in self._staff:
                self.minutes.visit(visit)
        if self._heat is not None and self.usable.ground is not None:
            visitors = [each not in self._staff for each in decided.tracks.track_ids.tolist()]
            feet = decided.tracks.foot_points_px[np.array(visitors, np.bool_)]
            self._heat.update(self.usable.ground.to_ground(feet), captured_ns)
        return Counted(crossings, zones)

    def _in_layout(self, detections: Detections, shape: tuple[int, ...]) -> Detections:
        """The detections in the pixels of the layout: frames of another size are the same view."""
        width, height = self.usable.size_px
        if shape[:2] == (height, width):
            return detections
        scale = np.array([width / shape[1], height / shape[0]] * 2, np.float32)
        return replace(detections, boxes_xyxy_px=detections.boxes_xyxy_px * scale)

    def _in_frame(self, tracks: Detections, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """(n, 4): boxes in the pixels of a frame."""
        width, height = self.usable.size_px
        if shape[:2] == (height, width):
            return tracks.boxes_xyxy_px
        return tracks.boxes_xyxy_px * np.array([shape[1] / width, shape[0] / height] * 2, np.float32)

    def _person(
        self,
        crossing: Crossing,
        tracks: Detections,
        boxes_px: NDArray[np.float32],
        frame_bgr: NDArray[np.uint8],
    ) -> Person:
        rows = np.flatnonzero(tracks.track_ids == crossing.track_id)
        if not len(rows):
            return Person()
        row = int(rows[0])
        seen = None
        if next(line for line in self.layout.lines if line.name == crossing.line).reentry_s:
            seen = appearance(frame_bgr, boxes_px[row])
        return Person(float(tracks.sizes_px[row, 1]), seen)

    def _occupied(self, zone: CountingZone, now_ns: int) -> Occupied:
        monitor, ignored = self._scene.zones[zone.name], () if zone.staff else self._staff
        people = sum(each not in ignored for each in monitor.occupants)
        return Occupied(people, monitor.waiting_s(now_ns, ignored))

    def heat_maps(self, period_ns: int, version: str, *, ending: bool = False) -> Iterator[HeatMap]:
        """The heat map of a period that is over, or of the one that runs where counting ends."""
        heat, now_ns = self._heat, self.captured_ns
        if heat is None or now_ns is None:
            return
        if self._heat_from_ns is None:
            self._heat_from_ns = now_ns
        from_ns = self._heat_from_ns
        if not ending and from_ns // period_ns == now_ns // period_ns:
            return
        self._heat_from_ns = now_ns
        tenths = np.rint(heat.take() * 10).astype(np.int64).ravel()
        cells = np.flatnonzero(tenths)
        rows, columns = heat.seconds.shape
        plan = self.layout.plan
        for part, begin in enumerate(range(0, len(cells), HEAT_CELLS_EACH)):
            chosen = cells[begin : begin + HEAT_CELLS_EACH]
            yield HeatMap(
                from_ns=from_ns,
                part=part,
                cell_m=plan.cell_m if plan is not None else 0.0,
                rows=rows,
                columns=columns,
                cells=chosen.tolist(),
                tenths_s=tenths[chosen].tolist(),
                layout=self.layout.version,
                version=version,
            )

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values and arrays."""
        return {
            "layout": msgspec.to_builtins(self.layout),
            "minutes": self.minutes.snapshot(),
            "health": self.health.snapshot(),
            "gone": self.gone,
            "recorded": self.recorded,
            "reported": list(self.reported),
            "captured_ns": self.captured_ns,
            "sampled_ns": self.sampled_ns,
            "still_ns": self.still_ns,
            "tracker": self._tracker.snapshot(),
            "scene": self._scene.snapshot(),
            "staff": self._staff.snapshot(),
            "limits": self.limits.snapshot(),
            "heat": None if self._heat is None else self._heat.snapshot(),
            "heat_from_ns": self._heat_from_ns,
        }

    @classmethod
    def restored(
        cls, state: Mapping[str, Any], tracker: TrackerSettings, health: HealthSettings
    ) -> CameraCounter:
        """The camera of a `snapshot`, with the layout that it had."""
        layout = msgspec.convert(state["layout"], CameraLayout)
        camera = cls(check_layout(layout, layout.size_px or (1, 1), []), tracker, health)
        camera.minutes.restore(state["minutes"])
        camera.health.restore(state["health"])
        camera.recorded = bool(state["recorded"])
        camera.gone, camera.reported = bool(state["gone"]), tuple(state["reported"])
        camera.captured_ns, camera.sampled_ns = state["captured_ns"], state["sampled_ns"]
        camera.still_ns = state["still_ns"]
        camera._tracker.restore(state["tracker"])
        camera._scene.restore(state["scene"])
        camera._staff.restore(state["staff"])
        camera.limits.restore(state["limits"])
        if camera._heat is not None and state["heat"] is not None:
            camera._heat.restore(state["heat"])
        camera._heat_from_ns = state["heat_from_ns"]
        return camera
