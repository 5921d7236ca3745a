"""Figures of a whole evaluation from its parts, and the gate's own evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from apps.retail.training import evaluation
from apps.retail.training.clips import ClipMoment, ClipVisit, ClipZone
from apps.retail.training.evaluation import RENDERED, SetScore
from apps.retail.training.judged import Judged
from apps.retail.training.zone_visits import score_zone
from common.app.training import Figure, Metrics
from common.bundle import Bundle
from common.training.detector.dataset import Splits
from common.training.detector.evaluation import Truth, match_detections
from common.vision.crossing_matches import TimedCrossing
from common.vision.detections import Detections

BOXES = np.array([[0, 0, 20, 40], [50, 0, 70, 40]], np.float32)
TRUTHS = [Truth(BOXES[at : at + 1], np.zeros(1, np.int16)) for at in (0, 1, 0)]


def crossings(*times_s: float) -> list[TimedCrossing]:
    return [TimedCrossing("door", "in", time_s) for time_s in times_s]


def parts(*_: object) -> Iterator[evaluation.Part]:
    every_10_s = crossings(*np.arange(5.0, 600.0, 10.0))
    yield Judged("busy", 600.0, every_10_s[:40], every_10_s, virtual=True)
    yield Judged("clip.avi", 60.0, crossings(1.0, 30.0), crossings(1.0))
    found = match_detections([Detections.of(truth.boxes_xyxy_px) for truth in TRUTHS], TRUTHS)
    before = match_detections([Detections.of(TRUTHS[at - 1].boxes_xyxy_px) for at in range(3)], TRUTHS)
    yield SetScore(RENDERED, {"model.onnx": found}, before)
    moment = ClipMoment(frame=2, earliest=2, latest=2)
    zone = ClipZone(name="till", polygon=[], visits=[ClipVisit(entered=None, left=moment)])
    yield [score_zone(zone, [0, 10**9, 2 * 10**9], [1, 1, 1], [])]


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    """The parts above as a whole evaluation."""
    slices = {"entrance day": Figure(0.8, unit="person AP50", virtual=True)}
    monkeypatch.setattr(evaluation, "_timed", parts)
    monkeypatch.setattr(evaluation, "load_model", lambda *_: None)
    monkeypatch.setattr(evaluation, "_detect_with", lambda _model: None)
    monkeypatch.setattr(evaluation, "_judge_slices", lambda _detect, _samples: (dict(slices), 0))
    bundle: Any = Bundle(Path("nowhere"), None)  # pyright: ignore[reportArgumentType]: no manifest is read
    return evaluation.evaluate(bundle, (), Path("data"))


def test_counts_are_given_by_source_by_light_and_together(metrics: Metrics) -> None:
    figures = metrics.figures
    assert figures["count_error_percent busy"].value == pytest.approx(100 / 3)
    assert figures["count_recall day"].value == 1.0
    assert figures["count_recall night"].value == 0.0
    assert figures["count_precision clip.avi"].value == 0.5
    assert not figures["count_precision clip.avi"].virtual
    together = figures["count_recall"]
    assert together.value == pytest.approx(41 / 61)
    assert together.lower is not None
    assert together.upper is not None
    assert together.lower < together.value < together.upper


def test_every_kind_of_figure_has_its_trivial_rule(metrics: Metrics) -> None:
    figures = metrics.figures
    assert figures["count_error_percent busy_of_no_counting"].value == 100.0
    assert figures["count_recall busy_of_even_spacing"].value == 1.0  # They are evenly spaced.
    assert figures[f"person_ap50 model.onnx {RENDERED}"].value == pytest.approx(1.0)
    assert figures[f"person_ap50 model.onnx {RENDERED}_of_picture_before"].value < 0.5
    assert figures["zone_occupancy_error till"].value == pytest.approx(1 / 3)
    assert figures["zone_occupancy_error till_of_best_constant"].value == pytest.approx(1 / 3)


def test_quality_is_the_mean_of_the_virtual_counts_and_the_slices(metrics: Metrics) -> None:
    assert metrics.figures["quality"].value == pytest.approx((0.8 + 0.8) / 2)
    assert metrics.figures["person_ap50"].value == 0.8
    assert set(metrics.slices) == {"entrance day"}


def test_the_gate_guards_the_counts_of_each_clip_and_light_and_the_detection_of_each_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy, *_ = parts()
    few = Judged("few.gif", 6.0, [], crossings(1.0), virtual=False)
    clips = {"clip.avi": Judged("clip.avi", 60.0, crossings(*range(6)), crossings(*range(8))), "few.gif": few}
    accuracy = match_detections([Detections.of(truth.boxes_xyxy_px) for truth in TRUTHS], TRUTHS)
    splits = Splits(train=(), held_out=(), val=(), judged_persons=())
    stubs: dict[str, Any] = {
        "load_model": lambda *_: None,
        "Detector": lambda _model: SimpleNamespace(detect=min),
        "_judge_slices": lambda *_: ({"entrance day": Figure(0.4, unit="person AP50")}, 2),
        "judge_scene": lambda *_: busy,
        "read_truths": lambda: list(clips),
        "judge_clip": lambda _count, name, _data: clips[name],
        "load_splits": lambda _path: splits,
        "evaluate_detector": lambda *_: accuracy,
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(evaluation, name, stub)
    bundle: Any = Bundle(Path("nowhere"), None)  # pyright: ignore[reportArgumentType]: no manifest is read
    found = evaluation.judge(bundle, (), Path("data"))
    assert {name: round(figure.value, 3) for name, figure in found.slices.items()} == {
        "entrance day": 0.4,
        "detection detect/val": 1.0,
        "detection persons": 1.0,
        "counting day": 1.0,
        "counting fog": 1.0,
        "counting night": 0.0,
        "counting clip.avi": round(12 / 14, 3),
    }
    assert found.figures["person_ap50"].value == 0.4
    matched, counted, true = 40 + 6, 40 + 6, 60 + 8 + 1
    f1 = 2 * matched / (counted + true)
    assert found.figures["quality"].value == pytest.approx((f1 + (0.4 + 1 + 1) / 3) / 2)
    assert found.evidence == {"pictures": 2}


def test_without_data_the_gate_judges_detection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    slices = {"entrance day": Figure(0.4, unit="person AP50"), "field": Figure(0.2, unit="person AP50")}
    stubs: dict[str, Any] = {
        "load_model": lambda *_: None,
        "Detector": lambda _model: SimpleNamespace(detect=min),
        "_judge_slices": lambda *_: (slices, 2),
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(evaluation, name, stub)
    bundle: Any = Bundle(Path("nowhere"), None)  # pyright: ignore[reportArgumentType]: no manifest is read
    found = evaluation.judge(bundle, (), None)
    assert found.figures["quality"].value == pytest.approx(0.3)
    assert not any(name.startswith("count") for name in found.figures)
