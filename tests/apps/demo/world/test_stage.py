"""The count of missing and duplicated sequence numbers."""

from __future__ import annotations

import pytest

from apps.demo.world.stage import count_missing_and_duplicated


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        ([], (0, 0)),
        ([[(1, 1), (2, 2), (3, 3)]], (0, 0)),
        ([[(3, 3), (1, 1), (2, 2)]], (0, 0)),
        ([[(1, 1), (4, 4)]], (2, 0)),
        ([[(2, 2)]], (1, 0)),
        ([[(1, 1), (2, 2), (2, 2), (3, 3)]], (0, 1)),
        ([[(1, 1), (2, 9), (10, 10)]], (0, 0)),
        ([[(1, 1)], [(1, 1), (3, 3)]], (1, 0)),
    ],
)
def test_missing_and_duplicated_numbers_are_counted(streams, expected):
    assert count_missing_and_duplicated(streams) == expected
