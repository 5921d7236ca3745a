"""A store of each kind with the tables of the app that the folder is about: its ``cloud_app`` fixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, inspect
from sqlmodel import Session, SQLModel

from common.app.cloud import CloudApp
from tests.cloud_backend.stores import migrated_postgresql, migrated_sqlite, migrated_store

__all__ = ["engine", "migrated_postgresql", "migrated_sqlite", "migrated_store", "session"]


@pytest.fixture
def engine(migrated_store: Engine, cloud_app: CloudApp) -> Engine:
    tables: list[Any] = [inspect(table).local_table for table in cloud_app.tables()]
    SQLModel.metadata.create_all(migrated_store, tables=tables)
    return migrated_store


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session
        session.rollback()
