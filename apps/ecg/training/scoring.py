"""Counting: beats matched to annotated ones, confusion, F1, and its bootstrap over patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.ecg.edge.beats import KINDS

WINDOW_S = 0.15
"""Maximum distance of a peak from its beat (ANSI/AAMI EC57, 4.3)."""
NOTHING = len(KINDS)
"""Additional row and column of the confusion: column of missed beats, row of extra peaks."""
BOOTSTRAPS = 1000

Counts = NDArray[np.int64]
"""Confusion ``(classes + 1, classes + 1)``: truth by decision, `NOTHING` last."""


def matched(found: NDArray[np.int64], annotated: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """For each found peak the index of its annotated beat, -1 without one.

    One to one, nearest pairs within ``window`` samples first. Both are ascending.
    """
    result = np.full(len(found), -1, np.int64)
    if not len(found) or not len(annotated):
        return result
    first = np.searchsorted(annotated, found - window)
    last = np.searchsorted(annotated, found + window, side="right")
    pairs = [
        (abs(int(found[i]) - int(annotated[j])), i, j)
        for i in range(len(found))
        for j in range(first[i], last[i])
    ]
    taken: set[int] = set()
    for _, i, j in sorted(pairs):
        if result[i] < 0 and j not in taken:
            result[i] = j
            taken.add(j)
    return result


def confusion(truth: NDArray[np.integer], decided: NDArray[np.integer]) -> Counts:
    """Counts of pairs, each an index in `KINDS` or `NOTHING`."""
    size = NOTHING + 1
    return np.bincount(np.asarray(truth) * size + np.asarray(decided), minlength=size * size).reshape(
        size, size
    )


def f1(counts: Counts, kind: str) -> NDArray[np.float64]:
    """F1 of a class from counts ``(..., classes + 1, classes + 1)``; NaN without any."""
    which = KINDS.index(kind)
    both = counts[..., which, which]
    with np.errstate(invalid="ignore"):
        return 2 * both / (counts[..., which, :].sum(-1) + counts[..., :, which].sum(-1))


def f1_of_aami(counts: Counts, kind: str) -> NDArray[np.float64]:
    """F1 of V or S without counting F or Q classified as V, or Q classified as S, as false positives.

    This is the AAMI's recommended practice (de Chazal, O'Dwyer, Reilly 2004), used by most published results.
    """
    which = KINDS.index(kind)
    free = counts[..., KINDS.index("Q"), which] + (counts[..., KINDS.index("F"), which] if kind == "V" else 0)
    both = counts[..., which, which]
    with np.errstate(invalid="ignore"):
        return 2 * both / (counts[..., which, :].sum(-1) + counts[..., :, which].sum(-1) - free)


def sensitivity(counts: Counts, kind: str) -> NDArray[np.float64]:
    """Share of the beats of a class that were detected as such."""
    which = KINDS.index(kind)
    with np.errstate(invalid="ignore"):
        return counts[..., which, which] / counts[..., which, :].sum(-1)


def ppv(counts: Counts, kind: str) -> NDArray[np.float64]:
    """Share of detections of a class that are correct."""
    which = KINDS.index(kind)
    with np.errstate(invalid="ignore"):
        return counts[..., which, which] / counts[..., :, which].sum(-1)


def drawn_patients(counts: Sequence[NDArray[Any]], draws: int = BOOTSTRAPS) -> NDArray[Any]:
    """Sums over patients drawn with replacement: per patient ``(...)`` -> ``(draws, ...)``."""
    stacked = np.stack(counts)
    drawn = np.random.default_rng(0).integers(len(stacked), size=(draws, len(stacked)))
    weights = np.zeros((draws, len(stacked)))
    np.add.at(weights, (np.arange(draws)[:, np.newaxis], drawn), 1)
    return np.tensordot(weights, stacked, axes=1)
