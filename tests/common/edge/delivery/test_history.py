"""Event history on the node: each event once, delivered or not, within a budget."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.edge.delivery.history import History, KeptEvent, follow, kept_events
from common.edge.delivery.outbox import Outbox
from common.errors import ConfigError
from common.messages import GAP_TYPE, Event, Priority
from tests.builders import FIRST_NS
from tests.waiting import wait_for

SOURCE = "/plant/n1"


class Keeping:
    """A node's outbox and history as its process thread fills them."""

    def __init__(self, folder: Path, *, budget_bytes: int = 10**6, outbox_bytes: int = 10**6) -> None:
        self.folder = folder
        self.outbox = Outbox(folder / "outbox.sqlite", SOURCE, outbox_bytes, lambda: FIRST_NS)
        self.history = History(folder, SOURCE, budget_bytes, Priority.EVENT)

    def commit(self, *priorities: Priority, size: int = 10) -> int:
        first = self.outbox.last_seq + 1
        events = [
            Event(f"t.{priority.name.lower()}", "m-1", FIRST_NS + first + i, priority, {"n": "x" * size})
            for i, priority in enumerate(priorities)
        ]
        last = self.outbox.commit(events)
        self.history.add(events, self.outbox.epoch, last)
        return last


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Keeping]:
    keeping = Keeping(tmp_path)
    yield keeping
    keeping.outbox.close()


def seqs(folder: Path) -> list[tuple[int, bool]]:
    return [(kept.event.seq, kept.delivered) for kept in kept_events(folder)]


T, E, A = Priority.TELEMETRY, Priority.EVENT, Priority.ALARM


def test_what_waits_and_what_was_delivered_is_there_in_order_and_once(keeping: Keeping) -> None:
    keeping.commit(T, E, A)
    keeping.commit(T, E)
    assert seqs(keeping.folder) == [(1, False), (2, False), (3, False), (4, False), (5, False)]
    keeping.outbox.acked(4)
    keeping.outbox.commit([])  # Deletes what is acked.
    assert seqs(keeping.folder) == [(2, True), (3, True), (5, False)]
    assert [kept.event.type for kept in kept_events(keeping.folder)] == ["t.event", "t.alarm", "t.event"]
    keeping.outbox.acked(5)
    keeping.outbox.commit([])  # Deletes what is acked.
    assert seqs(keeping.folder) == [(2, True), (3, True), (5, True)]


def test_an_object_has_the_content_of_the_event(keeping: Keeping) -> None:
    keeping.commit(A)
    (kept,) = kept_events(keeping.folder)
    facts = kept.facts()
    assert (facts["type"], facts["subject"], facts["priority"], facts["seq"]) == (
        "t.alarm",
        "m-1",
        "alarm",
        1,
    )
    assert facts["time"].endswith("Z")
    assert json.loads(bytes(facts["data"])) == {"n": "x" * 10}
    assert facts["delivered"] is False


def test_it_can_be_read_when_the_node_has_ended(keeping: Keeping) -> None:
    keeping.commit(E, A)
    keeping.outbox.acked(1)
    keeping.outbox.commit([])  # Deletes what is acked.
    keeping.outbox.close()
    assert seqs(keeping.folder) == [(1, True), (2, False)]


def test_the_history_stays_within_its_budget_and_keeps_the_newest(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path, budget_bytes=20_000)
    for _ in range(300):
        keeping.outbox.acked(keeping.commit(E, size=100))
        keeping.outbox.commit([])  # Deletes what is acked.
    sizes = [file.stat().st_size for file in tmp_path.glob("history*.jsonl")]
    assert len(sizes) == 2
    assert sum(sizes) < 20_000 + 1000
    kept = seqs(tmp_path)
    assert kept[-1] == (300, True)
    assert [seq for seq, _ in kept] == list(range(kept[0][0], 301))
    keeping.outbox.close()


def test_no_budget_keeps_nothing_and_takes_away_what_was_there(keeping: Keeping) -> None:
    keeping.commit(E)
    none = History(keeping.folder, SOURCE, 0, Priority.EVENT)
    none.add([Event("t.event", "m-1", FIRST_NS, E, {})], "e", 1)
    assert not list(keeping.folder.glob("history*"))
    assert seqs(keeping.folder) == [(1, False)]


def test_what_the_budget_of_the_outbox_cost_is_not_called_delivered(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path, outbox_bytes=65536)
    for _ in range(40):
        keeping.commit(E, size=3000)
        keeping.commit(A)
    kept = list(kept_events(tmp_path))
    assert any(each.event.type == GAP_TYPE for each in kept)
    events = [each.event.seq for each in kept if each.event.type != GAP_TYPE]
    assert events == list(range(1, 81))
    assert not any(each.delivered for each in kept)
    keeping.outbox.close()


def test_events_of_an_earlier_epoch_stay(keeping: Keeping) -> None:
    keeping.commit(E, E)
    keeping.outbox.acked(2)
    keeping.outbox.commit([])  # Deletes what is acked.
    keeping.outbox.begin_epoch()
    keeping.commit(E)
    kept = list(kept_events(keeping.folder))
    assert [each.delivered for each in kept] == [True, True, False]
    assert len({each.event.epoch for each in kept}) == 2


def test_what_is_acked_counts_as_delivered_at_once_and_costs_the_disk_nothing(keeping: Keeping) -> None:
    keeping.commit(T, E)
    keeping.commit(A)
    files = [keeping.folder / name for name in ("outbox.sqlite", "outbox.sqlite-wal")]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    keeping.outbox.acked(2)
    assert keeping.outbox.events == 1
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before
    known = (keeping.outbox.epoch, keeping.outbox.acked_seq)
    shown = [(kept.event.seq, kept.delivered) for kept in kept_events(keeping.folder, acked=known)]
    assert shown == [(1, True), (2, True), (3, False)]
    other = [kept.delivered for kept in kept_events(keeping.folder, acked=("another epoch", 3))]
    assert other == [False] * 3


def test_a_torn_line_costs_only_itself(keeping: Keeping) -> None:
    keeping.commit(E)
    keeping.outbox.acked(1)
    keeping.outbox.commit([])  # Deletes what is acked.
    with (keeping.folder / "history.jsonl").open("ab") as file:
        file.write(b'{"specversion": "1.0", "typ\n\x00\x00\n')
    keeping.commit(E)
    keeping.outbox.acked(2)
    keeping.outbox.commit([])  # Deletes what is acked.
    assert seqs(keeping.folder) == [(1, True), (2, True)]


def test_a_disk_that_refuses_costs_the_history_and_nothing_else(keeping: Keeping, caplog) -> None:
    (keeping.folder / "history.jsonl").mkdir()
    keeping.commit(E)
    assert "cannot be written" in caplog.text
    os.rmdir(keeping.folder / "history.jsonl")
    assert seqs(keeping.folder) == [(1, False)]


def test_where_no_node_is_that_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no node in"):
        list(kept_events(tmp_path))
    (tmp_path / "outbox.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match="cannot be read"):
        list(kept_events(tmp_path))


def test_following_gives_each_event_once_and_counts_what_passed(keeping: Keeping) -> None:
    items: list[KeptEvent | int] = []
    ended = threading.Event()

    def read() -> None:
        for item in follow(keeping.folder, lambda _: ended.wait(0.01)):
            items.append(item)

    def events() -> list[int]:
        return [item.event.seq for item in items if isinstance(item, KeptEvent)]

    keeping.commit(T, E)
    thread = threading.Thread(target=read)
    thread.start()
    wait_for(lambda: events() == [1, 2], "what was there")
    keeping.commit(A)
    wait_for(lambda: events() == [1, 2, 3], "an alarm")
    keeping.outbox.acked(3)
    keeping.outbox.commit([])  # Deletes what is acked.
    with keeping.outbox._lock:
        keeping.outbox.acked(keeping.commit(T, T, E))
        keeping.outbox.commit([])  # Deletes what is acked.
    wait_for(lambda: events()[-1] == 6, "what was delivered at once")
    ended.set()
    thread.join(10)
    passed = sum(item for item in items if isinstance(item, int))
    assert events()[:3] == [1, 2, 3]
    assert len(events()) + passed == 6
