"""What the outbox has committed stays, in order and without holes, within its budget."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.edge.delivery.outbox import Outbox
from common.edge.delivery.outbox_file import PAGE_BYTES
from common.edge.delivery.recent_rows import Pending
from common.errors import OutboxError, OutboxFull
from common.messages import GAP_TYPE, Gap, Priority, WireEvent, decode_event
from tests.builders import FIRST_NS, make_event
from tests.waiting import PATIENCE_S

SMALL = 64 * 1024
ALL = 10**6


@pytest.fixture
def open_outbox(tmp_path: Path) -> Iterator[Callable[..., Outbox]]:
    opened: list[Outbox] = []

    def open_(budget: int = 10**8, *, source: str = "/s/n", stream: str = "") -> Outbox:
        outbox = Outbox(tmp_path / "outbox.sqlite", source, budget, lambda: FIRST_NS, stream=stream)
        opened.append(outbox)
        return outbox

    yield open_
    for outbox in opened:
        outbox.close()


def wire(rows: list[Pending]) -> list[WireEvent]:
    return [decode_event(row.body) for row in rows]


def all_of(outbox: Outbox) -> list[WireEvent]:
    return wire(outbox.pending(0, ALL, 10**9))


def gaps(outbox: Outbox) -> list[tuple[int, Gap]]:
    return [
        (event.seq, msgspec.json.decode(event.data, type=Gap))
        for event in all_of(outbox)
        if event.type == GAP_TYPE
    ]


def covered(outbox: Outbox) -> list[int]:
    """Every seq that a row stands for, in the order of the rows."""
    return [seq for row in outbox.pending(0, ALL, 10**9) for seq in range(row.seq, row.last_seq + 1)]


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


def test_the_budget_gives_up_the_lowest_priority_oldest_first_and_says_so(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    text = {"text": "x" * 1000}
    for number in range(160):
        outbox.commit([make_event(number, priority=Priority(number % 4), data=text)])
        assert outbox.size_bytes <= SMALL
    assert covered(outbox) == list(range(1, 161))
    kept = [event for event in all_of(outbox) if event.type != GAP_TYPE]
    names = [event.priority for event in kept]
    assert names.count("alarm") == 40
    assert all(event.seq > 148 for event in kept if event.priority in ("sample", "telemetry"))
    survivors = [event.seq for event in kept if event.priority == "event"]
    assert survivors == list(range(160 - 4 * len(survivors) + 3, 161, 4))
    counts: dict[str, int] = {}
    for _, gap in gaps(outbox):
        for name, count in gap.counts.items():
            counts[name] = counts.get(name, 0) + count
    assert counts == outbox.dropped
    assert sum(counts.values()) + len(kept) == 160


def test_neighbouring_gaps_are_one(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    for number in range(2000):
        outbox.commit([make_event(number, data={"text": "x" * 300})])
    assert len(gaps(outbox)) == 1
    (first, gap) = gaps(outbox)[0]
    assert first == 1
    assert gap.counts == {"telemetry": gap.through}
    assert covered(outbox) == list(range(1, 2001))


def test_alarms_alone_fill_the_outbox_and_nothing_of_the_call_is_kept(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    alarm = make_event(priority=Priority.ALARM, data={"text": "x" * 1000})

    def fill() -> None:
        for number in range(100):
            outbox.commit([make_event(number), alarm], b"s", number)

    with pytest.raises(OutboxFull, match="alarms that the cloud has not taken"):
        fill()
    last, position, events = outbox.last_seq, outbox.position(), outbox.events
    with pytest.raises(OutboxFull):
        outbox.commit([make_event(), alarm], b"t", 1000)
    assert (outbox.last_seq, outbox.position(), outbox.events) == (last, position, events)
    assert sum(event.priority == "alarm" for event in all_of(outbox)) == last // 2
    outbox.commit([make_event(data={"text": "x" * 2000})] * 30)
    assert gaps(outbox)[-1][1].through >= last + 28, "what is not an alarm becomes a gap"
    assert covered(outbox) == list(range(1, last + 31))
    outbox.acked(20)
    outbox.commit([alarm])
    assert all_of(outbox)[-1].priority == "alarm"


def test_an_ack_within_a_gap_leaves_the_rest_of_it(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    for number in range(400):
        outbox.commit([make_event(number, data={"text": "x" * 300})])
    through = gaps(outbox)[0][1].through
    outbox.acked(10)
    assert outbox.oldest() == 11
    assert gaps(outbox)[0] == (11, Gap(through, "budget", {"telemetry": through - 10}))
    assert outbox.pending(20, 1, 10**6)[0].seq == 21, "the window may stand within it as well"
    assert covered(outbox) == list(range(11, 401))
    outbox.acked(through)
    assert outbox.oldest() == through + 1


def test_a_refused_event_becomes_a_gap_once(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(n, priority=Priority.ALARM) for n in range(3)])
    assert outbox.refused(2)
    assert not outbox.refused(2)
    assert not outbox.refused(99)
    assert gaps(outbox) == [(2, Gap(2, "refused", {"alarm": 1}))]
    assert outbox.dropped == {"alarm": 1}


@pytest.mark.parametrize(
    ("data", "why"),
    [({"text": "x" * 200_000}, "an event holds at most"), ({"object": object()}, "is not JSON")],
)
def test_an_event_that_cannot_travel_keeps_its_place_and_says_why(open_outbox, data, why: str) -> None:
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


@pytest.mark.parametrize("damage", ["nonsense", "page", "truncated"])
def test_a_damaged_file_is_set_aside_and_a_new_one_takes_over(
    open_outbox, tmp_path: Path, damage: str
) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(n, data={"t": "x" * 500}) for n in range(500)], b"state", 42)
    epoch = outbox.epoch
    outbox.close()
    path = tmp_path / "outbox.sqlite"
    content = bytearray(path.read_bytes())
    if damage == "nonsense":
        content[:] = b"not a database at all" * 1000
    elif damage == "page":
        content[-3 * 4096 :] = b"\xff" * (3 * 4096)
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    again = open_outbox()
    assert (again.epoch == epoch) == (damage != "nonsense")
    assert again.recovery
    assert Path(again.recovery.moved_to).name.startswith("outbox.sqlite.corrupt-")
    assert Path(again.recovery.moved_to).read_bytes() == bytes(content)
    assert again.commit([make_event()]) == (1 if damage == "nonsense" else 501)
    if damage != "nonsense":
        assert (again.saved_state(), again.position()) == (b"state", 42)


def test_damage_that_shows_while_it_runs_loses_nothing_of_the_commit(open_outbox, tmp_path: Path) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(n, data={"t": "x" * 500}) for n in range(2000)], b"old", 1)
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite", timeout=PATIENCE_S)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = other.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
        with (tmp_path / "outbox.sqlite").open("r+b") as file:
            file.seek((page - 1) * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)
        other.execute("UPDATE meta SET stream = stream")
        other.commit()
    assert outbox.commit([make_event()], b"new", 2) == 2001
    assert outbox.recovery
    assert covered(outbox) == list(range(1, 2002))
    assert (outbox.saved_state(), outbox.position()) == (b"new", 2)


def test_a_file_of_a_newer_edgeloop_is_left_alone(open_outbox, tmp_path: Path) -> None:
    open_outbox().close()
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as other:
        other.execute("PRAGMA user_version = 9")
    with pytest.raises(OutboxError, match="update edgeloop"):
        open_outbox()
    assert not list(tmp_path.glob("*.corrupt*"))


def test_a_full_disk_keeps_nothing_of_the_call_and_the_next_one_works(open_outbox, tmp_path: Path) -> None:
    outbox = open_outbox()
    outbox.commit([make_event()], b"state", 1)
    events = [make_event(n, data={"t": "x" * 1000}) for n in range(500)]
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(OutboxError, match="check the disk"):
            outbox.commit(events, b"lost", 2)
        assert (outbox.last_seq, outbox.events, outbox.position()) == (1, 1, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
    assert outbox.commit(events, b"kept", 2) == 501
    assert (outbox.saved_state(), outbox.position()) == (b"kept", 2)
    assert covered(outbox) == list(range(1, 502))


def test_a_process_that_is_killed_leaves_whole_commits_only(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from common.edge.delivery.outbox import Outbox\n"
        "from tests.builders import make_event\n"
        "outbox = Outbox(Path(sys.argv[1]), '/s/n', 10**8, time.time_ns)\n"
        "position = outbox.position() or 0\n"
        "while True:\n"
        "    position += 1\n"
        "    outbox.commit([make_event(position)] * 7, str(position).encode(), position)\n"
        "    print(position, flush=True)\n"
    )
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(30)]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        told = int([line for line in lines if line.endswith("\n")][-1])
        with closing(Outbox(path, "/s/n", 10**8, time.time_ns)) as outbox:
            position = outbox.position()
            assert position is not None
            assert told <= position <= told + 1
            assert outbox.last_seq == 7 * position
            assert outbox.saved_state() == str(position).encode()
            assert covered(outbox) == list(range(1, 7 * position + 1))


def test_the_file_stays_near_its_budget_however_long_the_cloud_is_gone(open_outbox, tmp_path: Path) -> None:
    budget = 1024 * 1024
    outbox = open_outbox(budget)
    for number in range(60):
        outbox.commit([make_event(number, data={"t": "x" * 300}) for _ in range(200)])
    assert outbox.size_bytes <= budget
    outbox.close()
    assert (tmp_path / "outbox.sqlite").stat().st_size < 1.5 * budget


def test_a_path_that_is_no_file_is_told(tmp_path: Path) -> None:
    blocker = tmp_path / "folder"
    blocker.mkdir()
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox(blocker, "/s/n", SMALL, lambda: FIRST_NS)


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


def test_an_ack_waits_for_a_running_commit_only_if_told_to(open_outbox) -> None:
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


class FailingAfterCommit:
    """A connection whose next COMMIT reaches the disk, then raises, as for a late error of the sync."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        cursor = self._connection.execute(statement, *parameters)
        if statement == "COMMIT" and not self._failed:
            self._failed = True
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return cursor


def test_a_commit_that_fails_after_it_reached_the_disk_counts_once(open_outbox) -> None:
    outbox = open_outbox()
    outbox.commit([make_event(1)])
    outbox._file.writer = FailingAfterCommit(outbox._file.writer)
    assert outbox.commit([make_event(2), make_event(3)]) == 3
    assert outbox.commit([make_event(4)]) == 4
    assert [event.seq for event in all_of(outbox)] == [1, 2, 3, 4]
    assert (outbox.events, outbox.recovery) == (4, None)


def test_an_event_evicted_by_its_own_commit_is_sent_as_a_gap(open_outbox) -> None:
    outbox = open_outbox(SMALL)
    text = {"text": "x" * 1000}
    outbox.commit([make_event(n, priority=Priority.TELEMETRY, data=text) for n in range(160)])
    assert covered(outbox) == list(range(1, 161))
    (seq, gap), *_ = gaps(outbox)
    assert (seq, gap.counts["telemetry"]) == (1, outbox.dropped["telemetry"])
