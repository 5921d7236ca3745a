"""Forecasts of real footfall, 14 days ahead: Prophet with holidays beside the seasonal naive forecast.

::

    python -m apps.retail.benchmarks.forecast --data DIR [--from 2024-01-01] [--every-days 28] [--json]

``DIR`` holds ``footfall/akl_hourly.csv.gz``: hourly counts of Heart of the City Auckland's Pedestrian
Monitoring System. A day is the sum of its hours; it is unknown with fewer than `MIN_HOURS` of them or none
above zero. From each origin both models get the `HISTORY_DAYS` before it. Sums run over all sensors, so busy
places weigh more; the mean over sensors is given as well. Needs the extra ``forecast``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import reduce
from pathlib import Path

import numpy as np

from apps.retail.cloud.forecast.backtest import DAYS_AHEAD, Score, backtest
from apps.retail.cloud.forecast.models import History, Model, ProphetModel, SeasonalNaive
from apps.retail.cloud.forecast.public_holidays import public_holidays

MIN_HOURS = 22
HISTORY_DAYS = 1096
REGION = "NZ-AUK"
FILE = Path("footfall") / "akl_hourly.csv.gz"


def read_days(path: Path) -> dict[str, dict[date, float]]:
    """Known daily sums by sensor."""
    hours: dict[str, dict[date, list[int]]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            day = date.fromisoformat(row.pop("time")[:10])
            for sensor, text in row.items():
                if text:
                    hours.setdefault(sensor, {}).setdefault(day, []).append(int(text))
    return {
        sensor: {
            day: float(sum(values))
            for day, values in days.items()
            if len(values) >= MIN_HOURS and any(values)
        }
        for sensor, days in hours.items()
    }


def histories(days: Mapping[str, Mapping[date, float]]) -> Iterator[tuple[str, History]]:
    """One history a sensor with the region's holidays."""
    for sensor, values in days.items():
        first, last = min(values), max(values)
        holidays = public_holidays(REGION, range(first.year, last.year + 2))
        all_days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
        yield sensor, History(first, np.array([values.get(day, np.nan) for day in all_days]), holidays)


def scores_of(models: Sequence[Model], history: History, begin: date, every_days: int) -> list[Score]:
    """The score of each model from the origins on and after ``begin``."""
    totals = [Score(model.name) for model in models]
    for at in range(0, (history.end - begin).days - DAYS_AHEAD + 1, every_days):
        origin = begin + timedelta(days=at)
        start = max(history.first, origin - timedelta(days=HISTORY_DAYS))
        recent = History(start, history.visits[(start - history.first).days :], history.holidays)
        totals = [
            total.plus(backtest(model, recent, [origin])) for total, model in zip(totals, models, strict=True)
        ]
    return totals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 if it ran."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--from", dest="begin", type=date.fromisoformat, default=date(2024, 1, 1))
    parser.add_argument("--every-days", type=int, default=28, help="days between origins")
    parser.add_argument("--json", action="store_true", help="one JSON object a figure")
    options = parser.parse_args(arguments)
    models: list[Model] = [SeasonalNaive(), ProphetModel()]
    by_sensor: list[list[Score]] = []
    for sensor, history in histories(read_days(options.data / FILE)):
        scores = scores_of(models, history, options.begin, options.every_days)
        by_sensor.append(scores)
        if not options.json:
            print(f"{sensor:40}", *(_text(score) for score in scores), sep="  ", flush=True)
    totals = [reduce(Score.plus, each) for each in zip(*by_sensor, strict=True)]
    means = [
        float(np.mean([s.wape_percent for s in each if s.days])) for each in zip(*by_sensor, strict=True)
    ]
    if options.json:
        for figure in _figures(totals, means):
            print(json.dumps(figure))
    else:
        print(f"{'all':40}", *(_text(score) for score in totals), sep="  ")
        print("mean WAPE over sensors:", ", ".join(f"{mean:.1f} %" for mean in means))
    return 0


def _text(score: Score) -> str:
    if score.wape_percent is None or score.coverage_percent is None:
        return f"{score.model} no day"
    figures = f"WAPE {score.wape_percent:.1f} %, coverage {score.coverage_percent:.1f} %"
    return f"{score.model} {figures}, {score.days} days"


def _figures(totals: Sequence[Score], means: Sequence[float]) -> Iterator[dict[str, object]]:
    naive, prophet = totals
    rows = (
        ("forecast_wape", prophet.wape_percent, naive.wape_percent),
        ("forecast_wape_mean_of_sensors", means[1], means[0]),
        ("forecast_coverage", prophet.coverage_percent, naive.coverage_percent),
    )
    for name, value, against in rows:
        if value is not None and against:
            yield {
                "figure": name,
                "value": round(value, 2),
                "unit": "%",
                "against": naive.model,
                "against_value": round(against, 2),
                "ratio": round(value / against, 3),
            }


if __name__ == "__main__":
    sys.exit(main())
