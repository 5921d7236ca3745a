"""The app's routes on an engine, at a fixed time, and what the cloud's own side records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI, Request
from sqlalchemy import Engine
from sqlmodel import Session
from starlette.testclient import TestClient

from apps.retail.cloud.projection import RetailCloud
from cloud_backend.api.dependencies import AppDependencies
from cloud_backend.ingest.cloud_events import record
from common.app.cloud import CloudContext, ReceivedEvent
from common.messages import Event

APP = RetailCloud()
Project = Callable[[Sequence[ReceivedEvent]], None]


class SetClock:
    """A clock that is set by hand."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


@contextmanager
def client_of(engine: Engine, settings: Mapping[str, Any], clock: Callable[[], int]) -> Iterator[TestClient]:
    """The routes with the settings of ``apps.retail``."""
    api = FastAPI()
    api.state.cloud = SimpleNamespace(engine=engine)
    api.include_router(APP.router(AppDependencies({"retail": settings}), clock))

    @api.middleware("http")
    async def let_in(request: Request, go_on: Any) -> Any:
        request.state.principal = SimpleNamespace(kind="admin")
        return await go_on(request)

    with TestClient(api) as client:
        yield client


def context_of(engine: Engine, settings: Mapping[str, Any], clock: Callable[[], int]) -> CloudContext:
    """The context of periodic tasks."""

    def keep(session: Session, site: str, events: Sequence[Event]) -> None:
        record(session, "retail", APP, site, events, clock())

    return CloudContext(lambda **_: Session(engine), settings, clock, keep)


def project(engine: Engine, events: Sequence[ReceivedEvent]) -> None:
    """Project events of nodes."""
    with Session(engine) as session:
        APP.project(session, events)
        session.commit()
