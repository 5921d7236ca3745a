"""Lines: crossings of a segment in the picture, counted by direction.

A person crosses where the foot point goes from beyond the band on one side of the line to beyond it on the
other, through the segment. Rules:

- The band (``band_heights`` times the height of the box on both sides) is hysteresis: jitter within it is
  nothing.
- A side counts after ``confirm`` successive observations on it, so one stray box is no crossing. Between the
  two sides no observation is needed. A track that ends before has crossed if its last observation lies beyond
  the band.
- The last change of sides on the way must lie between the ends of the segment; past an end, the side changes
  and nothing is counted. The left end (of a vertical line, the upper) belongs to the segment, so a walk
  through the common end of two lines in a row crosses one of them.
- The side of a track that begins is unknown until it is beyond the band.

`LineCounter` takes ids as they are: give it those of `common.vision.linking`, as `common.vision.scene` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from common.vision.detections import Detections
from common.vision.geometry import signed_distances

Point = tuple[float, float]
Direction = Literal["in", "out"]


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A counting line, in the pixels of the picture.

    ``in`` is a crossing from the left-hand to the right-hand side of the way from ``start`` to ``end`` in the
    picture.
    """

    name: str
    start: Point
    end: Point
    band_heights: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.12
    """Half width of the band without decision, in heights of the box."""
    min_band_px: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    confirm: Annotated[int, msgspec.Meta(ge=1)] = 2
    """Successive observations on the other side that make a crossing."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One person crossed one line; ``time_ns`` and ``point_px`` are interpolated between two frames."""

    line: str
    track_id: int
    direction: Direction
    time_ns: int
    point_px: Point


@dataclass(slots=True)
class _Path:
    """A track's way about the line: its last observation, and what is known of its side.

    ``side`` is -1 left, 1 right, 0 not known yet. ``waiting`` counts successive observations on the other.
    ``change`` is the time and the point where the line was last crossed, ``through`` whether within the
    segment.
    """

    x: float
    y: float
    distance: float
    seen_ns: int
    side: int = 0
    waiting: int = 0
    through: bool = False
    change: tuple[int, float, float] | None = None


class LineCounter:
    """Counts crossings of one line; `entered` and `left` are totals since the beginning.

    State is bounded by the tracks that were seen in the last ``LOST_S``.
    """

    LOST_S = 2.0
    """Time after which a track that is not seen has ended; not under that of the links."""

    def __init__(self, line: Line) -> None:
        """Raises `ValueError` for a line of one point."""
        signed_distances(np.zeros((0, 2)), line.start, line.end)
        self.line = line
        self.entered = self.left = 0
        self._paths: dict[int, _Path] = {}

    def __len__(self) -> int:
        """Number of tracks that are followed."""
        return len(self._paths)

    def update(self, tracks: Detections, captured_ns: int) -> list[Crossing]:
        """The crossings that are certain with this frame; detections without a track are nobody."""
        crossings = self._end_lost(captured_ns)
        line, feet = self.line, tracks.foot_points_px
        distances = signed_distances(feet, line.start, line.end).tolist()
        bands = np.maximum(tracks.sizes_px[:, 1] * line.band_heights, line.min_band_px).tolist()
        for track_id, (x, y), distance, band in zip(
            tracks.track_ids.tolist(), feet.tolist(), distances, bands, strict=True
        ):
            if track_id < 0:
                continue
            path = self._paths.get(track_id)
            if path is None:
                path = self._paths[track_id] = _Path(x, y, distance, captured_ns)
            else:
                self._move(path, x, y, distance, captured_ns)
            side = (distance > band) - (distance < -band)
            if side in (0, path.side):
                path.waiting = 0
            else:
                path.waiting += 1
                if not path.side or path.waiting >= line.confirm:
                    crossings += self._change_side(track_id, path, side)
        return crossings

    def _move(self, path: _Path, x: float, y: float, distance: float, now_ns: int) -> None:
        before = path.distance
        if distance == 0.0:
            distance = np.copysign(0.0, before)
        if np.signbit(before) != np.signbit(distance):
            share = before / (before - distance) if before != distance else 0.0
            at_x, at_y = path.x + share * (x - path.x), path.y + share * (y - path.y)
            (start_x, start_y), (end_x, end_y) = self.line.start, self.line.end
            along_x, along_y = end_x - start_x, end_y - start_y
            place, length = (at_x - start_x) * along_x + (at_y - start_y) * along_y, along_x**2 + along_y**2
            # Of two lines with a common end, one has it: that on its right, or below it.
            path.through = 0.0 < place < length or place == (
                0.0 if self.line.start < self.line.end else length
            )
            path.change = (path.seen_ns + round(share * max(0, now_ns - path.seen_ns)), at_x, at_y)
        path.x, path.y, path.distance, path.seen_ns = x, y, float(distance), now_ns

    def _change_side(self, track_id: int, path: _Path, side: int) -> list[Crossing]:
        known, path.side, path.waiting = path.side, side, 0
        if not known or path.change is None or not path.through:
            return []
        time_ns, x, y = path.change
        if side > 0:
            self.entered += 1
        else:
            self.left += 1
        return [Crossing(self.line.name, track_id, "in" if side > 0 else "out", time_ns, (x, y))]

    def _end_lost(self, now_ns: int) -> list[Crossing]:
        crossings: list[Crossing] = []
        ended = [key for key, path in self._paths.items() if (now_ns - path.seen_ns) / 1e9 > self.LOST_S]
        for track_id in ended:
            path = self._paths.pop(track_id)
            if path.waiting:
                crossings += self._change_side(track_id, path, -path.side)
        return crossings

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        paths = {str(key): asdict(path) for key, path in self._paths.items()}
        return {"paths": paths, "entered": self.entered, "left": self.left}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot` of a counter of the same line."""
        self._paths = {int(key): _path(values) for key, values in state["paths"].items()}
        self.entered, self.left = int(state["entered"]), int(state["left"])


def _path(values: Mapping[str, Any]) -> _Path:
    path = _Path(**values)
    if path.change is not None:
        time_ns, x, y = path.change  # A list, where the state was JSON.
        path.change = time_ns, x, y
    return path


class Occupancy:
    """People behind an entrance, from those who came in and went out: never negative.

    ``contradictions`` counts people who went out although nobody was left: somebody was missed on the way in,
    or counting began with people inside.
    """

    def __init__(self, people: int = 0) -> None:
        self.people = people
        self.contradictions = 0

    def add(self, direction: Direction) -> bool:
        """Count one crossing; False where it contradicts the occupancy."""
        if direction == "in":
            self.people += 1
        elif self.people:
            self.people -= 1
        else:
            self.contradictions += 1
            return False
        return True
