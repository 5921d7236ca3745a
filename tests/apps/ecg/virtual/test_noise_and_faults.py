"""Noise and faults of the virtual patient: power, bands, leads, and what they are called."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from apps.ecg.virtual.noise import noise_of
from apps.ecg.virtual.patient import open_source
from tests.apps.ecg.virtual.patients import RATE_HZ, patient, seconds


@pytest.mark.parametrize("kind", ["baseline_wander", "mains", "muscle", "electrode_motion"])
@pytest.mark.parametrize("rate_hz", [125, 360, 1000])
def test_noise_has_the_requested_power(kind: str, rate_hz: int) -> None:
    drawn = np.concatenate([noise_of(kind, seed, "II", 0, 100 * rate_hz, rate_hz, 50.0) for seed in range(4)])
    assert 10 * np.log10(np.mean(drawn**2)) == pytest.approx(0, abs=1)


def test_the_ratio_is_that_of_the_noise_stress_test() -> None:
    clean, noisy = patient(leads="2"), patient(leads="2", noise="muscle:-6:20-140")
    difference = seconds(noisy, 0, 160) - seconds(clean, 0, 160)
    assert not difference[: 20 * RATE_HZ].any()
    assert not difference[140 * RATE_HZ :].any()
    signal = seconds(clean, 0, 20)
    for lead in range(2):
        peaks = [beat.sample for beat in clean.beats(1, 19) if beat.kind == "N"]
        size = np.median([np.ptp(signal[p - 40 : p + 40, lead]) for p in peaks])
        ratio = size**2 / 8 / np.mean(difference[20 * RATE_HZ : 140 * RATE_HZ, lead] ** 2)
        assert 10 * math.log10(ratio) == pytest.approx(-6, abs=1)
    (burst,) = noisy.disturbances(100, 200)
    assert (burst.kind, burst.snr_db, burst.began_s, burst.ended_s) == ("muscle", -6, 100, 140)


def test_noises_are_in_their_bands() -> None:
    def share(kind: str, low: float, high: float) -> float:
        power = np.abs(np.fft.rfft(noise_of(kind, 1, "II", 0, 100 * RATE_HZ, RATE_HZ, 50.0))) ** 2
        hz = np.fft.rfftfreq(100 * RATE_HZ, 1 / RATE_HZ)
        return power[(hz >= low) & (hz <= high)].sum() / power.sum()

    assert share("baseline_wander", 0, 0.7) > 0.95
    assert share("mains", 49, 51) > 0.9
    assert share("muscle", 18, 155) > 0.9
    assert share("electrode_motion", 0, 15) > 0.9


def test_a_lead_that_is_off_is_missing() -> None:
    signal = seconds(patient(leads="2", noise="lead_off:5-8@V1"), 0, 10)
    assert not np.isnan(signal[:, 0]).any()
    missing = np.isnan(signal[:, 1])
    assert missing[5 * RATE_HZ : 8 * RATE_HZ].all()
    assert missing.sum() == 3 * RATE_HZ


def test_faults_are_what_they_are_called() -> None:
    parameters = {"seed": "1", "leads": "3", "start": "2026-01-01T00:00:00Z"}
    good = list(itertools.islice(open_source("patient", parameters, 0).readings(None), 10))
    faults = "inverted:1-2,gain:2-3,flat:3-4,missing:4-5,gap:5-6,rate:6-7,clock:7-8,saturated:8-9"
    bad = list(
        itertools.islice(open_source("patient", {**parameters, "faults": faults}, 0).readings(None), 9)
    )
    by_position = {reading.position: reading for reading in bad}
    assert np.array_equal(by_position[1].values, good[0].values)
    assert np.array_equal(by_position[2].values, -good[1].values)
    assert np.allclose(by_position[3].values, 100 * good[2].values, atol=0.051)  # a recorder's 1 µV, 100-fold
    assert not by_position[4].values.any()
    assert np.isnan(by_position[5].values).sum() == 360
    assert 6 not in by_position
    assert (by_position[7].rate_hz, len(by_position[7].values)) == (180, 180)
    assert by_position[8].captured_ns - good[7].captured_ns == 3600 * 10**9
    assert np.abs(by_position[9].values).max() <= 0.3
    assert np.array_equal(by_position[10].values, good[9].values)


def test_swapped_arms_invert_lead_i() -> None:
    right, wrong = patient(leads="12"), patient(leads="12", faults="arms_swapped:0-60")
    a, b = right.damaged_signal(0, 3600), wrong.damaged_signal(0, 3600)
    by_lead = {lead: k for k, lead in enumerate(right.leads)}
    for lead, origin, sign in (("I", "I", -1), ("II", "III", 1), ("aVR", "aVL", 1), ("V3", "V3", 1)):
        assert np.allclose(b[:, by_lead[lead]], sign * a[:, by_lead[origin]], atol=0.04)
