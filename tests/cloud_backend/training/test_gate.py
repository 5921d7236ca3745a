"""A candidate passes only if it is better, and worse nowhere that matters."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_backend.training.gate import HeldOut, Verdict
from cloud_backend.training.gate import judge as judge_on
from common.app.training import Figure, GateRule, Metrics

LOWER = GateRule("rmse", higher_is_better=False, min_gain=0.02, slice_tolerance=0.1)
HIGHER = GateRule("f1", higher_is_better=True)


SOME = HeldOut(labelled_samples=3)


def judge(rule: GateRule, candidate: Metrics, production: Metrics | None) -> Verdict:
    return judge_on(rule, candidate, production, SOME)


def metrics(value: float, name: str = "rmse", /, **slices: float) -> Metrics:
    return Metrics({name: Figure(value)}, {key: Figure(v) for key, v in slices.items()})


def test_a_better_candidate_passes() -> None:
    verdict = judge(LOWER, metrics(9.0, a=5.0), metrics(10.0, a=5.0))
    assert verdict.passed
    assert verdict.gain == pytest.approx(0.1)
    assert verdict.reasons == []


@pytest.mark.parametrize(("value", "word"), [(10.0, "not better"), (11.0, "not better"), (9.9, "at least")])
def test_too_small_a_gain_is_refused(value: float, word: str) -> None:
    verdict = judge(LOWER, metrics(value), metrics(10.0))
    assert not verdict.passed
    assert word in verdict.reasons[0]


def test_equal_is_not_better_even_if_no_gain_is_required() -> None:
    assert not judge(HIGHER, metrics(0.8, "f1"), metrics(0.8, "f1")).passed
    assert judge(HIGHER, metrics(0.81, "f1"), metrics(0.8, "f1")).passed


def test_a_fallen_slice_is_refused_by_name() -> None:
    verdict = judge(
        LOWER, metrics(5.0, engine_a=4.0, engine_b=5.6), metrics(10.0, engine_a=9.0, engine_b=5.0)
    )
    assert not verdict.passed
    assert len(verdict.reasons) == 1
    assert "engine_b" in verdict.reasons[0]
    assert [s.passed for s in verdict.slices] == [True, False]


def test_a_slice_may_fall_within_the_tolerance() -> None:
    assert judge(LOWER, metrics(5.0, a=5.4), metrics(10.0, a=5.0)).passed


def test_a_slice_that_the_candidate_lacks_counts_as_fallen() -> None:
    verdict = judge(LOWER, metrics(5.0), metrics(10.0, a=5.0))
    assert not verdict.passed
    assert "no number" in verdict.reasons[0]


def test_a_slice_of_the_candidate_only_is_reported_and_judges_nothing() -> None:
    verdict = judge(LOWER, metrics(5.0, fresh=100.0), metrics(10.0))
    assert verdict.passed
    assert verdict.slices[0].production is None
    assert "candidate only" in verdict.slices[0].note


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_never_passes(bad: float) -> None:
    assert not judge(LOWER, metrics(bad), metrics(10.0)).passed
    assert not judge(LOWER, metrics(5.0), metrics(bad)).passed
    assert not judge(LOWER, metrics(5.0, a=bad), metrics(10.0, a=5.0)).passed
    assert not judge(LOWER, metrics(bad), None).passed


def test_a_missing_figure_is_refused() -> None:
    assert not judge(LOWER, Metrics({}), metrics(10.0)).passed
    assert not judge(LOWER, metrics(5.0), Metrics({})).passed


def test_a_first_model_has_nothing_to_beat() -> None:
    verdict = judge(LOWER, metrics(50.0, a=3.0), None)
    assert verdict.passed
    assert verdict.gain is None


def test_production_at_zero_can_be_judged() -> None:
    assert not judge(LOWER, metrics(0.1), metrics(0.0)).passed
    assert judge(HIGHER, metrics(0.1, "f1"), metrics(0.0, "f1")).passed
    assert not judge(LOWER, metrics(5.0, a=0.1), metrics(10.0, a=0.0)).passed


number = st.floats(allow_nan=True, allow_infinity=True)


@given(
    number,
    number,
    st.dictionaries(st.sampled_from("abc"), number),
    st.dictionaries(st.sampled_from("abc"), number),
)
def test_no_verdict_passes_a_candidate_that_is_worse(
    own: float, other: float, own_slices: dict[str, float], other_slices: dict[str, float]
) -> None:
    verdict = judge(LOWER, metrics(own, **own_slices), metrics(other, **other_slices))
    if verdict.passed:
        assert own < other
        for name, value in other_slices.items():
            if math.isfinite(value):
                assert own_slices[name] <= value + 0.1 * abs(value)
    msgspec.json.decode(msgspec.json.encode(verdict.report()))


def counted(value: float, **evidence: int) -> Metrics:
    return Metrics({"rmse": Figure(value)}, evidence=evidence)


def test_without_evidence_nothing_is_approved_however_good_its_figures_are() -> None:
    for production in (metrics(10.0), None):
        verdict = judge_on(LOWER, metrics(1.0), production, HeldOut())
        assert not verdict.passed
        assert "no evidence" in verdict.reasons[0]
        assert "approve by hand with a reason" in verdict.reasons[0]
        assert verdict.evidence == {}
        assert "nothing that was held out" in verdict.basis


def test_evidence_is_what_the_app_could_judge_on() -> None:
    verdict = judge_on(LOWER, counted(1.0, runs=0), metrics(10.0), SOME)
    assert not verdict.passed
    assert "none of the 3 labelled samples held out could be" in verdict.reasons[0]
    verdict = judge_on(LOWER, counted(1.0, runs=2, strips=0), metrics(10.0), HeldOut(3, 2, ["v1"]))
    assert verdict.passed
    assert verdict.evidence == {"runs": 2}
    assert verdict.basis.startswith("2 runs from the field, held out from both models")
    assert "2 of the 3 labelled samples held out came from nodes with virtual sensors" in verdict.basis
    assert "v1 learned from are not on record" in verdict.basis


def test_an_app_may_require_more_evidence() -> None:
    rule = GateRule("rmse", higher_is_better=False, min_evidence=3)
    assert not judge_on(rule, counted(1.0, runs=2), metrics(10.0), SOME).passed
    assert judge_on(rule, counted(1.0, runs=2, strips=1), metrics(10.0), SOME).passed


def test_a_figure_that_was_not_measured_now_is_none() -> None:
    recorded = Metrics({"rmse": Figure(1.0, recorded=True)})
    assert not judge(LOWER, recorded, metrics(10.0)).passed
    assert not judge(LOWER, metrics(1.0), recorded).passed
