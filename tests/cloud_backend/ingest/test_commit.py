"""The transaction, on SQLite and PostgreSQL: what is stored, what is acked, and what neither."""

from __future__ import annotations

import random
import re
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import registry
from sqlmodel import Field, Session, SQLModel

from cloud_backend.api.schemas.events import EventPublic
from cloud_backend.ingest.app_tables import prepare, rebuild
from cloud_backend.ingest.commit import Committer
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.received import ReceivedBatch, ReceivedStatus, Reconnected, read_batch
from cloud_backend.ingest.transaction import LOST_BY_CLOUD, NodeAck
from cloud_backend.store.engine import is_outage, open_store, sqlite_url
from cloud_backend.store.tables import Adoption, Node, Quarantined, StoredEvent, Stream
from common import messages
from common.app.cloud import ReceivedEvent
from common.config.cloud import IngestSettings
from common.messages import Ack, Event, Priority, Status, TimeQuality, encode_event
from tests.cloud_backend.ingest.nodes import NOW_NS, SITE, SimulatedNode, enrol, rows, stored
from tests.postgres import Postgres

SECOND_NS = 1_000_000_000


class Total(SQLModel, table=True):
    """One row a subject: how many events, and their sum."""

    __tablename__ = "test_total"  # pyright: ignore[reportAssignmentType]: a name is what SQLModel takes
    subject: str = Field(primary_key=True)
    events: int = 0
    last_seq: int = 0


class Totals:
    """A projection that counts, and that cannot digest an event whose data say so."""

    schema_version = 1
    table: type[Any] = Total

    def tables(self) -> Sequence[Any]:
        return (self.table,)

    def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
        for event in events:
            row = session.get(self.table, event.subject) or self.table(subject=event.subject)
            row.events += 1
            row.last_seq = event.seq
            session.add(row)
            if event.data.get("poison"):
                session.flush()
                session.execute(text(event.data["poison"]))

    def router(self, deps: Any) -> Any:
        raise NotImplementedError


def committer(engine: Engine, **settings: Any) -> Committer:
    enrol(engine, "node-1", "node-2")
    apps = {"test": Totals()}
    prepare(engine, apps)
    return Committer(engine, Projections(apps), IngestSettings(**settings))


def ack(mark: int, epoch: str = "e1", node: str = "node-1") -> NodeAck:
    return NodeAck(SITE, node, Ack(epoch, mark))


def test_a_batch_is_stored_and_acked_once(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    for _ in range(3):
        assert ingest.commit([node.received(1, 250)]) == [ack(250)]
    assert stored(engine) == [("e1", seq, "test.value") for seq in range(1, 251)]
    event = rows(engine, StoredEvent)[4]
    assert (event.seq, event.time_ns, event.received_ns) == (5, node.time_of(5), NOW_NS)
    assert (event.priority, event.subject, event.clock_offset_ms) == (Priority.TELEMETRY, "engine-1", None)
    assert msgspec.json.decode(event.body) == {"seq": 5}
    assert rows(engine, Total) == [Total(subject="engine-1", events=250, last_seq=250)]
    assert (ingest.counts["events"], ingest.counts["batches"], ingest.counts["batches_left"]) == (250, 1, 2)


def test_one_transaction_takes_many_batches_and_acks_each_stream_once(engine: Engine) -> None:
    ingest = committer(engine)
    one, two, again = SimulatedNode(), SimulatedNode("node-2"), SimulatedNode(epoch="e2")
    group = [
        one.received(1, 10),
        two.received(1, 5),
        one.received(11, 20),
        one.received(15, 30),
        again.received(1, 2),
    ]
    assert ingest.commit(group) == [ack(30), ack(5, node="node-2"), ack(2, "e2")]
    assert [seq for _, seq, _ in stored(engine)] == [*range(1, 31), 1, 2]
    assert len(stored(engine, "node-2")) == 5


def test_a_batch_beyond_the_mark_is_left_and_the_mark_told(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    assert ingest.commit([node.received(5, 9)]) == [ack(0)]
    assert stored(engine) == []
    assert rows(engine, Stream) == []
    ingest.commit([node.received(1, 3)])
    assert ingest.commit([node.received(5, 9)]) == [ack(3)]
    assert ingest.commit([node.received(2, 9)]) == [ack(9)]
    assert [seq for _, seq, _ in stored(engine)] == list(range(1, 10))


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_any_batches_gives_every_event_once(engine: Engine, seed: int) -> None:
    chance, ingest, node = random.Random(seed), committer(engine), SimulatedNode()
    mark = 0
    while mark < 120:
        group = []
        for _ in range(chance.randint(1, 4)):
            first = chance.randint(max(1, mark - 20), min(mark + 10, 120))
            group.append(node.received(first, min(first + chance.randint(0, 30), 120)))
        (answer,) = ingest.commit(group)
        assert answer.ack.high_water_mark >= mark
        mark = answer.ack.high_water_mark
    assert [seq for _, seq, _ in stored(engine)] == list(range(1, 121))
    assert rows(engine, Total) == [Total(subject="engine-1", events=120, last_seq=120)]


def test_a_cloud_that_lost_its_records_writes_down_what_is_lost_and_goes_on(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    node.oldest = 101
    assert ingest.commit([node.received(151, 160)]) == [ack(0)]
    assert ingest.commit([node.received(101, 110), node.received(111, 115)]) == [ack(115)]
    first = rows(engine, StoredEvent)[0]
    assert (first.seq, first.type) == (1, messages.GAP_TYPE)
    assert msgspec.json.decode(first.body) == {"through": 100, "reason": LOST_BY_CLOUD, "counts": {}}
    assert [seq for _, seq, _ in stored(engine)] == [1, *range(101, 116)]
    assert ingest.counts["lost_by_cloud"] == 100


def test_a_gap_merged_after_its_beginning_was_stored_is_kept_from_there(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 5)])
    bodies = [node.body(1), node.body(2), node.gap(3, 9), node.body(10)]
    assert ingest.commit([node.received(1, 10, bodies)]) == [ack(10)]
    assert [(seq, kind) for _, seq, kind in stored(engine)][5:] == [
        (6, messages.GAP_TYPE),
        (10, "test.value"),
    ]


# ---------------------------------------------------------------------------------- what is not taken


def test_a_poisoned_element_goes_to_quarantine_and_the_stream_goes_on(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    other = SimulatedNode("node-2").body(4)
    bad_time = node.body(5).replace(b'"time":"', b'"time":"yesterday ')
    bad_priority = node.body(6).replace(b"telemetry", b"urgent")
    nul = node.body(7, subject="engine\0")
    bodies = [node.body(1), b'{"type": 7}', node.body(3), other, bad_time, bad_priority, nul, node.body(8)]
    assert ingest.commit([node.received(1, 8, bodies)]) == [ack(8)]
    assert [seq for _, seq, _ in stored(engine)] == [1, 3, 8]
    kept = {row.body: row.reason for row in rows(engine, Quarantined)}
    assert len(kept) == 5
    assert kept[b'{"type": 7}']
    assert "came over the topic of '/plant/node-1'" in kept[other]
    assert "RFC 3339" in kept[bad_time]
    assert "'urgent' is not a priority" in kept[bad_priority]
    assert "cannot be stored" in kept[nul]
    assert rows(engine, Total) == [Total(subject="engine-1", events=3, last_seq=8)]


def test_a_batch_that_cannot_be_read_is_refused_by_its_digest_and_kept(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    noise = read_batch(SITE, "node-1", b"noise", NOW_NS)
    short = node.received(1, 9, [node.body(1)])
    for arrival, words in ((noise, "not zstd"), (short, "carries 1 seqs")):
        (answer,) = ingest.commit([arrival])
        assert answer.ack.epoch == ""
        assert answer.ack.high_water_mark == 0
        assert answer.ack.refused_digest == messages.digest(arrival.payload)
        assert words in answer.ack.refused_reason
    ingest.commit([noise])
    kept = rows(engine, Quarantined)
    assert [(row.body, row.count, row.node) for row in kept] == [
        (b"noise", 2, "node-1"),
        (short.payload, 1, "node-1"),
    ]
    assert stored(engine) == []


def test_a_node_that_is_not_enrolled_or_is_elsewhere_gets_no_answer(engine: Engine) -> None:
    ingest = committer(engine)
    assert ingest.commit([SimulatedNode("stranger").received(1, 3)]) == []
    batch = SimulatedNode().batch(1, 3)
    assert ingest.commit([read_batch("elsewhere", "node-1", batch, NOW_NS)]) == []
    assert ingest.commit([read_batch("elsewhere", "node-1", b"noise", NOW_NS)]) == []
    assert rows(engine, Quarantined) == []
    assert rows(engine, Stream) == []
    assert ingest.counts["not_enrolled"] == 3


def test_quarantine_is_bounded_in_rows_and_bytes_and_the_newest_stay(engine: Engine) -> None:
    ingest = committer(engine, quarantine_rows=5, quarantine_bytes=1000)
    for size, expected in ((10, 5), (300, 3)):
        for i in range(8):
            ingest.commit([read_batch(SITE, "node-1", b"%d" % i + b"x" * (size - 1), NOW_NS)])
        kept = rows(engine, Quarantined)
        assert [row.body[:1] for row in kept] == [b"%d" % i for i in range(8 - expected, 8)]
    assert ingest.counts["quarantine_dropped"] == 13


def test_a_batch_that_the_database_cannot_take_is_refused_alone(engine: Engine) -> None:
    """A reason that no check foresaw: here a trigger of the database's owner."""
    ingest, node, other = committer(engine), SimulatedNode(), SimulatedNode("node-2")
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER no_sevens BEFORE INSERT ON event WHEN new.seq = 7 "
                "BEGIN SELECT RAISE(ABORT, 'no sevens'); END"
            )
        else:
            connection.exec_driver_sql("ALTER TABLE event ADD CONSTRAINT no_sevens CHECK (seq <> 7)")
    answers = ingest.commit([node.received(1, 10), other.received(1, 5)])
    assert answers[0].ack.refused_digest == messages.digest(node.batch(1, 10))
    assert "no_sevens" in answers[0].ack.refused_reason or "no sevens" in answers[0].ack.refused_reason
    assert answers[1:] == [ack(5, node="node-2")]
    assert stored(engine) == []
    assert len(stored(engine, "node-2")) == 5


# ---------------------------------------------------------------------------------------- projections


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


# --------------------------------------------------------------------------------------- nodes, clocks


def test_times_of_a_wrong_clock_are_corrected_and_flagged(engine: Engine) -> None:
    ingest = committer(engine)
    ahead = SimulatedNode("node-1", clock_error_ns=90 * SECOND_NS)
    behind = SimulatedNode("node-2", clock_error_ns=-400 * 86400 * SECOND_NS)
    ingest.commit([ahead.received(1, 2), behind.received(1, 2)])
    right = SimulatedNode()
    for event, offset_ms in zip(
        rows(engine, StoredEvent), [-90_000] * 2 + [400 * 86_400_000] * 2, strict=True
    ):
        assert event.time_ns == right.time_of(event.seq)
        assert event.clock_offset_ms == offset_ms
    assert [node.clock_offset_ms for node in rows(engine, Node)] == [-90_000, 400 * 86_400_000]
    assert all(node.last_seen_ns == NOW_NS for node in rows(engine, Node))


def test_a_time_is_corrected_only_where_it_is_by_the_clock_that_sent_it(engine: Engine) -> None:
    """A machine without a battery starts at 1970: what it kept from before, and what it marked, stays."""
    ingest, node = committer(engine), SimulatedNode(clock_error_ns=-NOW_NS)
    event = Event("test.value", "m", NOW_NS, Priority.EVENT, {})
    marks = [TimeQuality.PLAUSIBLE, TimeQuality.UNSYNCHRONISED, TimeQuality.CORRECTED, TimeQuality.UNKNOWN]
    times = [NOW_NS, 60 * SECOND_NS, NOW_NS, 7]
    bodies = [
        encode_event(
            msgspec.structs.replace(event, time_ns=time_ns),
            source=node.source,
            epoch="e1",
            seq=seq,
            quality=mark,
        )
        for seq, (time_ns, mark) in enumerate(zip(times, marks, strict=True), 1)
    ]
    ingest.commit([node.received(1, 4, bodies)])
    found = [(row.time_ns, row.time_quality) for row in rows(engine, StoredEvent)]
    assert found == [
        (NOW_NS, None), (NOW_NS + 60 * SECOND_NS, "corrected"), (NOW_NS, "corrected"), (7, "unknown")
    ]  # fmt: skip


def events_marked(engine: Engine, node: SimulatedNode, *marked: tuple[int, TimeQuality]) -> list[StoredEvent]:
    event = Event("test.value", "m", 0, Priority.EVENT, {})
    bodies = [
        encode_event(
            msgspec.structs.replace(event, time_ns=time_ns),
            source=node.source,
            epoch="e1",
            seq=seq,
            quality=quality,
        )
        for seq, (time_ns, quality) in enumerate(marked, 1)
    ]
    committer(engine).commit([node.received(1, len(bodies), bodies)])
    return rows(engine, StoredEvent)


@pytest.mark.parametrize("error_ns", [0, -NOW_NS, 200 * 86400 * SECOND_NS])
def test_a_time_after_its_arrival_is_unknown(engine: Engine, error_ns: int) -> None:
    """Offline by a clock in 2034, then started again by another clock: whatever the node has marked."""
    year_2034_ns = 2_040_000_000 * SECOND_NS
    node = SimulatedNode(clock_error_ns=error_ns)
    quality = TimeQuality.CORRECTED if error_ns else TimeQuality.PLAUSIBLE
    stored = events_marked(engine, node, (year_2034_ns, quality), (NOW_NS + 60 * SECOND_NS, quality))
    assert (stored[0].time_ns, stored[0].time_quality) == (year_2034_ns, "unknown")
    assert stored[0].clock_offset_ms is None
    assert stored[1].time_quality == (quality or None), "within the tolerance"
    assert stored[1].time_ns == NOW_NS + 60 * SECOND_NS


def test_a_clock_that_turns_out_right_clears_the_mark(engine: Engine) -> None:
    (stored,) = events_marked(engine, SimulatedNode(), (NOW_NS - SECOND_NS, TimeQuality.UNSYNCHRONISED))
    assert (stored.time_ns, stored.time_quality) == (NOW_NS - SECOND_NS, None)


def test_a_late_delivery_clears_no_mark(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 1)])
    body = encode_event(
        Event("test.value", "m", NOW_NS, Priority.EVENT, {}),
        source=node.source,
        epoch="e1",
        seq=2,
        quality=TimeQuality.UNSYNCHRONISED,
    )
    ingest.commit([node.received(2, 2, [body], arrived_ns=NOW_NS + 60 * SECOND_NS)])
    assert rows(engine, StoredEvent)[1].time_quality == "unsynchronised"


@pytest.mark.parametrize("time_ns", [-2_230_351_979_877_000_000, NOW_NS, NOW_NS + 86400 * SECOND_NS, 7])
@pytest.mark.parametrize("error_ns", [86400 * SECOND_NS, -86400 * SECOND_NS, -NOW_NS, 0])
def test_a_recording_keeps_its_times_whatever_the_clock_of_its_node(
    engine: Engine, time_ns: int, error_ns: int
) -> None:
    ingest, node = committer(engine), SimulatedNode(clock_error_ns=error_ns)
    event = Event("test.value", "m", time_ns, Priority.EVENT, {})
    body = encode_event(event, source=node.source, epoch="e1", seq=1, quality=TimeQuality.RECORDED)
    ingest.commit([node.received(1, 2, [body, node.body(2)])])
    recorded, own = rows(engine, StoredEvent)
    found = (recorded.time_ns, recorded.clock_offset_ms, recorded.time_quality)
    assert found == (time_ns, None, "recorded")
    assert own.time_ns == SimulatedNode().time_of(2) or error_ns == -NOW_NS


def test_a_clock_within_the_tolerance_is_left_alone(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode(clock_error_ns=4 * SECOND_NS)
    ingest.commit([node.received(1, 1)])
    (event,) = rows(engine, StoredEvent)
    assert (event.time_ns, event.clock_offset_ms) == (node.time_of(1), None)


def test_what_nodes_tell_of_themselves_stands_in_the_node_table(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    started = {"app": "test", "version": "v1", "slot": "a", "profile": "cpu", "virtual": True, "tags": ["x"]}
    health = {"version": "v2", "slot": "b", "step": "confirmed", "confirmed": True, "queue": 3}
    adoption = {
        "version": "v2",
        "from_version": "v1",
        "step": "confirmed",
        "ok": True,
        "serial": 4,
        "rollout": "r",
    }
    bodies = [
        node.body(1, "edgeloop.node.started", data=started),
        node.body(2, "edgeloop.adoption", data=adoption),
        node.body(3, "edgeloop.node.health", data=health),
        node.body(4, "edgeloop.adoption", data={"step": "levitated"}),
    ]
    for _ in range(2):
        ingest.commit([node.received(1, 4, bodies)])
    row = rows(engine, Node)[0]
    assert (row.app, row.version, row.slot, row.profile, row.virtual, row.tags) == (
        "test", "v2", "b", "cpu", True, ["x"],
    )  # fmt: skip
    assert (row.step, row.confirmed, row.health) == ("confirmed", True, health)
    (logged,) = rows(engine, Adoption)
    assert (logged.node, logged.app, logged.version, logged.step) == ("node-1", "test", "v2", "confirmed")
    assert (logged.serial, logged.rollout, logged.seq, logged.received_ns) == (4, "r", 2, NOW_NS)
    (kept,) = rows(engine, Quarantined)
    assert "levitated" in kept.reason or "step" in kept.reason


def test_who_is_online_is_told_by_the_status_and_unknown_after_a_reconnect(engine: Engine) -> None:
    def told(node: str, state: str, retained: bool) -> ReceivedStatus:
        return ReceivedStatus(SITE, node, Status(state, "test"), NOW_NS, retained)

    ingest = committer(engine)
    group = [
        told("node-1", "online", False),
        told("node-2", "offline", True),
        told("stranger", "online", False),
    ]
    assert ingest.commit(group) == []
    assert [(n.state, n.app, n.last_seen_ns) for n in rows(engine, Node)] == [
        ("online", "test", NOW_NS),
        ("offline", "test", 0),
    ]
    ingest.commit([Reconnected(), told("node-2", "online", True)])
    assert [node.state for node in rows(engine, Node)] == ["unknown", "online"]


# -------------------------------------------------------------------------------------------- outages


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


def forked(node: SimulatedNode, session: str, first: int, last: int, **changes: Any) -> ReceivedBatch:
    """A batch of another session, with data of its own."""
    bodies = [node.body(seq, **changes) for seq in range(first, last + 1)]
    return node.received(first, last, bodies, session=session, turn=1)


def test_a_copy_that_numbers_the_same_epoch_differently_loses_nothing(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 10, session="a", turn=1)])
    (answer,) = ingest.commit([forked(node, "b", 6, 12, data={"other": 1})])
    assert (answer.ack.forked, answer.ack.shared, answer.ack.session) == (True, True, "b")
    assert answer.ack.high_water_mark == 0, "nothing of it counts as taken"
    assert len(stored(engine)) == 10
    assert ingest.commit([node.received(11, 12, session="a", turn=2)])[0].ack.high_water_mark == 12
    for changes in ({"kind": "test.other"}, {"subject": "engine-2"}):
        assert ingest.commit([forked(node, "c", 12, 12, **changes)])[0].ack.forked
    late = SimulatedNode(clock_error_ns=60 * SECOND_NS)
    assert ingest.commit([forked(late, "d", 12, 12)])[0].ack.forked, "the same at another time"


def test_a_copy_is_found_within_one_transaction_too(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 1, session="a", turn=1)])
    group = [node.received(2, 5, session="a", turn=2), forked(node, "b", 2, 9, data={"other": 1})]
    answers = {answer.ack.session: answer.ack for answer in ingest.commit(group)}
    assert (answers["a"].high_water_mark, answers["a"].turn, answers["b"].forked) == (5, 2, True)
    assert len(stored(engine)) == 5


def test_a_copy_is_acked_what_it_shares_with_the_stored_epoch_and_no_more(engine: Engine) -> None:
    """The copy had 1 to 10 waiting and went on by itself; the original had gone on to 30 by then."""
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 30, session="a", turn=1)])
    shared = [node.received(1, 4, session="b", turn=1), node.received(5, 8, session="b", turn=2)]
    marks = [answer.ack.high_water_mark for batch in shared for answer in ingest.commit([batch])]
    assert marks == [4, 8], "not 30: what the copy numbers from 11 on was never sent"
    own = [node.body(9), node.body(10), *(node.body(seq, data={"own": seq}) for seq in range(11, 41))]
    (answer,) = ingest.commit([node.received(9, 40, own, session="b", turn=3)])
    assert (answer.ack.forked, answer.ack.high_water_mark) == (True, 10)
    assert len(stored(engine)) == 30


def test_a_copy_whose_batches_come_in_one_transaction_is_acked_no_more(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 30, session="a", turn=1)])
    group = [
        node.received(1, 4, session="b", turn=1),
        node.received(31, 32, session="a", turn=2),
        node.received(5, 8, session="b", turn=2),
    ]
    marks = {answer.ack.session: answer.ack.high_water_mark for answer in ingest.commit(group)}
    assert marks == {"a": 32, "b": 8}


def test_a_copy_that_misses_a_batch_is_not_acked_by_the_next_one(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 30, session="a", turn=1)])
    node.oldest = 5
    (later,) = ingest.commit([node.received(9, 12, session="b", turn=2)])
    assert later.ack.high_water_mark == 4, "5 to 8 were not compared"
    (beyond,) = ingest.commit([node.received(40, 41, session="b", turn=3)])
    assert beyond.ack.high_water_mark == 4
    (first,) = ingest.commit([node.received(5, 8, session="b", turn=4)])
    assert first.ack.high_water_mark == 8


def test_a_node_that_restarts_and_sends_again_is_no_copy(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    ingest.commit([node.received(1, 10, session="a", turn=1)])
    (answer,) = ingest.commit([node.received(4, 20, session="b", turn=1)])
    assert (answer.ack.forked, answer.ack.shared, answer.ack.high_water_mark) == (False, False, 20)
    with_gap = [node.body(15), node.gap(16, 21), node.body(22)]
    (answer,) = ingest.commit([node.received(15, 22, with_gap, session="c", turn=1)])
    assert (answer.ack.forked, answer.ack.high_water_mark) == (False, 22), (
        "what became a gap is no difference"
    )
    assert len(stored(engine)) == 22


def test_sessions_that_take_turns_are_two_devices(engine: Engine) -> None:
    ingest = committer(engine)
    one, two = SimulatedNode(epoch="one"), SimulatedNode(epoch="two")
    for number in range(1, 4):
        for node in (one, two):
            (answer,) = ingest.commit([node.received(number, number, session=node.epoch, turn=number)])
            assert answer.ack.shared == ((number, node.epoch) > (1, "two"))
    assert len(stored(engine)) == 6
    problems = {row["kind"]: row["count"] for row in ingest._problems.take()}
    assert problems["identity_shared"] == 4


def test_a_batch_that_somebody_sends_again_tells_nothing_of_the_node(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    old = node.batch(1, 10, session="a", turn=1)
    ingest.commit([read_batch(SITE, "node-1", old, NOW_NS)])
    ingest.commit([node.received(11, 20, session="b", turn=1)])
    for hours in range(1, 6):
        (answer,) = ingest.commit([read_batch(SITE, "node-1", old, NOW_NS + hours * 3600 * SECOND_NS)])
        assert (answer.ack.session, answer.ack.shared) == ("a", False)
    row = next(row for row in rows(engine, Node) if row.name == "node-1")
    assert (row.clock_offset_ms, row.last_seen_ns) == (None, NOW_NS)


def test_many_events_that_no_projection_digests_cost_little_and_are_told(engine: Engine) -> None:
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


def test_one_node_cannot_fill_the_quarantine_with_one_batch(engine: Engine) -> None:
    ingest, node = committer(engine), SimulatedNode()
    bodies = [node.body(seq).replace(b'"priority":"telemetry"', b'"priority":"p"') for seq in range(1, 301)]
    ingest.commit([node.received(1, 300, bodies)])
    assert len(rows(engine, Quarantined)) == 20
    assert ingest.counts["malformed"] == 300


def test_times_in_the_data_are_corrected_with_the_event_and_a_resend_is_no_fork(engine: Engine) -> None:
    """The store keeps what the node sent; apps and the API read it corrected, now and after a rebuild."""
    seen: list[tuple[int, dict[str, Any], str]] = []

    class Watching(Totals):
        def project(self, session: Session, events: Sequence[ReceivedEvent]) -> None:
            seen.extend((event.time_ns, event.data, event.time_quality) for event in events)

    app = Watching()
    prepare(engine, {"test": app})
    enrol(engine, "node-1")
    error_ns = 90 * SECOND_NS
    node = SimulatedNode(clock_error_ns=error_ns)
    data = {"began_ns": NOW_NS + error_ns, "ended_ns": None, "at_ms": 7, "name_ns": "x", "in": {"a_ns": 5}}
    body = node.body(1, data=data)
    ingest = Committer(engine, Projections({"test": app}), IngestSettings())
    ingest.commit([node.received(1, 1, [body], session="first")])
    fixed = {**data, "began_ns": NOW_NS}
    assert seen == [(SimulatedNode().time_of(1), fixed, "corrected")]
    (stored,) = rows(engine, StoredEvent)
    assert msgspec.json.decode(stored.body) == data
    assert EventPublic.of(stored, rows(engine, Stream)[0]).data == fixed
    rebuild(engine, "test", app)
    assert seen == [seen[0]] * 2
    again = Committer(engine, Projections({"test": app}), IngestSettings())
    (answer,) = again.commit([node.received(1, 1, [body], session="second")])
    assert not answer.ack.forked


def test_a_node_that_corrected_its_times_since_is_no_fork(engine: Engine) -> None:
    """Its batch was stored, the ack was lost, and its clock was set before it sent again."""
    ingest, node = committer(engine), SimulatedNode(clock_error_ns=-NOW_NS)

    def send(time_ns: int, quality: TimeQuality, session: str, sums: int = 1) -> NodeAck:
        data = {"began_ns": time_ns, "sums": sums}
        event = Event("test.value", "m", time_ns, Priority.EVENT, data)
        body = encode_event(event, source=node.source, epoch="e1", seq=1, quality=quality)
        (answer,) = ingest.commit([node.received(1, 1, [body], session=session)])
        return answer

    assert not send(60 * SECOND_NS, TimeQuality.UNSYNCHRONISED, "first").ack.forked
    node.clock_error_ns = 0
    assert not send(NOW_NS + 60 * SECOND_NS, TimeQuality.CORRECTED, "second").ack.forked
    (event,) = rows(engine, StoredEvent)
    assert (event.time_ns, event.time_quality) == (NOW_NS + 60 * SECOND_NS, "corrected")
    assert send(NOW_NS + 60 * SECOND_NS, TimeQuality.PLAUSIBLE, "third", sums=2).ack.forked
