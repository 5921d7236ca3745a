"""HRV against series whose variability is known, and against neurokit2."""

from __future__ import annotations

import numpy as np
import pytest

from apps.ecg.edge.hrv import MIN_NN, variability


def beats(seconds: float = 300.0, **sines_ms: tuple[float, float]) -> np.ndarray:
    """Times of beats 0.85 s apart, the intervals swinging by ``(amplitude_ms, frequency_hz)``."""
    times = [0.0]
    while times[-1] < seconds:
        swing = sum(a * np.sin(2 * np.pi * f * times[-1]) for a, f in sines_ms.values())
        times.append(times[-1] + 0.85 + swing / 1e3)
    return np.array(times)


def of(times: np.ndarray, ectopic: tuple[int, ...] = (), broken: tuple[int, ...] = ()):
    normal, joined = np.ones(len(times), bool), np.ones(len(times), bool)
    normal[list(ectopic)] = False
    joined[list(broken)] = False
    return variability(times, normal, joined)


def test_each_band_has_the_power_of_its_sine() -> None:
    found = of(beats(slow=(20, 0.02), middle=(30, 0.1), fast=(24, 0.25)))
    assert found is not None
    assert found.vlf_ms2 == pytest.approx(20**2 / 2, rel=0.1)
    assert found.lf_ms2 == pytest.approx(30**2 / 2, rel=0.1)
    assert found.hf_ms2 == pytest.approx(24**2 / 2, rel=0.1)
    assert found.lf_hf == pytest.approx(450 / 288, rel=0.1)
    assert found.sdnn_ms == pytest.approx(np.sqrt(200 + 450 + 288), rel=0.05)


def test_white_variability_spreads_by_the_width_of_the_bands() -> None:
    rng = np.random.default_rng(3)
    found = [of(np.cumsum(rng.normal(0.8, 0.03, 375))) for _ in range(40)]
    hf = np.mean([each.hf_ms2 for each in found if each and each.hf_ms2 is not None])
    lf = np.mean([each.lf_ms2 for each in found if each and each.lf_ms2 is not None])
    whole_hz = 0.625  # half of the rate of beats
    assert hf == pytest.approx(900 * 0.25 / whole_hz, rel=0.1)
    assert lf == pytest.approx(900 * 0.11 / whole_hz, rel=0.1)


def test_time_domain_by_hand() -> None:
    times = np.concatenate([[0.0], np.cumsum(np.tile([0.8, 0.86], 50))])
    found = of(times)
    assert found is not None
    assert found.mean_nn_ms == pytest.approx(830)
    assert found.rmssd_ms == pytest.approx(60)
    assert found.pnn50_percent == pytest.approx(100)
    assert found.sdnn_ms == pytest.approx(30 * np.sqrt(100 / 99))
    assert found.nn_count == 100


def test_ectopic_beats_change_nothing_but_the_counts() -> None:
    times = beats(middle=(30, 0.1))
    early = times.copy()
    places = tuple(range(20, 340, 32))
    for place in places:
        early[place] -= 0.3
    clean, found = of(times), of(early, ectopic=places)
    assert clean is not None
    assert found is not None
    assert found.nn_count == clean.nn_count - 2 * len(places)
    assert found.ectopic_share == pytest.approx(len(places) / len(times))
    assert found.rmssd_ms == pytest.approx(clean.rmssd_ms, rel=0.03)
    assert found.lf_ms2 == pytest.approx(clean.lf_ms2, rel=0.1)


def test_a_hole_of_bad_signal_is_no_long_interval() -> None:
    times = beats(fast=(20, 0.3))
    held = np.concatenate([times[:150], times[170:]])
    whole, holed = of(times), of(held, broken=(150,))
    assert whole is not None
    assert holed is not None
    assert holed.sdnn_ms == pytest.approx(whole.sdnn_ms, rel=0.05)
    assert holed.hf_ms2 == pytest.approx(whole.hf_ms2, rel=0.1)


def test_too_little_gives_nothing() -> None:
    assert of(np.arange(MIN_NN) * 0.8) is None
    assert of(np.array([0.0])) is None
    short = of(np.arange(MIN_NN + 1) * 0.8)
    assert short is not None
    assert short.lf_ms2 is None
    assert short.lf_hf is None


def test_neurokit_finds_about_the_same() -> None:
    neurokit = pytest.importorskip("neurokit2")
    rng = np.random.default_rng(5)
    times = np.cumsum(
        0.85 + 0.02 * np.sin(2 * np.pi * 0.1 * np.arange(353) * 0.85) + rng.normal(0, 0.02, 353)
    )
    found = of(times)
    assert found is not None
    peaks = {"ECG_R_Peaks": np.round(times * 1000).astype(int)}
    by_time = neurokit.hrv_time(peaks, sampling_rate=1000)
    by_frequency = neurokit.hrv_frequency(
        peaks, sampling_rate=1000, psd_method="welch", normalize=False, silent=True, vlf=(0.0033, 0.04)
    )
    assert found.sdnn_ms == pytest.approx(float(by_time["HRV_SDNN"].iloc[0]), rel=0.01)
    assert found.rmssd_ms == pytest.approx(float(by_time["HRV_RMSSD"].iloc[0]), rel=0.01)
    assert found.pnn50_percent == pytest.approx(float(by_time["HRV_pNN50"].iloc[0]), abs=0.6)
    # its Welch spectrum is that of interpolated intervals: high frequencies come out smaller
    assert found.lf_ms2 == pytest.approx(float(by_frequency["HRV_LF"].iloc[0]), rel=0.3)
    assert found.hf_ms2 == pytest.approx(float(by_frequency["HRV_HF"].iloc[0]), rel=0.5)
