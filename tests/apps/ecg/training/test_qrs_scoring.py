from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ecg.benchmarks.qrs import BASELINES
from apps.ecg.training.dataset import Beats, Record, Span
from apps.ecg.training.qrs_scoring import counts, figures, matches, measure_qrs, outside
from apps.ecg.virtual.patient import patient_of


def samples(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def record(name: str, beats: np.ndarray, flutter: tuple[Span, ...] = ()) -> Record:
    kinds = np.full(len(beats), "N")
    return Record(name, 360.0, np.zeros((200_000, 1)), ("II",), Beats(beats, kinds, kinds), (), flutter)


def test_each_beat_takes_one_detection_within_the_window() -> None:
    assert matches(samples(100, 400), samples(46, 154, 455), 54) == [(0, 0)]
    assert matches(samples(100, 150), samples(120, 160), 54) == [(0, 0), (1, 1)]
    assert matches(samples(), samples(1), 54) == []


@given(st.lists(st.integers(0, 300), unique=True), st.lists(st.integers(0, 300), unique=True))
def test_no_other_pairing_has_more_pairs(truth: list[int], found: list[int]) -> None:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    beats, peaks = samples(*sorted(truth)), samples(*sorted(found))
    near = np.abs(beats[:, None] - peaks) <= 10
    max_matches = np.count_nonzero(maximum_bipartite_matching(csr_array(near)) >= 0) if near.size else 0
    pairs = matches(beats, peaks, 10)
    assert len(pairs) == max_matches
    assert all(near[pair] for pair in pairs)
    assert [p[0] for p in pairs] == sorted({p[0] for p in pairs})
    assert [p[1] for p in pairs] == sorted({p[1] for p in pairs})


def test_flutter_and_the_first_minutes_count_apart() -> None:
    one = record("207", samples(1000, 2000, 150_000), (Span(5000, 6000, "flutter"),))
    found = samples(1010, 2030, 5500, 150_001, 160_000)
    scores = {(c.part, c.window_ms): (c.hits, c.missed, c.extra) for c in counts(one, "baseline", found)}
    assert scores == {
        ("whole", 150): (3, 0, 1),
        ("whole", 50): (2, 1, 2),
        ("after_5_min", 150): (1, 0, 1),
        ("after_5_min", 50): (1, 0, 1),
        ("with_flutter", 150): (3, 0, 2),
        ("with_flutter", 50): (2, 1, 3),
    }
    assert outside(found, one.flutter).tolist() == [1010, 2030, 150_001, 160_000]


def test_figures_are_gross_and_wfdb_agrees() -> None:
    counted = [
        *counts(record("101", samples(1000, 2000)), "edgeloop", samples(1000, 1500)),
        *counts(record("100", np.arange(1000, 9000, 1000)), "edgeloop", np.arange(1000, 9000, 1000)),
        *counts(record("100", samples(1000, 2000)), "xqrs", samples(1000)),
    ]
    found = figures(counted)
    assert found["ecg_qrs_sensitivity"].value == pytest.approx(90)
    assert found["ecg_qrs_ppv"].value == pytest.approx(90)
    assert found["ecg_qrs_sensitivity_wfdb"].value == pytest.approx(90)
    assert found["ecg_qrs_sensitivity_unseen"].value == 100
    assert found["ecg_xqrs_qrs_sensitivity"].value == 50
    assert found["ecg_xqrs_qrs_ppv"].value == 100
    lower, upper = found["ecg_qrs_ppv"].lower, found["ecg_qrs_ppv"].upper
    assert lower is not None
    assert upper is not None
    assert lower <= 90 <= upper


def test_baselines_are_measured_on_the_same_records(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = patient_of({"seed": "5", "pvc": "0"})
    beats = samples(*(beat.sample for beat in patient.beats(0, 60)))
    kinds = np.full(len(beats), "N")
    one = Record("100", 360.0, patient.signal(0, 21_600), ("II",), Beats(beats, kinds, kinds), (), ())
    monkeypatch.setattr("apps.ecg.training.qrs_scoring.load_record", lambda _folder, _name: one)
    found = figures(list(measure_qrs(Path(), ["100"], BASELINES)))
    for who in ("", "neurokit2_", "sleepecg_", "xqrs_"):
        assert found[f"ecg_{who}qrs_sensitivity"].value > 95, who
