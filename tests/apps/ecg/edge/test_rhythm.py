"""Features of the rhythm: they separate AF from ectopy, and do not depend on the cut."""

from __future__ import annotations

import numpy as np
import pytest

from apps.ecg.edge.beats import KINDS, BeatFeatures, BeatRows
from apps.ecg.edge.rhythm import HOP, RHYTHM_NAMES, WINDOWS, RhythmFeatures, suppress_s_in_af
from apps.ecg.virtual.patient import patient_of
from common.edge.processing.state import decode_state, encode_state


def classified(parameters: dict[str, str], seconds: float = 80.0) -> tuple[BeatRows, np.ndarray]:
    """Beats of a virtual patient with their true classes."""
    patient = patient_of(parameters)
    beats = list(patient.beats(0.0, seconds))
    signal = patient.signal(0, int(seconds * patient.rate_hz))[:, 0]
    rows = BeatFeatures(patient.rate_hz).push(signal, [beat.sample for beat in beats])
    return rows, np.array([KINDS.index(beat.kind) for beat in beats])[: len(rows)]


def last(parameters: dict[str, str], name: str) -> float:
    rows = RhythmFeatures().push(*classified(parameters))
    return float(rows.features[-1, RHYTHM_NAMES.index(name)])


@pytest.fixture(scope="module")
def fibrillating() -> tuple[BeatRows, np.ndarray]:
    return classified({"seed": "5", "rhythm": "AF"})


def test_fibrillation_is_irregular_without_p_waves(fibrillating: tuple[BeatRows, np.ndarray]) -> None:
    rows = RhythmFeatures().push(*fibrillating)
    af = dict(zip(RHYTHM_NAMES, rows.features[-1], strict=True))
    assert af["rmssd(24)"] > 0.15
    assert af["sampled(64)"] > last({"seed": "5"}, "sampled(64)") + 0.5
    assert last({"seed": "5"}, "rmssd(24)") < 0.1
    assert af["p_alike(64)"] < last({"seed": "5"}, "p_alike(64)")


def test_ventricular_ectopy_is_not_irregularity() -> None:
    assert last({"seed": "5", "pvc": "20"}, "rmssd(64)") < 0.1


def test_beats_one_by_one_give_the_same_rows(fibrillating: tuple[BeatRows, np.ndarray]) -> None:
    rows, kinds = fibrillating
    whole, rhythm = RhythmFeatures().push(rows, kinds), RhythmFeatures()
    parts = []
    for at in range(len(rows)):
        if at == 50:
            state = decode_state(encode_state(rhythm.snapshot()))
            rhythm = RhythmFeatures()
            rhythm.restore(state)
        one = slice(at, at + 1)
        parts.append(rhythm.push(BeatRows(rows.samples[one], rows.rr_s[one], rows.features[one]), kinds[one]))
    assert np.array_equal(np.concatenate([part.features for part in parts]), whole.features)
    assert np.array_equal(np.concatenate([part.began for part in parts]), whole.began)
    assert np.all(np.diff(whole.samples) > 0)
    assert np.all(whole.began < whole.samples)


def test_a_row_comes_every_few_beats_and_state_is_bounded(fibrillating: tuple[BeatRows, np.ndarray]) -> None:
    rows, kinds = fibrillating
    rhythm = RhythmFeatures()
    for _ in range(3):
        rhythm.push(rows, kinds)
    found = rhythm.push(rows, kinds)
    assert len(found) in (len(rows) // HOP, len(rows) // HOP + 1)
    assert len(rhythm.snapshot()["beats"]) == WINDOWS[-1]


def test_only_ventricular_beats_give_numbers(fibrillating: tuple[BeatRows, np.ndarray]) -> None:
    rows, _ = fibrillating
    found = RhythmFeatures().push(rows, np.full(len(rows), KINDS.index("V")))
    assert np.all(np.isfinite(found.features))


def test_an_early_beat_in_fibrillation_is_reported_as_normal() -> None:
    kinds, samples = np.array([1, 1, 2, 1, 0, 1]), np.array([100, 200, 300, 400, 500, 600])
    decided_at, chances = np.array([200, 500]), np.array([0.6, 0.3])
    assert suppress_s_in_af(kinds, samples, decided_at, chances, 0.5).tolist() == [1, 0, 2, 0, 0, 1]
    assert suppress_s_in_af(kinds, samples, decided_at, chances, 0.5, before=0.5).tolist() == [
        0,
        0,
        2,
        0,
        0,
        1,
    ]
    assert suppress_s_in_af(kinds, samples, decided_at[:0], chances[:0], 0.5).tolist() == kinds.tolist()
