"""Zones on real clips against truth by eye: occupancy frame by frame, visits and their dwell times.

Occupancy is right in a frame if it lies within the truth's bounds there, which differ only between the
``earliest`` and ``latest`` frame of an entry or exit. A visit counts once it has ended; a doubtful one is
allowed, not required.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.retail.app import RetailSettings
from apps.retail.edge.camera import CameraCounter
from apps.retail.edge.layouts import check_layout
from apps.retail.events import ZoneMinute
from apps.retail.training.clips import ClipMoment, ClipTruth, ClipVisit, ClipZone, clip_path, frames_of
from common.app.edge import Model
from common.vision.detections import PERSON
from common.vision.detector import Detector

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ZoneScore:
    """One zone of one clip; ``people`` and the truth's bounds are by frame."""

    name: str
    people: Counts
    least: Counts
    most: Counts
    visits: int
    true_visits: int
    doubtful_visits: int
    dwell_s: float
    true_dwell_s: float

    def figures(self) -> dict[str, float]:
        """Errors in percent of the truth; ``zone_occupancy_error`` is a mean over the frames, in people."""
        more = self.visits - self.true_visits
        wrong = max(-more, more - self.doubtful_visits, 0)
        return {
            "zone_occupancy_error": _error(self.people, self.least, self.most),
            "zone_occupancy_right": float(((self.people >= self.least) & (self.people <= self.most)).mean()),
            "zone_visits_error_percent": 100 * wrong / max(1, self.true_visits),
            "zone_dwell_error_percent": 100
            * abs(self.dwell_s - self.true_dwell_s)
            / max(1e-9, self.true_dwell_s),
        }

    @property
    def constant_error(self) -> float:
        """``zone_occupancy_error`` of the best constant number of people."""
        return min(_error(np.full_like(self.people, each), self.least, self.most) for each in range(10))


def judge_zones(model: Model, truth: ClipTruth, data_path: Path) -> list[ZoneScore]:
    """Each zone of a clip. Raises `DatasetError` for an absent or another clip."""
    settings, detector = RetailSettings(), Detector(model)
    people: dict[str, list[int]] = {zone.name: [] for zone in truth.zones}
    times_ns: list[int] = []
    camera: CameraCounter | None = None
    minutes: list[ZoneMinute] = []
    for reading in frames_of(clip_path(truth, data_path)):
        height, width = reading.values.shape[:2]
        if camera is None:
            usable = check_layout(truth.layout(), (width, height), [])
            camera = CameraCounter(usable, settings.tracker, settings.health)
        found = detector.detect(reading.values, settings.tracker.low_score)
        persons = found[found.classes == PERSON]
        counted = camera.count(reading.values, persons, reading.captured_ns, 0)
        times_ns.append(reading.captured_ns)
        for name, occupied in counted.zones.items():
            people[name].append(occupied.people)
        minutes += _closed(camera, reading.captured_ns)
    if camera is not None:
        minutes += _closed(camera, None)
    return [
        score_zone(zone, times_ns, people[zone.name], [each for each in minutes if each.zone == zone.name])
        for zone in truth.zones
    ]


def _closed(camera: CameraCounter, before_ns: int | None) -> list[ZoneMinute]:
    over = camera.minutes.close(before_ns, camera.layout, "")
    return [data for _, data in over if isinstance(data, ZoneMinute)]


def score_zone(
    zone: ClipZone, times_ns: list[int], people: list[int], minutes: Sequence[ZoneMinute]
) -> ZoneScore:
    """Compare the people by frame, and the minutes of a zone, with its truth."""
    ended = [visit for visit in zone.visits if visit.left]
    certain = [
        visit for visit in ended if not any(each and each.doubtful for each in (visit.entered, visit.left))
    ]
    least, most = _bounds(zone.visits, len(times_ns))
    return ZoneScore(
        zone.name,
        np.array(people, np.int64),
        least,
        most,
        sum(each.visits for each in minutes),
        len(certain),
        len(ended) - len(certain),
        sum(each.dwell_s for each in minutes),
        sum(_dwell_s(visit, times_ns) for visit in certain),
    )


def _dwell_s(visit: ClipVisit, times_ns: list[int]) -> float:
    """From the first frame inside to the last one."""
    begin = visit.entered.frame if visit.entered else 0
    end = visit.left.frame - 1 if visit.left else len(times_ns) - 1
    return (times_ns[end] - times_ns[begin]) / 1e9


def _bounds(visits: Sequence[ClipVisit], frames: int) -> tuple[Counts, Counts]:
    """Fewest and most people inside by frame."""
    least, most = np.zeros(frames, np.int64), np.zeros(frames, np.int64)
    for visit in visits:
        entered = visit.entered or ClipMoment(frame=0, earliest=0, latest=0)
        left = visit.left or ClipMoment(frame=frames, earliest=frames, latest=frames)
        most[entered.earliest : frames if left.doubtful else left.latest] += 1
        if not entered.doubtful:
            least[entered.latest : left.earliest] += 1
    return least, most


def _error(people: Counts, least: Counts, most: Counts) -> float:
    return float((np.maximum(least - people, 0) + np.maximum(people - most, 0)).mean())
