"""Quarantine of refused messages and events, for inspection: bounded in rows and bytes, each body once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select

from cloud_backend.store.tables import Quarantined
from common.app.projection import insert_into
from common.messages import digest

REASON_LIMIT = 500
"""Largest length of a reason, in characters."""


class Refusal(NamedTuple):
    """One refused message or event of a node."""

    site: str
    node: str
    body: bytes
    reason: str
    received_ns: int
    unprojected: int = 0
    """Number of events that are stored and not projected."""


def keep(connection: Connection, refusals: Sequence[Refusal], *, rows_limit: int, bytes_limit: int) -> int:
    """Add ``refusals``; the same body again is only counted. Returns the number of rows that gave way."""
    if not refusals:
        return 0
    insert = insert_into(connection, Quarantined)
    newest: dict[str, dict[str, Any]] = {}
    for refusal in refusals:
        key = digest(refusal.body)
        count = int(newest[key]["count"]) + 1 if key in newest else 1
        reason = refusal.reason.replace("\0", "\\0")[:REASON_LIMIT]
        row = refusal._asdict()
        del row["unprojected"]
        newest[key] = row | {"digest": key, "count": count, "reason": reason}
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["digest"],
            set_={"count": Quarantined.count + insert.excluded["count"], "reason": insert.excluded.reason},
        ),
        [newest[key] for key in sorted(newest)],
    )
    return _trim(connection, rows_limit, bytes_limit)


def _trim(connection: Connection, rows_limit: int, bytes_limit: int) -> int:
    """Drop the oldest rows until both limits hold."""
    table = Quarantined.metadata.tables["quarantine"]
    newest_first = (
        func.row_number().over(order_by=table.c.id.desc()).label("rank"),
        func.sum(func.length(table.c.body)).over(order_by=table.c.id.desc()).label("total"),
    )
    ranked = select(table.c.id, *newest_first).subquery()
    surplus = select(ranked.c.id).where((ranked.c.rank > rows_limit) | (ranked.c.total > bytes_limit))
    return connection.execute(delete(table).where(table.c.id.in_(surplus))).rowcount
