"""Intervals and the trivial rule of counting, and occupancy of zones against truth by eye."""

from __future__ import annotations

import numpy as np
import pytest

from apps.retail.training.clips import ClipMoment, ClipVisit, ClipZone
from apps.retail.training.judged import Judged, intervals, total_of
from apps.retail.training.zone_visits import score_zone
from common.vision.crossing_matches import TimedCrossing

SECOND_NS = 10**9


def crossings(*times_s: float, direction: str = "in") -> list[TimedCrossing]:
    return [TimedCrossing("door", direction, time_s) for time_s in times_s]


def judged(counted: list[TimedCrossing], truth: list[TimedCrossing], duration_s: float = 300.0) -> Judged:
    return Judged("door", duration_s, counted, truth)


def test_an_interval_holds_its_figure_and_is_a_point_where_nothing_is_wrong() -> None:
    truth = crossings(*np.arange(5.0, 295.0, 5.0))
    right = intervals([judged(truth, truth)])
    assert right == {"count_error_percent": (0, 0), "count_precision": (1, 1), "count_recall": (1, 1)}
    one = judged(truth[::2], truth)
    for figure, (low, high) in intervals([one]).items():
        assert low <= one.score.figures()[figure] <= high
    low, high = intervals([one])["count_recall"]
    assert 0.3 < low < high < 0.7


def test_an_interval_over_several_sources_is_that_of_their_sum() -> None:
    truth = crossings(*np.arange(1.0, 300.0, 3.0))
    good, bad = judged(truth, truth), judged(truth[::3], truth)
    low, high = intervals([good, bad])["count_recall"]
    assert low < total_of([good, bad]).recall < high
    assert intervals([judged([], [])]) == {}


def test_the_trivial_rule_knows_the_totals_and_not_the_times() -> None:
    truth = crossings(*np.linspace(0, 20, 10)) + crossings(150.0, direction="out")
    rule = judged([], truth).evenly_spaced()
    assert rule.score.error_percent == 0.0
    assert rule.score.matched == 2  # The one who left in the middle, and one of those who entered.


def test_a_part_of_the_time_begins_at_zero() -> None:
    part = judged(crossings(101.0), crossings(100.5, 250.0)).between(100.0, 200.0)
    assert [each.time_s for each in part.truth] == [0.5]
    assert (part.duration_s, part.score.matched) == (100.0, 1)


def moment(frame: int, *, slack: int = 0, doubtful: bool = False) -> ClipMoment:
    return ClipMoment(frame=frame, earliest=frame - slack, latest=frame + slack, doubtful=doubtful)


def zone(*visits: ClipVisit) -> ClipZone:
    return ClipZone(name="till", polygon=[(0, 0), (1, 0), (1, 1)], visits=list(visits))


TIMES_NS = [frame * SECOND_NS for frame in range(10)]


def test_occupancy_is_wrong_by_the_people_beyond_the_bounds() -> None:
    visits = zone(
        ClipVisit(entered=moment(2, slack=1), left=moment(6)), ClipVisit(entered=moment(8), left=None)
    )
    right = score_zone(visits, TIMES_NS, [0, 0, 1, 1, 1, 1, 0, 0, 1, 1], [])
    assert right.figures()["zone_occupancy_error"] == 0.0
    early = score_zone(visits, TIMES_NS, [0, 1, 1, 1, 1, 1, 0, 0, 1, 1], [])
    assert early.figures()["zone_occupancy_right"] == 1.0
    wrong = score_zone(visits, TIMES_NS, [0, 1, 1, 3, 1, 1, 0, 0, 0, 1], [])
    assert wrong.figures()["zone_occupancy_error"] == pytest.approx(0.3)
    assert wrong.figures()["zone_occupancy_right"] == pytest.approx(0.8)
    assert right.constant_error == pytest.approx(0.3)


def test_a_doubtful_visit_is_allowed_not_required() -> None:
    visits = zone(
        ClipVisit(entered=None, left=moment(3)), ClipVisit(entered=moment(5), left=moment(9, doubtful=True))
    )
    found = score_zone(visits, TIMES_NS, [1] * 10, [])
    assert (found.true_visits, found.doubtful_visits, found.true_dwell_s) == (1, 1, 2.0)
    assert found.figures()["zone_occupancy_right"] == pytest.approx(0.8)
    assert found.figures()["zone_visits_error_percent"] == 100.0
