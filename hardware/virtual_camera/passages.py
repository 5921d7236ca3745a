"""Passages of lines by true positions: who went from clear of a line on one side to clear of it on the other.

Somebody who waits on a line and is pushed about passes its plane many times, and crosses it at most once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hardware.virtual_camera.scene import Line
from hardware.virtual_camera.walking import crossed, right_of

Floats = NDArray[np.float64]

CLEAR_M = 0.3
"""Distance from the plane of a line from which somebody is clear of it."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A person crossed a line: the floor position passed it, for the last time, between the frame before and
    ``frame``."""

    frame: int
    line: str
    person: int
    direction: Literal["in", "out"]


class Passages:
    """Follows everybody in a scene about its lines; its state has a row for each person who is there."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._names = [line.name for line in lines]
        self._ends = np.array([(line.start_m, line.end_m) for line in lines], np.float64).reshape(-1, 2, 2)
        self._ids = np.zeros(0, np.int64)
        self._sides = np.zeros((0, len(lines)), np.int8)  # Where each was clear last: 1 right, -1 left.
        self._passed = np.zeros((0, len(lines)), np.int64)  # Frame of the last pass between the ends.

    def update(
        self, frame: int, ids: NDArray[np.int64], before_m: Floats, after_m: Floats
    ) -> tuple[Crossing, ...]:
        """The crossings that are complete in ``frame``, in which ``ids``, in order, went from ``before_m`` to
        ``after_m`` (n, 2)."""
        if not self._names:
            return ()
        start, end = self._ends[:, 0], self._ends[:, 1]
        before, after = right_of(before_m, start, end), right_of(after_m, start, end)
        self._follow(ids, np.where(before, 1, -1).astype(np.int8))
        between_ends = crossed(before_m, after_m, start, end) != 0
        self._passed[before != after] = -1
        self._passed[between_ends] = frame
        along = end - start
        offset = after_m[:, None] - start
        turn = along[:, 0] * offset[..., 1] - along[:, 1] * offset[..., 0]
        distances = -turn / np.hypot(along[:, 0], along[:, 1])
        now = np.where(np.abs(distances) >= CLEAR_M, np.sign(distances), self._sides).astype(np.int8)
        changed = now != self._sides
        self._sides = now
        return tuple(
            Crossing(
                int(self._passed[row, line]),
                self._names[line],
                int(ids[row]),
                "in" if now[row, line] > 0 else "out",
            )
            for row, line in np.argwhere(changed & (self._passed >= 0)).tolist()
        )

    def _follow(self, ids: NDArray[np.int64], sides: NDArray[np.int8]) -> None:
        """Rows for ``ids``: those who are known keep theirs, newcomers begin on ``sides``."""
        passed = np.full(sides.shape, -1, np.int64)
        _, new, old = np.intersect1d(ids, self._ids, assume_unique=True, return_indices=True)
        sides[new], passed[new] = self._sides[old], self._passed[old]
        self._ids, self._sides, self._passed = ids, sides, passed
