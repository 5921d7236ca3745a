"""Forecasts: models on known series, back-test and choice, the process, unusual days."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import Engine

from apps.retail.cloud.forecast.backtest import DAYS_AHEAD, Score, backtest, choose, judged_alike, origins_of
from apps.retail.cloud.forecast.models import Forecast, History, ProphetModel, SeasonalNaive
from apps.retail.cloud.forecast.task import Forecasts
from apps.retail.cloud.forecast.worker import Answer, Request, answer
from apps.retail.cloud.stores import Stores
from apps.retail.events import Forecasted
from cloud_backend.ingest.app_tables import rebuild
from common.app.events import make_event
from common.errors import TrainingError
from tests.apps.retail.cloud.serving import APP, SetClock, client_of, context_of, project
from tests.apps.retail.received import local_ns, minute
from tests.waiting import wait_for

WEEK = (100.0, 110.0, 120.0, 130.0, 160.0, 200.0, 20.0)
MONDAY = date(2026, 1, 5)
SETTINGS: dict[str, Any] = {
    "stores": {
        "berlin": {
            "time_zone": "Europe/Berlin",
            "opening": {name: ["12:00-12:15"] for name in ("mon", "tue", "wed", "thu", "fri", "sat")},
        }
    }
}


def weeks(count: int, *, missing: Sequence[int] = (), noise: float = 0.0) -> History:
    rng = np.random.default_rng(1)
    visits = np.array(WEEK * count) + rng.normal(0, noise, 7 * count)
    visits[list(missing)] = np.nan
    return History(MONDAY, visits)


class Flat:
    """A model that always forecasts 100."""

    name = "flat"
    min_days = 28

    def forecast(self, history: History, days: Sequence[date]) -> Forecast:
        flat = np.full(len(days), 100.0)
        return Forecast(flat, flat - 5, flat + 5)


def test_the_naive_forecast_is_the_same_weekday_of_the_newest_known_week() -> None:
    history = weeks(6, missing=[41])
    days = [history.end + timedelta(days=at) for at in range(DAYS_AHEAD)]
    found = SeasonalNaive().forecast(history, days)
    assert list(found.expected) == list(WEEK * 2)
    assert bool((found.lower <= found.expected).all() and (found.expected <= found.upper).all())


def test_its_interval_holds_about_the_share_that_it_promises() -> None:
    history = weeks(60, noise=10.0)
    score = backtest(SeasonalNaive(), history, origins_of(history, 20))
    assert score.coverage_percent is not None
    assert 80 <= score.coverage_percent <= 98


def test_the_back_test_sees_only_the_history_before_each_origin() -> None:
    history = weeks(10)
    origins = origins_of(history, 3)
    assert origins == [MONDAY + timedelta(days=70 - 14 * back) for back in (3, 2, 1)]
    history.visits[-14:] *= 2
    score = backtest(SeasonalNaive(), history, origins[-1:])
    assert (score.days, score.wape_percent) == (14, pytest.approx(50.0))
    assert backtest(SeasonalNaive(), history, origins[:2]).wape_percent == 0


def test_the_model_with_the_lowest_error_is_chosen_and_none_that_was_hardly_judged() -> None:
    history = weeks(12)
    scores = [backtest(model, history, origins_of(history)) for model in (SeasonalNaive(), Flat())]
    assert choose(scores) == "seasonal_naive"
    assert choose([Score("a", 10, 100, 84), Score("b", 1, 100, 14)]) == "a"
    assert choose([]) == choose([Score("a")]) == ""


def test_a_model_that_takes_more_history_is_left_out_until_it_can_be_judged() -> None:
    class Demanding(Flat):
        min_days = 80

    names = [model.name for model in judged_alike([SeasonalNaive(), Demanding()], weeks(12))[0]]
    assert names == ["seasonal_naive"]
    models, origins = judged_alike([SeasonalNaive(), Demanding()], weeks(16))
    assert (len(models), len(origins)) == (2, 2)


def test_an_answer_has_both_figures_and_zero_on_closed_days() -> None:
    history = weeks(12)
    closed = history.end + timedelta(days=6)
    request = Request(MONDAY, [float(each) for each in history.visits], {}, [closed])
    found = answer(request, [SeasonalNaive(), Flat()])
    assert (found.model, found.expected[5], found.expected[6], found.upper[6]) == (
        "seasonal_naive",
        200.0,
        0.0,
        0.0,
    )
    assert [(each.model, each.days) for each in found.backtests] == [("seasonal_naive", 56), ("flat", 56)]
    short = answer(Request(MONDAY, [1.0, None, 2.0], {}), [SeasonalNaive()])
    assert (short.model, short.note) == ("", "2 known days; a forecast takes 28")


def test_prophet_is_not_imported_by_the_clouds_process() -> None:
    code = (
        "import sys, apps.retail.cloud.forecast.task; "
        "print([name for name in ('prophet', 'pandas', 'cmdstanpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_prophet_follows_season_and_holiday() -> None:
    pytest.importorskip("prophet", reason="the extra forecast is not installed")
    history = weeks(40, noise=3.0)
    holidays = {MONDAY + timedelta(days=7 * at): "weekly fair" for at in (10, 20, 30, 40)}
    for day in holidays:
        if day < history.end:
            history.visits[(day - MONDAY).days] = 300
    with_holidays = History(MONDAY, history.visits, holidays)
    days = [history.end + timedelta(days=at) for at in range(7)]
    found = ProphetModel().forecast(with_holidays, days)
    assert np.abs(found.expected - [300, *WEEK[1:]]).max() < 25


@pytest.fixture
def clock() -> SetClock:
    return SetClock(local_ns("2026-07-14 06:00"))


def sell(engine: Engine, days: int) -> None:
    """Visits of whole days up to 2026-07-13; a day is open for a quarter of an hour."""
    events = []
    for back in range(days, 0, -1):
        day = date(2026, 7, 14) - timedelta(days=back)
        begin_ns = local_ns(f"{day} 12:00")
        visits = int(WEEK[day.weekday()])
        for at in range(15):
            events.append(minute(back * 100 + at, begin_ns + at * 60 * 10**9, visits if at == 0 else 0))
    project(engine, events)


def test_each_store_is_forecast_once_a_day_in_a_process_of_its_own(engine: Engine, clock: SetClock) -> None:
    sell(engine, 60)
    stores = Stores(SETTINGS)
    forecasts = Forecasts(context_of(engine, SETTINGS, clock), stores)
    forecasts.turn()
    wait_for(lambda: forecasts.turn() or not forecasts.is_running, "the forecast")
    with client_of(engine, SETTINGS, clock) as client:
        found = client.get("/stores/berlin/forecast").json()
    assert (found["made_day"], found["days"][28]["day"]) == ("2026-07-14", "2026-07-14")
    sunday = next(day for day in found["days"] if day["day"] == "2026-07-19")
    assert sunday["expected"] == 0
    assert found["backtests"][0]["model"] == "seasonal_naive"
    forecasts.turn()
    assert not forecasts.is_running, "one a day"
    before = found
    rebuild(engine, "retail", APP)
    sell(engine, 60)
    with client_of(engine, SETTINGS, clock) as client:
        assert client.get("/stores/berlin/forecast").json() == before


def test_no_forecast_is_made_early_in_the_day_or_without_a_day(engine: Engine, clock: SetClock) -> None:
    forecasts = Forecasts(context_of(engine, SETTINGS, clock), Stores(SETTINGS))
    forecasts.turn()
    assert not forecasts.is_running
    sell(engine, 5)
    clock.now_ns = local_ns("2026-07-15 04:59")
    forecasts.turn()
    assert not forecasts.is_running


def test_a_process_that_dies_is_reported_and_not_started_again_that_day(
    engine: Engine, clock: SetClock
) -> None:
    sell(engine, 40)
    forecasts = Forecasts(context_of(engine, SETTINGS, clock), Stores(SETTINGS))
    forecasts.turn()
    clock.now_ns += 16 * 60 * 10**9
    with pytest.raises(TrainingError, match="the forecast of berlin took too long"):
        forecasts.turn()
    forecasts.turn()
    assert not forecasts.is_running


def outlook(engine: Engine, expected: float, lower: float, upper: float, clock: SetClock) -> dict[str, Any]:
    data = Forecasted(
        day="2026-07-11",
        model="seasonal_naive",
        expected=[expected],
        lower=[lower],
        upper=[upper],
        backtests=[],
    )
    context = context_of(engine, SETTINGS, clock)
    with context.session() as session:
        context.record(session, "berlin", [make_event(data, "berlin", clock())])
        session.commit()
    with client_of(engine, SETTINGS, clock) as client:
        days = client.get("/stores/berlin/forecast").json()["days"]
    return next(day for day in days if day["day"] == "2026-07-11")


def test_a_day_outside_of_the_interval_is_unusual(engine: Engine, clock: SetClock) -> None:
    sell(engine, 5)
    found = outlook(engine, 285.7, 250, 320, clock)
    assert (found["unusual"], found["difference_percent"]) == (True, -30.0)
    assert found["finding"] == (
        "Saturday 11 July is 30 % under the expectation: 200 of 286 visits, interval 250 to 320"
    )
    assert outlook(engine, 230, 190, 320, clock)["unusual"] is False


def test_a_day_that_was_not_observed_whole_is_not_judged(engine: Engine, clock: SetClock) -> None:
    at_ns = local_ns("2026-07-11 12:00")
    project(engine, [minute(1, at_ns, 1)])
    found = outlook(engine, 285.7, 250, 320, clock)
    assert (found["visits"], found["unusual"]) == (1, None)


def test_the_worker_ends_with_its_cloud() -> None:
    request = msgspec.json.encode(Request(MONDAY, [float(each) for each in WEEK * 10], {})) + b"\n"
    process = subprocess.run(
        [sys.executable, "-m", "apps.retail.cloud.forecast.worker"],
        input=request,
        capture_output=True,
        check=False,
    )
    assert process.returncode in (0, 3)
    if process.returncode == 0:
        assert msgspec.json.decode(process.stdout, type=Answer).model
