"""Opening stores, transactions that do not trip over each other, and outages distinguished from mistakes."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from cloud_backend.store.engine import is_outage, open_store, read_only, sqlite_url
from common.errors import StoreError
from tests.postgres import Postgres
from tests.waiting import PATIENCE_S

ADD = text("INSERT INTO app_state (app, production, serial, schema_version) VALUES (:app, '', 0, 0)")
COUNT = text("SELECT count(*) FROM app_state")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////nowhere/at/all.sqlite", "unable to open"),
        ("mysql://somewhere/x", "not the URL"),
        ("nonsense", "not the URL"),
        ("postgresql://user:hidden@127.0.0.1:1/x", "refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_with_the_reason(url: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        open_store(url)
    assert "hidden" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_store(sqlite_url(path))


def test_transactions_that_read_then_write_wait_for_each_other(engine: Engine) -> None:
    """On SQLite a deferred transaction would fail here: "database is locked"."""
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def write(name: int) -> None:
        try:
            barrier.wait(PATIENCE_S)
            for i in range(10):
                with engine.begin() as connection:
                    connection.scalar(COUNT)
                    connection.execute(ADD, {"app": f"{name}-{i}"})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with engine.connect() as connection:
        assert connection.scalar(COUNT) == 40


def test_a_reader_neither_waits_for_a_writer_nor_sees_half_of_it(engine: Engine) -> None:
    with engine.begin() as writing:
        writing.execute(ADD, {"app": "a"})
        with read_only(engine).begin() as reading:
            assert reading.scalar(COUNT) == 0
    with read_only(engine).begin() as reading:
        assert reading.scalar(COUNT) == 1


def test_a_transaction_that_fails_leaves_nothing_savepoints_included(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(ADD, {"app": "a"})
        with connection.begin_nested():
            connection.execute(ADD, {"app": "b"})
        assert connection.scalar(COUNT) == 2
        connection.rollback()
    with engine.connect() as connection:
        assert connection.scalar(COUNT) == 0


def test_a_wrong_statement_is_no_outage(engine: Engine) -> None:
    for statement in (
        "SELECT * FROM no_such_table",
        "INSERT INTO app_state (app, production, serial, schema_version) VALUES ('a', NULL, 0, 0)",
        "SELEC",
    ):
        with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
            connection.execute(text(statement))
        assert not is_outage(caught.value), statement
    assert not is_outage(ValueError())


def test_a_full_disk_is_an_outage(tmp_path: Path, limit_file_size: Callable[[int], None]) -> None:
    engine = open_store(sqlite_url(tmp_path / "store.sqlite"))
    limit_file_size(300_000)
    rows = [{"app": f"{i}-" + "x" * 1000} for i in range(1000)]
    with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
        connection.execute(ADD, rows)
    assert is_outage(caught.value)
    limit_file_size(resource.RLIM_INFINITY)
    with engine.begin() as connection:
        assert connection.scalar(COUNT) == 0
        connection.execute(ADD, {"app": "a"})
    engine.dispose()


def test_a_lock_that_another_program_holds_is_an_outage(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "store.sqlite")
    engine, other = open_store(url), open_store(url)
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA busy_timeout = 1")
        with other.begin(), pytest.raises(DBAPIError) as caught:
            connection.execute(ADD, {"app": "a"})
    assert is_outage(caught.value)
    engine.dispose()
    other.dispose()


def test_a_server_that_goes_away_is_an_outage_and_comes_back_by_itself(postgres: Postgres) -> None:
    engine = open_store(postgres.url())
    with engine.connect() as connection:
        connection.scalar(COUNT)
        postgres.stop()
        with pytest.raises(DBAPIError) as caught:
            connection.scalar(COUNT)
        assert is_outage(caught.value)
    with pytest.raises(DBAPIError) as caught:
        engine.connect()
    assert is_outage(caught.value)
    postgres.start()
    with engine.connect() as connection:
        assert connection.scalar(COUNT) == 0
    engine.dispose()
