"""What was counted in one source beside what is true: its score, intervals, and a trivial rule.

Intervals are percentile bootstraps over blocks of `BLOCK_S` of all sources (Efron, Tibshirani 1993, ch. 13).
The trivial rule `Judged.evenly_spaced` knows the true number of each line and direction and spaces them
evenly over the time: its error is 0, and its precision and recall are those of chance.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.retail.training.counting import Score, score
from common.vision.crossing_matches import TimedCrossing, match_crossings

BLOCK_S = 15.0
RESAMPLES = 1000
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Judged:
    """Counted and true crossings of one source."""

    source: str
    duration_s: float
    counted: Sequence[TimedCrossing]
    truth: Sequence[TimedCrossing]
    virtual: bool = False

    @property
    def score(self) -> Score:
        return score(self.counted, self.truth)

    def between(self, begin_s: float, end_s: float) -> Judged:
        """A part of the time, from 0 again."""
        return Judged(
            self.source,
            end_s - begin_s,
            _between(self.counted, begin_s, end_s),
            _between(self.truth, begin_s, end_s),
            self.virtual,
        )

    def evenly_spaced(self) -> Judged:
        """The same source counted by the trivial rule."""
        totals = Tally((each.line, each.direction) for each in self.truth)
        spaced = [
            TimedCrossing(line, direction, (number + 0.5) * self.duration_s / count)
            for (line, direction), count in totals.items()
            for number in range(count)
        ]
        return Judged(self.source, self.duration_s, spaced, self.truth, self.virtual)


def total_of(sources: Iterable[Judged]) -> Score:
    """Score of all sources together."""
    return sum((each.score for each in sources), Score(0, 0, 0, 0))


def intervals(sources: Sequence[Judged], *, level: float = 0.95, seed: int = 0) -> dict[str, Interval]:
    """Interval of the error, the precision and the recall of all sources together, by figure."""
    drawn = np.random.default_rng(seed)
    parts = [_resampled(each, drawn) for each in sources if each.counted or each.truth]
    if not parts:
        return {}
    difference, counted, true, matched = np.sum(parts, axis=0)
    values = {
        "count_error_percent": 100 * difference / np.maximum(true, 1),
        "count_precision": matched / np.maximum(counted, 1),
        "count_recall": matched / np.maximum(true, 1),
    }
    ends = [(1 - level) / 2, (1 + level) / 2]
    found = {name: np.quantile(rows, ends) for name, rows in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def _resampled(judged: Judged, drawn: np.random.Generator) -> NDArray[np.float64]:
    """(4, resamples): differences, counted, true and matched crossings of one source."""
    blocks = max(1, round(judged.duration_s / BLOCK_S))
    keys = sorted({(each.line, each.direction) for each in (*judged.counted, *judged.truth)})
    counted, true = (
        _by_block(rows, keys, blocks, judged.duration_s) for rows in (judged.counted, judged.truth)
    )
    right = [judged.truth[place] for place in match_crossings(judged.counted, judged.truth).values()]
    matched = _by_block(right, keys, blocks, judged.duration_s)
    times = drawn.multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLES)
    difference = np.abs(times @ (counted - true)).sum(axis=1)
    totals = [(times @ rows).sum(axis=1) for rows in (counted, true, matched)]
    return np.stack([difference, *totals]).astype(np.float64)


def _by_block(
    rows: Sequence[TimedCrossing], keys: Sequence[tuple[str, str]], blocks: int, duration_s: float
) -> NDArray[np.int64]:
    """(blocks, keys): crossings by block of time."""
    found = np.zeros((blocks, len(keys)), np.int64)
    for each in rows:
        block = int(each.time_s / max(duration_s, 1e-9) * blocks)
        found[min(max(block, 0), blocks - 1), keys.index((each.line, each.direction))] += 1
    return found


def _between(crossings: Sequence[TimedCrossing], begin_s: float, end_s: float) -> list[TimedCrossing]:
    return [
        TimedCrossing(each.line, each.direction, each.time_s - begin_s)
        for each in crossings
        if begin_s <= each.time_s < end_s
    ]
