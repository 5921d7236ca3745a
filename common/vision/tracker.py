"""Tracker: detections of successive frames joined to tracks by where their heads are expected.

People hide each other from the feet up, so a track is joined to detections by the distance between its
expected head and theirs, as `common.vision.bodies` shows; in heights of the body, so that it holds near and
far. Tracks in view come first, then lost ones, and detections of a low score continue those in view
(ByteTrack; Zhang et al., ECCV 2022, arXiv:2110.06864). Where the feet of a person are hidden, they are taken
below the head by the height that people have there and the person's ratio to it. A track moves on at its mean
velocity, which fades while it is not seen. Everything that elapses is a time, so the frame rate may vary.

- A track is *confirmed* after ``confirm_hits`` detections; before, it is no object and has no id.
- A track that is not seen for ``lost_s`` (``tentative_s`` before it is confirmed) ends. A gap between two
  frames that is longer ends all tracks, so frames must come faster than that.
- Ids are positive and never used twice, also after `Tracker.restore`.
- There are at most ``max_tracks``; detections that would begin more are counted in `Tracker.refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from common.vision.assignment import assign
from common.vision.bodies import BODY, Bodies, heads_of
from common.vision.detections import BICYCLE, BUS, CAR, CLASSES, MOTORCYCLE, PERSON, TRUCK, Detections

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_GROUPS = np.zeros(len(CLASSES), np.int16)
_GROUPS[[PERSON]], _GROUPS[[BICYCLE, MOTORCYCLE]], _GROUPS[[CAR, BUS, TRUCK]] = 0, 1, 2
_TRACK = np.dtype(
    [
        ("id", np.int64),
        ("foot", np.float64, 2),
        ("velocity", np.float64, 2),
        *BODY,
        ("unseen_s", np.float64),
        ("hits", np.int64),
        ("class_scores", np.float64, len(CLASSES)),
    ]
)
_NO_ID = 0


class TrackerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a tracker."""

    low_score: Share = 0.05
    """Minimum score of a detection that continues a track."""
    high_score: Share = 0.25
    """Minimum score of a detection that continues a track that was not seen in the last frame."""
    new_score: Share = 0.35
    """Minimum score of a detection that begins a track."""
    confirm_hits: Annotated[int, msgspec.Meta(ge=1)] = 3
    """Detections after which a track is an object."""
    lost_s: Seconds = 2.0
    """Time after which a track that is not seen ends."""
    tentative_s: Seconds = 0.4
    """The same for a track that is not confirmed."""
    reach: float = 0.15
    """Farthest that a head is from where it is expected, in heights of the body,"""
    reach_per_s: float = 0.4
    """and what is added for each second since it was seen."""
    max_tracks: Annotated[int, msgspec.Meta(ge=1)] = 512
    """Maximum number of tracks."""


class Tracker:
    """Joins the detections of one camera; belongs to one thread."""

    VELOCITY_S = 0.4
    """Time over which the velocity is averaged."""
    FOOT_S = 0.15
    """Time over which the foot point is."""
    FADING_S = 0.8
    """Time in which the velocity of a track that is not seen falls to 1 / e."""
    IN_VIEW_S = 0.15
    """Time beyond the last frame within which a track was seen that is in view."""
    MAX_REACH, LOW_REACH, TENTATIVE_REACH = 0.6, 0.13, 0.3
    """Greatest reach, that to a low score, and that of a track that is not confirmed, in heights."""

    def __init__(self, settings: TrackerSettings | None = None, frame_height_px: float = np.inf) -> None:
        """Boxes that end at ``frame_height_px``, the lower edge of the picture, are taken as cut off."""
        self._settings = settings or TrackerSettings()
        self._tracks = np.zeros(0, _TRACK)
        self._bodies = Bodies(frame_height_px)
        self._next_id = 1
        self._time_ns: int | None = None
        self.refused = 0
        """Detections that began no track because there were `TrackerSettings.max_tracks`."""

    def __len__(self) -> int:
        """Number of tracks, confirmed or not."""
        return len(self._tracks)

    def update(self, detections: Detections, captured_ns: int) -> Detections:
        """The detections that belong to a confirmed track, with its id, class and whole body.

        A time before the last one counts as the same time.
        """
        settings = self._settings
        elapsed_s = 0.0 if self._time_ns is None else max(0.0, (captured_ns - self._time_ns) / 1e9)
        self._time_ns = captured_ns
        self._tracks["unseen_s"] += elapsed_s
        self._end_old(elapsed_s)
        detections = self._bodies.distinct(detections[detections.scores >= settings.low_score])
        hidden = self._bodies.hidden(detections)
        row_of = self._associate(detections, elapsed_s)
        seen = np.flatnonzero(row_of >= 0)
        self._continue(row_of[seen], detections[seen], hidden[seen])
        result = self._confirmed(row_of[seen], detections[seen])
        self._end_unseen()
        new = np.flatnonzero((row_of < 0) & (detections.scores >= settings.new_score))
        self._begin(detections[new], hidden[new])
        return result

    # ------------------------------------------------------------------------------------ association

    def _associate(self, detections: Detections, elapsed_s: float) -> NDArray[np.intp]:
        """(n,): the row of the track of each detection, -1 for none."""
        settings, tracks = self._settings, self._tracks
        row_of = np.full(len(detections), -1, np.intp)
        if not len(tracks) or not len(detections):
            return row_of
        heads = heads_of(detections.boxes_xyxy_px)
        feet = self._expected_feet()
        heights = self._bodies.heights(tracks, feet[:, 1])
        expected = np.column_stack((feet[:, 0], feet[:, 1] - heights))
        distance = np.linalg.norm(heads - expected[:, None], axis=2) / heights[:, None]
        distance[_GROUPS[tracks["class_scores"].argmax(axis=1)][:, None] != _GROUPS[detections.classes]] = (
            np.inf
        )
        unseen_s = tracks["unseen_s"]
        reach = np.minimum(self.MAX_REACH, settings.reach + settings.reach_per_s * unseen_s)
        high = detections.scores >= settings.high_score
        confirmed = tracks["id"] != _NO_ID
        in_view = confirmed & (unseen_s <= elapsed_s + self.IN_VIEW_S)
        free = np.ones(len(tracks), np.bool_)

        def pair(track_mask: NDArray[np.bool_], mask: NDArray[np.bool_], reach: NDArray[np.float64]) -> None:
            rows, columns = np.flatnonzero(free & track_mask), np.flatnonzero(mask & (row_of < 0))
            if not len(rows) or not len(columns):
                return
            first, second = assign(np.maximum(0, 1 - distance[np.ix_(rows, columns)] / reach[rows, None]))
            row_of[columns[second]] = rows[first]
            free[rows[first]] = False

        pair(in_view, high, reach)
        pair(confirmed, high, reach)
        pair(in_view, ~high, np.minimum(reach, self.LOW_REACH))
        pair(~confirmed, high, np.maximum(reach, self.TENTATIVE_REACH))
        return row_of

    def _expected_feet(self) -> NDArray[np.float64]:
        """(n, 2): the tracks' foot points now, moved on since they were seen."""
        tracks = self._tracks
        moved_s = self.FADING_S * -np.expm1(-tracks["unseen_s"] / self.FADING_S)
        return tracks["foot"] + tracks["velocity"] * moved_s[:, None]

    def _continue(self, rows: NDArray[np.intp], detections: Detections, hidden: NDArray[np.bool_]) -> None:
        """Move the tracks ``rows`` to their detections."""
        tracks = self._tracks[rows]
        expected, elapsed_s = self._expected_feet()[rows], tracks["unseen_s"]
        measured = self._bodies.measure(tracks, detections, hidden)
        weight = np.maximum(-np.expm1(-elapsed_s / self.FOOT_S), 1 / (1 + tracks["hits"]))
        foot = expected + (measured - expected) * weight[:, None]
        moving = elapsed_s > 0
        speed = (foot - tracks["foot"])[moving] / elapsed_s[moving, None]
        weight = np.maximum(-np.expm1(-elapsed_s[moving] / self.VELOCITY_S), 1 / tracks["hits"][moving])
        tracks["velocity"][moving] += (speed - tracks["velocity"][moving]) * weight[:, None]
        tracks["foot"] = foot
        tracks["unseen_s"] = 0.0
        tracks["hits"] += 1
        tracks["class_scores"][np.arange(len(rows)), detections.classes] += detections.scores
        self._tracks[rows] = tracks

    # ------------------------------------------------------------------------- beginnings and endings

    def _end_old(self, elapsed_s: float) -> None:
        """End what a frame after a gap longer than ``lost_s`` must not continue."""
        if elapsed_s > self._settings.lost_s:
            self._tracks = self._tracks[:0]

    def _end_unseen(self) -> None:
        """End the tracks whose time is over; each has had at least one frame to be seen again."""
        tracks, settings = self._tracks, self._settings
        limit_s = np.where(tracks["id"] != _NO_ID, settings.lost_s, settings.tentative_s)
        self._tracks = tracks[tracks["unseen_s"] <= limit_s]

    def _confirmed(self, rows: NDArray[np.intp], detections: Detections) -> Detections:
        """Give ids to newly confirmed tracks; of the detections, those of tracks that are confirmed."""
        tracks = self._tracks
        new = np.flatnonzero((tracks["id"] == _NO_ID) & (tracks["hits"] >= self._settings.confirm_hits))
        tracks["id"][new] = np.arange(self._next_id, self._next_id + len(new))
        self._next_id += len(new)
        objects = tracks["id"][rows] != _NO_ID
        rows, found = rows[objects], detections[objects]
        classes = tracks["class_scores"][rows].argmax(axis=1).astype(np.int16)
        foot, half = tracks["foot"][rows], (found.boxes_xyxy_px[:, 2:3] - found.boxes_xyxy_px[:, :1]) / 2
        head = foot[:, 1:] - self._bodies.heights(tracks[rows], foot[:, 1])[:, None]
        bodies = np.concatenate((foot[:, :1] - half, head, foot[:, :1] + half, foot[:, 1:]), axis=1)
        ids = tracks["id"][rows]
        return Detections(found.boxes_xyxy_px, found.scores, classes, ids, bodies.astype(np.float32))

    def _begin(self, detections: Detections, hidden: NDArray[np.bool_]) -> None:
        """Begin tentative tracks, those of the best scores first."""
        room = self._settings.max_tracks - len(self._tracks)
        if len(detections) > room:
            self.refused += len(detections) - room
            best = np.argsort(-detections.scores, kind="stable")[:room]
            detections, hidden = detections[best], hidden[best]
        if not len(detections):
            return
        begun = np.zeros(len(detections), _TRACK)
        begun["hits"] = 1
        begun["class_scores"][np.arange(len(begun)), detections.classes] = detections.scores
        begun["foot"] = self._bodies.begin(begun, detections, hidden)
        self._tracks = np.concatenate((self._tracks, begun))

    # ------------------------------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values and arrays (`common.app.edge.State`)."""
        columns = {f"track_{name}": self._tracks[name].copy() for name in _TRACK.names or ()}
        rest = {"next_id": self._next_id, "time_ns": self._time_ns, "refused": self.refused}
        return rest | columns | {"heights": self._bodies.person_heights.snapshot()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot`: the same detections then give the same tracks."""
        tracks = np.zeros(len(state["track_id"]), _TRACK)
        for name in _TRACK.names or ():
            tracks[name] = state[f"track_{name}"]
        self._tracks = tracks
        self._bodies.person_heights.restore(state["heights"])
        self._next_id, self._time_ns = int(state["next_id"]), state["time_ns"]
        self.refused = int(state["refused"])
