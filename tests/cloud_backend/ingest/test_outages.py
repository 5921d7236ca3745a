"""Outages of the store: nothing is acked, nothing is lost."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from cloud_backend.store.engine import is_outage, open_store, sqlite_url
from tests.cloud_backend.ingest.nodes import SimulatedNode, rows, stored
from tests.cloud_backend.ingest.totals import Total, ack, committer
from tests.postgres import Postgres


def test_a_full_disk_acks_nothing_stores_nothing_and_is_over_when_it_is_over(
    tmp_path: Path, limit_file_size: Callable[[int], None]
) -> None:
    engine = open_store(sqlite_url(tmp_path / "store.sqlite"))
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 5)])
    limit_file_size(500_000)
    arrivals = [node.received(seq, seq + 499) for seq in range(1, 20_000, 500)]
    for _ in range(2):
        with pytest.raises(DBAPIError) as caught:
            ingest.commit(arrivals)
        assert is_outage(caught.value)
    assert len(stored(engine)) == 5
    limit_file_size(resource.RLIM_INFINITY)
    assert ingest.commit(arrivals) == [ack(20_000)]
    assert [seq for _, seq, _ in stored(engine)] == list(range(1, 20_001))
    assert rows(engine, Total) == [Total(subject="engine-1", events=20_000, last_seq=20_000)]
    engine.dispose()


def test_a_database_server_that_goes_away_stops_nothing_for_good(postgres: Postgres) -> None:
    engine = open_store(postgres.url())
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 5)])
    postgres.stop()
    for _ in range(2):
        with pytest.raises(DBAPIError) as caught:
            ingest.commit([node.received(6, 9)])
        assert is_outage(caught.value)
    postgres.start()
    assert ingest.commit([node.received(6, 9)]) == [ack(9)]
    assert len(stored(engine)) == 9
    engine.dispose()
