"""Counting of beats and of AF by duration."""

from __future__ import annotations

import numpy as np
import pytest

from apps.ecg.edge.beats import KINDS
from apps.ecg.training.durations import compared
from apps.ecg.training.scoring import (
    NOTHING,
    confusion,
    drawn_patients,
    f1,
    f1_of_aami,
    matched,
    ppv,
    sensitivity,
)


def test_each_peak_takes_the_nearest_beat_within_the_window() -> None:
    found = matched(np.array([98, 105, 300, 500]), np.array([100, 310, 700]), 54)
    assert found.tolist() == [0, -1, 1, -1]


def test_a_beat_between_two_peaks_is_taken_once_and_by_the_nearer() -> None:
    assert matched(np.array([80, 110]), np.array([100]), 54).tolist() == [-1, 0]
    assert matched(np.array([], int), np.array([100]), 54).tolist() == []


def test_missed_beats_and_extra_peaks_count_against_a_class() -> None:
    v, n = KINDS.index("V"), KINDS.index("N")
    counts = confusion(np.array([v, v, v, n, NOTHING]), np.array([v, v, NOTHING, n, v]))
    assert sensitivity(counts, "V") == pytest.approx(2 / 3)
    assert ppv(counts, "V") == pytest.approx(2 / 3)
    assert f1(counts, "V") == pytest.approx(2 / 3)
    assert np.isnan(f1(counts, "S"))


def test_fusion_beats_called_v_are_no_false_ones_for_aami() -> None:
    counts = confusion(np.array([2, 2, 3, 4, 0, NOTHING]), np.array([2, 0, 2, 2, 2, 2]))
    assert f1(counts, "V") == pytest.approx(2 / 7)
    assert f1_of_aami(counts, "V") == pytest.approx(2 / 5)
    counts = confusion(np.array([1, 3, 4]), np.array([1, 1, 1]))
    assert f1_of_aami(counts, "S") == pytest.approx(2 / 3)


def test_drawn_patients_sum_to_as_many() -> None:
    drawn = drawn_patients([np.array([1.0, 0.0]), np.array([0.0, 1.0])], 50)
    assert np.all(drawn.sum(axis=1) == 2)
    assert len(np.unique(drawn[:, 0])) > 1


def test_fibrillation_counts_by_duration_and_by_episode() -> None:
    rate = 100.0
    true = ((0, 6_000), (20_000, 24_000), (30_000, 30_500))
    found = compared([(1_000, 7_000), (30_000, 30_500)], true, rate)
    assert found.found_s == pytest.approx(55)
    assert found.wrong_s == pytest.approx(10)
    assert found.missed_s == pytest.approx(50)
    assert (found.episodes, found.episodes_found) == (2, 1)
    assert found.f1 == pytest.approx(2 * 55 / (2 * 55 + 10 + 50))


def test_no_decision_and_no_truth() -> None:
    assert np.isnan(compared([], (), 100.0).f1)
    assert compared([], ((0, 6_000),), 100.0).missed_s == 60
