"""Judging a model on live readings: each guard, and what must not trip it."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from common.bundle import DriftSpec, Limits, Lineage, Manifest, TensorSpec
from common.config.node import OtaSettings
from common.edge.inference.instance import Outcome
from common.edge.update.trial import WINDOW, Trial, output_bounds
from common.errors import BundleIncompatible

DRIFT = DriftSpec(output="novelty", threshold=1.0, rate=0.01)
MANIFEST = Manifest(
    app="sums",
    version="v2",
    task="regression",
    inputs=[TensorSpec(name="x", dtype="float32", shape=[None, 1])],
    outputs=[TensorSpec(name="y", dtype="float32", shape=[None, 1])],
    precision="float32",
    licence="Apache-2.0",
    limits=Limits(latency_ms=20.0),
    lineage=Lineage(data={}, code="0.1.0"),
    tolerance={},
    drift=DRIFT,
)
SETTINGS = OtaSettings()


def trial(
    *, compare: bool = True, manifest: Manifest = MANIFEST, reference: Manifest | None = MANIFEST
) -> Trial:
    return Trial(manifest, reference, {"y": 100.0, "novelty": 2.0}, SETTINGS, compare=compare)


def ran(y: float, *, novelty: float = 0.5, ms: float = 1.0) -> Outcome:
    outputs = {"y": np.array([[y]], np.float32), "novelty": np.array([[novelty]], np.float32)}
    return Outcome("", outputs, ms / 1e3)


FAILED = Outcome("InferenceError: NaN")


def wave(index: int) -> float:
    return 50 + 50 * float(np.sin(index))


def test_a_model_that_agrees_is_good():
    judged = trial()
    for index in range(300):
        judged.add(ran(wave(index) + 3), ran(wave(index)))
    verdict = judged.verdict()
    assert verdict.good
    assert "agrees with the previous model on 256 of 256" in verdict.detail


def test_a_model_without_reference_is_judged_by_the_other_guards():
    judged = trial(reference=None)
    for index in range(20):
        judged.add(ran(wave(index)), None)
    assert judged.verdict().good
    assert "not compared" in judged.verdict().detail


def test_failures_where_the_reference_succeeds_are_too_many():
    judged = trial()
    for index in range(50):
        judged.add(FAILED if index % 10 == 3 else ran(1), ran(1))
    verdict = judged.verdict()
    assert verdict.reason == "failures"
    assert "NaN" in verdict.detail


def test_one_failure_is_not_enough():
    judged = trial()
    for index in range(50):
        judged.add(FAILED if index == 3 else ran(1), ran(1))
    assert judged.verdict().good


def test_failures_close_together_are_too_many_even_after_a_long_good_time():
    judged = trial()
    for _ in range(250):
        judged.add(ran(1), ran(1))
    for _ in range(3):
        assert judged.verdict().good
        judged.add(FAILED, ran(1))
    assert judged.verdict().reason == "failures"


def test_readings_on_which_both_fail_do_not_count():
    judged = trial()
    for index in range(50):
        both = index % 2
        judged.add(FAILED if both else ran(1), FAILED if both else ran(1))
    assert judged.verdict().good


def test_outputs_outside_the_models_own_bounds_are_failures():
    bounded = msgspec.structs.replace(MANIFEST, parameters={"output_bounds": {"y": [0, 200]}})
    judged = trial(manifest=bounded)
    for _ in range(10):
        judged.add(ran(-5), ran(1))
    assert judged.verdict().reason == "failures"
    assert "outside 0..200" in judged.verdict().detail


@pytest.mark.parametrize("bounds", [{"y": [0]}, {"y": "high"}, [1, 2], {"y": [0, 1, 2]}])
def test_bounds_that_make_no_sense_are_an_error(bounds):
    with pytest.raises(BundleIncompatible):
        output_bounds(msgspec.structs.replace(MANIFEST, parameters={"output_bounds": bounds}))


def test_disagreement_on_known_readings_is_wrong():
    judged = trial()
    for index in range(20):
        judged.add(ran(wave(index) + 40), ran(wave(index)))
    assert judged.verdict().reason == "disagreement"


def test_disagreement_on_novel_readings_is_what_learning_is_for():
    judged = trial()
    for index in range(100):
        if index % 2:
            judged.add(ran(wave(index) + 90, novelty=0.1), ran(wave(index), novelty=3.0))
        else:
            judged.add(ran(wave(index) + 2), ran(wave(index)))
    assert judged.verdict().good
    assert "on 50 of 50" in judged.verdict().detail


def test_in_drift_agreement_is_not_required_but_a_stuck_output_still_counts():
    lost, stuck = trial(), trial()
    lost.familiar = stuck.familiar = False
    for index in range(40):
        lost.add(ran(wave(index) * 2), ran(wave(index)))
        stuck.add(ran(7.0), ran(wave(index)))
    assert lost.verdict().good
    assert "drifted" in lost.verdict().detail
    assert stuck.verdict().reason == "stuck"


def test_a_candidate_cannot_call_a_reading_novel_to_hide_behind_it():
    judged = trial()
    for index in range(20):
        judged.add(ran(wave(index) + 40, novelty=99.0), ran(wave(index), novelty=0.5))
    assert judged.verdict().reason == "disagreement"


def test_with_only_novel_readings_the_verdict_notes_that_agreement_was_not_judged():
    judged = trial()
    for index in range(30):
        judged.add(ran(wave(index) + 90), ran(wave(index), novelty=3.0))
    assert judged.verdict().good
    assert "agreement not judged" in judged.verdict().detail


def test_without_a_drift_output_every_reading_counts_as_known():
    plain = msgspec.structs.replace(MANIFEST, drift=None)
    judged = Trial(plain, plain, {"y": 100.0}, SETTINGS)
    for index in range(20):
        judged.add(ran(wave(index) + 90, novelty=9.0), ran(wave(index), novelty=9.0))
    assert judged.verdict().reason == "disagreement"


def test_a_withdrawn_reference_is_not_agreed_with():
    judged = trial(compare=False)
    for index in range(40):
        judged.add(ran(60.0), ran(wave(index) + 90))
    assert judged.verdict().good


def test_an_output_that_never_moves_is_stuck():
    judged = trial()
    for index in range(40):
        judged.add(ran(60.0), ran(wave(index), novelty=3.0))
    assert judged.verdict().reason == "stuck"


def saturating(*values: float) -> Manifest:
    (spec,) = MANIFEST.outputs
    outputs = [msgspec.structs.replace(spec, saturation=list(values))]
    return msgspec.structs.replace(MANIFEST, outputs=outputs)


def test_an_output_may_rest_at_its_declared_saturation_on_readings_that_the_reference_did_not_know():
    judged, elsewhere = trial(manifest=saturating(0.0, 125.0)), trial(manifest=saturating(0.0, 125.0))
    for index in range(WINDOW):
        judged.add(ran(0.0), ran(wave(index), novelty=3.0))
        elsewhere.add(ran(60.0), ran(wave(index), novelty=3.0))
    assert judged.verdict().good
    assert elsewhere.verdict().reason == "stuck"


def test_a_model_at_its_saturation_must_still_agree_on_what_the_reference_knew():
    judged = trial(manifest=saturating(0.0))
    for index in range(40):
        judged.add(ran(0.0), ran(wave(index)))
    assert judged.verdict().reason == "disagreement"


def test_an_output_that_rests_while_the_reference_rests_too_is_fine():
    judged = trial()
    for _ in range(100):
        judged.add(ran(100.0), ran(99.0))
    assert judged.verdict().good


@pytest.mark.parametrize(
    ("own_ms", "reference_ms", "good"), [(10.0, 1.0, False), (3.0, 1.0, True), (0.1, 0.01, True)]
)
def test_slower_than_the_previous_model_by_the_factor(own_ms, reference_ms, good):
    judged = trial()
    for _ in range(20):
        judged.add(ran(1, ms=own_ms), ran(1, ms=reference_ms))
    assert judged.verdict().good is good
    assert good or judged.verdict().reason == "latency"


def test_over_its_own_limit_is_slow_unless_the_device_is():
    alone, companion = trial(reference=None), trial()
    for _ in range(20):
        alone.add(ran(1, ms=30.0), None)
        companion.add(ran(1, ms=30.0), ran(1, ms=28.0))
    assert alone.verdict().reason == "latency"
    assert companion.verdict().good


def test_a_few_slow_runs_are_noise():
    judged = trial()
    for index in range(50):
        judged.add(ran(1, ms=200.0 if index % 5 == 0 else 1.0), ran(1, ms=1.0))
    assert judged.verdict().good


def test_a_long_soak_is_judged_by_its_last_readings():
    judged = trial()
    for _ in range(5000):
        judged.add(ran(1), ran(1))
    for _ in range(WINDOW // 10):
        judged.add(FAILED, ran(1))
    assert judged.verdict().reason == "failures"
    assert judged.failures() <= WINDOW
