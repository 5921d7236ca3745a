from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import sosfilt

from apps.ecg.edge.filters import Filter, Joined, Past, butterworth, check_rate


@pytest.mark.parametrize("rate_hz", [124.9, 1001.0, 0.0, float("nan")])
def test_a_rate_that_cannot_be_analysed_is_refused(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="from 125 to 1000 Hz"):
        check_rate(rate_hz)


@pytest.mark.parametrize("rate_hz", [125.0, 360.0, 1000.0])
def test_a_filter_gives_what_scipy_gives_however_the_signal_is_cut(rate_hz: float) -> None:
    signal = np.random.default_rng(0).standard_normal(3000)
    sections = np.concatenate(
        [butterworth(1, 0.7, "high", rate_hz), butterworth(2, (5.0, 18.0), "band", rate_hz)]
    )
    whole = Filter(sections).push(signal)
    np.testing.assert_allclose(whole, sosfilt(sections, signal), atol=1e-9)
    cut = Filter(sections)
    pieces = [cut.push(piece) for piece in np.split(signal, [1, 2, 2, 17, 400, 2999])]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


values = st.lists(st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 0.25, 3.0]), max_size=30)


@given(values, st.integers(0, 30))
def test_a_joined_signal_has_no_gap_and_no_step_at_one(signal: list[float], cut: int) -> None:
    given_mv = np.array(signal)
    joined, missing = Joined().push(given_mv)
    np.testing.assert_array_equal(missing, ~np.isfinite(given_mv))
    assert np.all(np.isfinite(joined))
    before = np.concatenate([[0.0], joined[:-1]])
    after_gap = np.concatenate([[True], missing[:-1]])
    np.testing.assert_array_equal(joined[missing | after_gap], before[missing | after_gap])
    inside = ~missing & ~after_gap
    steps = np.diff(given_mv[inside.nonzero()[0][:, None] + [-1, 0]], axis=1)[:, 0] if inside.any() else []
    np.testing.assert_allclose((joined - before)[inside], steps)
    pieces = Joined()
    parts = [pieces.push(given_mv[:cut])[0], pieces.push(given_mv[cut:])[0]]
    np.testing.assert_array_equal(np.concatenate(parts), joined)


@given(st.lists(st.integers(0, 7), max_size=40))
def test_the_past_holds_the_newest_samples_by_their_numbers(lengths: list[int]) -> None:
    past, pushed = Past(2, 10, 7), np.zeros((2, 0))
    for length in lengths:
        numbers = np.arange(pushed.shape[1], pushed.shape[1] + length, dtype=np.float64)
        chunk = np.stack([numbers, -numbers])
        past.append(chunk)
        pushed = np.concatenate([pushed, chunk], axis=1)
        assert past.end == pushed.shape[1]
        held = np.concatenate([np.zeros((2, 10)), pushed], axis=1)[:, -10:]
        np.testing.assert_array_equal(past.view(past.end - 10, past.end), held)
        again = Past(2, 10, 7)
        again.restore(past.snapshot())
        np.testing.assert_array_equal(again.view(past.end - 10, past.end), held)


def test_the_past_gives_nothing_that_it_does_not_hold() -> None:
    past = Past(1, 10, 5)
    with pytest.raises(ValueError, match="at most 5"):
        past.append(np.zeros((1, 6)))
    with pytest.raises(ValueError, match="are not all in"):
        past.view(0, 1)
