"""Tables and projection: the virtual source's events, projected twice and in batches of another size."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlmodel import Session

from cloud_backend.ingest.app_tables import prepare
from cloud_backend.store.engine import open_store, sqlite_url
from cloud_backend.store.tables import cloud_metadata
from common.app.cloud import CloudApp, ReceivedEvent
from common.authoring.check import AppUnderCheck, Check, CheckSkipped, require

BATCH_EVENTS = 7
COUNTS_PROJECTIONS = "counts_projections"
Rows = dict[str, list[str]]


def project(
    engine: Engine, cloud: CloudApp, events: Sequence[ReceivedEvent], batch: int | None = None
) -> None:
    """Project ``events`` in transactions of ``batch`` events, or all in one."""
    for begin in range(0, len(events), batch or max(1, len(events))):
        with Session(engine) as session:
            cloud.project(session, events[begin : begin + (batch or len(events))])
            session.commit()


def _tables(app: AppUnderCheck) -> None:
    cloud = app.spec.load_cloud()
    require(cloud.schema_version >= 1, f"schema_version is {cloud.schema_version}; it begins at 1")
    for table in cloud.tables():
        name = str(table.__tablename__)
        require(
            name.startswith(f"{app.spec.name}_"),
            f"the table {name!r} ({table.__name__}) does not begin with '{app.spec.name}_'",
        )
        require(name not in cloud_metadata().tables, f"the table {name!r} is one of the cloud's own")


def _on_sqlite(app: AppUnderCheck) -> None:
    _check(app, sqlite_url(app.folder / "projection.sqlite"))


def _on_postgresql(app: AppUnderCheck) -> None:
    if not app.postgresql:
        raise CheckSkipped("no PostgreSQL: --postgresql names an empty database")
    _check(app, app.postgresql)


def _check(app: AppUnderCheck, url: str) -> None:
    name, events = app.spec.name, app.received
    engine = open_store(url)
    try:
        cloud = app.spec.load_cloud()
        prepare(engine, {name: cloud})
        project(engine, cloud, events)
        whole = _rows(engine, cloud)
        if cloud.tables():
            require(
                any(whole.values()), f"{len(events)} events of the virtual source reach none of its tables"
            )
        project(engine, cloud, events)
        again = _rows(engine, cloud)
        require(again == whole, f"projecting the same events twice changes {_difference(whole, again)}")
        _empty(engine, cloud)
        project(engine, cloud, events, BATCH_EVENTS)
        batches = _rows(engine, cloud)
        require(
            batches == whole,
            f"batches of {BATCH_EVENTS} give other rows than one of all: {_difference(whole, batches)}",
        )
    finally:
        engine.dispose()


def _rows(engine: Engine, cloud: CloudApp) -> Rows:
    """Rows of every table as text, sorted, without numbers that the database gives.

    Without columns as well whose ``info`` has `COUNTS_PROJECTIONS`: how often a row was changed.
    """
    found: Rows = {}
    with engine.connect() as connection:
        for each in cloud.tables():
            table = each.metadata.tables[str(each.__tablename__)]
            columns = [
                column
                for column in table.columns
                if column is not table.autoincrement_column and not column.info.get(COUNTS_PROJECTIONS)
            ]
            rows = connection.execute(select(*columns)).all()
            found[table.name] = sorted(repr(tuple(row)) for row in rows)
    return found


def _empty(engine: Engine, cloud: CloudApp) -> None:
    with engine.begin() as connection:
        for each in cloud.tables():
            connection.execute(each.metadata.tables[str(each.__tablename__)].delete())


def _difference(first: Rows, second: Rows) -> str:
    """Tables that differ, with a row of the first."""
    names = [name for name in first if first[name] != second[name]]
    if not names:
        return "nothing"
    changed = sorted(set(first[names[0]]) ^ set(second[names[0]]))
    return f"{', '.join(names)} ({len(first[names[0]])} rows, then {len(second[names[0]])}; {changed[:1]})"


CHECKS = [
    Check("tables", "its tables begin with the app's name", _tables),
    Check("projection", "events are projected, and the same events twice change nothing", _on_sqlite),
    Check("projection-postgresql", "the same on PostgreSQL", _on_postgresql),
]
