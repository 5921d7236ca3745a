"""What routes depend on: the cloud's parts, a session, who asks, and an app that exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Path, Request
from sqlalchemy import select
from sqlmodel import Session, col

from cloud_backend.api.problem import problem
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import LabelRow
from common.app.training import Label
from common.messages import NAME_PATTERN

if TYPE_CHECKING:
    from cloud_backend.access.tokens import Principal
    from cloud_backend.runtime.cloud import Cloud
    from cloud_backend.training.samples import SampleStore

NAME = rf"^{NAME_PATTERN.pattern}$"


def _cloud(request: Request) -> Any:
    return request.app.state.cloud


def _session(request: Request) -> Iterator[Session]:
    """A transaction; one that takes no lock where the request only reads."""
    engine = request.app.state.cloud.engine
    with Session(read_only(engine) if request.method in ("GET", "HEAD") else engine) as session:
        yield session


def _principal(request: Request) -> Any:
    return request.state.principal


def own_name(principal: Principal, name: str | None) -> str:
    """The name under which ``principal`` acts: a person's own; the admin's token may name somebody.

    Raises a 403 problem for another person's name. The audit trail has the principal in either case.
    """
    if name and name != principal.name and principal.expires_ns is not None:
        raise problem(403, f"you are signed in as {principal.name}: you cannot act as {name!r}")
    return name or str(principal.name)


def _known_app(
    request: Request, app: Annotated[str, Path(description="name of an installed app", max_length=63)]
) -> str:
    if app not in request.app.state.cloud.apps:
        known = ", ".join(sorted(request.app.state.cloud.apps)) or "none"
        raise problem(404, f"no app is called {app!r}; installed: {known}")
    return app


def _samples(request: Request) -> Any:
    return request.app.state.cloud.jobs.samples


if TYPE_CHECKING:
    CloudDep = Cloud
    SamplesDep = SampleStore
else:
    CloudDep = Annotated[Any, Depends(_cloud)]
    SamplesDep = Annotated[Any, Depends(_samples)]
SessionDep = Annotated[Session, Depends(_session)]
PrincipalDep = Annotated[Any, Depends(_principal)]
AppName = Annotated[str, Depends(_known_app)]


def add_label(session: Session, label: Label) -> None:
    """Keep a label; the caller commits."""
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
    """Labels of an app with their ids, newest first; those with an id below ``before``, where it is given."""
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


def _admin(request: Request) -> Any:
    """The admin; the guard has let nobody else through."""
    if request.state.principal.kind != "admin":
        raise problem(403, "this needs the admin's token")
    return request.state.principal


class AppDeps:
    """What an app's router gets (`CloudApp.router`): dependencies for defaults, and labels."""

    session = Depends(_session)
    admin = Depends(_admin)

    def __init__(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.settings = settings or {}

    @staticmethod
    def add_label(session: Session, label: Label) -> None:
        add_label(session, label)

    @staticmethod
    def labels(session: Session, app: str, **which: Any) -> list[tuple[int, Label]]:
        return labels_of(session, app, **which)
