"""Lists that people look at are read by an index, however many events there are."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, insert, inspect, text

from cloud_backend.api.routes.alerts import count_open_alarms
from cloud_backend.store.tables import AlertAck, StoredEvent, Stream

EVENTS = 20_000
FILL = """
INSERT INTO event (stream_id, seq, type, subject, time_ns, received_ns, priority, body)
WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < :count)
SELECT :stream, seq, 'test.value', 'engine', seq * 1000, 0, CASE WHEN seq % 1000 = 0 THEN 3 ELSE 1 END, '{}'
FROM n
"""
OF_NODE = """
SELECT event.* FROM event WHERE stream_id IN (2, 3)
ORDER BY stream_id DESC, seq DESC LIMIT 50
"""
OF_NODE_PAGE = """
SELECT event.* FROM event WHERE stream_id IN (2, 3) AND (stream_id, seq) < (3, 5000)
ORDER BY stream_id DESC, seq DESC LIMIT 50
"""
ALARMS = """
SELECT event.*, stream.node FROM event JOIN stream ON stream.id = event.stream_id WHERE priority = 3
ORDER BY time_ns DESC, stream_id DESC, seq DESC LIMIT 50
"""
ALARMS_PAGE = """
SELECT event.*, stream.node FROM event JOIN stream ON stream.id = event.stream_id
WHERE priority = 3 AND (time_ns, stream_id, seq) < (5000000, 2, 5000)
ORDER BY time_ns DESC, stream_id DESC, seq DESC LIMIT 50
"""


@pytest.fixture
def filled(engine: Engine) -> Engine:
    with engine.begin() as connection:
        for stream in (1, 2, 3):
            row = {"id": stream, "site": "s", "node": f"n{stream}", "epoch": "e", "high_water_mark": 0}
            connection.execute(insert(Stream).values(**row, created_ns=0))
            connection.execute(text(FILL), {"stream": stream, "count": EVENTS})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return engine


@pytest.mark.parametrize("query", [OF_NODE, OF_NODE_PAGE, ALARMS, ALARMS_PAGE])
def test_a_page_reads_about_as_many_rows_as_it_shows(filled: Engine, query: str) -> None:
    with filled.connect() as connection:
        assert len(connection.execute(text(query)).all()) == (50 if query is not ALARMS_PAGE else 13)
        if filled.dialect.name == "sqlite":
            plan = " | ".join(row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}")))
            assert "SCAN event" not in plan or "event_alerts" in plan, plan
            assert "TEMP B-TREE" not in plan, plan
        else:
            lines = [row[0] for row in connection.execute(text(f"EXPLAIN (ANALYZE, TIMING OFF) {query}"))]
            read = [
                int(line.split("rows=")[2].split()[0]) for line in lines if "event" in line and "Scan" in line
            ]
            assert "Seq Scan on event" not in "\n".join(lines), lines
            assert sum(read) <= 200, lines


def test_open_alarms_are_counted_from_their_keys_alone(filled: Engine) -> None:
    places = [{"stream_id": stream, "seq": 1000 * n} for stream in (1, 2, 3) for n in range(1, 21)]
    ack = {"by": "a", "note": "", "acked_ns": 0}
    with filled.begin() as connection:
        connection.execute(insert(AlertAck), [place | ack for place in places[5:]])
        connection.execute(insert(AlertAck), [{"stream_id": 1, "seq": 7, **ack}])  # a warning, not an alarm
    with filled.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.scalar(count_open_alarms()) == 5
        connection.execute(text("VACUUM ANALYZE" if filled.dialect.name == "postgresql" else "ANALYZE"))
        counting = count_open_alarms().compile(filled, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if filled.dialect.name == "sqlite" else "EXPLAIN"
        plan = " | ".join(str(tuple(row)) for row in connection.execute(text(f"{explain} {counting}")))
    assert "event_alarm_keys" in plan, plan
    assert "COVERING" in plan or "Index Only" in plan, plan


def test_the_columns_of_ingest_are_those_of_the_table() -> None:
    from cloud_backend.ingest.received import COLUMNS

    assert list(COLUMNS) == [column.name for column in inspect(StoredEvent).local_table.columns]
