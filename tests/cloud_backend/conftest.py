"""Fixtures of the cloud's tests: a store of each kind."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud_backend.store.engine import sqlite_url
from tests.cloud_backend.stores import migrated_postgresql, migrated_sqlite, migrated_store

__all__ = [
    "database",
    "either_database",
    "engine",
    "limit_file_size",
    "migrated_postgresql",
    "migrated_sqlite",
    "migrated_store",
    "new_url",
]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives URLs of new, empty databases, of one kind and then of the other."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").url
    count = iter(range(1000))
    return lambda: sqlite_url(tmp_path / f"store-{next(count)}.sqlite")


@pytest.fixture
def engine(migrated_store: Engine) -> Engine:
    """An open store with all migrations."""
    return migrated_store


@pytest.fixture
def limit_file_size() -> Iterator[Callable[[int], None]]:
    """Sets the largest size of a file that this process may write: a disk that is full, and is not again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(scope="module")
def database() -> str:
    """URL of the database; empty for the cloud's own SQLite file."""
    return ""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def either_database(request: pytest.FixtureRequest) -> str:
    """For modules that run on both: ``from ... import either_database as database``."""
    return str(request.getfixturevalue("postgres").url()) if request.param == "postgresql" else ""
