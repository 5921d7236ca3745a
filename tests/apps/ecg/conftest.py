"""The ECG app's side of the cloud, and its routes over a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, Request
from sqlalchemy import Engine
from sqlmodel import Session
from starlette.testclient import TestClient

from apps.ecg.cloud.projection import EcgCloud
from cloud_backend.api.dependencies import AppDependencies
from common.app.cloud import ReceivedEvent

Project = Callable[[Sequence[ReceivedEvent]], None]


@pytest.fixture
def cloud_app() -> EcgCloud:
    return EcgCloud()


@pytest.fixture
def project(engine: Engine, cloud_app: EcgCloud) -> Project:
    """Projects events, and commits."""

    def run(events: Sequence[ReceivedEvent]) -> None:
        with Session(engine) as session:
            cloud_app.project(session, events)
            session.commit()

    return run


@pytest.fixture
def client(engine: Engine, cloud_app: EcgCloud) -> Iterator[TestClient]:
    """The app's routes, for the principal Dr Ada of the kind in the header ``as``, ``admin`` by default."""
    api = FastAPI()
    api.state.cloud = SimpleNamespace(engine=engine)
    api.include_router(cloud_app.router(AppDependencies()))

    @api.middleware("http")
    async def let_in(request: Request, go_on: Any) -> Any:
        request.state.principal = SimpleNamespace(kind=request.headers.get("as", "admin"), name="Dr Ada")
        return await go_on(request)

    with TestClient(api) as client:
        yield client
