"""Golden cases on this device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from common.bundle import Bundle, Limits, open_bundle, seal, write_golden
from common.errors import GoldenCaseFailed
from common.model.golden import ROUNDS, GoldenResult, check_golden, output_scales
from common.model.inference import load_model
from tests.builders import make_bundle
from tests.updates import PROFILE


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle")


def reseal(bundle: Bundle, **changes: object) -> Bundle:
    return seal(bundle.path, msgspec.structs.replace(bundle.manifest, files={}, **changes))


def spoil(bundle: Bundle, name: str, change: Callable[[Any], Any]) -> Bundle:
    inputs, outputs = bundle.golden()
    (inputs if name in inputs else outputs)[name] = change({**inputs, **outputs}[name])
    write_golden(bundle.path, inputs, outputs)
    return reseal(bundle)


def check(bundle: Bundle, **timing: Any) -> GoldenResult:
    return check_golden(bundle, load_model(bundle, PROFILE), **timing)


def test_a_good_model_passes(bundle):
    result = check(bundle)
    assert result.cases == 8
    assert 0 < result.latency_ms < bundle.manifest.limits.latency_ms


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("y", lambda y: y + 1, "off by"),
        ("y", lambda y: y * np.nan, "off by"),
        ("y", lambda y: y[:-1], "same number"),
        ("y", lambda y: np.concatenate([y, y], axis=1), "shape"),
        ("y", lambda y: y[:0], "same number"),
    ],
)
def test_outputs_that_differ_are_refused(bundle, name, change, message):
    with pytest.raises(GoldenCaseFailed, match=message):
        check(spoil(bundle, name, change))


def test_nan_on_a_golden_case_is_refused(tmp_path):
    with pytest.raises(GoldenCaseFailed, match="NaN"):
        check(make_bundle(tmp_path / "nan", sour=0.5))


def test_a_missing_tolerance_means_exactly(bundle):
    exact = reseal(bundle, tolerance={})
    inputs, outputs = exact.golden()
    write_golden(exact.path, inputs, {**outputs, "y": outputs["y"] + 1e-3})
    with pytest.raises(GoldenCaseFailed, match="allowed are 0"):
        check(reseal(exact))


def test_golden_cases_that_are_no_arrays_are_refused(bundle):
    (bundle.path / "golden.npz").write_bytes(b"not a zip")
    with pytest.raises(GoldenCaseFailed, match="cannot be read"):
        check(reseal(bundle))


class Ticks:
    """A timer under which the n-th run takes ``durations[n]`` milliseconds."""

    def __init__(self, durations_ms: list[float]) -> None:
        self._durations = iter(durations_ms)
        self._now = 0.0
        self._running = False

    def __call__(self) -> float:
        if self._running:
            self._now += next(self._durations) / 1e3
        self._running = not self._running
        return self._now


def test_a_slow_model_is_refused(bundle):
    limited = reseal(bundle, limits=Limits(latency_ms=2.0))
    with pytest.raises(GoldenCaseFailed, match="promises at most 2 ms"):
        check(limited, timer=Ticks([3.0] * 1000))


def test_a_busy_device_is_not_a_slow_model(bundle):
    limited = reseal(bundle, limits=Limits(latency_ms=2.0))
    runs = 9
    slow_rounds = [50.0] * (runs * (ROUNDS - 1))
    assert check(limited, timer=Ticks([*slow_rounds, *[1.0] * runs])).latency_ms == pytest.approx(1.0)


def test_more_cases_than_the_limit_are_refused(bundle, monkeypatch):
    monkeypatch.setattr("common.model.golden.CASES_LIMIT", 7)
    with pytest.raises(GoldenCaseFailed, match="8 golden cases; at most 7"):
        check(bundle)


def test_cases_that_take_too_long_are_refused(bundle, monkeypatch):
    monkeypatch.setattr("common.model.golden.CASES_TIMEOUT_S", -1.0)
    with pytest.raises(GoldenCaseFailed, match="took over"):
        check(bundle)


def test_golden_cases_that_unpack_to_too_much_are_refused(bundle):
    inputs, outputs = bundle.golden()
    write_golden(bundle.path, inputs | {"more": np.zeros(65 * 1024 * 1024, np.uint8)}, outputs)
    with pytest.raises(GoldenCaseFailed, match="cannot be read"):
        check(reseal(bundle))


def test_scales_are_the_spread_of_the_golden_outputs(bundle):
    _, outputs = open_bundle(bundle.path).golden()
    assert output_scales(bundle)["y"] == pytest.approx(float(np.ptp(outputs["y"])))
