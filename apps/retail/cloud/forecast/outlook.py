"""A store's forecast beside its visits, and the days that were outside of the interval."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from pydantic import BaseModel
from sqlmodel import Session, col, select

from apps.retail.cloud.counts import VisitCount, visits_by
from apps.retail.cloud.forecast.task import KNOWN_SHARE
from apps.retail.cloud.stores import Stores
from apps.retail.cloud.tables import ForecastDay, ForecastState

DAYS_BACK = 28


class BacktestPublic(BaseModel):
    """Figures of a model on the store's own history, 14 days ahead; null without a day to judge."""

    model: str
    wape_percent: float | None
    coverage_percent: float | None
    days: int


class OutlookDay(BaseModel):
    """One day: what was expected before it began, and the visits.

    ``unusual``: the visits of a day that is over and observed were outside of the interval; ``finding`` says
    so in words. Null where one of them is unknown.
    """

    day: str
    expected: float | None
    lower: float | None
    upper: float | None
    visits: int | None
    complete_share: float | None
    difference_percent: float | None
    unusual: bool | None
    finding: str


class Outlook(BaseModel):
    """The forecast of a store; ``made_day`` is empty without one."""

    made_day: str
    model: str
    note: str
    interval_percent: float
    backtests: list[BacktestPublic]
    days: list[OutlookDay]


def outlook_of(
    session: Session,
    stores: Stores,
    site: str,
    now_ns: int,
    interval: float,
    days_ahead: int,
    days_back: int = DAYS_BACK,
) -> Outlook:
    """The last ``days_back`` days, and ``days_ahead`` from today on."""
    today = stores.today(site, now_ns)
    first = today - timedelta(days=days_back)
    days = [first + timedelta(days=at) for at in range(days_back + days_ahead)]
    past = [day for day in days if day <= today]
    counts = visits_by(session, stores, site, [stores.day(site, day) for day in past], now_ns)
    visits = dict(zip(past, counts, strict=True))
    end = days[-1] if days else first
    query = select(ForecastDay).where(
        col(ForecastDay.site) == site,
        col(ForecastDay.day) >= first.isoformat(),
        col(ForecastDay.day) <= end.isoformat(),
    )
    expected = {row.day: row for row in session.exec(query)}
    state = session.get(ForecastState, site)
    return Outlook(
        made_day=state.day if state else "",
        model=state.model if state else "",
        note=state.note if state else "",
        interval_percent=100 * interval,
        backtests=[BacktestPublic.model_validate(each) for each in state.backtests] if state else [],
        days=[_day(day, expected.get(day.isoformat()), visits.get(day), day < today) for day in days],
    )


def findings_of(days: Sequence[OutlookDay]) -> list[str]:
    """Findings of unusual days, newest first."""
    return [day.finding for day in reversed(days) if day.unusual]


def _day(day: date, forecast: ForecastDay | None, count: VisitCount | None, is_over: bool) -> OutlookDay:
    share = count.complete_share if count else None
    visits = count.visits if count and share is not None else None
    found = OutlookDay(
        day=day.isoformat(),
        expected=forecast.expected if forecast else None,
        lower=forecast.lower if forecast else None,
        upper=forecast.upper if forecast else None,
        visits=visits,
        complete_share=share,
        difference_percent=None,
        unusual=None,
        finding="",
    )
    if not is_over or visits is None or (share or 0.0) < KNOWN_SHARE:
        return found
    if found.expected is None or found.lower is None or found.upper is None:
        return found
    if found.expected:
        found.difference_percent = round(100 * (visits - found.expected) / found.expected, 1)
    found.unusual = not found.lower <= visits <= found.upper
    if found.unusual:
        found.finding = _finding(day, found, visits)
    return found


def _finding(day: date, found: OutlookDay, visits: int) -> str:
    interval = f"interval {found.lower:,.0f} to {found.upper:,.0f}"
    side = "under" if visits < (found.expected or 0) else "over"
    amount = "" if found.difference_percent is None else f"{abs(found.difference_percent):.0f} % "
    numbers = f"{visits:,} of {found.expected:,.0f} visits, {interval}"
    return f"{day:%A %-d %B} is {amount}{side} the expectation: {numbers}"
