"""The order of uploads, without a store or a cloud."""

from __future__ import annotations

import math

import pytest

from common.edge.curation.upload import Kept
from common.edge.curation.upload_order import DEFER_FIRST_S, DEFER_LAST_S, UploadOrder


def kept(digest: str, *, score: float = 0.5, captured_ns: int = 0, size: int = 10) -> Kept:
    return Kept(
        digest=digest,
        app="vibration",
        subject="pump",
        group="",
        captured_ns=captured_ns,
        reasons={"novelty": score},
        attributes={},
        size=size,
        score=score,
    )


def test_the_most_interesting_that_the_budget_allows_goes_first_then_the_oldest() -> None:
    order = UploadOrder()
    samples = [kept("new", captured_ns=2), kept("old", captured_ns=1), kept("large", score=0.9, size=100)]
    best, oldest = order.next(samples, 100, 0.0), order.next(samples, 99, 0.0)
    assert best is not None
    assert best.digest == "large"
    assert oldest is not None
    assert oldest.digest == "old"
    assert order.next(samples, 9, 0.0) is None


def test_a_deferred_sample_waits_longer_each_time_up_to_the_last() -> None:
    order, samples, now_s = UploadOrder(), [kept("a")], 100.0
    waits: list[float] = []
    for _ in range(12):
        order.defer("a", now_s)
        waits.append(order.next_due_s(now_s))
        assert order.next(samples, 10, now_s + waits[-1] / 2) is None
        now_s += waits[-1]
        assert order.next(samples, 10, now_s) == samples[0]
    assert waits[:3] == pytest.approx([DEFER_FIRST_S, 2 * DEFER_FIRST_S, 4 * DEFER_FIRST_S])
    assert waits[-1] == pytest.approx(DEFER_LAST_S)
    assert order.next_due_s(now_s) == math.inf


def test_an_answered_sample_is_not_sent_again() -> None:
    order = UploadOrder()
    order.answer("a")
    assert order.next([kept("a")], 10, 0.0) is None
    assert list(order.answered) == ["a"]
    order.forget("a")
    assert not order.answered


def test_deferrals_of_samples_that_are_gone_are_forgotten() -> None:
    order = UploadOrder()
    for number in range(1000):
        order.defer(f"{number}", 0.0)
        order.keep_only({f"{number}"})
    assert order.deferring
    order.keep_only(set())
    assert not order.deferring
    assert order.next_due_s(0.0) == math.inf
