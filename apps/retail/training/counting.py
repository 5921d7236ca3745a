"""Counting judged by single crossings: the app's own edge on a source whose crossings are known.

Which are right, `common.vision.crossing_matches` says. ``count_error_percent`` is the sum over lines and
directions of the absolute difference between counted and true crossings, by the number of true ones.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from apps.retail.app import RetailSettings
from apps.retail.domain import CameraLayout
from apps.retail.edge.app import RetailEdge
from apps.retail.events import Crossed
from common.app.edge import EdgeContext, Model, Reading
from common.messages import Event
from common.vision.crossing_matches import TimedCrossing, match_crossings

Counter = Callable[[Iterable[Reading], CameraLayout], list[TimedCrossing]]
"""Counts the crossings in the frames of one camera."""


@dataclass(frozen=True, slots=True)
class Score:
    """Counting of one source or several: true, counted and matched crossings, and the sum of differences."""

    true: int
    counted: int
    matched: int
    difference: int

    @property
    def precision(self) -> float:
        return self.matched / self.counted if self.counted else 1.0

    @property
    def recall(self) -> float:
        return self.matched / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        return 2 * self.matched / max(1, self.true + self.counted)

    @property
    def error_percent(self) -> float:
        return 100 * self.difference / max(1, self.true)

    def figures(self) -> dict[str, float]:
        """``count_error_percent``, ``count_precision``, ``count_recall``."""
        return {
            "count_error_percent": self.error_percent,
            "count_precision": self.precision,
            "count_recall": self.recall,
        }

    def __add__(self, other: Score) -> Score:
        return Score(
            self.true + other.true,
            self.counted + other.counted,
            self.matched + other.matched,
            self.difference + other.difference,
        )


def score(counted: Sequence[TimedCrossing], truth: Sequence[TimedCrossing]) -> Score:
    """Compare counted crossings with the true ones."""
    counts, true = (Tally((each.line, each.direction) for each in rows) for rows in (counted, truth))
    difference = sum(abs(counts[key] - true[key]) for key in counts | true)
    return Score(len(truth), len(counted), len(match_crossings(counted, truth)), difference)


def count(
    model: Model,
    readings: Iterable[Reading],
    layout: CameraLayout,
    progress: Callable[[float], None] = lambda _time_s: None,
) -> list[TimedCrossing]:
    """The crossings that the app counts in the frames of one camera."""
    counted: list[TimedCrossing] = []
    edge: RetailEdge | None = None
    begin_ns = 0
    for reading in readings:
        if edge is None:
            settings = RetailSettings(cameras={reading.subject: layout})
            edge, begin_ns = RetailEdge(EdgeContext(settings, model)), reading.captured_ns
        progress((reading.captured_ns - begin_ns) / 1e9)
        for result in edge.process(reading, reading.captured_ns):
            if isinstance(result, Event) and isinstance(result.data, Crossed):
                data = result.data
                time_s = (result.time_ns - begin_ns) / 1e9
                counted.append(TimedCrossing(data.line, data.direction, time_s))
    return counted
