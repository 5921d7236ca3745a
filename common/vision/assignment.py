"""Exact assignment of tracks to detections: the pairs with the greatest sum of affinities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def assign(affinity: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pairs, each row and column at most once; an affinity of 0 is never paired.

    Affinities (n, m) are not negative. Pairs without any competitor are taken at once; the others by shortest
    augmenting paths (Kuhn-Munkres in the form of Jonker and Volgenant, Computing 38, 1987), in
    O(n² m) for the n rows and m columns that compete.
    """
    possible = affinity > 0
    rows, columns = np.nonzero(possible & _alone(possible))
    contested = possible & ~_alone(possible)
    left, right = np.flatnonzero(contested.any(axis=1)), np.flatnonzero(contested.any(axis=0))
    if not len(left):
        return rows, columns
    weights = affinity[np.ix_(left, right)]
    if len(left) <= len(right):
        first, second = _shortest_paths(-weights)
    else:
        second, first = _shortest_paths(-weights.T)
    paired = weights[first, second] > 0
    return (
        np.concatenate((rows, left[first[paired]])),
        np.concatenate((columns, right[second[paired]])),
    )


def _alone(possible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n, m): whether neither the row nor the column has another candidate."""
    return (possible.sum(axis=1) == 1)[:, None] & (possible.sum(axis=0) == 1)


def _shortest_paths(costs: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The least sum of costs that assigns every row of (n, m), n <= m, to a column of its own."""
    count, width = costs.shape
    row_of = np.full(width + 1, -1)  # The last column is where each search starts.
    row_price, column_price = np.zeros(count), np.zeros(width + 1)
    for row in range(count):
        column = width
        row_of[column] = row
        distance, before = np.full(width, np.inf), np.full(width, width)
        done = np.zeros(width + 1, np.bool_)
        while row_of[column] >= 0:
            done[column] = True
            here = row_of[column]
            reduced = costs[here] - row_price[here] - column_price[:-1]
            shorter = ~done[:-1] & (reduced < distance)
            distance[shorter], before[shorter] = reduced[shorter], column
            open_distance = np.where(done[:-1], np.inf, distance)
            nearest = int(open_distance.argmin())
            step = open_distance[nearest]
            row_price[row_of[done]] += step
            column_price[done] -= step
            distance[~done[:-1]] -= step
            column = nearest
        while column != width:
            row_of[column] = row_of[before[column]]
            column = int(before[column])
    columns = np.flatnonzero(row_of[:-1] >= 0)
    return row_of[columns], columns
