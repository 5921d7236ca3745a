"""PR, QRS and QT against beats whose waves begin and end where we put them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from apps.ecg.edge.intervals import Average, Intervals, average, intervals, span

RATES_HZ = (125.0, 250.0, 360.0, 500.0, 1000.0)


def bump(t: np.ndarray, begin: float, end: float, height: float) -> np.ndarray:
    """A raised cosine from ``begin`` to ``end``."""
    phase = (t - begin) / (end - begin)
    return np.where((phase > 0) & (phase < 1), height * (0.5 - 0.5 * np.cos(2 * np.pi * phase)), 0.0)


TANGENT_SHARE = 0.5 - 1 / np.pi
"""Of the half width of a raised cosine: how far inside its end the steepest tangent meets the level."""


def beats(
    rate_hz: float,
    *,
    count: int = 60,
    noise_mv: float = 0.03,
    pr_s: float = 0.16,
    qrs_s: float = 0.09,
    qt_s: float = 0.40,
    p_mv: float = 0.12,
    t_mv: float = 0.3,
    r_mv: float = 1.2,
    seed: int = 1,
) -> np.ndarray:
    """Beats with R at 0 and tangent ends so that PR, QRS and QT are as given."""
    before, after = span(rate_hz)
    t = np.arange(-before, after) / rate_hz
    on = -0.45 * qrs_s
    p_on = on - pr_s
    p_half, t_half = 0.05, 0.09
    p_begin = p_on - TANGENT_SHARE * p_half
    t_end = on + qt_s + TANGENT_SHARE * t_half
    wave = bump(t, p_begin, p_begin + 2 * p_half, p_mv) + bump(t, t_end - 2 * t_half, t_end, t_mv)
    wave += np.interp(
        t, on + qrs_s * np.array([0, 0.16, 0.45, 0.75, 1]), np.array([0, -0.12, 1, -0.25, 0]) * r_mv
    )
    rng = np.random.default_rng(seed)
    wander = rng.normal(0, 0.1, (count, 1)) + rng.normal(0, 0.1, (count, 1)) * t
    return wave + wander + rng.normal(0, noise_mv, (count, len(t)))


def measured(rate_hz: float, rr_s: float = 0.9, **shape: Any) -> Intervals | None:
    found = average(beats(rate_hz, **shape).astype(np.float32), rate_hz)
    assert found is not None
    return intervals(found, rr_s)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize(
    ("pr_s", "qrs_s", "qt_s"), [(0.16, 0.09, 0.40), (0.12, 0.08, 0.34), (0.20, 0.14, 0.44)]
)
def test_the_intervals_are_found(rate_hz: float, pr_s: float, qrs_s: float, qt_s: float) -> None:
    found = measured(rate_hz, pr_s=pr_s, qrs_s=qrs_s, qt_s=qt_s)
    assert found is not None
    assert found.qrs_ms == pytest.approx(1e3 * qrs_s, abs=14)
    assert found.pr_ms == pytest.approx(1e3 * pr_s, abs=14)
    assert found.qt_ms == pytest.approx(1e3 * qt_s, abs=14)


@pytest.mark.parametrize(
    ("r_mv", "t_mv", "p_mv"), [(-1.2, 0.3, 0.12), (1.2, -0.3, 0.12), (-1.2, -0.3, -0.12)]
)
def test_the_sense_of_the_waves_does_not_matter(r_mv: float, t_mv: float, p_mv: float) -> None:
    found = measured(360.0, r_mv=r_mv, t_mv=t_mv, p_mv=p_mv)
    assert found is not None
    assert found.qrs_ms == pytest.approx(90, abs=14)
    assert found.pr_ms == pytest.approx(160, abs=14)
    assert found.qt_ms == pytest.approx(400, abs=14)


def test_qt_is_corrected_for_the_rate() -> None:
    found = measured(500.0, rr_s=0.64, qt_s=0.34)
    assert found is not None
    assert found.qt_ms is not None
    assert found.qtc_bazett_ms == pytest.approx(found.qt_ms / 0.8)
    assert found.qtc_fridericia_ms == pytest.approx(found.qt_ms / 0.64 ** (1 / 3))
    assert found.rr_ms == 640


def test_an_absent_wave_has_no_interval() -> None:
    no_p = measured(360.0, p_mv=0.0)
    no_t = measured(360.0, t_mv=0.0)
    assert no_p is not None
    assert no_t is not None
    assert no_p.pr_ms is None
    assert no_p.qt_ms == pytest.approx(400, abs=14)
    assert no_t.qt_ms is None
    assert no_t.qtc_bazett_ms is None
    assert no_t.qtc_fridericia_ms is None
    assert no_t.pr_ms == pytest.approx(160, abs=14)


def test_noise_makes_nothing_up() -> None:
    rng = np.random.default_rng(8)
    before, after = span(360.0)
    noise = rng.normal(0, 0.3, (60, before + after))
    found = average(noise, 360.0)
    assert found is None or intervals(found, 0.9) is None
    average_of_noise = Average(noise.mean(axis=0), before, 360.0, 60, 0.3 / 60**0.5)
    assert intervals(average_of_noise, 0.9) is None


def test_in_atrial_fibrillation_there_is_no_pr() -> None:
    found = average(beats(360.0), 360.0)
    assert found is not None
    without = intervals(found, 0.9, p_wave=False)
    assert without is not None
    assert without.pr_ms is None
    assert without.qt_ms is not None


def test_ectopic_and_torn_beats_are_left_out_of_the_average() -> None:
    good = beats(360.0, count=40)
    odd = beats(360.0, count=8, qrs_s=0.18, r_mv=-2.0, seed=2)
    torn = good[:5].copy()
    torn[:, 100] = np.nan
    found = average(np.concatenate([odd, good, torn]), 360.0)
    assert found is not None
    assert found.beats == 40
    assert average(good[:14], 360.0) is None
    assert average(np.full((40, len(good[0])), np.nan), 360.0) is None
