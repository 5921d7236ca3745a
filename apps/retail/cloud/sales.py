"""Sales of a store from its point of sale: periods with the number of transactions, read and kept.

- A day has periods of one length (``quarter``, ``hour`` or ``day``), each a part of the local day. Sales of
  another length replace those of the day.
- An upload is taken as a whole or not at all; errors name the line. The same upload again changes nothing, a
  period with other numbers is corrected.
- Periods of the opening hours without sales, from the first to the last of an upload, are its gaps.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Literal

from pydantic import BaseModel, Field
from sqlmodel import Session, col, select

from apps.retail.cloud.stores import HOUR_NS, QUARTER_NS, Bucket, Stores
from apps.retail.cloud.tables import Sale
from apps.retail.events import Sales
from common.errors import MessageError

ROWS_LIMIT = 20_000
"""Most periods in one upload."""
ERRORS_SHOWN = 10
GAPS_SHOWN = 100
MAX_NUMBER = 10**9
Period = Literal["quarter", "hour", "day"]


class SalesError(MessageError):
    """An upload of sales that cannot be read, with the reasons by line."""


class SalesRow(BaseModel):
    """Sales of one period; ``begin`` is a local time of the store, or one with an offset."""

    begin: str = Field(max_length=40)
    transactions: int = Field(ge=0, le=MAX_NUMBER)
    revenue: float | None = Field(default=None, ge=-MAX_NUMBER, le=MAX_NUMBER)


class SalesUpload(BaseModel):
    """Changes by an upload; ``gaps`` are the first of the periods without sales, by local begin."""

    periods: int
    new: int
    changed: int
    unchanged: int
    gaps: list[str]
    gap_periods: int


@dataclass(frozen=True, slots=True)
class SalesPeriod:
    """Sales of one period of a local day."""

    day: date
    begin_ns: int
    end_ns: int
    transactions: int
    revenue: float | None


def read_csv(text: str) -> list[SalesRow]:
    """Rows of a CSV file with the columns ``begin``, ``transactions`` and perhaps ``revenue``.

    Fields are separated by comma or semicolon. Raises `SalesError`.
    """
    head = text.partition("\n")[0]
    lines = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), delimiter=";" if ";" in head else ",")
    try:
        names = {name.strip().lower(): name for name in lines.fieldnames or () if name}
    except csv.Error as error:
        raise SalesError(f"line 1: {error}") from error
    if not {"begin", "transactions"} <= set(names):
        raise SalesError(
            f"line 1: the columns are {', '.join(names) or 'none'}; needed are begin and transactions, "
            "and perhaps revenue"
        )
    found: list[SalesRow] = []
    problems: list[str] = []
    try:
        for line in lines:
            if len(found) + len(problems) >= ROWS_LIMIT:
                raise SalesError(f"more than {ROWS_LIMIT} periods: send them in several uploads")
            values = {name: (line[column] or "").strip() for name, column in names.items()}
            try:
                found.append(_row(values))
            except ValueError as error:
                problems.append(f"line {lines.line_num}: {error}")
    except csv.Error as error:
        raise SalesError(f"line {lines.line_num}: {error}") from error
    _refuse(problems)
    return found


def _row(values: dict[str, str]) -> SalesRow:
    transactions, revenue = values["transactions"], values.get("revenue", "")
    if not transactions.isdecimal() or int(transactions[:12]) > MAX_NUMBER:
        raise ValueError(f"{transactions[:40]!r} is not a number of transactions")
    try:
        amount = float(revenue) if revenue else None
    except ValueError:
        amount = math.nan
    if amount is not None and not abs(amount) <= MAX_NUMBER:
        raise ValueError(f"{revenue[:40]!r} is not a revenue such as 1234.50")
    return SalesRow(begin=values["begin"][:40], transactions=int(transactions), revenue=amount)


def periods_of(
    stores: Stores, site: str, rows: Sequence[SalesRow], by: Period, now_ns: int
) -> list[SalesPeriod]:
    """The periods of the rows in order of time. Raises `SalesError` with the number of each wrong row."""
    if not rows:
        raise SalesError("there is no period in the upload")
    found: dict[int, SalesPeriod] = {}
    numbers: dict[int, int] = {}
    problems: list[str] = []
    buckets: dict[date, dict[int, Bucket]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            begin = _begin(stores, site, row.begin)
            day = begin.date()
            if day not in buckets:
                buckets[day] = {each.begin_ns: each for each in parts_of(stores, site, day, by)}
            bucket = buckets[day].get(int(begin.timestamp()) * 10**9)
            if bucket is None:
                raise ValueError(f"{row.begin!r} is not the begin of a period of one {by}")
            if bucket.end_ns > now_ns:
                raise ValueError(f"the period from {row.begin!r} is not over yet")
            if bucket.begin_ns in numbers:
                raise ValueError(f"{row.begin!r} is there twice, before in period {numbers[bucket.begin_ns]}")
        except ValueError as error:
            problems.append(f"period {number}: {error}")
            continue
        numbers[bucket.begin_ns] = number
        found[bucket.begin_ns] = SalesPeriod(
            day, bucket.begin_ns, bucket.end_ns, row.transactions, row.revenue
        )
    _refuse(problems)
    return [found[begin_ns] for begin_ns in sorted(found)]


def parts_of(stores: Stores, site: str, day: date, by: Period) -> list[Bucket]:
    """The parts of a local day."""
    if by == "day":
        return [stores.day(site, day)]
    return list(stores.parts(site, day, HOUR_NS if by == "hour" else QUARTER_NS))


def _begin(stores: Stores, site: str, text: str) -> datetime:
    """A begin in the store's time zone. Raises ``ValueError``."""
    try:
        begin = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time such as 2026-07-14T09:00") from None
    if not 2000 <= begin.year < 2200:
        raise ValueError(f"{text!r} is not from 2000 to 2199")
    zone = stores.zone(site)
    if begin.tzinfo is not None:
        return begin.astimezone(zone)
    first, second = (begin.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first
    if datetime.fromtimestamp(first.timestamp(), zone).replace(tzinfo=None) == begin:
        raise ValueError(f"{text!r} is twice on that day: add the offset, such as {first.isoformat()}")
    raise ValueError(f"{text!r} does not exist: the clock is put forward then")


def changes_of(
    session: Session, stores: Stores, site: str, periods: Sequence[SalesPeriod], by: Period
) -> tuple[list[Sales], SalesUpload]:
    """The events that keep the periods that are new or changed, one a day, and the counts of the upload."""
    events: list[Sales] = []
    new = changed = 0
    for day, group in groupby(periods, key=lambda period: period.day):
        whole = stores.day(site, day)
        known = {sale.begin_ns: sale for sale in sales_of(session, site, whole.begin_ns, whole.end_ns)}
        mine = list(group)
        differing = [each for each in mine if _differs(known.get(each.begin_ns), each, by)]
        changed += sum(each.begin_ns in known for each in differing)
        new += sum(each.begin_ns not in known for each in differing)
        if differing:
            events.append(
                Sales(
                    day=day.isoformat(),
                    period=by,
                    day_begin_ns=whole.begin_ns,
                    day_end_ns=whole.end_ns,
                    begins_ns=[each.begin_ns for each in differing],
                    ends_ns=[each.end_ns for each in differing],
                    transactions=[each.transactions for each in differing],
                    revenues=[each.revenue for each in differing],
                )
            )
    gaps = list(_gaps(stores, site, periods, by))
    result = SalesUpload(
        periods=len(periods),
        new=new,
        changed=changed,
        unchanged=len(periods) - new - changed,
        gaps=gaps[:GAPS_SHOWN],
        gap_periods=len(gaps),
    )
    return events, result


def sales_of(session: Session, site: str, begin_ns: int, end_ns: int) -> Sequence[Sale]:
    """Sales whose periods begin within a time, in order."""
    query = select(Sale).where(
        col(Sale.site) == site, col(Sale.begin_ns) >= begin_ns, col(Sale.begin_ns) < end_ns
    )
    return session.exec(query.order_by(col(Sale.begin_ns))).all()


def _differs(known: Sale | None, period: SalesPeriod, by: Period) -> bool:
    return known is None or (known.period, known.transactions, known.revenue) != (
        by,
        period.transactions,
        period.revenue,
    )


def _gaps(stores: Stores, site: str, periods: Sequence[SalesPeriod], by: Period) -> Iterator[str]:
    present = {period.begin_ns for period in periods}
    first, last = periods[0], periods[-1]
    for at in range((last.day - first.day).days + 1):
        for bucket in parts_of(stores, site, first.day + timedelta(days=at), by):
            if not first.begin_ns < bucket.begin_ns < last.begin_ns or bucket.begin_ns in present:
                continue
            if any(stores.is_open(site, quarter_ns) for quarter_ns in bucket.quarters()):
                yield bucket.local


def _refuse(problems: Sequence[str]) -> None:
    """Raises `SalesError` if there are any."""
    if problems:
        more = f"; and {len(problems) - ERRORS_SHOWN} more" if len(problems) > ERRORS_SHOWN else ""
        raise SalesError("; ".join(problems[:ERRORS_SHOWN]) + more)
