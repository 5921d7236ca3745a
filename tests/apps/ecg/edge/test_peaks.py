from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import resample_poly

from apps.ecg.edge.peaks import DELAY_S, RPeaks
from apps.ecg.training.dataset import DS1, load_record
from apps.ecg.training.qrs_scoring import matches, outside, streamed
from apps.ecg.virtual.patient import patient_of
from tests.datasets import mitdb_folder

Floats = NDArray[np.float64]
RATES_HZ = (125.0, 200.0, 256.0, 360.0, 500.0, 1000.0)


@cache
def lead(seconds: int = 60, rate_hz: float = 360.0, **parameters: str) -> tuple[Floats, NDArray[np.int64]]:
    """One lead of a virtual patient, and where its R peaks are."""
    patient = patient_of({"seed": "5", "rate_hz": f"{rate_hz:g}", "pvc": "4", **parameters})
    signal = patient.signal(0, round(seconds * rate_hz))[:, 0]
    return signal, np.array([beat.sample for beat in patient.beats(0, seconds)])


def cut(peaks: RPeaks, signal: Floats, lengths: list[int]) -> NDArray[np.int64]:
    """All peaks of ``signal``, given in chunks of ``lengths``, over and over."""
    found, at, turn = [], 0, 0
    while at < len(signal):
        found.append(peaks.push(signal[at : at + lengths[turn % len(lengths)]]))
        at, turn = at + lengths[turn % len(lengths)], turn + 1
    return np.concatenate(found)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_every_beat_is_found_once_at_any_rate(rate_hz: float) -> None:
    signal, truth = lead(rate_hz=rate_hz)
    found = streamed(signal, rate_hz)
    assert len(matches(truth, found, round(0.05 * rate_hz))) >= len(truth) - 1
    assert len(found) <= len(truth) + 1


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_peak_is_reported_within_400_ms_and_in_order(rate_hz: float) -> None:
    signal, _ = lead(rate_hz=rate_hz, seconds=30)
    peaks, step, last = RPeaks(rate_hz), max(1, round(rate_hz / 250)), -1
    assert peaks.delay_samples <= DELAY_S * rate_hz
    for at in range(0, len(signal), step):
        for peak in peaks.push(signal[at : at + step]):
            assert last < peak
            assert at <= peak + peaks.delay_samples
            last = peak
    assert last > len(signal) - 2 * rate_hz


@settings(max_examples=12)
@given(st.lists(st.sampled_from([1, 2, 7, 36, 94, 95, 360, 361, 1000, 3600, 9000]), min_size=1, max_size=6))
def test_chunks_of_any_size_give_the_same_peaks(lengths: list[int]) -> None:
    if sum(lengths) < 20 * len(lengths):
        lengths = [*lengths, 400]
    signal, _ = lead(noise="electrode_motion:3")
    signal = signal.copy()
    signal[4000:4100] = np.nan
    expected = RPeaks(360.0).push(signal)
    np.testing.assert_array_equal(cut(RPeaks(360.0), signal, lengths), expected)
    assert len(expected) > 40


def test_a_detector_goes_on_from_a_snapshot() -> None:
    signal, _ = lead()
    whole = RPeaks(360.0).push(signal)
    first, second = RPeaks(360.0), RPeaks(360.0)
    found = [first.push(signal[:9999])]
    second.restore(first.snapshot())
    found.append(second.push(signal[9999:]))
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_a_gap_hides_its_beats_and_makes_none() -> None:
    signal, truth = lead()
    damaged = signal + 3.0
    damaged[7200:9000] = np.nan
    damaged[9000:] -= 5.0
    found = streamed(damaged, 360.0)
    assert not np.any((found >= 7200) & (found < 9000))
    seen, detected = (at[(at < 7200 - 150) | ((at > 9000 + 360) & (at < 21_000))] for at in (truth, found))
    assert len(matches(seen, detected, 18)) >= len(seen) - 1
    assert len(detected) <= len(seen) + 1


@pytest.mark.parametrize("change", [lambda x: -x, lambda x: 5 * x, lambda x: 0.3 * x, lambda x: x + 40])
def test_neither_sign_nor_size_nor_offset_matter(change: Callable[[Any], Any]) -> None:
    signal, truth = lead()
    found = streamed(change(signal), 360.0)
    assert len(matches(truth, found, 54)) >= len(truth) - 2
    assert len(found) <= len(truth) + 2


@pytest.mark.parametrize("signal", [np.zeros(9000), np.full(9000, np.nan), np.full(9000, 5.1)])
def test_where_there_is_no_heart_there_is_no_beat(signal: Floats) -> None:
    assert len(streamed(signal, 360.0)) == 0


def test_the_last_beats_are_reported_at_the_end_of_the_signal() -> None:
    signal, truth = lead()
    end = int(truth[30]) + 60
    assert np.min(np.abs(streamed(signal[:end], 360.0) - truth[30])) <= 18
    assert len(RPeaks(360.0).push(signal[:end])) < len(streamed(signal[:end], 360.0))


def test_state_is_bounded() -> None:
    def size(value: object) -> int:
        if isinstance(value, dict):
            return sum(map(size, value.values()))
        if isinstance(value, list):
            return sum(map(size, value))
        return value.nbytes if isinstance(value, np.ndarray) else 8

    signal, _ = lead()
    peaks = RPeaks(360.0)
    peaks.push(signal)
    before = size(peaks.snapshot())
    for _ in range(5):
        peaks.push(signal)
    assert size(peaks.snapshot()) == before < 150_000


@pytest.mark.parametrize("rate_hz", [125.0, 360.0, 1000.0])
def test_a_real_record_is_read_at_any_rate(rate_hz: float) -> None:
    folder = mitdb_folder()
    record = load_record(folder, DS1[1])
    signal = record.signal_mv[: 360 * 300, 0]
    truth = outside(record.beats.samples, record.flutter)
    truth = truth[truth < len(signal)]
    down, up = (360, round(rate_hz)) if rate_hz != 360 else (1, 1)
    found = streamed(resample_poly(signal - signal[0], up, down), rate_hz)
    expected = np.rint(truth * rate_hz / 360).astype(np.int64)
    hits = len(matches(expected, found, round(0.15 * rate_hz)))
    assert hits >= 0.99 * len(truth)
    assert hits >= 0.99 * len(found)
