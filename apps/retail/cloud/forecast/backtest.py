"""Rolling back-test of forecast models, and the choice among them.

From each origin a model forecasts `DAYS_AHEAD` days with the history before it only. WAPE is the sum of
absolute errors over the sum of visits, over all days with a known number; coverage is the share of these days
within the interval. The model with the lowest WAPE is chosen; the earlier one of equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from apps.retail.cloud.forecast.models import History, Model
from common.errors import TrainingError

DAYS_AHEAD = 14
ORIGINS = 6
"""Origins of a store's back-test, `DAYS_AHEAD` days apart, the last one as late as it can be judged."""


@dataclass(frozen=True, slots=True)
class Score:
    """Sums over judged days."""

    model: str
    absolute_error: float = 0.0
    visits: float = 0.0
    days: int = 0
    within: int = 0

    def plus(self, other: Score) -> Score:
        return Score(
            self.model,
            self.absolute_error + other.absolute_error,
            self.visits + other.visits,
            self.days + other.days,
            self.within + other.within,
        )

    @property
    def wape_percent(self) -> float | None:
        """None without a visit."""
        return 100 * self.absolute_error / self.visits if self.visits else None

    @property
    def coverage_percent(self) -> float | None:
        """None without a day."""
        return 100 * self.within / self.days if self.days else None


def backtest(model: Model, history: History, origins: Sequence[date]) -> Score:
    """The score of ``model`` over ``origins``; of those with too short a history, nothing."""
    total = Score(model.name)
    for origin in origins:
        before = history.until(origin)
        if before.known < model.min_days:
            continue
        days = [origin + timedelta(days=ahead) for ahead in range(DAYS_AHEAD)]
        try:
            found = model.forecast(before, days)
        except TrainingError:
            continue  # no forecast, no day to judge: the model falls behind in days
        truth = history.of(days)
        judged = np.isfinite(truth) & np.isfinite(found.expected) & np.isfinite(found.lower)
        total = total.plus(
            Score(
                model.name,
                float(np.abs(found.expected - truth)[judged].sum()),
                float(truth[judged].sum()),
                int(judged.sum()),
                int(((found.lower <= truth) & (truth <= found.upper))[judged].sum()),
            )
        )
    return total


def origins_of(history: History, count: int = ORIGINS, every_days: int = DAYS_AHEAD) -> list[date]:
    """Origins from which all days can be judged, oldest first."""
    last = history.end - timedelta(days=DAYS_AHEAD)
    found = [last - timedelta(days=every_days * back) for back in range(count)]
    return [day for day in reversed(found) if day > history.first]


def judged_alike(models: Sequence[Model], history: History) -> tuple[list[Model], list[date]]:
    """The models with enough history, and the origins at which all of them have it.

    ``models`` are in the order of the history that they take; the last ones are left out until there is an
    origin for all.
    """
    candidates = [model for model in models if history.known >= model.min_days]
    while candidates:
        most = max(model.min_days for model in candidates)
        origins = [day for day in origins_of(history) if history.until(day).known >= most]
        if origins or len(candidates) == 1:
            return candidates, origins
        candidates.pop()
    return [], []


def choose(scores: Sequence[Score]) -> str:
    """Name of the model with the lowest WAPE among those judged on as many days as any; empty for none."""
    judged = [score for score in scores if score.wape_percent is not None]
    most = max((score.days for score in judged), default=0)
    return min((score for score in judged if score.days >= 0.9 * most), key=_wape, default=Score("")).model


def _wape(score: Score) -> float:
    return score.wape_percent or 0.0
