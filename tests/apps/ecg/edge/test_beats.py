"""Features of beats: the same however the signal was cut, and from no more than the bounded look-ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.ecg.edge.beats import AHEAD_S, FEATURE_NAMES, FEATURES, BeatFeatures, BeatRows, decided
from apps.ecg.edge.peaks import DELAY_S
from apps.ecg.virtual.patient import patient_of
from common.edge.processing.state import decode_state, encode_state

RATE = 360.0
SECONDS = 40


@pytest.fixture(scope="module")
def lead() -> tuple[np.ndarray, np.ndarray, str]:
    """Signal of one lead, R peaks and classes, with many ectopic beats."""
    patient = patient_of({"seed": "3", "pvc": "12", "pac": "8"})
    beats = list(patient.beats(0.0, SECONDS))
    signal = patient.signal(0, int(SECONDS * RATE))[:, 0]
    return signal, np.array([beat.sample for beat in beats]), "".join(beat.kind for beat in beats)


def pushed(
    features: BeatFeatures, lead: tuple[np.ndarray, np.ndarray, str], cuts: list[int]
) -> list[BeatRows]:
    """Push with each peak as late as the detector may give it."""
    signal, peaks, _ = lead
    late, rows = round(DELAY_S * RATE), []
    for begin, end in zip([0, *cuts], [*cuts, len(signal)], strict=True):
        due = peaks[(peaks + late >= begin) & (peaks + late < end)]
        rows.append(features.push(signal[begin:end], due))
    return rows


def joined(rows: list[BeatRows]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.concatenate([r.samples for r in rows]),
        np.concatenate([r.rr_s for r in rows]),
        np.concatenate([r.features for r in rows]),
    )


@settings(max_examples=15)
@given(st.lists(st.integers(1, int(SECONDS * RATE) - 1), min_size=0, max_size=60, unique=True))
def test_any_cut_gives_the_same_features(lead: tuple[np.ndarray, np.ndarray, str], cuts: list[int]) -> None:
    whole = joined(pushed(BeatFeatures(RATE), lead, []))
    parts = joined(pushed(BeatFeatures(RATE), lead, sorted(cuts)))
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other)


def test_nothing_after_the_look_ahead_counts(lead: tuple[np.ndarray, np.ndarray, str]) -> None:
    signal, peaks, _ = lead
    at = peaks[20]
    known = int(at + (AHEAD_S + DELAY_S) * RATE) + 1
    changed = signal.copy()
    changed[known:] = 7.0
    before = peaks[peaks <= at + AHEAD_S * RATE]
    one = BeatFeatures(RATE).push(signal, peaks)
    other = BeatFeatures(RATE).push(changed, before)
    assert np.array_equal(one.features[:21], other.features[:21])


def test_a_beat_is_given_within_its_delay(lead: tuple[np.ndarray, np.ndarray, str]) -> None:
    signal, peaks, _ = lead
    features = BeatFeatures(RATE)
    assert features.delay_samples <= round((AHEAD_S + DELAY_S) * RATE)
    late = round(DELAY_S * RATE)
    for begin in range(0, len(signal), 36):
        due = peaks[(peaks + late >= begin) & (peaks + late < begin + 36)]
        for sample in features.push(signal[begin : begin + 36], due).samples:
            assert begin < sample + features.delay_samples + 1


def test_a_restored_state_goes_on(lead: tuple[np.ndarray, np.ndarray, str]) -> None:
    middle = 9_000
    signal, peaks, _ = lead
    one = BeatFeatures(RATE)
    one.push(signal[:middle], peaks[peaks < middle - 144])
    other = BeatFeatures(RATE)
    other.restore(decode_state(encode_state(one.snapshot())))
    rest = signal[middle:], peaks[peaks >= middle - 144]
    assert np.array_equal(one.push(*rest).features, other.push(*rest).features)


def test_state_does_not_grow(lead: tuple[np.ndarray, np.ndarray, str]) -> None:
    signal, peaks, _ = lead
    features = BeatFeatures(RATE)
    sizes = []
    for turn in range(6):
        features.push(signal, peaks + turn * len(signal))
        sizes.append(len(encode_state(features.snapshot())))
    assert max(sizes[2:]) < 1.05 * sizes[1]


def test_ectopic_beats_stand_out(lead: tuple[np.ndarray, np.ndarray, str]) -> None:
    rows, kinds = BeatFeatures(RATE).push(lead[0], lead[1]), np.array(list(lead[2]))
    kinds = kinds[: len(rows)]

    def median(name: str, kind: str) -> float:
        return float(np.median(rows.features[10:, FEATURE_NAMES.index(name)][kinds[10:] == kind]))

    assert median("rr/normal", "V") < -0.1
    assert median("rr/normal", "S") < -0.1
    assert median("alike_dominant", "V") < 0.9 < median("alike_dominant", "S")
    assert median("p_off/usual", "V") > median("p_off/usual", "N") + 0.3
    assert abs(median("rr/normal", "N")) < 0.1


@pytest.mark.parametrize("rate", [125.0, 250.0, 500.0, 1000.0])
def test_features_hardly_depend_on_the_rate(rate: float) -> None:
    def features(of: float) -> np.ndarray:
        patient = patient_of({"seed": "3", "rate_hz": f"{of:g}"})
        peaks = [beat.sample for beat in patient.beats(0.0, 20.0)]
        return BeatFeatures(of).push(patient.signal(0, int(20 * of))[:, 0], peaks).features

    reference, found = features(360.0), features(rate)
    assert found.shape == reference.shape
    assert found.shape[1] == FEATURES
    column = FEATURE_NAMES.index("alike_dominant")
    assert np.median(np.abs(found[5:, column] - reference[5:, column])) < 0.02
    assert np.all(np.isfinite(found))


def test_a_flat_signal_gives_numbers() -> None:
    rows = BeatFeatures(RATE).push(np.zeros(7200), np.arange(300, 6800, 300))
    assert np.all(np.isfinite(rows.features))


def test_in_long_runs_of_early_beats_they_stay_early() -> None:
    lengths_s = np.tile([1.0, *[0.6] * 15], 12)
    peaks = 500 + np.concatenate([[0], np.cumsum(lengths_s * RATE)]).astype(int)
    rows = BeatFeatures(RATE).push(np.zeros(peaks[-1] + 800), peaks)
    column = FEATURE_NAMES.index("rr/late")
    ratios = np.exp(rows.features[1:, column].reshape(-1, 16)[3:])
    assert np.all(ratios[:, 1:] < 0.8)
    assert np.all(ratios[:, 0] > 0.95)


def test_odds_weigh_the_classes() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2, 0.0, 0.0]])
    assert decided(probabilities, {})[0] == 0
    assert decided(probabilities, {"S": 2.0})[0] == 1
    assert len(decided(np.empty((0, 5)), {})) == 0
