"""Zones: polygons in the picture with their occupancy, visits and dwell times, and queues.

A person is in a zone while the foot point lies in the polygon or on its edge. Rules:

- Entering needs ``confirm`` observations inside, leaving as many outside; the visit's times are those of the
  first one inside and the last one inside.
- A person who is not seen stays for ``lost_s`` and has then left when last seen. Without anybody in view the
  zone is empty after that.
- The foot point of a box that is cut off by the picture's edge is taken as lying on the edge, and a corner
  within ``EDGE_SHARE`` of the edge as lying on it too, so that a zone that reaches the edge keeps such a box.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from common.vision.detections import Detections
from common.vision.geometry import contains, polygon_problem
from common.vision.lines import Point

CORNERS_LIMIT = 100
"""Maximum number of corners of a zone."""


class Zone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A polygon in the pixels of the picture."""

    name: str
    polygon: Annotated[list[Point], msgspec.Meta(max_length=CORNERS_LIMIT)]
    confirm: Annotated[int, msgspec.Meta(ge=1)] = 2
    """Observations after which a person has entered or left."""
    lost_s: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """Time for which a person who is not seen stays in the zone."""
    queue_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """For a queue: time in the zone after which a person is waiting; 0 if the zone is no queue."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One person was in one zone; ``waited`` if that was as long as the zone's ``queue_s``."""

    zone: str
    track_id: int
    entered_ns: int
    left_ns: int
    waited: bool

    @property
    def dwell_s(self) -> float:
        return (self.left_ns - self.entered_ns) / 1e9


@dataclass(slots=True)
class _Presence:
    """``inside`` once entering is confirmed; ``waiting`` counts observations that contradict it."""

    entered_ns: int
    inside_ns: int
    seen_ns: int
    inside: bool = False
    waiting: int = 0


class ZoneMonitor:
    """Occupancy and visits of one zone; state is bounded by the tracks of the last ``lost_s``."""

    EDGE_SHARE = 0.02
    """Distance from the edge, as a share of the picture, at which a corner counts as lying on it."""

    def __init__(self, zone: Zone, frame_width: int, frame_height: int) -> None:
        """Raises `ValueError` for what is no polygon, or lies outside of the picture."""
        problem = polygon_problem(zone.polygon)
        corners = np.array(zone.polygon, np.float64).reshape(-1, 2)
        if not problem:
            low, high = corners.min(axis=0), corners.max(axis=0)
            if (high < 0).any() or low[0] > frame_width or low[1] > frame_height:
                problem = f"it lies outside of the picture of {frame_width} by {frame_height} pixels"
        if problem:
            raise ValueError(f"the zone {zone.name!r}: {problem}")
        self.zone = zone
        self._frame = np.array((frame_width, frame_height), np.float64)
        corners = np.where(np.abs(corners) <= self.EDGE_SHARE * self._frame, 0.0, corners)
        at_end = np.abs(corners - self._frame) <= self.EDGE_SHARE * self._frame
        self._corners = np.where(at_end, self._frame, corners)
        self._present: dict[int, _Presence] = {}

    def __len__(self) -> int:
        """Number of tracks that are followed."""
        return len(self._present)

    @property
    def occupants(self) -> list[int]:
        """Ids of the persons in the zone."""
        return [key for key, presence in self._present.items() if presence.inside]

    @property
    def occupancy(self) -> int:
        return len(self.occupants)

    def update(self, tracks: Detections, captured_ns: int) -> list[Visit]:
        """The visits that ended; detections without a track are nobody."""
        feet = np.clip(tracks.foot_points_px, 0, self._frame)
        inside = contains(self._corners, feet).tolist()
        visits: list[Visit] = []
        for track_id, is_inside in zip(tracks.track_ids.tolist(), inside, strict=True):
            if track_id >= 0:
                visits += self._observe(track_id, is_inside, captured_ns)
        lost_ns = round(self.zone.lost_s * 1e9)
        for track_id in [k for k, p in self._present.items() if captured_ns - p.seen_ns > lost_ns]:
            visits += self._leave(track_id)
        return visits

    def _observe(self, track_id: int, inside: bool, now_ns: int) -> list[Visit]:
        presence = self._present.get(track_id)
        if presence is None:
            if not inside:
                return []
            presence = self._present[track_id] = _Presence(now_ns, now_ns, now_ns)
        presence.seen_ns = now_ns
        if inside:
            presence.inside_ns = now_ns
            presence.waiting = 0 if presence.inside else presence.waiting + 1
            if presence.waiting >= self.zone.confirm:
                presence.inside, presence.waiting = True, 0
            return []
        if not presence.inside:
            del self._present[track_id]
            return []
        presence.waiting += 1
        return self._leave(track_id) if presence.waiting >= self.zone.confirm else []

    def _leave(self, track_id: int) -> list[Visit]:
        presence = self._present.pop(track_id)
        if not presence.inside:
            return []
        waited = 0 < self.zone.queue_s <= (presence.inside_ns - presence.entered_ns) / 1e9
        return [Visit(self.zone.name, track_id, presence.entered_ns, presence.inside_ns, waited)]

    def present_s(self, now_ns: int) -> dict[int, float]:
        """Time in the zone of each person, by id."""
        return {key: (now_ns - p.entered_ns) / 1e9 for key, p in self._present.items() if p.inside}

    def waiting_s(self, now_ns: int, ignored: Container[int] = ()) -> list[float]:
        """Time in the zone of each person of the queue, the longest first, without ``ignored`` ids.

        The queue's length is that of the list; empty for a zone that is no queue.
        """
        queue_s = self.zone.queue_s
        present_s = self.present_s(now_ns)
        times = (time_s for key, time_s in present_s.items() if key not in ignored)
        return sorted((time_s for time_s in times if 0 < queue_s <= time_s), reverse=True)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {"present": {str(key): asdict(presence) for key, presence in self._present.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot` of a monitor of the same zone."""
        self._present = {int(key): _Presence(**values) for key, values in state["present"].items()}
