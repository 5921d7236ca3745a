"""Stores of both kinds with all migrations: copies of one that was migrated once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, make_url

from cloud_backend.store.engine import open_store, sqlite_url
from tests.postgres import Postgres

__all__ = ["migrated_postgresql", "migrated_sqlite", "migrated_store"]
_numbers = count(1)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SQLite file that is copied."""
    path = tmp_path_factory.mktemp("migrated") / "store.sqlite"
    open_store(sqlite_url(path)).dispose()
    return path


@pytest.fixture(scope="session")
def migrated_postgresql(postgres: Postgres) -> str:
    """URL of the PostgreSQL database that is copied."""
    url = postgres.url()
    open_store(url).dispose()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An open store of its own for each test, on SQLite and on PostgreSQL in turn."""
    if request.param == "sqlite":
        path = tmp_path / "store.sqlite"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
        engine = open_store(sqlite_url(path))
        yield engine
        engine.dispose()
    else:
        with _copied(request.getfixturevalue("migrated_postgresql")) as url:
            engine = open_store(url)
            yield engine
            engine.dispose()


@contextmanager
def _copied(url: str) -> Iterator[str]:
    """A copy of a database, dropped at the end."""
    template = make_url(url)
    copy = f"edgeloop_copy_{next(_numbers)}"
    admin = template.set(database="postgres").render_as_string()
    names = {"copy": sql.Identifier(copy), "template": sql.Identifier(str(template.database))}
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {copy} TEMPLATE {template}").format(**names))
    yield template.set(database=copy).render_as_string()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {copy} WITH (FORCE)").format(**names))
