"""Links between tracks: one person keeps one id though the tracker gave it several.

A tracker gives a person a new id after an occlusion, and now and then lets two people change theirs. Both are
seen by place and time: an id that begins where another one has just ended is the same person, and an id that
jumps farther than anyone moves is another. `TrackLinker` replaces track ids by ids of its own, with that
corrected as far as place and time show it; counting decisions are made on those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.vision.assignment import assign
from common.vision.detections import Detections


@dataclass(slots=True)
class _Linked:
    """Last position of a person. Lengths in px, speeds in px/s."""

    track_id: int
    x: float
    y: float
    height: float
    class_: int
    speed_x: float
    speed_y: float
    seen_ns: int


class TrackLinker:
    """Ids of persons (or vehicles) for the tracks of one camera.

    Distances are in heights of the box, so that they hold near and far from the camera. Ids are positive and
    never used twice; an id that is not seen for ``LINK_S`` is forgotten.
    """

    LINK_S = 2.0
    """Longest time between the end of a track and the beginning of its continuation."""
    LINK_HEIGHTS = 0.5
    """Farthest that a continuation begins from where it is expected,"""
    LINK_HEIGHTS_PER_S = 0.7
    """and what is added for each second in between."""
    MAX_SIZE_RATIO = 1.6
    """Largest ratio of heights of a track and its continuation."""
    JUMP_HEIGHTS = 1.0
    """Farthest that a box jumps while the person stands, as under an occlusion,"""
    JUMP_HEIGHTS_PER_S = 3.0
    """and the fastest that anyone moves."""
    EXTRAPOLATED_S = 0.7

    def __init__(self) -> None:
        self._linked: dict[int, _Linked] = {}
        self._id_of: dict[int, int] = {}
        self._next_id = 1
        self._time_ns: int | None = None

    def __len__(self) -> int:
        return len(self._linked)

    def update(self, tracks: Detections, captured_ns: int) -> Detections:
        """The detections of confirmed tracks, with ids that survive a change of the track's.

        Detections without a track are left out. A time before the last one counts as the same time.
        """
        if self._time_ns is not None and captured_ns < self._time_ns:
            self._shift(captured_ns - self._time_ns)
        self._time_ns = captured_ns
        self._forget(captured_ns)
        tracks = tracks[np.flatnonzero(tracks.track_ids >= 0)]
        feet, heights = tracks.foot_points_px.astype(np.float64), tracks.sizes_px[:, 1].astype(np.float64)
        ids = np.array(
            [
                self._known(int(track), foot, captured_ns)
                for track, foot in zip(tracks.track_ids, feet, strict=True)
            ],
            np.int64,
        )
        open_rows = np.flatnonzero(ids < 0)
        if len(open_rows):
            taken = set(ids.tolist())
            candidates = [key for key in self._linked if key not in taken]
            affinity = self._affinity(
                candidates, feet[open_rows], heights[open_rows], tracks.classes[open_rows], captured_ns
            )
            first, second = assign(affinity)
            ids[open_rows[second]] = np.array(candidates, np.int64)[first]
            new = np.flatnonzero(ids < 0)
            ids[new] = np.arange(self._next_id, self._next_id + len(new))
            self._next_id += len(new)
        for row, key in enumerate(ids.tolist()):
            self._see(
                key, int(tracks.track_ids[row]), feet[row], float(heights[row]), int(tracks.classes[row])
            )
        return tracks.with_track_ids(ids)

    def _known(self, track_id: int, foot: NDArray[Any], now_ns: int) -> int:
        """The person of this track if it can have moved to ``foot``; -1 if not."""
        key = self._id_of.get(track_id, -1)
        if key < 0:
            return -1
        last = self._linked[key]
        elapsed_s = (now_ns - last.seen_ns) / 1e9
        reach = last.height * (self.JUMP_HEIGHTS + self.JUMP_HEIGHTS_PER_S * elapsed_s)
        return key if np.hypot(foot[0] - last.x, foot[1] - last.y) <= reach else -1

    def _affinity(
        self,
        candidates: list[int],
        feet: NDArray[Any],
        heights: NDArray[Any],
        classes: NDArray[Any],
        now_ns: int,
    ) -> NDArray[np.float64]:
        """(candidates, tracks): how near a track is to where a person is expected; 0 where it is too far."""
        affinity = np.zeros((len(candidates), len(feet)))
        for row, key in enumerate(candidates):
            last = self._linked[key]
            elapsed_s = (now_ns - last.seen_ns) / 1e9
            moved_s = min(elapsed_s, self.EXTRAPOLATED_S)
            expected = last.x + last.speed_x * moved_s, last.y + last.speed_y * moved_s
            reach = last.height * (self.LINK_HEIGHTS + self.LINK_HEIGHTS_PER_S * elapsed_s)
            near = 1.0 - np.hypot(*(feet - expected).T) / max(reach, 1e-6)
            ratio = heights / max(last.height, 1e-6)
            alike = (ratio <= self.MAX_SIZE_RATIO) & (ratio >= 1 / self.MAX_SIZE_RATIO)
            affinity[row] = np.where(alike & (classes == last.class_), np.maximum(near, 0.0), 0.0)
        return affinity

    def _see(self, key: int, track_id: int, foot: NDArray[Any], height: float, class_: int) -> None:
        now_ns = self._time_ns or 0
        x, y = float(foot[0]), float(foot[1])
        last = self._linked.get(key)
        if last is None:
            self._linked[key] = _Linked(track_id, x, y, height, class_, 0.0, 0.0, now_ns)
        else:
            elapsed_s = (now_ns - last.seen_ns) / 1e9
            if elapsed_s > 0:
                weight = min(1.0, elapsed_s / 0.5)
                last.speed_x += ((x - last.x) / elapsed_s - last.speed_x) * weight
                last.speed_y += ((y - last.y) / elapsed_s - last.speed_y) * weight
            if last.track_id != track_id and self._id_of.get(last.track_id) == key:
                del self._id_of[last.track_id]
            last.track_id, last.x, last.y, last.height, last.class_ = track_id, x, y, height, class_
            last.seen_ns = now_ns
        self._id_of[track_id] = key

    def _forget(self, now_ns: int) -> None:
        old = [key for key, last in self._linked.items() if (now_ns - last.seen_ns) / 1e9 > self.LINK_S]
        for key in old:
            track_id = self._linked.pop(key).track_id
            if self._id_of.get(track_id) == key:
                del self._id_of[track_id]

    def _shift(self, by_ns: int) -> None:
        for last in self._linked.values():
            last.seen_ns += by_ns

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        linked = {str(key): asdict(last) for key, last in self._linked.items()}
        return {"linked": linked, "next_id": self._next_id, "time_ns": self._time_ns}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`."""
        self._linked = {int(key): _Linked(**last) for key, last in state["linked"].items()}
        self._id_of = {last.track_id: key for key, last in self._linked.items()}
        self._next_id, self._time_ns = int(state["next_id"]), state["time_ns"]
