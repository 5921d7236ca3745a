"""Drift is found soon after it begins, ends when it ends, and is not found where there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from common.app.edge import Reading
from common.app.events import fields_of
from common.bundle import DriftSpec
from common.edge.processing.drift import DriftDetector, DriftWatch

SPEC = DriftSpec(output="novelty", threshold=1.0, rate=0.01)


def news_of(detector: DriftDetector, novelties: np.ndarray) -> list[tuple[int, str]]:
    found = []
    for index, value in enumerate(novelties):
        news = detector.update({"novelty": np.array([value], np.float32)})
        if news:
            found.append((index, news))
    return found


def readings(rate: float, count: int, seed: int) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(count) < rate, 2.0, 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_what_training_had_raises_nothing(seed: int) -> None:
    assert news_of(DriftDetector(SPEC), readings(0.01, 20_000, seed)) == []


@pytest.mark.parametrize("seed", range(5))
def test_exceedances_that_come_in_short_bursts_raise_nothing(seed: int) -> None:
    novelties = np.full(20_000, 0.5)
    for start in np.random.default_rng(seed).choice(np.arange(0, 20_000, 800), 20, replace=False):
        novelties[start : start + 8] = 2.0
    assert news_of(DriftDetector(SPEC), novelties) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_new_regime_is_found_soon_and_reported_once(seed: int) -> None:
    detector = DriftDetector(SPEC)
    assert news_of(detector, readings(0.01, 1000, seed)) == []
    found = news_of(detector, readings(0.7, 1000, seed + 100))
    assert [news for _, news in found] == ["drift"]
    assert found[0][0] < 60
    event = detector.event("drift", "node", 5, "v1")
    assert fields_of(event)["exceed_rate"] > 0.5


def test_drift_ends_when_the_readings_are_known_again() -> None:
    detector = DriftDetector(SPEC)
    news_of(detector, readings(0.9, 200, 1))
    assert detector.drifting
    assert [news for _, news in news_of(detector, readings(0.01, 2000, 2))] == ["clear"]


def test_a_model_without_that_output_is_left_alone() -> None:
    assert DriftDetector(SPEC).update({"rul": np.ones(1)}) is None


def test_readings_that_come_faster_than_the_interval_count_once_for_each_subject() -> None:
    spec = DriftSpec(output="novelty", threshold=1.0, rate=0.01, interval_s=2.0)
    adoption = SimpleNamespace(
        manifest=SimpleNamespace(drift=spec, version="1"), outputs={"novelty": np.ones(1) * 2}
    )
    watch = DriftWatch(cast("Any", adoption))

    def frames(seconds: range) -> list[str]:
        """Frames of two cameras at 10 Hz; the subjects of the news."""
        news = [
            watch.watch(Reading(camera, round((second + tenth / 10) * 1e9), 0, np.zeros(1)))
            for second in seconds
            for tenth in range(10)
            for camera in ("door", "aisle")
        ]
        return [event.subject for event in news if event is not None]

    assert frames(range(12)) == []  # Six readings of each camera, though 240 frames.
    assert len(frames(range(12, 20))) == 1
    frames(range(5, 6))  # A clock that goes back ends no counting.
    assert watch.drifting
