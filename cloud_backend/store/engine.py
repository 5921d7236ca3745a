"""The engine: one way to open the store, SQLite or PostgreSQL.

Transactions on SQLite start with ``BEGIN IMMEDIATE``: a transaction that reads, then writes would
otherwise fail at once ("database is locked") when another one has committed in between. What only
reads should not queue for the write lock: give it `read_only` (``Session(read_only(engine))``), which
sees one snapshot and never waits for a writer.

A JSON column whose text cannot be read within the bounds reads as an object with the reason.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import create_engine

from common import json_bounds
from common.errors import StoreError

READ_ONLY = "edgeloop_read_only"
_PRAGMAS = (
    "busy_timeout=10000",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-16000",  # KiB: a large transaction stays in memory until it commits
    "wal_autocheckpoint=4000",  # pages (16 MB): a page that changes in many transactions is copied once
    "journal_size_limit=67108864",
)

_SQLITE_OUTAGES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
_POSTGRESQL_OUTAGES = ("08", "25006", "40", "53", "55", "57", "58", "XX")
"""Classes of SQLSTATE: connection, read-only, conflict, resources, state, intervention, system, internal."""


def open_store(url: str, *, upgrade: bool = True) -> Engine:
    """The engine for a SQLAlchemy ``url``, by default with all migrations applied.

    Raises `StoreError` where the database cannot be reached, used or upgraded.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = _create(parsed)
    except (ArgumentError, SQLAlchemyError, ImportError) as error:
        raise StoreError(
            f"{_shown(url)} is not the URL of a database that edgeloop can use: {error}"
        ) from error
    if not upgrade:
        return engine
    from cloud_backend.store.migrate import upgrade as apply_migrations

    try:
        apply_migrations(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        reason = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        raise StoreError(f"the database {_shown(url)} cannot be used: {reason}") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def read_only(engine: Engine) -> Engine:
    """The same database for transactions that only read (on SQLite they take no lock)."""
    return engine.execution_options(**{READ_ONLY: True})


def is_outage(error: BaseException) -> bool:
    """Whether a database error is an outage of the database, not an error of the statement.

    The same transaction may succeed later: full disk, lost connection, lock, server going down.
    """
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeout)
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_OUTAGES
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state.startswith(_POSTGRESQL_OUTAGES)
    return type(error.orig).__name__ in ("OperationalError", "InterfaceError")


def _create(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, json_deserializer=json_bounds.shown)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if url.get_backend_name() != "postgresql":
        raise ArgumentError("use sqlite:///PATH or postgresql://USER@HOST/NAME")
    defaults = {"connect_timeout": 5, "tcp_user_timeout": 15000, "application_name": "edgeloop"}
    arguments = {name: value for name, value in defaults.items() if name not in url.query}
    return create_engine(url, pool_pre_ping=True, connect_args=arguments, json_deserializer=json_bounds.shown)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    read = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read else "BEGIN IMMEDIATE")


def _shown(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return repr(url.partition(":")[0] + ":...")
