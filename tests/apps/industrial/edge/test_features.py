from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from apps.industrial.domain import CHANNELS, NOMINAL, SCALE, UNITS, USED, USED_CHANNELS
from apps.industrial.edge.features import (
    AGE,
    DELAY,
    FEATURE_NAMES,
    FEATURES,
    SEEN,
    RunFeatures,
    contributions,
    features_of_runs,
)
from common.edge.processing.state import decode_state, encode_state


def healthy_cycles(count: int, seed: int = 0, slopes: dict[str, float] | None = None) -> np.ndarray:
    """``(count, 24)``: nominal engine with noise; ``slopes`` in units of noise per cycle."""
    values = np.zeros((count, len(CHANNELS)))
    values[:, USED] = NOMINAL + SCALE * np.random.default_rng(seed).normal(size=(count, len(USED)))
    for name, slope in (slopes or {}).items():
        values[:, CHANNELS.index(name)] += slope * SCALE[USED_CHANNELS.index(name)] * np.arange(count)
    return values


def column(name: str) -> int:
    return FEATURE_NAMES.index(name)


def test_a_run_taken_in_cycle_by_cycle_gives_what_training_saw() -> None:
    runs = [healthy_cycles(count, count) for count in (1, 2, 37, 140)]
    for run, expected in zip(runs, features_of_runs(runs), strict=True):
        features = RunFeatures()
        streamed = np.array([features.push(values) for values in run])
        assert streamed.dtype == np.float32
        assert streamed.shape == (len(run), FEATURES) == expected.shape
        np.testing.assert_allclose(streamed, expected, rtol=1e-6, atol=1e-6)


def test_runs_do_not_touch_each_other() -> None:
    runs = [healthy_cycles(50, 1), healthy_cycles(80, 2), healthy_cycles(20, 3)]
    together = features_of_runs(runs)
    for run, found in zip(runs, together, strict=True):
        np.testing.assert_allclose(features_of_runs([run])[0], found, rtol=1e-6, atol=1e-6)
    assert features_of_runs([]) == []


def test_peek_gives_the_next_features_and_changes_nothing() -> None:
    run, features = healthy_cycles(40), RunFeatures()
    for values in run:
        peeked = features.peek(values)
        features.peek(values * 2)
        assert np.array_equal(peeked, features.push(values))
    assert features.cycles == 40


def test_a_restored_state_goes_on_and_stays_small() -> None:
    run, features = healthy_cycles(600), RunFeatures()
    for values in run[:300]:
        features.push(values)
    saved = encode_state({"features": features.snapshot()})
    other = RunFeatures()
    other.restore(decode_state(saved)["features"])
    for values in run[300:]:
        assert np.array_equal(other.push(values), features.push(values))
    assert len(encode_state({"features": features.snapshot()})) < 1.01 * len(saved) < 12_000


def test_a_snapshot_does_not_move_with_the_run() -> None:
    features = RunFeatures()
    features.push(healthy_cycles(1)[0])
    saved = features.snapshot()
    before = {key: np.array(value) for key, value in saved.items()}
    features.push(healthy_cycles(2)[1])
    assert all(np.array_equal(saved[key], before[key], equal_nan=True) for key in before)


def test_lost_cycles_pass_as_time_and_the_age_is_the_readings_own() -> None:
    run = healthy_cycles(300, slopes={"T50": 0.1})
    kept = np.flatnonzero(np.random.default_rng(0).random(300) > 0.3)
    whole, lossy = features_of_runs([run, run[kept]], [np.arange(1, 301), kept + 1])
    of_kept = whole[kept]
    assert np.allclose(lossy[:, AGE], of_kept[:, AGE])
    for name in ("mean20(T50)", "mean50(T50)", "slope30(T50)"):
        assert np.abs(lossy - of_kept)[60:, column(name)].max() < 1.5, name


def test_a_history_that_begins_late_gives_its_delay() -> None:
    run = healthy_cycles(120)
    whole, late = features_of_runs([run, run[59:]], [np.arange(1, 121), np.arange(60, 121)])
    assert np.all(whole[:, DELAY] == 0)
    assert np.allclose(late[:, DELAY], 0.59)
    assert np.allclose(late[:, SEEN], np.minimum(np.arange(1, 62), 100) / 100)


def test_a_missing_value_counts_nowhere_and_holds_what_was_known() -> None:
    run = healthy_cycles(60)
    run[40:, CHANNELS.index("T50")] = np.nan
    (found,) = features_of_runs([run])
    assert np.all(np.isfinite(found))
    mean = found[:, column("mean8(T50)")]
    np.testing.assert_allclose(mean[40:], mean[39], rtol=1e-5)
    features = RunFeatures()
    for values in run:
        features.push(values)
    recent, stale = features.support()
    place = USED_CHANNELS.index("T50")
    assert (recent[place], stale[place]) == (0, 20)
    assert (recent[0], stale[0]) == (20, 0)


def test_averages_have_no_start_up_bias_and_forget_at_their_pace() -> None:
    values = np.zeros((60, len(CHANNELS)))
    values[:, USED] = NOMINAL + 5 * SCALE
    values[30:, USED] = NOMINAL - 5 * SCALE
    found = features_of_runs([values])[0]
    for pace in (3, 8, 20, 50):
        level = found[:, column(f"mean{pace}(T50)")]
        np.testing.assert_allclose(level[:30], 5, rtol=1e-5)
    # After three time constants an average has come 95 % of the way.
    assert found[38, column("mean3(T50)")] < -4.4
    assert found[38, column("mean50(T50)")] > 0


def test_the_baseline_stays_what_the_first_cycles_were() -> None:
    found = features_of_runs([healthy_cycles(200, slopes={"T50": 0.1})])[0]
    first = found[:, column("first20(T50)")]
    np.testing.assert_allclose(first[19:], first[19])
    assert abs(first[19] - 0.95) < 0.7


def test_the_slope_shows_a_trend_and_not_noise() -> None:
    found = features_of_runs([healthy_cycles(200, slopes={"T50": 0.1})])[0]
    slope = found[40:, column("slope30(T50)")]
    still = found[40:, column("slope30(T30)")]
    assert slope.mean() == pytest.approx(0.1 * np.sqrt(30**3 / 12), rel=0.1)
    assert abs(still.mean()) < 0.5
    assert 0.3 < still.std() < 1.5


def test_the_age_counts_cycles() -> None:
    assert np.allclose(features_of_runs([healthy_cycles(130)])[0][:, AGE], np.arange(1, 131) / 100)


def test_a_broken_sensor_cannot_make_a_feature_infinite() -> None:
    values = healthy_cycles(3)
    values[1, CHANNELS.index("P30")] = 1e300
    values[2, CHANNELS.index("P30")] = -1e300
    found = features_of_runs([values])[0]
    assert np.all(np.isfinite(found))
    assert np.abs(found[:, :-20]).max() <= 100
    assert np.abs(found).max() < 1000


def test_one_wrong_value_does_little_and_a_real_step_passes() -> None:
    values = healthy_cycles(120)
    spike, step = values.copy(), values.copy()
    spike[60, CHANNELS.index("P30")] = 0.0
    step[60:, CHANNELS.index("P30")] -= 30 * 0.41
    clean, spiked, stepped = features_of_runs([values, spike, step])
    slow = column("mean20(P30)")
    assert 0 < np.abs(spiked - clean)[:, slow].max() < 1.0
    others = [i for i, name in enumerate(FEATURE_NAMES) if "P30" not in name]
    assert np.array_equal(spiked[:, others], clean[:, others])
    assert (stepped - clean)[-1, slow] == pytest.approx(-30 * (1 - np.exp(-3)), rel=0.15)


def test_unused_channels_do_not_matter_and_may_be_lost() -> None:
    values = healthy_cycles(5)
    changed = values.copy()
    unused = [i for i, name in enumerate(CHANNELS) if name not in USED_CHANNELS]
    changed[:, unused] = np.nan
    assert np.array_equal(features_of_runs([values])[0], features_of_runs([changed])[0])


def test_names_and_units_are_complete() -> None:
    assert len(CHANNELS) == 24
    assert len(set(CHANNELS)) == 24
    assert set(UNITS) == set(CHANNELS)
    assert len(FEATURE_NAMES) == FEATURES == len(set(FEATURE_NAMES))


class LinearModel:
    """RUL falls with the slow average of two sensors, above their baselines."""

    manifest: Any = None
    calls = 0

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        self.calls += 1
        rows = inputs["features"]
        rise = {n: rows[:, column(f"mean20({n})")] - rows[:, column(f"first20({n})")] for n in ("T50", "phi")}
        return {"rul": 125 - 3 * rise["T50"] + 2 * rise["phi"] - rows[:, column("slope30(Nf)")]}


def test_contributions_name_the_sensors_that_speak_for_an_early_end() -> None:
    model = LinearModel()
    run = features_of_runs([healthy_cycles(150, slopes={"T50": 0.1, "phi": -0.05, "Nf": -0.05})])[0]
    found = contributions(model, run[-1])
    assert [name for name, _ in found[:2]] == ["T50", "phi"]
    assert found[-1][0] == "Nf"
    assert found[-1][1] < 0
    assert model.calls == 1
    assert len(found) == len(USED_CHANNELS)
    rise = run[-1, column("mean20(T50)")] - run[-1, column("first20(T50)")]
    assert dict(found)["T50"] == pytest.approx(3 * rise, rel=1e-4)
    assert dict(found)["T30"] == pytest.approx(0, abs=1e-4)
