"""Rows of a report: one a store and day, or a store and hour, from its counts, sales and forecast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from sqlmodel import Session

from apps.retail.cloud.counts import VisitCount, visits_by
from apps.retail.cloud.forecast.models import COVERAGE
from apps.retail.cloud.forecast.outlook import DAYS_BACK, OutlookDay, outlook_of
from apps.retail.cloud.sales import parts_of
from apps.retail.cloud.stores import Stores
from apps.retail.cloud.trade import TradeCount, trade_by

DAYS_LIMIT = 366
STORES_LIMIT = 1000
Interval = Literal["hour", "day"]


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One store and period. None: unknown. The names are the columns of the files."""

    store: str
    title: str
    day: str
    begin: str
    visits: int
    entered: int
    returned: int
    groups: int | None
    went_out: int
    visits_outside_of_hours: int
    observed_share: float | None
    transactions: int | None
    revenue: float | None
    sales_share: float | None
    conversion: float | None
    group_conversion: float | None
    passers_by: int | None
    capture_rate: float | None
    expected_visits: float | None
    expected_lower: float | None
    expected_upper: float | None
    unusual: bool | None


@dataclass(frozen=True, slots=True)
class Report:
    """Rows of stores over days, and what was unusual in words."""

    title: str
    first: date
    last: date
    rows: Sequence[ReportRow]
    findings: Sequence[str]


def report_of(
    session: Session, stores: Stores, sites: Sequence[str], first: date, last: date, by: Interval, now_ns: int
) -> Report:
    """The report of stores from ``first`` to ``last``."""
    rows: list[ReportRow] = []
    findings: list[str] = []
    for site in sites:
        back = (stores.today(site, now_ns) - first).days
        known = outlook_of(session, stores, site, now_ns, COVERAGE, 0, max(DAYS_BACK, back)).days
        outlook = {day.day: day for day in known}
        days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
        for day in days:
            rows += _rows(session, stores, site, day, by, outlook.get(day.isoformat()), now_ns)
            found = outlook.get(day.isoformat())
            if found is not None and found.unusual:
                findings.append(f"{stores.title(site)}: {found.finding}")
    title = stores.title(sites[0]) if len(sites) == 1 else f"{len(sites)} stores"
    return Report(title, first, last, rows, findings)


def _rows(
    session: Session,
    stores: Stores,
    site: str,
    day: date,
    by: Interval,
    expected: OutlookDay | None,
    now_ns: int,
) -> Iterator[ReportRow]:
    buckets = parts_of(stores, site, day, by)
    visits = visits_by(session, stores, site, buckets, now_ns)
    trades = trade_by(session, stores, site, buckets, now_ns)
    for count, trade in zip(visits, trades, strict=True):
        yield _row(stores, site, day, count, trade, expected if by == "day" else None)


def _row(
    stores: Stores, site: str, day: date, count: VisitCount, trade: TradeCount, expected: OutlookDay | None
) -> ReportRow:
    return ReportRow(
        store=site,
        title=stores.title(site),
        day=day.isoformat(),
        begin=count.local,
        visits=count.visits,
        entered=count.entered,
        returned=count.returned,
        groups=count.groups,
        went_out=count.left,
        visits_outside_of_hours=count.outside,
        observed_share=_rounded(count.complete_share),
        transactions=trade.transactions,
        revenue=trade.revenue,
        sales_share=_rounded(trade.sales_share),
        conversion=_rounded(trade.conversion),
        group_conversion=_rounded(trade.group_conversion),
        passers_by=trade.passers_by,
        capture_rate=_rounded(trade.capture_rate),
        expected_visits=expected.expected if expected else None,
        expected_lower=expected.lower if expected else None,
        expected_upper=expected.upper if expected else None,
        unusual=expected.unusual if expected else None,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
