"""Tables of apps: projections, created and rebuilt from the stored events and labels.

- Tables of an app are named ``<app>_...``; any other name is an error of the app.
- They are rebuilt where ``schema_version`` or the declared tables differ from those of the last rebuild, so a
  change without a new version is harmless. A rebuild that is interrupted starts again.
- Tables of an app that this cloud does not serve are rebuilt when it serves the app again: it may have missed
  events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, MetaData, inspect, select, tuple_, update
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlmodel import Session, col

from cloud_backend.ingest.projections import Attempts, project_of
from cloud_backend.store.tables import AppState, LabelRow, StoredEvent, Stream, cloud_metadata
from common.app.cloud import CloudApp, LabelProjection, ReceivedEvent
from common.app.projection import insert_into
from common.app.training import Label
from common.errors import AppError
from common.messages import Priority, moved_stamps

_log = structlog.get_logger("edgeloop.ingest")
REBUILD_CHUNK = 5000
"""Events in one transaction of a rebuild."""


def prepare(engine: Engine, apps: Mapping[str, CloudApp]) -> None:
    """`prepare_app` for each of ``apps``."""
    for name, app in apps.items():
        prepare_app(engine, name, app, others={key: other for key, other in apps.items() if key != name})


def prepare_app(engine: Engine, name: str, app: CloudApp, *, others: Mapping[str, CloudApp]) -> None:
    """Create the tables of an app, or rebuild them after a change. Runs before ingest starts.

    Raises `AppError` for tables whose names are not the app's.
    """
    _check_names(name, app, others)
    digest = schema_digest(engine, app)
    with engine.connect() as connection:
        present = set(inspect(connection).get_table_names())
        known = connection.execute(
            select(col(AppState.schema_version), col(AppState.schema_digest)).where(col(AppState.app) == name)
        ).first()
    if known and known.schema_version == app.schema_version and known.schema_digest not in ("", digest):
        _log.warning(
            "the tables of an app changed without a new schema_version: rebuilding them",
            app=name,
            schema_version=app.schema_version,
        )
    missing = {str(table.__tablename__) for table in app.tables()} - present
    if known is None or missing or tuple(known) != (app.schema_version, digest):
        rebuild(engine, name, app, others=list(others.values()))


def forget_others(engine: Engine, served: Sequence[str]) -> None:
    """Mark the tables of all apps but ``served`` as outdated."""
    with engine.begin() as connection:
        outdated = update(AppState).where(col(AppState.app).not_in(served), col(AppState.schema_digest) != "")
        connection.execute(outdated.values(schema_version=0, schema_digest=""))


def schema_digest(engine: Engine, app: CloudApp) -> str:
    """SHA-256 of the app's tables and indexes as the database would create them."""
    statements: list[str] = []
    for table in _metadata_of([app]).sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=engine.dialect)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [str(CreateIndex(index).compile(dialect=engine.dialect)) for index in indexes]
    return hashlib.sha256("\n".join(statements).encode()).hexdigest()


def rebuild(engine: Engine, name: str, app: CloudApp, *, others: Sequence[CloudApp] = ()) -> int:
    """Drop the tables of ``app``, create them, project every event again, in order per node, then labels.

    Returns the number of events. ``others`` are the apps whose tables are kept although their names may begin
    alike.
    """
    project = project_of(app)
    _set_version(engine, name, 0, "")
    with engine.begin() as connection:
        _drop_tables(connection, name, app, others)
        _metadata_of([app]).create_all(connection)
    after = (0, 0)
    total = 0
    while True:
        with engine.begin() as connection:
            rows = connection.execute(_events_after(name, after)).all()
            if not rows:
                break
            events = [ReceivedEvent(**_event_fields(row._asdict())) for row in rows]
            places = [(row.stream_id, row.received_ns) for row in rows]
            Attempts(connection, name, project, len(events)).run(events, places)
        after = places[-1][0], events[-1].seq
        total += len(events)
    if isinstance(app, LabelProjection):
        _project_labels(engine, name, app)
    _set_version(engine, name, app.schema_version, schema_digest(engine, app))
    _log.info("tables built", app=name, schema_version=app.schema_version, events=total)
    return total


def _check_names(name: str, app: CloudApp, others: Mapping[str, CloudApp]) -> None:
    own = {str(table.__tablename__) for table in app.tables()}
    cloud = cloud_metadata().tables
    for table in sorted(own):
        if not table.startswith(f"{name}_"):
            raise AppError(
                f"the app {name} declares the table {table}: names of its tables begin with {name}_"
            )
        if table in cloud:
            raise AppError(f"the app {name} declares the table {table}, which is the cloud's own")
    for other_name, other in others.items():
        if shared := sorted(own & {str(table.__tablename__) for table in other.tables()}):
            raise AppError(f"the app {name} declares the table {shared[0]}, which is one of {other_name}'s")


def _project_labels(engine: Engine, name: str, app: LabelProjection) -> None:
    after = 0
    while True:
        number = col(LabelRow.id)
        query = select(LabelRow).where(col(LabelRow.app) == name, number > after).order_by(number)
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
            local_table: Any = inspect(table).local_table
            local_table.to_metadata(metadata)
    return metadata


def _events_after(name: str, after: tuple[int, int]) -> Any:
    event, stream = StoredEvent, Stream
    place = (col(event.stream_id), col(event.seq))
    columns = (col(event.type), col(event.subject), col(event.time_ns), col(event.received_ns))
    columns += (col(event.priority), col(event.body), col(event.clock_offset_ms), col(event.time_quality))
    return (
        select(*place, *columns, col(stream.site), col(stream.node), col(stream.epoch))
        .join_from(event, stream, col(event.stream_id) == col(stream.id))
        .where(tuple_(*place) > tuple_(*after))
        .where(col(event.type).startswith(f"{name}.", autoescape=True))
        .order_by(*place)
        .limit(REBUILD_CHUNK)
    )


def _event_fields(row: dict[str, Any]) -> dict[str, Any]:
    offset_ns = (row.pop("clock_offset_ms") or 0) * 1_000_000
    row["body"] = moved_stamps(row["body"].encode(), offset_ns)
    row["time_quality"] = row["time_quality"] or ""
    row["priority"] = Priority(row["priority"])
    return {key: value for key, value in row.items() if key not in ("stream_id", "received_ns")}


def _set_version(engine: Engine, name: str, version: int, digest: str) -> None:
    values = {"schema_version": version, "schema_digest": digest}
    with engine.begin() as connection:
        state = AppState(app=name, schema_version=version, schema_digest=digest)
        connection.execute(
            insert_into(connection, AppState)
            .values(**state.model_dump())
            .on_conflict_do_update(index_elements=["app"], set_=values)
        )
