"""Conversion (transactions by visits) and capture rate (visits by passers-by) of parts of a day.

People who came back are no visits. Each is taken over the time in which both of its numbers are known:
visits in the periods with sales, and quarters of an hour in which all lines of passers-by reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from sqlmodel import Session

from apps.retail.cloud.counts import quarters_of, sum_known
from apps.retail.cloud.sales import sales_of
from apps.retail.cloud.stores import Bucket, Stores
from apps.retail.cloud.tables import LineQuarter, Sale


class TradeCount(BaseModel):
    """Sales and passers-by in a part of a day, or in several days.

    ``sales_share`` is the share of the past quarters of an hour of the opening hours that sales are known of;
    ``conversion`` is ``transactions`` by the visits in these, ``group_conversion`` by the groups, where all
    entrances count them. ``capture_rate`` is the visits by ``passers_by``. Null where unknown.
    """

    local: str
    begin_ns: int
    end_ns: int
    transactions: int | None
    revenue: float | None
    sales_share: float | None
    conversion: float | None
    group_conversion: float | None
    passers_by: int | None
    capture_rate: float | None


def trade_by(
    session: Session, stores: Stores, site: str, buckets: Sequence[Bucket], now_ns: int
) -> list[TradeCount]:
    """Sales and passers-by of a store in each of ``buckets``, in order of time."""
    if not buckets:
        return []
    begin_ns, end_ns = buckets[0].begin_ns, buckets[-1].end_ns
    sales = sales_of(session, site, begin_ns, end_ns)
    outside = frozenset(stores.of(site).passers_by)
    visits: dict[int, int] = defaultdict(int)
    groups: dict[int, list[int | None]] = defaultdict(list)
    passing: dict[int, dict[str, int]] = defaultdict(dict)
    for row in quarters_of(session, LineQuarter, site, begin_ns, end_ns):
        if row.entrance:
            visits[row.quarter_ns] += row.visits
            groups[row.quarter_ns].append(row.groups)
        if (name := f"{row.camera}/{row.line}") in outside:
            passing[row.quarter_ns][name] = row.entered + row.left
    counted = {quarter: sum(each.values()) for quarter, each in passing.items() if len(each) == len(outside)}
    return [_trade(stores, site, bucket, sales, visits, groups, counted, now_ns) for bucket in buckets]


def _trade(
    stores: Stores,
    site: str,
    bucket: Bucket,
    sales: Sequence[Sale],
    visits: Mapping[int, int],
    groups: Mapping[int, Sequence[int | None]],
    passing: Mapping[int, int],
    now_ns: int,
) -> TradeCount:
    mine = [sale for sale in sales if bucket.begin_ns <= sale.begin_ns and sale.end_ns <= bucket.end_ns]
    covered = {
        quarter for sale in mine for quarter in bucket.quarters() if sale.begin_ns <= quarter < sale.end_ns
    }
    past = [q for q in bucket.quarters() if q < now_ns and stores.is_open(site, q)]
    transactions = sum(sale.transactions for sale in mine) if mine else None
    visited = sum(visits.get(quarter, 0) for quarter in covered)
    grouped = sum_known(each for quarter in covered for each in groups.get(quarter, ()))
    revenues = [sale.revenue for sale in mine if sale.revenue is not None]
    seen = [quarter for quarter in bucket.quarters() if quarter in passing]
    passers = sum(passing[quarter] for quarter in seen) if seen else None
    return TradeCount(
        local=bucket.local,
        begin_ns=bucket.begin_ns,
        end_ns=bucket.end_ns,
        transactions=transactions,
        revenue=round(sum(revenues), 2) if revenues else None,
        sales_share=sum(q in covered for q in past) / len(past) if past else None,
        conversion=transactions / visited if transactions is not None and visited else None,
        group_conversion=transactions / grouped if transactions is not None and grouped else None,
        passers_by=passers,
        capture_rate=sum(visits.get(quarter, 0) for quarter in seen) / passers if passers else None,
    )
