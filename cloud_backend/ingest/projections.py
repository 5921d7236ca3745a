"""Projections: from committed events to the tables of apps and of the fleet.

A projection that fails does not stop the stream. It runs in a savepoint; where it raises, its events are
tried again node by node, and those of a node in halves until the one that it cannot digest stands alone. That
one goes to quarantine (it stays among the events). After so many of one node the rest of what fails is left
unprojected and reported in one piece, so that what one node sends cannot hold up the others. An outage of the
database is no such failure: it ends the whole transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine, MetaData, inspect, select, tuple_, update
from sqlmodel import Session

from cloud_backend.ingest import fleet
from cloud_backend.ingest.quarantine import Refusal
from cloud_backend.ingest.received import Projected
from cloud_backend.store.engine import is_outage
from cloud_backend.store.tables import AppState, LabelRow, StoredEvent, Stream, cloud_metadata
from common.app.cloud import CloudApp, LabelProjection, ReceivedEvent
from common.app.training import Label
from common.messages import Priority, moved_stamps

_log = structlog.get_logger("edgeloop.ingest")
REBUILD_CHUNK = 5000
"""Events in one transaction of a rebuild."""

Project = Callable[[Connection, Sequence[ReceivedEvent], Sequence[tuple[int, int]]], None]


class Projections:
    """The cloud sides of the installed apps, and the fleet's."""

    def __init__(self, apps: Mapping[str, CloudApp]) -> None:
        self._projects: dict[str, Project] = {name: _of_app(app) for name, app in apps.items()}
        self._projects[fleet.PREFIX] = fleet.project

    def app_of(self, event_type: str) -> str | None:
        """The projection that an event type goes to; None for one that is only kept."""
        name = event_type.partition(".")[0]
        if name not in self._projects or (name == fleet.PREFIX and event_type not in fleet.PROJECTED):
            return None
        return name

    def run(self, connection: Connection, projected: Projected, failures: int = 16) -> list[Refusal]:
        """Project within the transaction of ``connection``; what could not be is returned for quarantine.

        Of each node and app at most ``failures`` events are looked for.
        """
        refusals: list[Refusal] = []
        for name, events in projected.by_app.items():
            if events:
                attempts = _Attempts(connection, name, self._projects[name], failures)
                refusals += attempts.run(events, projected.places[name])
        return refusals


def _of_app(app: CloudApp) -> Project:
    def project(connection: Connection, events: Sequence[ReceivedEvent], _places: object) -> None:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            app.project(session, events)
            session.commit()

    return project


class _Attempts:
    """Projects the events of one app; gathers what cannot be projected."""

    def __init__(self, connection: Connection, name: str, project: Project, failures: int) -> None:
        self._connection = connection
        self._name = name
        self._project = project
        self._most = failures
        self._left = failures
        self._refusals: list[Refusal] = []

    def run(self, events: Sequence[ReceivedEvent], places: Sequence[tuple[int, int]]) -> list[Refusal]:
        """What could not be projected, for quarantine."""
        if self._try(events, places) is None:
            return []
        of_nodes: dict[str, tuple[list[ReceivedEvent], list[tuple[int, int]]]] = {}
        for event, place in zip(events, places, strict=True):
            own_events, own_places = of_nodes.setdefault(event.node, ([], []))
            own_events.append(event)
            own_places.append(place)
        for own_events, own_places in of_nodes.values():
            self._left = self._most
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


# ------------------------------------------------------------------------------------------- rebuild


def prepare(engine: Engine, apps: Mapping[str, CloudApp]) -> None:
    """Make the tables of new apps, and rebuild those whose ``schema_version`` has changed.

    Runs before ingest starts. A rebuild that is interrupted starts again at the next call.
    """
    for name, app in apps.items():
        wanted = {str(table.__tablename__) for table in app.tables()}
        with engine.connect() as connection:
            present = set(inspect(connection).get_table_names())
            version = connection.scalar(select(AppState.schema_version).where(AppState.app == name))  # type: ignore[arg-type, call-overload]
        if version != app.schema_version or not wanted <= present:
            rebuild(engine, name, app, others=[other for key, other in apps.items() if key != name])


def rebuild(engine: Engine, name: str, app: CloudApp, *, others: Sequence[CloudApp] = ()) -> int:
    """Drop the tables of ``app``, make them anew, project every event again, in order per node, then labels.

    Returns the number of events. ``others`` are the apps whose tables stay although their names may start
    alike.
    """
    project = _of_app(app)
    _set_version(engine, name, None)
    with engine.begin() as connection:
        _drop_tables(connection, name, app, others)
        _metadata_of([app]).create_all(connection)
    after = (0, 0)
    total = 0
    while True:
        with engine.begin() as connection:
            rows = connection.execute(_events_after(name, after)).all()
            events = [ReceivedEvent(**_event_fields(row._asdict())) for row in rows]
            places = [(row.stream_id, row.received_ns) for row in rows]
            if events:
                _Attempts(connection, name, project, len(events)).run(events, places)
        if not events:
            break
        after = places[-1][0], events[-1].seq
        total += len(events)
    if isinstance(app, LabelProjection):
        _project_labels(engine, name, app)
    _set_version(engine, name, app.schema_version)
    _log.info("tables made", app=name, schema_version=app.schema_version, events=total)
    return total


def _project_labels(engine: Engine, name: str, app: LabelProjection) -> None:
    after = 0
    while True:
        query = select(LabelRow).where(LabelRow.app == name, LabelRow.id > after).order_by(LabelRow.id)  # type: ignore[arg-type, operator]
        with Session(engine) as session:
            rows = list(session.scalars(query.limit(REBUILD_CHUNK)))
            if not rows:
                return
            app.project_labels(session, [Label(**row.model_dump(exclude={"id"})) for row in rows])
            after = rows[-1].id or 0
            session.commit()


def _drop_tables(connection: Connection, name: str, app: CloudApp, others: Sequence[CloudApp]) -> None:
    kept = set(cloud_metadata().tables) | set(_metadata_of(others).tables)
    old = MetaData()
    present = [table for table in inspect(connection).get_table_names() if table.startswith(f"{name}_")]
    old.reflect(connection, only=[table for table in present if table not in kept])
    old.drop_all(connection)
    _metadata_of([app]).drop_all(connection)


def _metadata_of(apps: Sequence[CloudApp]) -> MetaData:
    metadata = MetaData()
    for app in apps:
        for table in app.tables():
            inspect(table).local_table.to_metadata(metadata)
    return metadata


def _events_after(name: str, after: tuple[int, int]) -> Any:
    event, stream = StoredEvent.__table__.c, Stream.__table__.c  # type: ignore[attr-defined]
    columns = (event.stream_id, event.seq, event.type, event.subject, event.time_ns, event.received_ns)
    columns += (event.priority, event.body, event.clock_offset_ms, event.time_quality)
    return (
        select(*columns, stream.site, stream.node, stream.epoch)
        .join_from(StoredEvent, Stream, event.stream_id == stream.id)
        .where(tuple_(event.stream_id, event.seq) > tuple_(*after))
        .where(event.type.startswith(f"{name}.", autoescape=True))
        .order_by(event.stream_id, event.seq)
        .limit(REBUILD_CHUNK)
    )


def _event_fields(row: dict[str, Any]) -> dict[str, Any]:
    offset_ns = (row.pop("clock_offset_ms") or 0) * 1_000_000
    row["body"] = moved_stamps(row["body"].encode(), offset_ns)
    row["time_quality"] = row["time_quality"] or ""
    row["priority"] = Priority(row["priority"])
    return {key: value for key, value in row.items() if key not in ("stream_id", "received_ns")}


def _set_version(engine: Engine, name: str, version: int | None) -> None:
    with engine.begin() as connection:
        known = AppState.app == name
        if connection.execute(update(AppState).where(known).values(schema_version=version or 0)).rowcount:  # type: ignore[arg-type]
            return
        state = AppState(app=name, schema_version=version or 0)
        connection.execute(AppState.__table__.insert().values(**state.model_dump()))  # type: ignore[attr-defined]
