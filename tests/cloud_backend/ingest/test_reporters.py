"""The subjects of a node are known once its events are stored, and bounded."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, inspect, select

from cloud_backend.ingest import reporters
from cloud_backend.ingest.reporters import Reporters
from cloud_backend.store.tables import NodeSubject

TABLE = inspect(NodeSubject).local_table


def stored(engine: Engine) -> set[tuple[str, str]]:
    with engine.connect() as connection:
        return {(row.node, row.subject) for row in connection.execute(select(TABLE))}


def test_subjects_are_kept_once_by_node(engine: Engine) -> None:
    kept = Reporters()
    for _ in range(3):
        with engine.begin() as connection:
            kept.keep(connection, {"n1": {"a", "b", ""}, "n2": {"a"}})
    assert stored(engine) == {("n1", "a"), ("n1", "b"), ("n2", "a")}


def test_what_was_undone_is_kept_the_next_time(engine: Engine) -> None:
    kept = Reporters()
    with engine.connect() as connection, connection.begin() as transaction:
        kept.keep(connection, {"n1": {"a"}})
        transaction.rollback()
    with engine.begin() as connection:
        kept.keep(connection, {"n1": {"a"}})
    assert stored(engine) == {("n1", "a")}


def test_the_subjects_of_a_node_are_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporters, "SUBJECTS_LIMIT", 3)
    with engine.begin() as connection:
        Reporters().keep(connection, {"n1": {str(n) for n in range(9)}, "n2": {"a"}})
    assert sum(node == "n1" for node, _ in stored(engine)) == 3
    assert ("n2", "a") in stored(engine)
