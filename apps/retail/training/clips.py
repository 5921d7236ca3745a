"""Counting on real clips against truth by eye, one JSON file a clip.

The truth lies with the tests of a checkout (`TRUTH`, with its README), the clips in ``video`` of the data
folder; each is checked by its sha256. A doubtful crossing is allowed, not required: it is true if it was
counted. Directions are those of `common.vision.lines`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from apps.retail.domain import CameraLayout, CountingLine, CountingZone
from apps.retail.training.counting import Counter
from apps.retail.training.judged import Judged
from common.app.edge import Reading
from common.errors import DatasetError
from common.vision.crossing_matches import WITHIN_S, TimedCrossing
from common.vision.lines import Point

TRUTH = Path(__file__).parents[3] / "tests" / "apps" / "retail" / "clips"
BEGIN_NS = 1_750_000_000 * 10**9


class ClipCrossing(msgspec.Struct, frozen=True, kw_only=True):
    """One person crossed a line; ``frame`` from 0 is the first one on the new side."""

    direction: Literal["in", "out"]
    frame: int
    doubtful: bool = False


class ClipLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line with all of its crossings."""

    name: str
    start: Point
    end: Point
    crossings: list[ClipCrossing]


class ClipMoment(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame after a change, and the frames between which it may be placed."""

    frame: int
    earliest: int
    latest: int
    doubtful: bool = False


class ClipVisit(msgspec.Struct, frozen=True, kw_only=True):
    """One stay in a zone; None: inside in the first frame, or still in the last one."""

    entered: ClipMoment | None
    left: ClipMoment | None


class ClipZone(msgspec.Struct, frozen=True, kw_only=True):
    """A zone with all of its visits."""

    name: str
    polygon: list[Point]
    visits: list[ClipVisit]


class ClipTruth(msgspec.Struct, frozen=True, kw_only=True):
    """The truth of one clip."""

    clip: str
    sha256: str
    frames: int
    lines: list[ClipLine]
    zones: list[ClipZone]

    def layout(self) -> CameraLayout:
        """Lines and zones as settings of a camera."""
        return CameraLayout(
            lines=[CountingLine(name=each.name, start=each.start, end=each.end) for each in self.lines],
            zones=[CountingZone(name=each.name, polygon=each.polygon) for each in self.zones],
        )


def read_truths(folder: Path = TRUTH) -> list[ClipTruth]:
    """The truth of each clip; none without the folder. Raises `DatasetError`."""
    found: list[ClipTruth] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=ClipTruth))
        except msgspec.MsgspecError as error:
            raise DatasetError(f"{path} is no truth of a clip: {error}") from error
    return found


def judge_clip(counter: Counter, truth: ClipTruth, data_path: Path) -> Judged:
    """Counting on one clip. Raises `DatasetError` for an absent or another clip."""
    path = clip_path(truth, data_path)
    times_ns: list[int] = []
    counted = counter(_timed(frames_of(path), times_ns), truth.layout())
    if len(times_ns) != truth.frames:
        raise DatasetError(f"{path} gave {len(times_ns)} frames, not {truth.frames}")
    duration_s = (times_ns[-1] - times_ns[0]) / 1e9
    return Judged(truth.clip, duration_s, counted, _required(truth, times_ns, counted))


def clip_path(truth: ClipTruth, data_path: Path) -> Path:
    """The clip in a data folder. Raises `DatasetError` for an absent or another one."""
    path = data_path / "video" / truth.clip
    if not path.is_file():
        raise DatasetError(f"there is no clip {path}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != truth.sha256:
        raise DatasetError(f"{path} is another clip than the one that was judged: its sha256 is {digest}")
    return path


def frames_of(path: Path) -> Iterator[Reading]:
    """Its frames as readings. Raises `DatasetError`."""
    from hardware.sensors.camera.file import VideoFile

    source = VideoFile(path, path.stem, BEGIN_NS, None, 0.0)
    for item in source.readings(None):
        if not isinstance(item, Reading):
            raise DatasetError(f"{path}: {item}")
        yield item


def _timed(readings: Iterator[Reading], times_ns: list[int]) -> Iterator[Reading]:
    for reading in readings:
        times_ns.append(reading.captured_ns)
        yield reading


def _required(truth: ClipTruth, times_ns: list[int], counted: list[TimedCrossing]) -> list[TimedCrossing]:
    found: list[TimedCrossing] = []
    for line in truth.lines:
        for each in line.crossings:
            crossing = TimedCrossing(line.name, each.direction, (times_ns[each.frame] - times_ns[0]) / 1e9)
            if not each.doubtful or any(
                (other.line, other.direction) == (crossing.line, crossing.direction)
                and abs(other.time_s - crossing.time_s) <= WITHIN_S
                for other in counted
            ):
                found.append(crossing)
    return found
