"""Counted crossings beside the true ones: which are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WITHIN_S = 1.0
"""Time within which a counted crossing is a true one."""


@dataclass(frozen=True, slots=True)
class TimedCrossing:
    """One crossing of a line at a time since the first frame."""

    line: str
    direction: str
    time_s: float


def match_crossings(counted: Sequence[TimedCrossing], truth: Sequence[TimedCrossing]) -> dict[int, int]:
    """For each right one of ``counted`` the true one that it is, by their places.

    A counted crossing is right if a true one of the same line and direction lies within `WITHIN_S` of it;
    each true crossing is matched once, nearest pairs first.
    """
    pairs = sorted(
        (abs(each.time_s - right.time_s), first, second)
        for first, each in enumerate(counted)
        for second, right in enumerate(truth)
        if (each.line, each.direction) == (right.line, right.direction)
        and abs(each.time_s - right.time_s) <= WITHIN_S
    )
    found, taken = dict[int, int](), set[int]()
    for _, first, second in pairs:
        if first not in found and second not in taken:
            found[first] = second
            taken.add(second)
    return found
