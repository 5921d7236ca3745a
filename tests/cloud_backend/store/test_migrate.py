"""Migrations: they give the declared tables, all or nothing, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from cloud_backend.store import migrate
from cloud_backend.store.engine import open_store
from cloud_backend.store.tables import cloud_metadata
from common.errors import StoreError


def test_the_migrations_give_the_declared_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, cloud_metadata()) == []
        for name, table in cloud_metadata().tables.items():
            key = inspect(connection).get_pk_constraint(name)["constrained_columns"]
            assert key == [column.name for column in table.primary_key], name


def test_events_lie_in_the_order_of_their_key_on_sqlite(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("a matter of SQLite")
    with engine.connect() as connection:
        definition = connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'event'"))
    assert "WITHOUT ROWID" in str(definition)


def at(engine: Engine, revision: str) -> None:
    """Bring the schema up or down to ``revision``."""
    settings = migrate.config()
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        present = MigrationContext.configure(connection).get_current_revision() or ""
        move = command.upgrade if revision > present else command.downgrade
        move(settings, revision)


def test_a_database_of_the_first_schema_keeps_what_it_has(new_url: Callable[[], str]) -> None:
    engine = open_store(new_url(), upgrade=False)
    at(engine, "0001")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO event (stream_id, seq, type, subject, time_ns, received_ns, priority, body) "
                "VALUES (1, 1, 'x.alarm', 'm', 1, 1, 3, '{}'), (1, 2, 'x.value', 'm', 2, 2, 1, '{}')"
            )
        )
    migrate.upgrade(engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT seq FROM event ORDER BY seq")).all() == [(1,), (2,)]
        assert "daily_count" in inspect(connection).get_table_names()
    engine.dispose()


def test_daily_counts_keep_their_rows_under_the_new_name(new_url: Callable[[], str]) -> None:
    engine = open_store(new_url(), upgrade=False)
    at(engine, "0009")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO volume (day, node, type, events, bytes) VALUES (1, 'n', 't', 2, 3)")
        )
        connection.execute(
            text("INSERT INTO app_state (app, production, serial, schema_version) VALUES ('a', '7', 5, 4)")
        )
    migrate.upgrade(engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT * FROM daily_count")).all() == [(1, "n", "t", 2, 3)]
        kept = connection.execute(text("SELECT production, serial, schema_digest FROM app_state")).all()
    assert kept == [("7", 5, "")]
    engine.dispose()


def test_a_schema_goes_back_and_forth(new_url: Callable[[], str]) -> None:
    engine = open_store(new_url(), upgrade=False)
    at(engine, "0001")
    first = _shape(engine)
    at(engine, "0002")
    assert _shape(engine) != first
    at(engine, "0001")
    assert _shape(engine) == first
    engine.dispose()


def _shape(engine: Engine) -> dict[str, set[str]]:
    """The indexes of every table, by table."""
    with engine.connect() as connection:
        inspector = inspect(connection)
        return {
            name: {str(index["name"]) for index in inspector.get_indexes(name)}
            for name in inspector.get_table_names()
        }


def test_opening_again_changes_nothing(new_url: Callable[[], str]) -> None:
    url = new_url()
    for _ in range(2):
        engine = open_store(url)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO app_state (app, production, serial, schema_version) "
                    "VALUES ('a', '', 0, 0) ON CONFLICT DO NOTHING"
                )
            )
            assert connection.scalar(text("SELECT count(*) FROM app_state")) == 1
        engine.dispose()


def test_two_clouds_that_start_at_once_make_the_tables_once(new_url: Callable[[], str]) -> None:
    url = new_url()
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            open_store(url).dispose()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_migration_that_fails_leaves_nothing_behind(new_url: Callable[[], str]) -> None:
    engine = open_store(new_url(), upgrade=False)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE stream (in_the_way INTEGER)"))
    with pytest.raises(DBAPIError, match="exists"):
        migrate.upgrade(engine)
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == ["stream"]
        connection.execute(text("DROP TABLE stream"))
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert set(cloud_metadata().tables) < set(inspect(connection).get_table_names())
    engine.dispose()


def test_a_database_of_a_newer_edgeloop_is_refused(new_url: Callable[[], str]) -> None:
    url = new_url()
    engine = open_store(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="upgrade edgeloop"):
        open_store(url)
