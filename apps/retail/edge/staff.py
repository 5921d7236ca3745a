"""Staff: tracks that are counted on no line and in no visitors' zone.

Somebody is staff who was in a staff zone for its ``staff_after_s``, or wears a uniform: the mean share of its
colour on the upper body, over `MIN_OBSERVATIONS` frames or more, is at least the uniform's ``min_share``. A
crossing before that is a visitor's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.retail.domain import CountingZone, Uniform, colour_of
from common.vision.appearance import colour_share
from common.vision.detections import Detections
from common.vision.zones import ZoneMonitor

STAFF_S = 30.0
"""Time for which somebody who is not seen stays known as staff."""
MIN_OBSERVATIONS = 5
WEIGHT = 0.1
"""Least weight of a frame in the mean share of a uniform's colour."""


class StaffWatch:
    """Staff of one camera; bounded by the tracks of the last `STAFF_S`."""

    def __init__(self, zones: Sequence[CountingZone], uniforms: Sequence[Uniform]) -> None:
        self._zones = [zone for zone in zones if zone.staff]
        self._uniforms = [(colour_of(each.colour), each.min_share) for each in uniforms]
        self._staff: dict[int, int] = {}
        self._shares: dict[int, tuple[int, int, list[float]]] = {}
        """By track: number of observations, time of the last one, mean share of each uniform."""

    def __contains__(self, track_id: int) -> bool:
        return track_id in self._staff

    def update(
        self,
        monitors: Mapping[str, ZoneMonitor],
        tracks: Detections,
        boxes_px: NDArray[Any],
        frame_bgr: NDArray[np.uint8],
        now_ns: int,
    ) -> None:
        """Take in the tracks of one frame, whose boxes in it are ``boxes_px`` (n, 4)."""
        for zone in self._zones:
            present_s = monitors[zone.name].present_s(now_ns)
            self._staff |= {
                each: now_ns for each, time_s in present_s.items() if time_s >= zone.staff_after_s
            }
        if self._uniforms:
            self._look(tracks.track_ids.tolist(), boxes_px, frame_bgr, now_ns)
        if self._staff:
            self._staff |= {each: now_ns for each in tracks.track_ids.tolist() if each in self._staff}
            self._staff = {
                each: seen_ns for each, seen_ns in self._staff.items() if now_ns - seen_ns <= STAFF_S * 1e9
            }

    def _look(
        self, ids: list[int], boxes_px: NDArray[Any], frame_bgr: NDArray[np.uint8], now_ns: int
    ) -> None:
        for track_id, box in zip(ids, boxes_px, strict=True):
            count, _, means = self._shares.get(track_id, (0, now_ns, [0.0] * len(self._uniforms)))
            weight = max(WEIGHT, 1 / (count + 1))
            means = [
                mean + weight * (colour_share(frame_bgr, box, colour) - mean)
                for mean, (colour, _) in zip(means, self._uniforms, strict=True)
            ]
            self._shares[track_id] = count + 1, now_ns, means
            wears = any(mean >= least for mean, (_, least) in zip(means, self._uniforms, strict=True))
            if wears and count + 1 >= MIN_OBSERVATIONS:
                self._staff[track_id] = now_ns
        self._shares = {
            each: share for each, share in self._shares.items() if now_ns - share[1] <= STAFF_S * 1e9
        }

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "staff": {str(key): seen_ns for key, seen_ns in self._staff.items()},
            "shares": {str(key): [*share] for key, share in self._shares.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`."""
        self._staff = {int(key): int(seen_ns) for key, seen_ns in state["staff"].items()}
        self._shares = {
            int(key): (int(count), int(seen_ns), [float(mean) for mean in means])
            for key, (count, seen_ns, means) in state["shares"].items()
        }
