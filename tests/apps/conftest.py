"""A store of each kind with the tables of the app that the folder is about: its ``cloud_app`` fixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect
from sqlmodel import Session, SQLModel

from cloud_backend.store.engine import open_store, sqlite_url
from common.app.cloud import CloudApp


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path, cloud_app: CloudApp) -> Iterator[Engine]:
    sqlite = request.param == "sqlite"
    url = sqlite_url(tmp_path / "store.sqlite") if sqlite else request.getfixturevalue("postgres").url()
    engine = open_store(url)
    tables: list[Any] = [inspect(table).local_table for table in cloud_app.tables()]
    SQLModel.metadata.create_all(engine, tables=tables)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session
        session.rollback()
