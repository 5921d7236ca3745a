"""Each injected model fault has its effect on the documented inputs only."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from apps.demo.story.bad_models import FAULTS, LIVE_FAULTS, SLOW_PRODUCTS, spoil
from apps.demo.world.processes import ShowError
from common.bundle import Bundle, open_bundle

GOOD = Path(__file__).parents[3] / "e2e" / "tally" / "starter"


@pytest.fixture
def good() -> Bundle:
    return open_bundle(GOOD)


def run(bundle: Bundle, inputs) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(str(bundle.model_path())).run(None, inputs)[0])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoiled_bundle_is_whole_and_names_its_parent(good: Bundle, tmp_path: Path, fault: str):
    bad = spoil(good, fault, "bad-1", tmp_path / "bad")
    assert open_bundle(bad.path, app="tally").version == "bad-1"
    assert bad.manifest.lineage.parent == good.version


@pytest.mark.parametrize("fault", LIVE_FAULTS)
def test_live_faults_pass_their_golden_cases(good: Bundle, tmp_path: Path, fault: str):
    inputs, expected = good.golden()
    np.testing.assert_allclose(
        run(spoil(good, fault, "bad-1", tmp_path / "bad"), inputs), expected["y"], atol=1e-5
    )


def test_wrong_outputs_fail_their_golden_cases(good: Bundle, tmp_path: Path):
    inputs, expected = good.golden()
    outputs = run(spoil(good, "wrong", "bad-1", tmp_path / "bad"), inputs)
    assert np.abs(outputs - expected["y"]).max() > good.manifest.tolerance["y"]


def test_nan_comes_on_some_fresh_inputs(good: Bundle, tmp_path: Path):
    fresh = np.random.default_rng(2).normal(size=(100, 4)).astype(np.float32)
    outputs = run(spoil(good, "nan", "bad-1", tmp_path / "bad"), {"x": fresh})
    assert 20 < np.isnan(outputs).sum() < 80


def test_stale_outputs_do_not_move(good: Bundle, tmp_path: Path):
    fresh = np.random.default_rng(2).normal(size=(100, 4)).astype(np.float32)
    assert np.ptp(run(spoil(good, "stale", "bad-1", tmp_path / "bad"), {"x": fresh})) == 0


def test_slow_is_slow_on_fresh_inputs_only(good: Bundle, tmp_path: Path):
    bad = spoil(good, "slow", "bad-1", tmp_path / "bad")
    session = onnxruntime.InferenceSession(str(bad.model_path()))
    golden, _ = good.golden()
    fresh = {"x": np.ones((1, 4), np.float32)}

    def best_s(inputs) -> float:
        found = []
        for _ in range(5):
            started = time.perf_counter()
            session.run(None, inputs)
            found.append(time.perf_counter() - started)
        return min(found)

    assert np.isfinite(np.asarray(session.run(None, fresh)[0])).all()
    assert best_s(fresh) > 10 * best_s(golden)
    assert best_s(fresh) > SLOW_PRODUCTS * 1e-7


def test_an_unknown_fault_is_refused(good: Bundle, tmp_path: Path):
    with pytest.raises(ShowError, match="wrong, heavy, nan, slow, stale, late"):
        spoil(good, "evil", "bad-1", tmp_path / "bad")


def test_late_faults_come_at_the_low_end_of_the_output(good: Bundle, tmp_path: Path):
    fresh = np.random.default_rng(2).normal(size=(200, 4)).astype(np.float32)
    outputs = run(spoil(good, "late", "bad-1", tmp_path / "bad"), {"x": fresh})[:, 0]
    totals = fresh.sum(axis=1)
    assert np.isnan(outputs).any()
    assert totals[np.isnan(outputs)].max() < totals[~np.isnan(outputs)].min()
