"""Outbox: committed events stay, in order and without gaps."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from common.edge.delivery.recent_rows import Pending
from common.messages import Priority
from tests.builders import make_event
from tests.common.edge.delivery.rows import ALL, all_of, wire
from tests.waiting import PATIENCE_S


def test_events_come_back_in_order_with_their_place(open_outbox) -> None:
    outbox = open_outbox()
    assert outbox.commit([make_event(n) for n in range(3)]) == 3
    assert outbox.commit([make_event(9)]) == 4
    events = all_of(outbox)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert {event.epoch for event in events} == {outbox.epoch}
    assert [event.seq for event in wire(outbox.pending(1, 2, 10**6))] == [2, 3]
    assert outbox.oldest() == 1


def test_a_batch_keeps_to_its_bytes_but_always_has_one(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(n, data={"text": "x" * 1000}) for n in range(5)])
    assert len(outbox.pending(0, 100, 2600)) == 2
    assert len(outbox.pending(0, 100, 10)) == 1


def test_state_position_and_events_survive_together(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event()], b"state", 7)
    outbox.commit([make_event()])
    epoch = outbox.epoch
    outbox.close()
    again = open_outbox()
    assert (again.saved_state(), again.position(), again.epoch, again.last_seq) == (b"state", 7, epoch, 2)
    assert again.commit([make_event()]) == 3


def test_a_commit_is_synced_to_disk(open_outbox) -> None:
    outbox = open_outbox()
    assert outbox._file.writer.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert outbox._file.writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_only_an_ack_deletes_and_seq_goes_on_after_it(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(n) for n in range(10)])
    outbox.acked(4)
    assert [event.seq for event in all_of(outbox)] == [5, 6, 7, 8, 9, 10]
    assert outbox.oldest() == 5
    outbox.acked(10)
    assert (outbox.events, outbox.size_bytes, outbox.oldest()) == (0, 0, 11)
    outbox.close()
    assert open_outbox().commit([make_event()]) == 11


@pytest.mark.parametrize(
    ("data", "why"),
    [({"text": "x" * 200_000}, "an event holds at most"), ({"object": object()}, "is not JSON")],
)
def test_an_event_that_cannot_travel_keeps_its_place_with_the_reason(open_outbox, data, why: str) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(1), make_event(2, priority=Priority.ALARM, data=data), make_event(3)])
    events = all_of(outbox)
    assert [event.seq for event in events] == [1, 2, 3]
    assert events[1].priority == "alarm"
    assert why in msgspec.json.decode(events[1].data)["omitted"]


def test_text_that_is_no_unicode_does_not_stop_the_stream(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(1, subject="\udcff"), make_event(2, data={"t": "\udcff"})])
    assert len(all_of(outbox)) == 2


def test_events_take_the_name_that_the_node_gets_later(open_outbox) -> None:
    outbox = open_outbox(source="/local/host")
    outbox.commit([make_event(n) for n in range(1500)], None, 5)
    size = outbox.size_bytes
    outbox.close()
    enrolled = open_outbox(source="/site-1/node-1")
    events = all_of(enrolled)
    assert {event.source for event in events} == {"/site-1/node-1"}
    assert [event.seq for event in events] == list(range(1, 1501))
    assert enrolled.size_bytes == size + 1500 * (len("/site-1/node-1") - len("/local/host"))
    assert enrolled.position() == 5


def test_another_source_of_readings_starts_at_its_own_beginning(open_outbox) -> None:
    outbox = open_outbox(stream="csv:a")
    outbox.commit([], b"state", 5)
    outbox.close()
    other = open_outbox(stream="csv:b")
    assert (other.position(), other.saved_state()) == (None, b"state")


def test_a_new_epoch_renumbers_what_is_kept(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(n) for n in range(2500)])
    outbox.acked(1000)
    old = outbox.epoch
    outbox.begin_epoch()
    events = all_of(outbox)
    assert outbox.epoch != old
    assert [event.seq for event in events] == list(range(1, 1501))
    assert {event.epoch for event in events} == {outbox.epoch}
    assert msgspec.json.decode(events[0].data) == {"number": 1000}
    assert outbox.commit([make_event()]) == 1501
    outbox.close()
    assert open_outbox().last_seq == 1501


def test_what_is_sent_from_memory_is_what_lies_in_the_file(open_outbox, tmp_path: Path) -> None:
    outbox = open_outbox()
    for count in (3, 1, 7):
        outbox.commit([make_event(number) for number in range(count)])
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as file:
        rows = [Pending(*row) for row in file.execute("SELECT seq, last, body FROM events ORDER BY seq")]
    assert outbox.pending(0, 100, ALL) == rows
    assert outbox.pending(2, 5, ALL) == rows[2:7]
    assert 0 < len(outbox.pending(2, 9, 3 * len(rows[2].body))) <= 3
    assert outbox.refused(4)
    assert outbox.pending(0, 100, ALL)[3].body != rows[3].body


def test_an_ack_waits_for_a_running_commit_only_on_request(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(1)])
    running, ended = threading.Event(), threading.Event()

    def commit() -> None:
        with outbox._lock:
            running.set()
            ended.wait(PATIENCE_S)

    other = threading.Thread(target=commit)
    other.start()
    running.wait(PATIENCE_S)
    assert not outbox.acked(1, wait=False)
    assert outbox.events == 1
    ended.set()
    other.join()
    assert outbox.acked(1, wait=False)
    assert outbox.events == 0
