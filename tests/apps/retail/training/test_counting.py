"""Judging of counts: crossings matched one to one within a second, by line and direction."""

from __future__ import annotations

import pytest

from apps.retail.training.counting import Score, score
from common.vision.crossing_matches import TimedCrossing


def at(time_s: float, direction: str = "in", line: str = "door") -> TimedCrossing:
    return TimedCrossing(line, direction, time_s)


def test_each_true_crossing_is_matched_once() -> None:
    found = score([at(1.0), at(1.2), at(5.0)], [at(1.1), at(5.9)])
    assert found == Score(true=2, counted=3, matched=2, difference=1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1.0


def test_a_crossing_in_the_other_direction_or_too_late_is_wrong_twice() -> None:
    found = score([at(1.0, "out"), at(7.5)], [at(1.0), at(6.0)])
    assert (found.matched, found.difference) == (0, 2)


def test_errors_of_lines_do_not_cancel_out() -> None:
    found = score(
        [at(1.0), at(1.5), at(2.0, line="back")], [at(1.0), at(2.0, line="back"), at(3.0, line="back")]
    )
    assert found.difference == 2
    assert found.error_percent == pytest.approx(200 / 3)


def test_nothing_to_count_is_right() -> None:
    assert score([], []).error_percent == 0.0
    assert (score([], []).precision, score([], []).recall) == (1.0, 1.0)
