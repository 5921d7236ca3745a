"""A shopping trolley of rods, in front of the person who pushes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def _rods() -> tuple[Floats, Floats]:
    """Rods ``(n, 2, 3)`` in m, x to the right and y ahead of the handle, and radii ``(n,)``."""
    rods: list[tuple[tuple[float, float, float], tuple[float, float, float]]] = []
    back, front = (0.27, 0.05, 0.98), (0.2, 0.85, 0.92)
    low_back, low_front = (0.22, 0.12, 0.55), (0.17, 0.78, 0.6)
    for share in np.linspace(0, 1, 5):
        near = np.array(low_back) + share * (np.array(back) - low_back)
        far = np.array(low_front) + share * (np.array(front) - low_front)
        corners = [(-near[0], *near[1:]), tuple(near), tuple(far), (-far[0], *far[1:])]
        rods += list(zip(corners, corners[1:] + corners[:1], strict=True))
    for share in np.linspace(0, 1, 6):
        low = np.array(low_back) + share * (np.array(low_front) - low_back)
        high = np.array(back) + share * (np.array(front) - back)
        rods += [
            (tuple(low), tuple(high)),
            ((-low[0], *low[1:]), (-high[0], *high[1:])),
            ((-low[0], *low[1:]), tuple(low)),
        ]
    thick = len(rods)
    rods += [
        ((-0.27, 0, 1.02), (0.27, 0, 1.02)),
        ((-0.25, 0.05, 0.98), (-0.27, 0, 1.02)),
        ((0.25, 0.05, 0.98), (0.27, 0, 1.02)),
    ]
    for side in (-1, 1):
        rods += [
            ((0.22 * side, 0.12, 0.55), (0.22 * side, 0.05, 0.12)),
            ((0.22 * side, 0.05, 0.12), (0.19 * side, 0.85, 0.12)),
            ((0.22 * side, 0.05, 0.12), (0.22 * side, 0.05, 0.0)),
            ((0.19 * side, 0.85, 0.12), (0.19 * side, 0.85, 0.0)),
        ]
    radii = np.full(len(rods), 0.006, np.float32)
    radii[thick:] = 0.014
    return np.array(rods, np.float32), radii


RODS, RADII_M = _rods()
COLOURS = np.tile(np.array([178, 174, 170], np.float32), (len(RODS), 1))
COLOURS[5 * 4 + 6 * 3] = (40, 60, 200)  # the handle
AHEAD_M = 0.38
"""From the person's floor point to the handle."""


def trolley_rods(position_m: NDArray[np.float64], heading_rad: float) -> Floats:
    """The rods ``(n, 2, 3)`` in the world of a trolley pushed from a floor position."""
    ahead = np.array([np.cos(heading_rad), np.sin(heading_rad)])
    right = np.array([ahead[1], -ahead[0]])
    turned = np.zeros_like(RODS)
    turned[..., :2] = RODS[..., :1] * right + (RODS[..., 1:2] + AHEAD_M) * ahead + position_m
    turned[..., 2] = RODS[..., 2]
    return turned
