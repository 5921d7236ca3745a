"""Projections: tables of apps from events, indigestible events, and when tables are rebuilt."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel

from cloud_backend.ingest.app_tables import prepare
from cloud_backend.store.tables import Quarantined
from common.app.cloud import ReceivedEvent
from tests.cloud_backend.ingest.nodes import SimulatedNode, rows, stored
from tests.cloud_backend.ingest.totals import Total, Totals, ack, committer


@pytest.mark.parametrize(
    "poison", ["SELECT * FROM no_such_table", "INSERT INTO test_total VALUES (NULL, 1, 1)"]
)
def test_an_event_that_a_projection_cannot_digest_is_kept_and_the_others_projected(
    engine: Engine, poison: str
) -> None:
    ingest, node = committer(engine), SimulatedNode()
    bodies = [node.body(seq) for seq in range(1, 10)]
    bodies[3] = node.body(4, data={"poison": poison})
    assert ingest.commit([node.received(1, 9, bodies)]) == [ack(9)]
    assert len(stored(engine)) == 9
    assert rows(engine, Total) == [Total(subject="engine-1", events=8, last_seq=9)]
    (kept,) = rows(engine, Quarantined)
    assert "projection of test failed at seq 4" in kept.reason
    assert msgspec.json.decode(kept.body)["data"] == {"poison": poison}


def test_events_of_no_installed_app_are_only_kept(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 2, [node.body(1, "other.value"), node.body(2, "edgeloop.drift")])])
    assert len(stored(engine)) == 2
    assert rows(engine, Total) == []
    assert rows(engine, Quarantined) == []


class TotalsOfTwo(Totals):
    """The next version of the projection, which counts double."""

    schema_version = 2

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        super().project(session, [event for event in events for _ in range(2)])


def test_a_projection_is_rebuilt_from_the_events_when_its_version_changes(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    bodies = [node.body(seq, subject=f"engine-{seq % 2}") for seq in range(1, 11)]
    bodies[4] = node.body(5, data={"poison": "SELECT * FROM no_such_table"})
    ingest.commit([node.received(1, 10, bodies)])
    before = rows(engine, Total)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE test_leftover (x INTEGER)")
        connection.exec_driver_sql("INSERT INTO test_total VALUES ('stray', 1, 1)")
    prepare(engine, {"test": Totals()})
    assert len(rows(engine, Total)) == len(before) + 1, "nothing to do, nothing done"
    prepare(engine, {"test": TotalsOfTwo()})
    assert [(t.subject, t.events) for t in rows(engine, Total)] == [(t.subject, 2 * t.events) for t in before]
    with engine.connect() as connection, pytest.raises(DBAPIError):
        connection.exec_driver_sql("SELECT * FROM test_leftover")


def test_tables_that_changed_without_a_new_version_are_rebuilt(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 4)])
    before = rows(engine, Total)

    class Wider(SQLModel, registry=registry()):
        pass

    class WiderTotal(Wider, table=True):
        __tablename__ = "test_total"  # pyright: ignore[reportAssignmentType]: a name is what SQLModel takes
        subject: str = Field(primary_key=True)
        events: int = 0
        last_seq: int = 0
        note: str = "new"

    class WiderTotals(Totals):
        table = WiderTotal

    prepare(engine, {"test": WiderTotals()})
    after = rows(engine, WiderTotal)
    assert [(t.subject, t.events, t.last_seq) for t in after] == [
        (t.subject, t.events, t.last_seq) for t in before
    ]
    assert {t.note for t in after} == {"new"}


def test_a_type_of_no_app_is_logged_once(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    ingest, node = committer(engine), SimulatedNode()
    for seq in (1, 2):
        ingest.commit([node.received(seq, seq, [node.body(seq, "temperature.high")])])
    logged = [line for line in capsys.readouterr().out.splitlines() if "temperature.high" in line]
    assert len(logged) == 1
    assert "apps=test" in re.sub(r"\x1b\[[0-9;]*m", "", logged[0])


def test_many_events_that_no_projection_digests_cost_little_and_are_reported(engine: Engine) -> None:
    ingest, node, other = committer(engine, projection_failures=8), SimulatedNode(), SimulatedNode("node-2")
    poison = {"poison": "SELECT no_such_column"}
    bodies = [node.body(seq, data=poison) for seq in range(1, 2001)]
    answers = ingest.commit([node.received(1, 2000, bodies), other.received(1, 50)])
    assert {answer.ack.high_water_mark for answer in answers} == {2000, 50}
    assert len(stored(engine)) == 2000
    assert [row.events for row in rows(engine, Total)] == [50], "what another node sent is projected whole"
    assert ingest.counts["unprojected"] == 2000
    assert len(rows(engine, Quarantined)) <= 20
    assert any("stored and not projected" in row.reason for row in rows(engine, Quarantined))
    (problem,) = ingest._problems.take()
    assert (problem["node"], problem["kind"], problem["count"]) == ("node-1", "unprojected", 2000)
    assert ingest.take_failures()["node-1"] < 40


def test_a_few_that_are_not_digested_leave_the_rest_projected(engine: Engine) -> None:
    ingest, node = committer(engine, projection_failures=8), SimulatedNode()
    poison = {"poison": "SELECT no_such_column"}
    bodies = [node.body(seq, data=poison if seq in (1, 77, 500) else {"seq": seq}) for seq in range(1, 501)]
    ingest.commit([node.received(1, 500, bodies)])
    assert [row.events for row in rows(engine, Total)] == [497]
    assert ingest.counts["unprojected"] == 3
