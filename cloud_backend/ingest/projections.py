"""Projections: from committed events to the tables of apps and of the fleet.

A projection that fails does not stop the stream. It runs in a savepoint; where it raises, its events
are tried again in halves until the one that it cannot digest stands alone, and that one goes to
quarantine (it stays among the events). An outage of the database is no such failure: it ends the whole
transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine, MetaData, inspect, select, tuple_, update
from sqlmodel import Session

from cloud_backend.ingest import fleet
from cloud_backend.ingest.arrival import Projected
from cloud_backend.ingest.quarantine import Refusal
from cloud_backend.store.engine import is_outage
from cloud_backend.store.tables import AppState, LabelRow, StoredEvent, Stream, cloud_metadata
from common.app import CloudApp, Label, ReceivedEvent
from common.cloud_side import LabelProjection
from common.messages import Priority

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

    def run(self, connection: Connection, projected: Projected) -> list[Refusal]:
        """Project within the transaction of ``connection``; what could not be is returned for quarantine."""
        refusals: list[Refusal] = []
        for name, events in projected.by_app.items():
            if events:
                _project(connection, name, self._projects[name], events, projected.places[name], refusals)
        return refusals


def _of_app(app: CloudApp) -> Project:
    def project(connection: Connection, events: Sequence[ReceivedEvent], _places: object) -> None:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            app.project(session, events)
            session.commit()

    return project


def _project(
    connection: Connection,
    name: str,
    project: Project,
    events: Sequence[ReceivedEvent],
    places: Sequence[tuple[int, int]],
    refusals: list[Refusal],
) -> None:
    try:
        with connection.begin_nested():
            project(connection, events, places)
    except Exception as error:
        if is_outage(error) or not connection.in_transaction():
            raise
        if len(events) > 1:
            half = len(events) // 2
            _project(connection, name, project, events[:half], places[:half], refusals)
            _project(connection, name, project, events[half:], places[half:], refusals)
            return
        _log.warning(
            "event not projected", app=name, type=events[0].type, node=events[0].node, error=str(error)
        )
        refusals.append(_refusal(name, events[0], places[0][1], error))


def _refusal(name: str, event: ReceivedEvent, received_ns: int, error: Exception) -> Refusal:
    fields = msgspec.structs.asdict(event)
    fields["data"] = msgspec.Raw(fields.pop("body"))
    reason = f"the projection of {name} failed at seq {event.seq}: {type(error).__name__}: {error}"
    return Refusal(event.site, event.node, msgspec.json.encode(fields), reason, received_ns)


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
            if events:
                places = [(row.stream_id, row.received_ns) for row in rows]
                _project(connection, name, project, events, places, [])
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
            table.__table__.to_metadata(metadata)
    return metadata


def _events_after(name: str, after: tuple[int, int]) -> Any:
    event, stream = StoredEvent.__table__.c, Stream.__table__.c  # type: ignore[attr-defined]
    columns = (event.stream_id, event.seq, event.type, event.subject, event.time_ns, event.received_ns)
    return (
        select(*columns, event.priority, event.body, stream.site, stream.node, stream.epoch)
        .join_from(StoredEvent, Stream, event.stream_id == stream.id)
        .where(tuple_(event.stream_id, event.seq) > tuple_(*after))
        .where(event.type.startswith(f"{name}.", autoescape=True))
        .order_by(event.stream_id, event.seq)
        .limit(REBUILD_CHUNK)
    )


def _event_fields(row: dict[str, Any]) -> dict[str, Any]:
    row["body"] = row["body"].encode()
    row["priority"] = Priority(row["priority"])
    return {key: value for key, value in row.items() if key not in ("stream_id", "received_ns")}


def _set_version(engine: Engine, name: str, version: int | None) -> None:
    with engine.begin() as connection:
        known = AppState.app == name
        if connection.execute(update(AppState).where(known).values(schema_version=version or 0)).rowcount:  # type: ignore[arg-type]
            return
        state = AppState(app=name, schema_version=version or 0)
        connection.execute(AppState.__table__.insert().values(**state.model_dump()))  # type: ignore[attr-defined]
