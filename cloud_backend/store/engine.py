"""The engine: one way to open the store, SQLite or PostgreSQL."""

from __future__ import annotations

from sqlalchemy import Engine, event
from sqlmodel import create_engine

from cloud_backend.store import tables  # noqa: F401  registers the tables


def open_store(url: str) -> Engine:
    """The engine for ``url`` with all migrations applied."""
    engine = create_engine(url, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    from cloud_backend.store.migrate import upgrade

    upgrade(engine)
    return engine


def _prepare_sqlite(connection, _record) -> None:  # type: ignore[no-untyped-def]
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
