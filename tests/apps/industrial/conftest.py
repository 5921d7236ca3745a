"""A store of each kind with the app's tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, SQLModel

from apps.industrial.cloud import IndustrialCloud
from cloud_backend.store.engine import open_store, sqlite_url


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    sqlite = request.param == "sqlite"
    url = sqlite_url(tmp_path / "store.sqlite") if sqlite else request.getfixturevalue("postgres").url()
    engine = open_store(url)
    tables = [table.__table__ for table in IndustrialCloud().tables()]  # type: ignore[attr-defined]
    SQLModel.metadata.create_all(engine, tables=tables)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session
        session.rollback()
