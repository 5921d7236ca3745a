"""The app contract in the cloud: events projected into the app's tables, its routes, and optional parts.

`CloudApp.project` gets each event once, in order per node, inside the transaction that commits it. An app may
also have:

======================  =====================================================================
`LabelProjection`       tables that also come from labels
`RootMounts`            routes at the cloud's root, with errors of their own form (FHIR)
`CloudPeriodicTasks`    periodic tasks, and settings for them
======================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from common.app.training import Label
from common.messages import Event, Priority

if TYPE_CHECKING:
    from fastapi import APIRouter
    from sqlmodel import Session, SQLModel


CLOUD_NODE = "(cloud)"
"""Node of events that the cloud itself records; no device can have this name."""


class ReceivedEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A committed event as the cloud's side of an app sees it; ``data`` is decoded on first use.

    Where the node's clock was wrong, ``time_ns`` and the times in ``body`` are corrected alike.
    """

    site: str
    node: str
    epoch: str
    seq: int
    type: str
    subject: str
    time_ns: int
    priority: Priority
    body: bytes
    time_quality: str = ""
    """`common.messages.TimeQuality` of the times."""

    @property
    def data(self) -> dict[str, Any]:
        """The event's data. Raises ``msgspec.DecodeError`` if it is not a JSON object."""
        return msgspec.json.decode(self.body, type=dict[str, Any])


class RouteDeps(Protocol):
    """Dependencies of an app's routes, provided by the cloud."""

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """Settings of all apps by name (``apps.<app>``), not checked yet."""
        ...

    @property
    def session(self) -> Any:
        """FastAPI dependency, as a default: a `sqlmodel.Session` for the request."""
        ...

    @property
    def admin(self) -> Any:
        """FastAPI dependency: the admin's principal; everybody else gets 403."""
        ...

    @property
    def read_sample(self) -> Any:
        """FastAPI dependency, as a default: a function from the id of a stored sample to its arrays by name.

        It raises `FileNotFoundError` and `SampleError`.
        """
        ...

    def add_label(self, session: Session, label: Label) -> None:
        """Keep a label; the caller commits."""
        ...

    def record(self, session: Session, name: str, app: CloudApp, site: str, events: Sequence[Event]) -> None:
        """Store events of the cloud's own (`CLOUD_NODE`) for the app ``name`` and project them by ``app``.

        They are kept as the events of nodes are: alarms are alerts, and a rebuild projects them again. The
        caller commits.
        """
        ...

    def labels(
        self,
        session: Session,
        app: str,
        *,
        subject: str | None = None,
        group: str | None = None,
        kinds: Sequence[str] = (),
        before: int | None = None,
        limit: int = 100,
    ) -> list[tuple[int, Label]]:
        """Labels of an app with their ids, newest first; with ``before``, those with a lower id."""
        ...


class CloudApp(Protocol):
    """The cloud's side of an app.

    Its tables are projections: they can be dropped and made again from the events and labels, so they
    need no migrations; raise ``schema_version`` when they change and the cloud rebuilds them.
    """

    schema_version: int

    def tables(self) -> Sequence[type[SQLModel]]:
        """SQLModel table classes, each named ``<app>_...``."""
        ...

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        """Bring the tables up to date. Idempotent; runs in the transaction that commits ``events``."""
        ...

    def router(self, deps: RouteDeps) -> APIRouter:
        """The app's routes, mounted under ``/v1/apps/<app>``."""
        ...


@runtime_checkable
class LabelProjection(Protocol):
    """A `CloudApp` whose tables also come from labels."""

    def project_labels(self, session: Session, labels: Sequence[Label]) -> None:
        """Bring the tables up to date. Idempotent; what it cannot read of a label it leaves.

        Called in the transaction that adds a label through the API, and with all labels, oldest first, after
        a rebuild. An app calls it itself for labels that its own routes add.
        """
        ...


@dataclass(frozen=True, slots=True)
class Mount:
    """Routes beside ``/v1``, with an error format of their own.

    ``error`` converts a status and a text to the status, media type and body of the answer, which
    replaces every problem document, that of the authentication included.
    ``open_paths``, below the mount's path, need no token.
    """

    router: APIRouter
    error: Callable[[int, str], tuple[int, str, bytes]]
    open_paths: frozenset[str] = frozenset()


@runtime_checkable
class RootMounts(Protocol):
    """A `CloudApp` with routes of a standard at the cloud's root."""

    def mounts(self, deps: RouteDeps) -> Mapping[str, Mount]:
        """Mounts by path (``/fhir``), behind the same access as all routes."""
        ...


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Work at an interval of ``every_s`` seconds, which doubles with each failure, up to a minute."""

    name: str
    every_s: float
    run: Callable[[], object]


@dataclass(frozen=True, slots=True)
class CloudContext:
    """The context of an app's periodic tasks.

    ``session(read_only=False)`` opens a SQLModel session on the store (True: it takes no lock); ``settings``
    is the app's part of the cloud's settings (``apps.<app>``), not checked yet; ``clock`` gives UTC
    nanoseconds; ``record(session, site, events)`` is `RouteDeps.record` for this app.
    """

    session: Callable[..., AbstractContextManager[Session]]
    settings: Mapping[str, Any]
    clock: Callable[[], int]
    record: Callable[[Session, str, Sequence[Event]], None]


@runtime_checkable
class CloudPeriodicTasks(Protocol):
    """A `CloudApp` with work to do in the background. Only such an app has settings there."""

    def periodic_tasks(self, context: CloudContext) -> Sequence[PeriodicTask]:
        """Tasks for threads of their own, run while the cloud serves. Raises `ConfigError`."""
        ...
