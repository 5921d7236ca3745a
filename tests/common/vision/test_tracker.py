"""The tracker: identities through gaps, frame rates and restarts, within bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.vision.assignment import assign
from common.vision.detections import BUS, CAR, PERSON, TRUCK, Detections
from common.vision.tracker import Tracker, TrackerSettings

SECOND_NS = 1_000_000_000


def walkers(
    time_s: float, *starts: tuple[float, float], speed: float = 60.0, score: float = 0.9
) -> Detections:
    """People of 40 by 100 px who walk to the right."""
    boxes = [[x + speed * time_s, y, x + speed * time_s + 40, y + 100] for x, y in starts]
    return Detections.of(boxes or np.empty((0, 4)), scores=[score] * len(boxes))


def ids_over(tracker: Tracker, frames: list[tuple[float, Detections]]) -> list[list[int]]:
    return [
        tracker.update(detections, round(time_s * SECOND_NS)).track_ids.tolist()
        for time_s, detections in frames
    ]


@pytest.mark.parametrize("rate_hz", [2.5, 5, 10, 30])
def test_a_walker_keeps_one_id_at_any_frame_rate(rate_hz: float) -> None:
    times = [index / rate_hz for index in range(round(6 * rate_hz))]
    ids = ids_over(Tracker(), [(time_s, walkers(time_s, (0, 100), (0, 300))) for time_s in times])
    assert ids[:2] == [[], []]
    assert {tuple(each) for each in ids[2:]} == {(1, 2)}


def test_irregular_frames_are_no_new_people() -> None:
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.uniform(0.03, 0.5, 60)).tolist()
    ids = ids_over(Tracker(TrackerSettings(tentative_s=1)), [(t, walkers(t, (0, 100))) for t in times])
    assert {each for frame in ids for each in frame} == {1}


def test_detections_once_or_twice_are_no_object() -> None:
    tracker = Tracker()
    frames = [(index / 10, walkers(0, (300.0 * (index // 2), 100))) for index in range(20)]
    assert not any(ids_over(tracker, frames))


def test_an_occluded_walker_keeps_the_id_and_one_who_is_gone_for_long_gets_a_new_one() -> None:
    def after(gap_s: float) -> set[int]:
        times = [index / 10 for index in range(60)]
        shown = [(t, walkers(t, (0, 100)) if not 2 < t <= 2 + gap_s else Detections.empty()) for t in times]
        return {each for frame in ids_over(Tracker(), shown) for each in frame}

    assert after(0.8) == {1}
    assert after(2.5) == {1, 2}


def test_a_low_score_continues_a_track_and_begins_none() -> None:
    tracker = Tracker()
    faint = [(index / 10, walkers(index / 10, (0, 100), score=0.2)) for index in range(10)]
    assert not any(ids_over(tracker, faint))
    clear = [(1 + index / 10, walkers(1 + index / 10, (0, 100))) for index in range(5)]
    later = [(1.5 + index / 10, walkers(1.5 + index / 10, (0, 100), score=0.2)) for index in range(10)]
    assert ids_over(tracker, clear + later)[2:] == [[1]] * 13


def test_a_person_does_not_continue_a_car_but_a_truck_does() -> None:
    def of(class_: int, time_s: float) -> tuple[float, Detections]:
        return time_s, Detections.of([[0, 0, 100, 100]], classes=[class_])

    first = [of(CAR, index / 10) for index in range(6)]
    assert ids_over(Tracker(), [*first, of(PERSON, 0.6)])[-1] == []
    tracker = Tracker()
    assert ids_over(tracker, [*first, of(TRUCK, 0.6)])[-1] == [1]
    last = tracker.update(of(BUS, 0.7)[1], 7 * SECOND_NS // 10)
    assert last.classes.tolist() == [CAR]


def test_walkers_who_pass_each_other_keep_their_ids() -> None:
    tracker = Tracker()
    last: dict[int, float] = {}
    for index in range(60):
        time_s = index / 10
        right, left = 80 * time_s, 480 - 80 * time_s
        boxes = [[right, 100, right + 40, 200], [left, 130, left + 40, 230]]
        found = tracker.update(Detections.of(boxes), round(time_s * SECOND_NS))
        last = dict(zip(found.track_ids.tolist(), found.boxes_xyxy_px[:, 0].tolist(), strict=True))
    assert last[1] > last[2]
    assert set(last) == {1, 2}


def test_beyond_the_maximum_nothing_begins_and_that_is_counted() -> None:
    tracker = Tracker(TrackerSettings(max_tracks=3))
    crowd = walkers(0, *[(100.0 * x, 0.0) for x in range(5)])
    found = Detections.empty()
    for index in range(5):
        found = tracker.update(crowd, index * SECOND_NS // 10)
    assert len(found) == len(tracker) == 3
    assert tracker.refused == 2 * 5


def test_a_clock_that_goes_back_ends_no_track_and_keeps_none_for_ever() -> None:
    tracker = Tracker()
    ids_over(tracker, [(1000 + index / 10, walkers(0, (0, 100))) for index in range(5)])
    assert ids_over(tracker, [(10, walkers(0, (0, 100)))]) == [[1]]
    ids_over(tracker, [(10 + index / 10, Detections.empty()) for index in range(30)])
    assert len(tracker) == 0


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.5, 1.0]))
def test_assignment_has_the_greatest_sum(rows: int, columns: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    affinity = rng.integers(1, 9, (rows, columns)) * (rng.random((rows, columns)) < share)
    first, second = assign(affinity)
    assert len(set(first.tolist())) == len(first)
    assert len(set(second.tolist())) == len(second)
    assert (affinity[first, second] > 0).all()
    assert affinity[first, second].sum() == best_sum(affinity)


def best_sum(affinity: Any) -> int:
    """By dynamic programming over the sets of columns."""
    sums = {0: 0}
    for row in affinity.tolist():
        following = dict(sums)
        for taken, total in sums.items():
            for column, value in enumerate(row):
                if not taken >> column & 1:
                    key = taken | 1 << column
                    following[key] = max(following.get(key, 0), total + value)
        sums = following
    return max(sums.values())


class TrackerMachine(RuleBasedStateMachine):
    """Any frames at any times: what always holds, with a second tracker restored now and then."""

    @initialize(max_tracks=st.integers(1, 6), lost_s=st.floats(0.2, 3))
    def begin(self, max_tracks: int, lost_s: float) -> None:
        self.settings = TrackerSettings(max_tracks=max_tracks, lost_s=lost_s)
        self.tracker = Tracker(self.settings)
        self.copy = Tracker(self.settings)
        self.time_ns = SECOND_NS
        self.last_seen: dict[int, int] = {}
        self.highest = 0

    @rule(
        boxes=st.lists(
            st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(5, 80), st.integers(5, 120)),
            max_size=8,
        ),
        seed=st.integers(0, 1000),
        elapsed_ms=st.one_of(st.integers(20, 400), st.integers(-5000, 5000)),
        repeats=st.integers(1, 4),
    )
    def frame(self, boxes: list[tuple[int, int, int, int]], seed: int, elapsed_ms: int, repeats: int) -> None:
        rng = np.random.default_rng(seed)
        corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32).reshape(-1, 4)
        for _ in range(repeats):
            self.time_ns += elapsed_ms * 1_000_000
            self.check(
                Detections.of(
                    corners, scores=rng.random(len(corners)), classes=rng.integers(0, 6, len(corners))
                )
            )

    def check(self, detections: Detections) -> None:
        before = detections.boxes_xyxy_px.copy()
        found = self.tracker.update(detections, self.time_ns)
        again = self.copy.update(detections, self.time_ns)
        for name in ("boxes_xyxy_px", "scores", "classes", "track_ids"):
            np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
        assert (detections.boxes_xyxy_px == before).all()
        ids = found.track_ids.tolist()
        assert len(set(ids)) == len(ids)
        assert all(each > 0 for each in ids)
        given_boxes = {tuple(box) for box in before.tolist()}
        assert all(tuple(box) in given_boxes for box in found.boxes_xyxy_px.tolist())
        for each in sorted(ids):  # New ones of a frame are in the order of its detections.
            if each not in self.last_seen:
                assert each > self.highest, "an id is used twice"
                self.highest = each
            self.last_seen[each] = self.time_ns

    @rule()
    def restart(self) -> None:
        self.copy = Tracker(self.settings)
        self.copy.restore(self.tracker.snapshot())

    @rule()
    def all_go(self) -> None:
        for _ in range(40):
            self.time_ns += 100_000_000
            self.check(Detections.empty())
        assert len(self.tracker) == 0
        self.last_seen.clear()

    @invariant()
    def bounded(self) -> None:
        if hasattr(self, "tracker"):
            assert len(self.tracker) <= self.settings.max_tracks


TestTrackerMachine = TrackerMachine.TestCase
TestTrackerMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
