"""FastAPI dependencies of routes: the cloud, a session, the principal, an installed app.

`AppDependencies` is the part of them that an app's routes receive (`common.app.cloud.RouteDeps`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from sqlalchemy import select
from sqlmodel import Session, col

from cloud_backend.access.tokens import Principal
from cloud_backend.api.problem import problem
from cloud_backend.ingest.cloud_events import record
from cloud_backend.runtime.cloud import Cloud
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import LabelRow
from cloud_backend.training.samples import SampleStore
from common.app.cloud import CloudApp
from common.app.training import Label
from common.arrays import Arrays
from common.messages import NAME_PATTERN, Event

SAMPLE_LIMIT_BYTES = 16 * 1024 * 1024
"""Largest sample, uncompressed, that a route reads."""
NAME = rf"^{NAME_PATTERN.pattern}$"


def _cloud(request: Request) -> Cloud:
    return request.app.state.cloud


def _session(request: Request) -> Iterator[Session]:
    """A transaction; read-only, without a lock, for GET and HEAD."""
    engine = request.app.state.cloud.engine
    with Session(read_only(engine) if request.method in ("GET", "HEAD") else engine) as session:
        yield session


def _principal(request: Request) -> Principal:
    return request.state.principal


def own_name(principal: Principal, name: str | None) -> str:
    """The name under which ``principal`` acts: a person's own; the admin's token may act for anybody.

    Raises a 403 problem for another person's name. The audit trail records the principal in either case.
    """
    if name and name != principal.name and principal.expires_ns is not None:
        raise problem(403, f"signed in as {principal.name}: acting as {name!r} is not allowed")
    return name or str(principal.name)


def _known_app(
    request: Request, app: Annotated[str, Path(description="name of an installed app", max_length=63)]
) -> str:
    if app not in request.app.state.cloud.apps:
        known = ", ".join(sorted(request.app.state.cloud.apps)) or "none"
        raise problem(404, f"unknown app {app!r}; installed: {known}")
    return app


def _samples(request: Request) -> SampleStore:
    return request.app.state.cloud.jobs.samples


def _read_sample(request: Request) -> Callable[[str], Arrays]:
    return partial(_samples(request).read, limit_bytes=SAMPLE_LIMIT_BYTES)


CloudDep = Annotated[Cloud, Depends(_cloud)]
SamplesDep = Annotated[SampleStore, Depends(_samples)]
SessionDep = Annotated[Session, Depends(_session)]
PrincipalDep = Annotated[Principal, Depends(_principal)]
AppName = Annotated[str, Depends(_known_app)]


def add_label(session: Session, label: Label) -> None:
    """Store a label; the caller commits."""
    session.add(
        LabelRow(
            app=label.app,
            subject=label.subject,
            group=label.group,
            kind=label.kind,
            body=dict(label.body),
            source=label.source,
            created_ns=label.created_ns,
        )
    )


def labels_of(
    session: Session,
    app: str,
    *,
    subject: str | None = None,
    group: str | None = None,
    kinds: Sequence[str] = (),
    before: int | None = None,
    limit: int = 100,
) -> list[tuple[int, Label]]:
    """Labels of an app with their ids, newest first; ``before``: only those with a lower id."""
    query = select(LabelRow).where(col(LabelRow.app) == app)
    for column, wanted in ((LabelRow.subject, subject), (LabelRow.group, group)):
        if wanted is not None:
            query = query.where(col(column) == wanted)
    if kinds:
        query = query.where(col(LabelRow.kind).in_(kinds))
    if before is not None:
        query = query.where(col(LabelRow.id) < before)
    rows = session.scalars(query.order_by(col(LabelRow.id).desc()).limit(limit))
    return [(row.id or 0, Label(**row.model_dump(exclude={"id"}))) for row in rows]


def _admin(request: Request) -> Principal:
    """The principal of an operator; the middleware already refused nodes."""
    principal = _principal(request)
    if principal.kind != "admin":
        raise problem(403, "operators only: send the admin's token or a session's")
    return principal


class AppDependencies:
    """The dependencies of app routers (`common.app.cloud.RouteDeps`)."""

    session = Depends(_session)
    admin = Depends(_admin)
    read_sample = Depends(_read_sample)
    add_label = staticmethod(add_label)
    labels = staticmethod(labels_of)

    def __init__(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.settings: Mapping[str, Mapping[str, Any]] = settings or {}

    @staticmethod
    def record(session: Session, name: str, app: CloudApp, site: str, events: Sequence[Event]) -> None:
        record(session, name, app, site, events, time.time_ns())
