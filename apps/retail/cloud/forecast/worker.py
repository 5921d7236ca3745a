"""The process of one forecast: a request as one JSON line on standard input, the answer on standard output.

``python -m apps.retail.cloud.forecast.worker`` back-tests the installed models on the history, chooses one
and forecasts with it. Prophet and its 330 MB of libraries are in this process only, for some seconds a day
and store. It ends when its standard input closes, as it does when the cloud dies.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import date, timedelta

import msgspec
import numpy as np

from apps.retail.cloud.forecast.backtest import DAYS_AHEAD, Score, backtest, choose, judged_alike
from apps.retail.cloud.forecast.models import History, Model, installed_models
from apps.retail.events import Backtest
from common.errors import TrainingError

ORPHANED = 3


class Request(msgspec.Struct, frozen=True):
    """A store's history: visits by day from ``first`` on, null where unknown; ``closed`` are days to come."""

    first: date
    visits: list[float | None]
    holidays: dict[date, str]
    closed: list[date] = []


class Answer(msgspec.Struct, frozen=True):
    """Forecast of the `DAYS_AHEAD` days after the history by ``model``; ``note`` says what is missing."""

    model: str = ""
    expected: list[float | None] = []
    lower: list[float | None] = []
    upper: list[float | None] = []
    backtests: list[Backtest] = []
    note: str = ""


def answer(request: Request, models: list[Model]) -> Answer:
    """Back-test, choose, and forecast."""
    visits = np.array([np.nan if each is None else each for each in request.visits], dtype=np.float64)
    history = History(request.first, visits, request.holidays)
    usable, origins = judged_alike(models, history)
    scores = [backtest(model, history, origins) for model in usable]
    chosen = choose(scores)
    if not usable:
        need = min(model.min_days for model in models)
        return Answer(note=f"{history.known} known days; a forecast takes {need}")
    model = next((each for each in usable if each.name == chosen), usable[0])
    notes = [] if len(models) > 1 else ["Prophet is not installed (extra forecast)"]
    days = [history.end + timedelta(days=ahead) for ahead in range(DAYS_AHEAD)]
    try:
        found = model.forecast(history, days)
    except TrainingError as error:
        notes.append(str(error))
        model = usable[0]
        found = model.forecast(history, days)
    closed = np.array([day in set(request.closed) for day in days])
    columns = ([None if not np.isfinite(x) else round(float(x), 1) for x in np.where(closed, 0.0, each)]
               for each in (found.expected, found.lower, found.upper))  # fmt: skip
    expected, lower, upper = columns
    return Answer(
        model.name, expected, lower, upper, [_public(score) for score in scores], "; ".join(notes)[:300]
    )


def _public(score: Score) -> Backtest:
    wape, coverage = score.wape_percent, score.coverage_percent
    return Backtest(
        model=score.model,
        wape_percent=None if wape is None else round(wape, 2),
        coverage_percent=None if coverage is None else round(coverage, 2),
        days=score.days,
    )


def main() -> int:
    """Answer one request."""
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=Request)
    threading.Thread(target=_end_with_the_cloud, name="cloud-watch", daemon=True).start()
    sys.stdout.buffer.write(msgspec.json.encode(answer(request, installed_models())))
    sys.stdout.flush()
    return 0


def _end_with_the_cloud() -> None:
    while os.read(0, 4096):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
