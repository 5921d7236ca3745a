"""Models of daily visits behind one interface: seasonal naive, and Prophet (extra ``forecast``).

A history is one value a day, NaN where the day is unknown or the store was closed. A forecast has an
interval that holds a day's visits with the probability `COVERAGE`. Prophet is imported where it is used: by
the process of a forecast, never by the cloud's.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import TrainingError

COVERAGE = 0.9
WEEK = 7
NAIVE_WEEKS = 26
"""Weeks whose changes from week to week give the interval of the seasonal naive forecast."""
MIN_NAIVE_DAYS = 28
MIN_PROPHET_DAYS = 90
YEARLY_DAYS = 730
"""History from which Prophet fits a yearly season."""
FLEXIBILITY, CHANGES_UNTIL = 0.5, 0.95
"""Prophet's prior of changes of the trend, and the share of the history that may have them.

They are above its defaults (0.05 and 0.8): the trend of a shop changes at once, and lately. Chosen on the
year 2023 of Auckland's footfall."""
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class History:
    """Daily visits from ``first`` on, and the names of holidays in and after it."""

    first: date
    visits: Values
    holidays: Mapping[date, str] = field(default_factory=dict[date, str])

    def until(self, day: date) -> History:
        """The part before ``day``."""
        return History(self.first, self.visits[: max(0, (day - self.first).days)], self.holidays)

    def of(self, days: Sequence[date]) -> Values:
        """Visits of ``days``; NaN for one outside of the history."""
        places = [(day - self.first).days for day in days]
        return np.array([self.visits[at] if 0 <= at < len(self.visits) else np.nan for at in places])

    @property
    def end(self) -> date:
        """The day after the last one."""
        return self.first + timedelta(days=len(self.visits))

    @property
    def known(self) -> int:
        """Days with a value."""
        return int(np.isfinite(self.visits).sum())


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected visits and their interval by day; NaN where the model has nothing to say."""

    expected: Values
    lower: Values
    upper: Values


class Model(Protocol):
    """A way to forecast."""

    name: str
    min_days: int
    """Known days of history that it takes."""

    def forecast(self, history: History, days: Sequence[date]) -> Forecast:
        """Visits of ``days``, all after the history."""
        ...


class SeasonalNaive:
    """The newest known visits of the same weekday; the interval is of changes over as many weeks before."""

    name = "seasonal_naive"
    min_days = MIN_NAIVE_DAYS

    def forecast(self, history: History, days: Sequence[date]) -> Forecast:
        rows = [self._of_day(history, day) for day in days]
        expected, lower, upper = np.array(rows, dtype=np.float64).T
        return Forecast(expected, lower, upper)

    def _of_day(self, history: History, day: date) -> tuple[float, float, float]:
        visits, at = history.visits, (day - history.first).days
        weeks = -(-(at - len(visits) + 1) // WEEK)
        while at - weeks * WEEK >= 0 and not np.isfinite(visits[at - weeks * WEEK]):
            weeks += 1
        if at - weeks * WEEK < 0:
            return np.nan, np.nan, np.nan
        expected = float(visits[at - weeks * WEEK])
        recent = visits[-NAIVE_WEEKS * WEEK :]
        changes = recent[weeks * WEEK :] - recent[: -weeks * WEEK]
        changes = changes[np.isfinite(changes)]
        if not len(changes):
            return expected, np.nan, np.nan
        low, high = np.quantile(changes, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        return expected, max(0.0, expected + min(0.0, float(low))), expected + max(0.0, float(high))


class ProphetModel:
    """Prophet (Taylor and Letham, 2018) with weekly and yearly seasons and the holidays of the history."""

    name = "prophet"
    min_days = MIN_PROPHET_DAYS

    def forecast(self, history: History, days: Sequence[date]) -> Forecast:
        """Raises `TrainingError` where Prophet cannot fit the history."""
        logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Prophet about pandas
            import pandas as pd
            from prophet import Prophet  # pyright: ignore[reportMissingImports]: extra forecast

            logging.getLogger("cmdstanpy").setLevel(logging.WARNING)  # its import sets another level
            named = sorted(history.holidays.items())
            holidays = pd.DataFrame({"ds": [day for day, _ in named], "holiday": [name for _, name in named]})
            holidays["ds"] = pd.to_datetime(holidays["ds"])
            known = np.isfinite(history.visits)
            first = history.first
            past = [first + timedelta(days=int(at)) for at in np.flatnonzero(known)]
            model = Prophet(
                growth="linear",
                changepoint_prior_scale=FLEXIBILITY,
                changepoint_range=CHANGES_UNTIL,
                seasonality_mode="multiplicative",
                weekly_seasonality=True,
                yearly_seasonality=(history.end - past[0]).days >= YEARLY_DAYS,
                daily_seasonality=False,
                interval_width=COVERAGE,
                holidays=holidays if len(holidays) else None,
            )
            np.random.seed(0)  # Prophet draws its intervals from the global generator
            try:
                model.fit(pd.DataFrame({"ds": pd.to_datetime(past), "y": history.visits[known]}), seed=0)
                found = model.predict(pd.DataFrame({"ds": pd.to_datetime(list(days))}))
            except (RuntimeError, ValueError) as error:
                raise TrainingError(f"Prophet cannot fit {len(past)} days from {past[0]}: {error}") from error
        columns = (
            np.maximum(found[name].to_numpy(float), 0.0) for name in ("yhat", "yhat_lower", "yhat_upper")
        )
        return Forecast(*columns)


def installed_models() -> list[Model]:
    """The models of this installation: the seasonal naive one first."""
    models: list[Model] = [SeasonalNaive()]
    if find_spec("prophet") is not None:
        models.append(ProphetModel())
    return models
