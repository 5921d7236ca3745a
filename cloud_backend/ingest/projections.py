"""Projections: from committed events to the tables of apps and of the fleet.

A failing projection does not stop the stream. It runs in a savepoint; where it raises, its events are retried
node by node, and those of a node in halves until the failing one is isolated. That one goes to quarantine (it
stays among the events). Beyond a limit of failures per node the rest is left unprojected and reported as one,
so that no node can delay the others. An outage of the database is no such failure: it ends the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from sqlalchemy import Connection
from sqlmodel import Session

from cloud_backend.ingest import fleet
from cloud_backend.ingest.quarantine import Refusal
from cloud_backend.ingest.received import Projected
from cloud_backend.store.engine import is_outage
from common.app.cloud import CloudApp, ReceivedEvent

_log = structlog.get_logger("edgeloop.ingest")
UNCLAIMED_LIMIT = 100
"""Limit of event types of no app that are logged."""

Project = Callable[[Connection, Sequence[ReceivedEvent], Sequence[tuple[int, int]]], None]


class Projections:
    """The cloud sides of the installed apps, and the fleet's."""

    def __init__(self, apps: Mapping[str, CloudApp]) -> None:
        self._projects: dict[str, Project] = {name: project_of(app) for name, app in apps.items()}
        self._projects[fleet.PREFIX] = fleet.project
        self._unclaimed: set[str] = set()

    def app_of(self, event_type: str) -> str | None:
        """The projection of an event type; None for one that is only stored.

        A type of no app is logged once: its prefix is wrong, or its app is not installed here.
        """
        name = event_type.partition(".")[0]
        if name not in self._projects:
            if event_type not in self._unclaimed and len(self._unclaimed) < UNCLAIMED_LIMIT:
                self._unclaimed.add(event_type)
                _log.warning(
                    "events of no app here are stored and not projected: a type is <app>.<name>",
                    type=event_type[:100],
                    apps=", ".join(sorted(set(self._projects) - {fleet.PREFIX})) or "none",
                )
            return None
        return None if name == fleet.PREFIX and event_type not in fleet.PROJECTED else name

    def run(self, connection: Connection, projected: Projected, failures: int = 16) -> list[Refusal]:
        """Project within the transaction of ``connection``; the failures, for quarantine.

        Of each node and app at most ``failures`` events are isolated.
        """
        refusals: list[Refusal] = []
        for name, events in projected.by_app.items():
            if events:
                attempts = Attempts(connection, name, self._projects[name], failures)
                refusals += attempts.run(events, projected.origins[name])
        return refusals


def project_of(app: CloudApp) -> Project:
    """The projection of an app, in a savepoint."""

    def project(connection: Connection, events: Sequence[ReceivedEvent], _places: object) -> None:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            app.project(session, events)
            session.commit()

    return project


class Attempts:
    """Projects the events of one app, and isolates those that fail."""

    def __init__(self, connection: Connection, name: str, project: Project, failures: int) -> None:
        self._connection = connection
        self._name = name
        self._project = project
        self._limit = failures
        self._left = failures
        self._refusals: list[Refusal] = []

    def run(self, events: Sequence[ReceivedEvent], places: Sequence[tuple[int, int]]) -> list[Refusal]:
        """Project the events; the failures, for quarantine."""
        if self._try(events, places) is None:
            return []
        of_nodes: dict[str, tuple[list[ReceivedEvent], list[tuple[int, int]]]] = {}
        for event, place in zip(events, places, strict=True):
            own_events, own_places = of_nodes.setdefault(event.node, ([], []))
            own_events.append(event)
            own_places.append(place)
        for own_events, own_places in of_nodes.values():
            self._left = self._limit
            self._halve(own_events, own_places)
        return self._refusals

    def _halve(self, events: Sequence[ReceivedEvent], places: Sequence[tuple[int, int]]) -> None:
        error = self._try(events, places)
        if error is None:
            return
        if len(events) == 1 or self._left <= 0:
            self._left -= 1
            self._refuse(events, places[0][1], error)
            return
        half = len(events) // 2
        self._halve(events[:half], places[:half])
        self._halve(events[half:], places[half:])

    def _try(self, events: Sequence[ReceivedEvent], places: Sequence[tuple[int, int]]) -> Exception | None:
        try:
            with self._connection.begin_nested():
                self._project(self._connection, events, places)
        except Exception as error:
            if is_outage(error) or not self._connection.in_transaction():
                raise
            return error
        return None

    def _refuse(self, events: Sequence[ReceivedEvent], received_ns: int, error: Exception) -> None:
        first, last = events[0], events[-1]
        where = f"seq {first.seq}" if len(events) == 1 else f"seq {first.seq} to {last.seq}"
        reason = f"the projection of {self._name} failed at {where}: {type(error).__name__}: {error}"
        if len(events) > 1:
            reason = f"{len(events)} events are stored and not projected, after many that failed: {reason}"
        fields = msgspec.structs.asdict(first)
        fields["data"] = msgspec.Raw(fields.pop("body"))
        body = msgspec.json.encode(fields)
        _log.warning("not projected", app=self._name, node=first.node, where=where, error=str(error)[:300])
        self._refusals.append(Refusal(first.site, first.node, body, reason, received_ns, len(events)))
