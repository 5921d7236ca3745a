"""Scene: all counting decisions of one camera, from the tracks of each frame.

::

    Detector ─> Tracker ─> Scene: TrackLinker ─> LineCounter, ZoneMonitor ─> crossings, visits
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.vision.detections import Detections
from common.vision.lines import Crossing, Line, LineCounter
from common.vision.linking import TrackLinker
from common.vision.zones import Visit, Zone, ZoneMonitor


@dataclass(frozen=True, slots=True)
class Decided:
    """Decisions of one frame: the tracks under their linked ids, crossings, and visits that ended."""

    tracks: Detections
    crossings: list[Crossing]
    visits: list[Visit]


class Scene:
    """Lines and zones of one camera with pictures of one size; belongs to one thread."""

    def __init__(
        self, lines: Sequence[Line], zones: Sequence[Zone], frame_width: int, frame_height: int
    ) -> None:
        """Raises `ValueError` for a line or zone that is none, or a name that is there twice."""
        names = [part.name for part in (*lines, *zones)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"more than one line or zone has the name {', '.join(map(repr, twice))}")
        self.lines = {line.name: LineCounter(line) for line in lines}
        self.zones = {zone.name: ZoneMonitor(zone, frame_width, frame_height) for zone in zones}
        self._linker = TrackLinker()

    def update(self, tracks: Detections, captured_ns: int) -> Decided:
        """Decide on the confirmed tracks of one frame; an empty frame is one too."""
        linked = self._linker.update(tracks, captured_ns)
        crossings = [each for line in self.lines.values() for each in line.update(linked, captured_ns)]
        visits = [each for zone in self.zones.values() for each in zone.update(linked, captured_ns)]
        return Decided(linked, crossings, visits)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "linker": self._linker.snapshot(),
            "lines": {name: line.snapshot() for name, line in self.lines.items()},
            "zones": {name: zone.snapshot() for name, zone in self.zones.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`; a line or zone that it lacks begins empty."""
        self._linker.restore(state["linker"])
        for parts, kept in ((self.lines, state["lines"]), (self.zones, state["zones"])):
            for name, part in parts.items():
                if name in kept:
                    part.restore(kept[name])
