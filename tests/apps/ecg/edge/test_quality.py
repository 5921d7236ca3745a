from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from apps.ecg.edge.quality import LeadQuality, QualityChange
from apps.ecg.virtual.patient import patient_of

Floats = NDArray[np.float64]


@cache
def lead(seconds: int = 60, rate_hz: float = 360.0, **parameters: str) -> Floats:
    patient = patient_of({"seed": "2", "rate_hz": f"{rate_hz:g}", **parameters})
    return patient.signal(0, round(seconds * rate_hz))[:, 0]


def bad_share(signal: Floats, rate_hz: float = 360.0) -> float:
    """Share of the signal in which the lead is bad."""
    bad, since = 0, None
    for change in LeadQuality(rate_hz).push(signal):
        if change.good and since is not None:
            bad, since = bad + change.sample - since, None
        elif not change.good and since is None:
            since = change.sample
    return (bad + (len(signal) - since if since is not None else 0)) / len(signal)


@pytest.mark.parametrize("rhythm", ["sinus", "AF", "VT", "tachycardia", "bradycardia"])
@pytest.mark.parametrize("rate_hz", [125.0, 360.0, 1000.0])
def test_a_clean_lead_is_good_in_every_rhythm(rhythm: str, rate_hz: float) -> None:
    assert LeadQuality(rate_hz).push(lead(rate_hz=rate_hz, rhythm=rhythm)) == []


@pytest.mark.parametrize("noise", ["muscle:0", "mains:0", "electrode_motion:0", "electrode_motion:-6"])
def test_noise_as_strong_as_the_heart_is_bad(noise: str) -> None:
    assert bad_share(lead(noise=noise)) > 0.8


@pytest.mark.parametrize("noise", ["muscle:18", "mains:18", "electrode_motion:12", "baseline_wander:6"])
def test_noise_that_a_reader_would_see_past_is_not(noise: str) -> None:
    assert bad_share(lead(noise=noise)) == 0


def damaged(kind: str) -> Floats:
    signal = lead().copy()
    part = signal[7200:10800]
    if kind == "lead_off":
        part[:] = np.nan
    elif kind == "flat":
        part[:] = -0.02
    elif kind == "saturated":
        part[:] = np.clip(part + 0.25, -0.3, 0.3)
    else:
        part += 0.4 * np.random.default_rng(0).standard_normal(len(part))
    return signal


@pytest.mark.parametrize(("kind", "known_s"), [("lead_off", 1), ("flat", 1), ("saturated", 1), ("noise", 2)])
def test_a_bad_lead_is_reported_with_reason_and_time(kind: str, known_s: int) -> None:
    bad, good = LeadQuality(360.0).push(damaged(kind))
    assert (bad.good, bad.reasons, good.good, good.reasons) == (False, (kind,), True, ())
    assert bad.sample == 7200
    assert bad.known == 7200 + known_s * 360 - 1
    assert 10800 + (2 if kind == "noise" else 0) * 360 <= good.sample <= 10800 + 5 * 360
    assert good.known == good.sample + 2 * 360 - 1


def test_a_rail_and_a_value_that_no_heart_makes_are_saturated() -> None:
    for bad in (np.full(3600, 5.115), 100 * lead()[:3600]):
        (change,) = LeadQuality(360.0).push(bad)
        assert change.reasons == ("saturated",)


def test_a_heart_that_stands_still_is_not_bad_signal() -> None:
    signal = lead().copy()
    signal[7200:12600] = np.random.default_rng(0).normal(0, 0.01, 5400)
    assert LeadQuality(360.0).push(signal) == []


@settings(max_examples=12)
@given(st.lists(st.sampled_from([1, 36, 359, 360, 361, 1000, 3600, 9000]), min_size=1, max_size=5))
def test_chunks_of_any_size_give_the_same_changes(lengths: list[int]) -> None:
    if sum(lengths) < 100 * len(lengths):
        lengths = [*lengths, 400]
    signal = np.concatenate([damaged(kind)[6000:12400] for kind in ("lead_off", "noise", "saturated")])
    expected = LeadQuality(360.0).push(signal)
    quality, found, at, turn = LeadQuality(360.0), list[QualityChange](), 0, 0
    while at < len(signal):
        length = lengths[turn % len(lengths)]
        found += quality.push(signal[at : at + length])
        again = LeadQuality(360.0)
        if turn == 3:
            again.restore(quality.snapshot())
            quality = again
        at, turn = at + length, turn + 1
    assert found == expected
    assert len(expected) >= 6
