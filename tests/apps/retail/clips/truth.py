"""Truth of the real clips: who crosses which line and who is in which zone, by frame, judged by eye.

Frames count from 0. A crossing or a visit is judged by the foot point, the midpoint of the two feet on the
ground; its ``frame`` is the first one on the new side, ``earliest`` to ``latest`` are the frames at which a
careful observer may place it. What is ``doubtful`` is allowed, not required: `Range.least` is without it,
`Range.most` with it. See README.md in this folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

FOLDER = Path(__file__).parent

Point = tuple[float, float]
Direction = Literal["in", "out"]


class Range(NamedTuple):
    """Number of events or people: both bounds are right answers."""

    least: int
    most: int


class Moment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first frame after a change."""

    frame: int
    earliest: int
    latest: int
    doubtful: bool = False
    note: str = ""


class Crossing(Moment, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person crossed one line."""

    person: str
    direction: Direction


class Miss(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Near the line or the zone, or past its end, between two frames: no event."""

    person: str
    first_frame: int
    last_frame: int
    note: str


class Visit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stay of one person in one zone; None: inside already in frame 0, or still in the last frame."""

    person: str
    entered: Moment | None
    left: Moment | None
    note: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A segment; ``in`` is from the left-hand to the right-hand side of the way from ``start`` to ``end``."""

    name: str
    start: Point
    end: Point
    crossings: tuple[Crossing, ...]
    misses: tuple[Miss, ...]

    def total(self, direction: Direction) -> Range:
        return _range(crossing for crossing in self.crossings if crossing.direction == direction)


class Zone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    polygon: tuple[Point, ...]
    visits: tuple[Visit, ...]
    misses: tuple[Miss, ...]

    @property
    def entries(self) -> Range:
        return _range(visit.entered for visit in self.visits if visit.entered)

    @property
    def exits(self) -> Range:
        return _range(visit.left for visit in self.visits if visit.left)

    def occupancy(self, frame: int) -> Range:
        """People inside in ``frame``; the bounds differ where a moment is uncertain or doubtful."""
        stays = [(visit.entered or _BEFORE, visit.left or _AFTER) for visit in self.visits]
        return Range(
            sum(_surely(entered, frame) and not _maybe(left, frame) for entered, left in stays),
            sum(_maybe(entered, frame) and not _surely(left, frame) for entered, left in stays),
        )


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One uninterrupted presence in the picture; ``probably_again`` is an earlier one of the same look."""

    id: str
    look: str
    probably_again: str | None = None


class Clip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    clip: str
    sha256: str
    frames: int
    width_px: int
    height_px: int
    people: tuple[Person, ...]
    lines: tuple[Line, ...]
    zones: tuple[Zone, ...]


def clips() -> tuple[Clip, ...]:
    """All clips in this folder, by name; raises `msgspec.ValidationError` for a file of another form."""
    return tuple(msgspec.json.decode(path.read_bytes(), type=Clip) for path in sorted(FOLDER.glob("*.json")))


def _range(moments: Iterable[Moment]) -> Range:
    doubtful = [moment.doubtful for moment in moments]
    return Range(doubtful.count(False), len(doubtful))


def _surely(changed: Moment, frame: int) -> bool:
    return not changed.doubtful and frame >= changed.latest


def _maybe(changed: Moment, frame: int) -> bool:
    return frame >= changed.earliest


_BEFORE = Moment(frame=-1, earliest=-1, latest=-1)
_AFTER = Moment(frame=sys.maxsize, earliest=sys.maxsize, latest=sys.maxsize)
