"""A store of each kind with the ECG app's tables, and its routes over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, Request
from sqlalchemy import Engine
from sqlmodel import Session, SQLModel
from starlette.testclient import TestClient

from apps.ecg.cloud import EcgCloud
from cloud_backend.api.deps import AppDeps
from cloud_backend.store.engine import open_store, sqlite_url
from common.app import ReceivedEvent

Tell = Callable[[Sequence[ReceivedEvent]], None]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    sqlite = request.param == "sqlite"
    url = sqlite_url(tmp_path / "store.sqlite") if sqlite else request.getfixturevalue("postgres").url()
    engine = open_store(url)
    tables = [table.__table__ for table in EcgCloud().tables()]  # type: ignore[attr-defined]
    SQLModel.metadata.create_all(engine, tables=tables)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session
        session.rollback()


@pytest.fixture
def tell(engine: Engine) -> Tell:
    """Projects events, and commits."""

    def project(events: Sequence[ReceivedEvent]) -> None:
        with Session(engine) as session:
            EcgCloud().project(session, events)
            session.commit()

    return project


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    """The app's routes, asked by Dr Ada unless the header ``as`` says otherwise."""
    api = FastAPI()
    api.state.cloud = SimpleNamespace(engine=engine)
    api.include_router(EcgCloud().router(AppDeps()))

    @api.middleware("http")
    async def let_in(request: Request, go_on: Any) -> Any:
        request.state.principal = SimpleNamespace(kind=request.headers.get("as", "admin"), name="Dr Ada")
        return await go_on(request)

    with TestClient(api) as client:
        yield client
