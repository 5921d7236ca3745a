from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from apps.ecg.edge.ring import LSB_MV, MISSING, Ring

SPAN = 20


@given(
    st.lists(st.integers(0, SPAN), max_size=8),
    st.lists(st.integers(-2 * SPAN, 10 * SPAN), max_size=4),
    st.integers(1, SPAN),
)
def test_a_cut_is_the_signal_and_missing_where_that_is_not_held(
    lengths: list[int], begins: list[int], length: int
) -> None:
    ring, end = Ring(1, SPAN), sum(lengths)
    signal = np.arange(end, dtype=np.float64) * LSB_MV
    at = 0
    for each in lengths:
        ring.append(signal[at : at + each, np.newaxis])
        at += each
    for begin, steps in zip(begins, ring.cut(np.array(begins, np.int64), length)[:, :, 0], strict=True):
        numbers = np.arange(begin, begin + length)
        held = (numbers >= max(0, end - SPAN)) & (numbers < end)
        np.testing.assert_array_equal(steps, np.where(held, numbers, MISSING))


def test_what_is_missing_or_out_of_range_stays_apart() -> None:
    ring = Ring(1, SPAN)
    ring.append(np.array([[np.nan], [-1e6], [1e6], [-0.005], [np.inf]]))
    found = ring.cut(np.array([0]), 5)[0, :, 0]
    np.testing.assert_array_equal(found, [MISSING, MISSING + 1, -MISSING - 1, -1, -MISSING - 1])
