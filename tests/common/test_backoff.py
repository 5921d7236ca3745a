"""Backoff: waits double up to their limit, start over after a success, and jitter only shortens them."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from common.backoff import Backoff, backoff_s


def test_waits_double_up_to_the_limit_and_start_over_after_a_success() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_jitter_shortens_a_wait_by_at_most_half() -> None:
    backoff = Backoff(1.0, 64.0, Random(3))
    waits = [backoff.next_s() for _ in range(7)]
    assert all(2.0**n / 2 <= wait_s <= 2.0**n for n, wait_s in enumerate(waits))
    assert len(set(waits)) == 7


@given(st.integers(0, 10**9), st.floats(0.001, 1e3), st.floats(0.001, 1e6))
def test_any_number_of_failures_has_a_wait(failures: int, min_s: float, max_s: float) -> None:
    assert 0 < backoff_s(min_s, max_s, failures) <= max_s
