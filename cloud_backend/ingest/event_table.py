"""The event table and its streams, as one transaction of ingest writes them.

Statements are built once: building one costs more than running it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import col

from cloud_backend.ingest.received import COLUMNS
from cloud_backend.store.tables import StoredEvent, Stream
from common.app.projection import insert_into

ROWS_PER_STATEMENT = 100
"""Rows in one INSERT: enough to spread the cost of a statement, and within SQLite's limit of parameters."""
StreamKey = tuple[str, str, str]
"""Site, node and epoch."""

_STREAMS = (
    select(col(Stream.site), col(Stream.node), col(Stream.epoch), col(Stream.id), col(Stream.high_water_mark))
    .where(col(Stream.node).in_(bindparam("names", expanding=True)))
    .where(col(Stream.epoch).in_(bindparam("epochs", expanding=True)))
    .with_for_update()
)
_MOVE_MARK = (
    update(Stream.metadata.tables["stream"])
    .where(col(Stream.id) == bindparam("number"))
    .values(high_water_mark=bindparam("mark"))
)


class EventTable:
    """Inserts rows of `COLUMNS` values; a row that is stored already is left as it is."""

    def __init__(self, dialect: str) -> None:
        self._insert = _insert_statement(dialect)

    def insert(self, connection: Connection, values: list[Any]) -> None:
        """Insert rows; ``values`` are those of one row after another."""
        width = len(COLUMNS)
        step = width * ROWS_PER_STATEMENT
        whole = len(values) - len(values) % step
        for start in range(0, whole, step):
            connection.exec_driver_sql(self._insert[ROWS_PER_STATEMENT], tuple(values[start : start + step]))
        if whole < len(values):
            rest = values[whole:]
            rows = [tuple(rest[i : i + width]) for i in range(0, len(rest), width)]
            connection.exec_driver_sql(self._insert[1], rows)


def read_streams(connection: Connection, keys: set[StreamKey]) -> dict[StreamKey, tuple[int, int]]:
    """Id and high-water mark of each known stream, locked against other clouds on the same database."""
    if not keys:
        return {}
    names = {"names": sorted({key[1] for key in keys}), "epochs": sorted({key[2] for key in keys})}
    rows = cast("Iterable[tuple[str, str, str, int, int]]", connection.execute(_STREAMS, names))
    return {(site, node, epoch): (number, mark) for site, node, epoch, number, mark in rows}


def create_stream(connection: Connection, key: StreamKey, now_ns: int) -> int:
    """Id of a new stream. Raises ``IntegrityError`` if another cloud creates it at the same moment."""
    site, node, epoch = key
    row = {"site": site, "node": node, "epoch": epoch, "high_water_mark": 0, "created_ns": now_ns}
    number: Any = connection.execute(
        insert_into(connection, Stream).values(**row).returning(col(Stream.id))
    ).scalar_one()
    return number


def move_marks(connection: Connection, marks: Mapping[int, int]) -> None:
    """Set the high-water marks of streams, by id."""
    if marks:
        connection.execute(
            _MOVE_MARK, [{"number": number, "mark": mark} for number, mark in sorted(marks.items())]
        )


def _insert_statement(dialect: str) -> Mapping[int, str]:
    """The INSERT of one row and of many; the databases differ in the placeholder only."""
    row = "(" + ", ".join(["?" if dialect == "sqlite" else "%s"] * len(COLUMNS)) + ")"
    start = f"INSERT INTO {StoredEvent.__tablename__} ({', '.join(COLUMNS)}) VALUES "  # noqa: S608  constants
    return {
        count: f"{start}{', '.join([row] * count)} ON CONFLICT DO NOTHING"
        for count in (1, ROWS_PER_STATEMENT)
    }
