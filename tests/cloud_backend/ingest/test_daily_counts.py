"""Daily counts: each event once, by day and type; bounded, whatever names nodes give their events."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from cloud_backend.ingest.commit import Committer
from cloud_backend.ingest.daily_counts import DAY_NS, OTHER, TYPES_LIMIT
from cloud_backend.ingest.projections import Projections
from cloud_backend.store.tables import DailyCount
from common.config.cloud import IngestSettings
from common.messages import Priority
from tests.cloud_backend.ingest.nodes import NOW_NS, SimulatedNode, enrol, rows

TODAY = NOW_NS // DAY_NS


def committer(engine: Engine) -> Committer:
    return Committer(engine, Projections({}), IngestSettings())


def volumes(engine: Engine) -> dict[tuple[int, str, str], tuple[int, int]]:
    return {(row.day, row.node, row.type): (row.events, row.bytes) for row in rows(engine, DailyCount)}


def test_what_arrives_twice_counts_once(engine: Engine) -> None:
    enrol(engine, "node-1", "node-2")
    ingest, one, two = committer(engine), SimulatedNode(), SimulatedNode("node-2")
    for _ in range(2):
        ingest.commit([one.received(1, 9), two.received(1, 3), one.received(5, 12)])
    assert volumes(engine) == {
        (TODAY, "node-1", "test.value"): (12, 9 * len('{"seq":1}') + 3 * len('{"seq":10}')),
        (TODAY, "node-2", "test.value"): (3, 3 * len('{"seq":1}')),
    }


def test_days_and_types_have_rows_of_their_own(engine: Engine) -> None:
    enrol(engine, "node-1")
    ingest, node = committer(engine), SimulatedNode()
    bodies = [node.body(1), node.body(2, "test.alarm", priority=Priority.ALARM, data={"text": "für"})]
    ingest.commit([node.received(1, 2, bodies)])
    ingest.commit([node.received(3, 4, arrived_ns=NOW_NS + DAY_NS)])
    node.oldest = 5
    committer(engine).commit([node.received(5, 6, arrived_ns=NOW_NS + DAY_NS)])
    assert volumes(engine) == {
        (TODAY, "node-1", "test.value"): (1, 9),
        (TODAY, "node-1", "test.alarm"): (1, len('{"text":"für"}'.encode())),
        (TODAY + 1, "node-1", "test.value"): (4, 36),
    }


@pytest.mark.parametrize("group", [1, 40])
def test_types_without_end_are_counted_together(engine: Engine, group: int) -> None:
    enrol(engine, "node-1")
    ingest, node, count = committer(engine), SimulatedNode(), TYPES_LIMIT + 40
    for first in range(1, count + 1, group):
        last = min(count, first + group - 1)
        ingest.commit(
            [node.received(first, last, [node.body(s, f"test.{s}") for s in range(first, last + 1)])]
        )
    ingest.commit([node.received(count + 1, count + 1, [node.body(count + 1, "test.1")])])
    found = volumes(engine)
    assert len(found) == TYPES_LIMIT + 1
    assert found[TODAY, "node-1", OTHER][0] == 40
    assert found[TODAY, "node-1", "test.1"][0] == 2
    assert sum(events for events, _ in found.values()) == count + 1


def test_a_batch_that_is_not_stored_is_not_counted(engine: Engine) -> None:
    enrol(engine, "node-1")
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 1)])
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE event RENAME TO away")
    ingest.commit([node.received(2, 9)])
    assert volumes(engine) == {(TODAY, "node-1", "test.value"): (1, 9)}
