"""Times of stored events: corrected by the clock that sent them, and flagged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from cloud_backend.api.schemas.events import EventPublic
from cloud_backend.ingest.app_tables import prepare, rebuild
from cloud_backend.ingest.commit import Committer
from cloud_backend.ingest.projections import Projections
from cloud_backend.ingest.transaction import NodeAck
from cloud_backend.store.tables import Node, StoredEvent, Stream
from common.app.cloud import ReceivedEvent
from common.config.cloud import IngestSettings
from common.messages import Event, Priority, TimeQuality, encode_event
from tests.cloud_backend.ingest.nodes import NOW_NS, SimulatedNode, enrol, rows
from tests.cloud_backend.ingest.totals import SECOND_NS, Totals, committer


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
