"""Commands on a cloud's data folder leave a line in its audit trail: who, what, and that it was offline."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlmodel import Session, col
from typer.testing import CliRunner

from cloud_backend.access.tokens import Access
from cloud_backend.commands import cloud as app
from cloud_backend.ota.repository import Repository
from cloud_backend.runtime.backup import read_restored
from cloud_backend.store.engine import open_store, sqlite_url
from cloud_backend.store.tables import AuditRow
from common.errors import StoreError

runner = CliRunner()
ME = f"os:{getpass.getuser()}"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """The store of a cloud in ``tmp_path/cloud`` that does not run."""
    folder = tmp_path / "cloud"
    folder.mkdir()
    engine = open_store(sqlite_url(folder / "cloud.sqlite"))
    Access(engine, folder / "secrets")
    Repository(folder / "tuf", folder / "secrets", ("sums",))
    yield engine
    engine.dispose()


def run(*arguments: object) -> dict[str, Any]:
    result = runner.invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def lines(engine: Engine) -> list[tuple[str, str, str]]:
    with Session(engine) as session:
        rows = session.scalars(select(AuditRow).order_by(col(AuditRow.id))).all()
        assert {(row.actor, row.address, row.outcome) for row in rows} <= {(ME, "offline", "done")}
        return [(row.action, row.subject, row.details) for row in rows]


def test_a_backup_and_the_brokers_files_leave_a_line(engine: Engine, tmp_path: Path) -> None:
    taken = run("backup", "--data", tmp_path / "cloud", "--out", tmp_path / "b.tar")
    assert any("arriving" in each for each in taken["left_out"])
    run("broker-config", "--data", tmp_path / "cloud", "--out", tmp_path / "broker")
    assert lines(engine) == [
        ("take a backup", str(tmp_path / "b.tar"), json.dumps({"files": taken["files"]})),
        ("write the broker's users and rules", str(tmp_path / "broker"), '{"users": 1}'),
    ]


def test_a_restore_is_recorded_with_its_person_at_the_next_start(engine: Engine, tmp_path: Path) -> None:
    run("backup", "--data", tmp_path / "cloud", "--out", tmp_path / "b.tar")
    run("restore", tmp_path / "b.tar", "--data", tmp_path / "again")
    mark = read_restored(tmp_path / "again")
    assert mark is not None
    assert mark.by == ME


def test_a_line_that_cannot_be_stored_is_an_error(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE audit_trail"))
    with pytest.raises(StoreError, match="take a backup: done, but"):
        run("backup", "--data", tmp_path / "cloud", "--out", tmp_path / "b.tar")
    assert (tmp_path / "b.tar").exists()
